//! Every default, in one place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::config::alerts::Alerts;
use crate::config::health::{Flap, Watching};
use crate::config::{Limits, Log, Maintenance, ServiceTimeouts, Timeouts};
use crate::model::health::Severity;

/// Config file of commands that are given none.
pub const FILE: &str = "headgate.yaml";

/// Requests: all addresses, because the gate is there to be reached.
pub const DATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Probes and metrics: loopback, until the config says who may see them.
pub const OPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
/// Admin API: loopback, where no key is needed.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9902);
/// State directory, beside the config file.
pub const STATE: &str = "./state";

/// Requests and tunnels under way to one service.
pub const MAX_IN_FLIGHT: u32 = 1024;
/// Largest request body. Bodies stream and cost the gate no memory, so this protects the services; uploads that are
/// meant to be larger say `maxBody: none` or a size of their own.
pub const MAX_BODY: u64 = 10 << 20;

/// Time-outs towards a service. `POST /chat` of StockFlow takes minutes, hence the long response head.
pub const SERVICE_TIMEOUTS: ServiceTimeouts = ServiceTimeouts {
    connect: Duration::from_secs(2),
    response_head: Duration::from_secs(300),
    response_stall: Duration::from_secs(300),
    tunnel_idle: Duration::from_secs(300),
    request: None,
};

/// Time-outs of the downstream side. `idle` is above Traefik's 90 s, so that the gate is never the one that closes.
pub const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    body_stall: Duration::from_secs(15),
    write_stall: Duration::from_secs(30),
    idle: Duration::from_secs(120),
    drain_accept: Duration::from_secs(5),
    drain: Duration::from_secs(25),
};

/// Limits of the whole gate.
pub const LIMITS: Limits = Limits {
    connections: 10_000,
    head_bytes: 32 << 10,
    head_fields: 100,
    target_bytes: 8 << 10,
    response_head_bytes: 64 << 10,
    bad_keys_per_minute: 20,
    min_body_rate: 100,
    min_rate_grace: Duration::from_secs(30),
};

/// The maintenance answer.
pub const MAINTENANCE: Maintenance =
    Maintenance { status: 503, retry_after: Duration::from_secs(30), max_ttl: None };

/// Access log.
pub const LOG: Log = Log { access: true, ring_lines: 8192 };

/// Who judges a service's health.
pub const POLICY: &str = "threshold";
/// Who puts alerts into words.
pub const FORMATTER: &str = "plain";

/// How a service is watched. Three bad verdicts in a row are an incident: one time-out is not a death.
pub const WATCHING: Watching = Watching {
    probe: None,
    rise: 2,
    fall: 3,
    flap: Flap { window: 20, high: 30, low: 20 },
    severity: Severity::Critical,
    namespace: None,
    follows_maintenance: false,
    passes_in_maintenance: false,
    labels: Vec::new(),
};

/// Between two probes of a service that is well.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// Between two probes of one that is not.
pub const PROBE_UNHEALTHY_INTERVAL: Duration = Duration::from_secs(2);
/// For one probe. Kubesnap's health takes 5 s during an upload.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(6);
/// Method of an HTTP probe.
pub const PROBE_METHOD: &str = "GET";
/// Statuses that an HTTP probe expects.
pub const PROBE_STATUSES: (u16, u16) = (200, 299);
/// Bytes of a body that are read; what the policy sees of them is less.
pub const PROBE_BODY_MAX: usize = 64 << 10;

/// For one call of a sink.
pub const SINK_TIMEOUT: Duration = Duration::from_secs(10);
/// For one snapshot: an upload takes seconds.
pub const KUBESNAP_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an alert waits for its snapshot.
pub const KUBESNAP_WAIT: Duration = Duration::from_secs(2);
/// Between two snapshots of one namespace.
pub const KUBESNAP_COOLDOWN: Duration = Duration::from_mins(10);
/// Snapshots a day.
pub const KUBESNAP_BUDGET: u32 = 24;

/// The name of a gate in its alerts.
pub const GATEWAY: &str = "headgate";
/// How long a first notice waits for others.
pub const GROUP_WAIT: Duration = Duration::from_secs(5);
/// Between two notices of an incident that goes on.
pub const REMIND_AFTER: Duration = Duration::from_hours(4);
/// After this time a notice is given up.
pub const GIVE_UP: Duration = Duration::from_hours(24);
/// Notices that may wait.
pub const OUTBOX_ROWS: usize = 20_000;
/// How long a pod may say the maintenance word after `off`.
pub const STALE_MAINTENANCE: Duration = Duration::from_mins(5);

/// Where alerts go: nowhere, until the config says so.
pub fn alerts() -> Alerts {
    Alerts {
        gateway: String::from(GATEWAY),
        sinks: Vec::new(),
        routes: Vec::new(),
        group_wait: GROUP_WAIT,
        remind_after: Some(REMIND_AFTER),
        quiet: None,
        give_up: GIVE_UP,
        outbox_rows: OUTBOX_ROWS,
        stale_maintenance: STALE_MAINTENANCE,
        kubesnap: None,
    }
}
