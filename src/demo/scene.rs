//! The config of the demo: StockFlow's routes in front of whoever plays its services.

use std::net::SocketAddr;

use crate::demo::standins::{Role, Standins};

/// Variable that carries the key to the gate; the name that StockFlow's own services use.
pub const KEY_VARIABLE: &str = "SF_API_KEY";

/// Names of policy and formatter, under which components are swapped.
pub const POLICY: &str = "opinion";
pub const FORMATTER: &str = "words";

/// The service that the walk breaks.
pub const WATCHED: &str = "signal-engine";

/// Path of the filtered route, and the header that it demands.
pub const FILTERED: &str = "/api/INFY.NS";
pub const DEMANDED: &str = "x-desk";

/// How every service is watched: faster than a real one, so that nobody has to wait for long.
const PACE: &str = "interval: 1s, unhealthyInterval: 300ms, timeout: 1s";

/// The config file. Addresses of port 0 are chosen by the kernel and reported by the gate.
pub fn config(listen: SocketAddr, standins: &Standins) -> String {
    let url = |role: Role| standins.get(role).map_or("", |it| it.url.as_str());
    format!(
        "\
listeners: {{ data: \"{listen}\", ops: \"127.0.0.1:0\", admin: \"127.0.0.1:0\" }}
timeouts: {{ drainAccept: 100ms, drain: 5s }}
services:
  {WATCHED}:
    upstreams: \"{signal_engine}\"
    maintenance: covered
    health: {health_engine}
  controller:
    upstreams: \"{controller}\"
    maintenance: exempt
    forwardKey: true
    health: {health_controller}
  kubesnap:
    upstreams: \"{kubesnap}\"
    maintenance: exempt
    forwardKey: true
    health: {health_kubesnap}
admin: {{ service: controller }}
plugins:
  {POLICY}: {{ builtin: threshold, grants: [\"action:snapshot\", \"action:alert\"] }}
  {FORMATTER}: {{ builtin: plain }}
  require-header: {{ builtin: require-header, grants: [\"header:{DEMANDED}\"] }}
{told}cors: {{ origins: \"*\" }}
routes:
  - {{ path: \"/api/\", service: {WATCHED}, access: public }}
  - exact: \"{FILTERED}\"
    service: {WATCHED}
    access: public
    filters: [{{ plugin: require-header, settings: {{ header: {DEMANDED} }} }}]
  - {{ path: \"/api/kubesnap/\", service: kubesnap, access: \"key:kubesnap\" }}
  - {{ exact: \"/api/kubesnap/health\", service: kubesnap, access: public }}
keys:
  - {{ name: stockflow, key: \"env:{KEY_VARIABLE}\", scopes: [admin, kubesnap] }}
",
        signal_engine = url(Role::SignalEngine),
        controller = url(Role::Controller),
        kubesnap = url(Role::Kubesnap),
        health_engine = health(POLICY, "/api/health"),
        health_controller = health("threshold", "/api/admin/health"),
        health_kubesnap = health("threshold", "/api/kubesnap/health"),
        told = told(standins),
    )
}

fn health(policy: &str, path: &str) -> String {
    format!(
        "{{ policy: {policy}, rise: 2, fall: 2, namespace: default, probe: {{ http: \"{path}\", \
         expect: {{ json: {{ \"$.status\": OK }} }}, {PACE} }} }}"
    )
}

/// Where alerts go and who takes snapshots: stand-ins alone. A real Event Dispatcher would mail people, and a real
/// Kubesnap would upload every pod's log, for a service that was broken for show.
fn told(standins: &Standins) -> String {
    let played =
        |role: Role| standins.get(role).filter(|_| standins.plays(role)).map(|it| it.url.as_str());
    let mut text = format!("alerts:\n  formatter: {FORMATTER}\n  gateway: demo\n");
    if let Some(url) = played(Role::EventDispatcher) {
        text.push_str(&format!(
            "  sinks:\n    - {{ name: dispatcher, eventDispatcher: \"{url}\", channels: [email, slack], \
             channel: stockflow, allowedChannels: [stockflow] }}\n"
        ));
    }
    if let Some(url) = played(Role::Kubesnap) {
        text.push_str(&format!(
            "kubesnap: {{ url: \"{url}\", key: \"env:{KEY_VARIABLE}\", cooldown: 10s }}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::demo::standins::{Behaviour, Standin};

    fn standins(real: &[Role]) -> Standins {
        let one = |role: Role| Standin {
            role,
            url: format!("http://127.0.0.1:{}", 9000 + role as u16),
            behaviour: (!real.contains(&role)).then(Arc::<Behaviour>::default),
        };
        Standins { services: Role::ALL.map(one).to_vec(), control: ([127, 0, 0, 1], 1).into() }
    }

    fn parsed(text: &str) -> crate::config::Config {
        let parsed = crate::config::parse(text, Path::new("demo.yaml"));
        parsed.unwrap_or_else(|it| panic!("{it:?}\n{text}")).config
    }

    #[test]
    fn the_scene_is_a_good_config_whoever_plays() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let all = parsed(&config(listen, &standins(&[])));
        assert_eq!(all.alerts.sinks.len(), 1);
        assert!(all.alerts.kubesnap.is_some());
        assert!(all.services.iter().all(|it| it.watching.probe.is_some()));
        let real = [Role::EventDispatcher, Role::Kubesnap, Role::SignalEngine];
        let none = parsed(&config(listen, &standins(&real)));
        assert!(none.alerts.sinks.is_empty(), "nobody real is told");
        assert!(none.alerts.kubesnap.is_none(), "nobody real takes snapshots");
    }
}
