//! The config of the demo: StockFlow's routes in front of whoever plays its services.

use std::net::SocketAddr;

use crate::demo::opinions::{DEMANDED, FILTERED, FORMATTER};
use crate::demo::standins::{Role, Standins};

/// Variable that carries the key to the gate; the name that StockFlow's own services use.
pub const KEY_VARIABLE: &str = "SF_API_KEY";

/// The config file. Addresses of port 0 are chosen by the kernel and reported by the gate.
pub fn config(listen: SocketAddr, standins: &Standins) -> String {
    let url = |role: Role| standins.get(role).map_or("", |it| it.url.as_str());
    format!(
        "\
listeners: {{ data: \"{listen}\", ops: \"127.0.0.1:0\", admin: \"127.0.0.1:0\" }}
timeouts: {{ drainAccept: 100ms, drain: 5s }}
services:
  signal-engine: {{ upstreams: \"{signal_engine}\", maintenance: covered }}
  controller: {{ upstreams: \"{controller}\", maintenance: exempt, forwardKey: true }}
  kubesnap: {{ upstreams: \"{kubesnap}\", maintenance: exempt, forwardKey: true }}
admin: {{ service: controller }}
plugins:
  {FORMATTER}: {{ builtin: plain }}
  require-header: {{ builtin: require-header, grants: [\"header:{DEMANDED}\"] }}
alerts: {{ formatter: {FORMATTER} }}
cors: {{ origins: \"*\" }}
routes:
  - {{ path: \"/api/\", service: signal-engine, access: public }}
  - exact: \"{FILTERED}\"
    service: signal-engine
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
    )
}
