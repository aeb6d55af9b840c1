//! A deployment like StockFlow's, for tests: its services, routes and keys under any prefix.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::digest;
use crate::config::secret;
use crate::config::{
    Authority, Config, Cors, Key, KeySource, Limits, Listeners, Log, Maintenance, OnRevoke,
    PathMatch, Retry, Route, Service, ServiceTimeouts, Timeouts,
};
use crate::generation::build::{Sources, build};
use crate::generation::{Gate, Generation};
use crate::maintenance::{Modes, Window};
use crate::model::{Access, Coverage, ServiceId, UnixMs};
use crate::telemetry::metrics::Metrics;

/// When tests are.
pub(crate) const NOW: UnixMs = UnixMs(1_800_000_000_000);

/// Scopes `admin` and `kubesnap`, as StockFlow's one key.
pub(crate) const ADMIN: &str = "admin-key-0123456789";
/// Scope `kubesnap` alone.
pub(crate) const SNAP: &str = "snap-key-0123456789";
/// Scopes `maintenance:bypass` and `reports`.
pub(crate) const BYPASS: &str = "bypass-key-0123456789";
/// Scope `admin`, expired.
pub(crate) const EXPIRED: &str = "expired-key-0123456789";
/// Scope `admin`, not yet valid.
pub(crate) const EARLY: &str = "early-key-0123456789";

pub(crate) const SIGNAL: usize = 0;
pub(crate) const CONTROLLER: usize = 1;
pub(crate) const KUBESNAP: usize = 2;

pub(crate) fn service(name: &str, coverage: Coverage) -> Service {
    Service {
        name: name.to_owned(),
        upstreams: vec![Authority { host: "127.0.0.1".to_owned(), port: 8000 }],
        coverage,
        policy: crate::config::PluginUse::builtin("threshold", String::new()),
        watching: crate::config::defaults::WATCHING,
        forward_key: coverage == Coverage::Exempt,
        max_in_flight: 100,
        max_body_bytes: None,
        timeouts: ServiceTimeouts {
            connect: Duration::from_secs(2),
            response_head: Duration::from_secs(300),
            response_stall: Duration::from_secs(300),
            tunnel_idle: Duration::from_secs(300),
            request: None,
        },
    }
}

pub(crate) fn public(prefix: &str, service: usize) -> Route {
    Route {
        host: None,
        path: PathMatch::Prefix(prefix.to_owned()),
        methods: Vec::new(),
        access: Access::Public,
        service: ServiceId(service),
        retry: Retry::Unsent,
        on_revoke: OnRevoke::Close,
        number: None,
        filters: Vec::new(),
    }
}

pub(crate) fn keyed(prefix: &str, service: usize, scope: &str) -> Route {
    Route { access: Access::Key(scope.to_owned()), ..public(prefix, service) }
}

pub(crate) fn exactly(path: &str, route: Route) -> Route {
    Route { path: PathMatch::Exact(path.to_owned()), ..route }
}

fn key(name: &str, secret: &str, scopes: &[&str]) -> Key {
    Key {
        name: name.to_owned(),
        source: KeySource::Digest(digest(secret.as_bytes())),
        scopes: scopes.iter().map(|it| (*it).to_owned()).collect(),
        not_before: None,
        expires_at: None,
    }
}

/// Signal Engine public and covered under `{prefix}/api`, the Controller under the admin prefix, Kubesnap keyed with a
/// public health path, `{prefix}/api/reports` keyed with scope `reports`.
pub(crate) fn config(prefix: &str) -> Config {
    Config {
        prefix: prefix.to_owned(),
        services: vec![
            service("signal-engine", Coverage::Covered),
            service("controller", Coverage::Exempt),
            service("kubesnap", Coverage::Exempt),
        ],
        routes: vec![
            public(&format!("{prefix}/api"), SIGNAL),
            keyed("/api/kubesnap", KUBESNAP, "kubesnap"),
            exactly("/api/kubesnap/health", public("", KUBESNAP)),
            keyed(&format!("{prefix}/api/reports"), SIGNAL, "reports"),
            Route {
                methods: vec!["GET".to_owned()],
                ..public(&format!("{prefix}/api/read"), SIGNAL)
            },
        ],
        keys: vec![
            key("stockflow", ADMIN, &["admin", "kubesnap"]),
            key("snapper", SNAP, &["kubesnap"]),
            key("operator", BYPASS, &["maintenance:bypass", "reports"]),
            Key { expires_at: Some(NOW), ..key("old", EXPIRED, &["admin"]) },
            Key { not_before: Some(UnixMs(NOW.0 + 1)), ..key("next", EARLY, &["admin"]) },
        ],
        admin_service: Some(ServiceId(CONTROLLER)),
        cors: Some(Cors { origins: vec!["https://app.example".to_owned()], credentials: false }),
        ..bare()
    }
}

/// No service, no route, no key.
pub(crate) fn bare() -> Config {
    Config {
        listeners: Listeners { data: Vec::new(), ops: None, admin: None, admin_needs_key: false },
        trusted_proxies: Vec::new(),
        prefix: String::new(),
        cores: None,
        state_dir: PathBuf::from("state"),
        services: Vec::new(),
        routes: Vec::new(),
        keys: Vec::new(),
        admin_service: None,
        admin_on_data: true,
        status_needs_key: false,
        maintenance: Maintenance {
            status: 503,
            retry_after: Duration::from_secs(30),
            max_ttl: None,
        },
        cors: None,
        limits: Limits {
            connections: 100,
            head_bytes: 32 * 1024,
            head_fields: 100,
            target_bytes: 8192,
            response_head_bytes: 65536,
            bad_keys_per_minute: 20,
            min_body_rate: 100,
            min_rate_grace: Duration::from_secs(30),
        },
        timeouts: Timeouts {
            head: Duration::from_secs(10),
            body_stall: Duration::from_secs(15),
            write_stall: Duration::from_secs(30),
            idle: Duration::from_secs(120),
            drain_accept: Duration::from_secs(5),
            drain: Duration::from_secs(25),
        },
        log: Log { access: true, ring_lines: 8192 },
        plugins: Vec::new(),
        formatter: crate::config::PluginUse::builtin("plain", String::from("alerts.formatter")),
        alerts: crate::config::defaults::alerts(),
    }
}

pub(crate) fn generation(config: Config) -> Generation {
    let metrics = Metrics::new(1);
    let sources = Sources {
        read: &secret::read,
        endpoints: &|_| Arc::default(),
        metrics: &metrics,
        plugins: &crate::plugin::registry::native,
        now: NOW,
        file: "headgate.yaml",
    };
    build(config, b"text", None, &sources).expect("a valid config").generation
}

pub(crate) fn gate(config: Config, modes: Modes) -> Gate {
    Gate { generation: Arc::new(generation(config)), modes: Arc::new(modes) }
}

/// A maintenance of everything, without end.
pub(crate) fn window() -> Window {
    Window {
        since: UnixMs(NOW.0 - 1000),
        until: None,
        reason: Some("<upgrade> & \"more\"".to_owned()),
        by: "stockflow".to_owned(),
        ..Window::default()
    }
}

pub(crate) fn all_on() -> Modes {
    Modes { all: Some(window()), ..Modes::default() }
}
