//! Configs of gates that watch many services, and of HAProxy with the same.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::field::Field;

/// How services are watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: &'static str,
    pub(crate) unhealthy: &'static str,
    pub(crate) timeout: &'static str,
    /// Verdicts in a row that a change takes.
    pub(crate) rise: u32,
    pub(crate) fall: u32,
}

/// As a deployment would.
pub(crate) const CALM: Pace =
    Pace { interval: "10s", unhealthy: "2s", timeout: "2s", rise: 2, fall: 3 };

/// To fill windows, which hold 64 observations, in about a minute.
pub(crate) const BRISK: Pace =
    Pace { interval: "1s", unhealthy: "1s", timeout: "1s", rise: 2, fall: 3 };

/// One bad answer is an incident.
pub(crate) const HASTY: Pace =
    Pace { interval: "500ms", unhealthy: "200ms", timeout: "200ms", rise: 1, fall: 1 };

/// Name of a service; none is a part of another.
pub(crate) fn name(number: usize) -> String {
    format!("svc-{number:04}")
}

/// The services of the field; probed at this pace, or not at all.
pub(crate) fn services(field: &Field, pace: Option<Pace>) -> String {
    let mut text = String::from("services:\n");
    for (number, at) in field.services.iter().enumerate() {
        let _ = write!(text, "  {}: {{ upstreams: \"http://{at}\"", name(number));
        if let Some(Pace { interval, unhealthy, timeout, rise, fall }) = pace {
            let _ = write!(
                text,
                ", health: {{ policy: threshold, rise: {rise}, fall: {fall}, namespace: ns-{number:04}, \
                 probe: {{ http: /api/health, expect: {{ json: {{ \"$.status\": OK }} }}, \
                 interval: {interval}, unhealthyInterval: {unhealthy}, timeout: {timeout} }} }}"
            );
        }
        text.push_str(" }\n");
    }
    text
}

/// Routes that nobody asks for: a config without a route is none.
pub(crate) const ROUTES: &str = "routes:\n  - { path: /one/, service: svc-0000, access: public }\n";

/// The field's dispatcher as the only sink, words by a component.
pub(crate) fn alerts(field: &Field) -> String {
    format!(
        "alerts:\n  formatter: plain\n  gateway: bench\n  sinks:\n    - {{ name: dispatcher, \
         eventDispatcher: \"http://{}\", channels: [email] }}\n",
        field.dispatcher
    )
}

/// The field's Kubesnap; an alert waits for it so long.
pub(crate) fn kubesnap(field: &Field, wait: &str) -> String {
    format!(
        "kubesnap: {{ url: \"http://{}\", key: \"env:BENCH_KEY\", wait: {wait}, cooldown: 1s, budget: 10000 }}\n",
        field.kubesnap
    )
}

/// HAProxy with the same services, each checked as often.
pub(crate) fn haproxy(field: &Field, listen: SocketAddr) -> String {
    let mut text = format!(
        "global\n nbthread 1\n maxconn 1000\n\
         defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n\
         timeout check 2s\n\
         frontend data\n bind {listen}\n default_backend all\n\
         backend all\n option httpchk GET /api/health\n http-check expect status 200\n\
         default-server check inter 10s\n"
    );
    for (number, at) in field.services.iter().enumerate() {
        let _ = writeln!(text, " server {} {at}", name(number));
    }
    text
}
