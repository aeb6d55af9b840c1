//! Text becomes a valid config, or a list of everything that is wrong with it.
//!
//! `Config` exists only as the result of [`parse`]: nothing downstream sees unparsed text.

pub mod alerts;
mod decode;
pub mod defaults;
pub mod effective;
pub mod findings;
pub mod health;
pub mod json_path;
mod lower;
mod parse;
mod plugins;
mod quantity;
mod quick;
mod raw;
mod raw_alerts;
mod raw_health;
mod raw_plugins;
mod schema;
pub mod secret;
mod shapes;
pub mod source;
mod tree;
pub mod units;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{Access, Coverage, ServiceId, UnixMs};

pub use crate::config::parse::{Origins, Parsed, TEXT_BYTES_MAX, parse, read};
pub use crate::config::plugins::{BUILTINS, NATIVE, Plugin, PluginSource, PluginUse, Role};
pub use crate::config::quick::{QuickArgs, for_upstream};
pub use crate::config::schema::schema;

/// A valid config. Secrets are references here; `generation::build` resolves them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners by trust.
    pub listeners: Listeners,
    /// Peers whose `X-Forwarded-*` are believed and who may ask `/forward-auth`.
    pub trusted_proxies: Vec<IpNet>,
    /// Empty or `/name`, no trailing slash: stands before every `/api` path of the deployment.
    pub prefix: String,
    /// Threads of the data path; `None` is one per core of the machine.
    pub cores: Option<NonZeroUsize>,
    /// Where state is kept (maintenance, audit).
    pub state_dir: PathBuf,
    /// Services in file order; a [`ServiceId`] is an index into it.
    pub services: Vec<Service>,
    /// Routes in file order, prefixes already expanded.
    pub routes: Vec<Route>,
    /// Keys in file order.
    pub keys: Vec<Key>,
    /// Who answers the rest of the admin prefix (StockFlow's Controller); `None`: 404.
    pub admin_service: Option<ServiceId>,
    /// Whether the admin endpoints exist on the data listener too; without a config file and without a key they exist
    /// only on the admin listener.
    pub admin_on_data: bool,
    /// Whether maintenance status needs a key (default: no, StockFlow's deploy script has none).
    pub status_needs_key: bool,
    /// The maintenance answer.
    pub maintenance: Maintenance,
    /// Gate-made answers carry CORS headers for these origins; `None`: the request's origin is not answered.
    pub cors: Option<Cors>,
    /// Limits of the whole gate.
    pub limits: Limits,
    /// Time-outs of the downstream side.
    pub timeouts: Timeouts,
    /// Access log and log format.
    pub log: Log,
    /// Plugins by the operator's name, in file order; the built-in ones need no entry.
    pub plugins: Vec<Plugin>,
    /// Who puts alerts into words.
    pub formatter: PluginUse,
    /// Where alerts go.
    pub alerts: alerts::Alerts,
}

impl Config {
    /// Every use of a plugin: policies in the order of services, the formatter, filters in the order of routes.
    pub fn plugin_uses(&self) -> Vec<&PluginUse> {
        let policies = self.services.iter().map(|it| &it.policy);
        let filters = self.routes.iter().flat_map(|it| &it.filters);
        policies.chain([&self.formatter]).chain(filters).collect()
    }

    /// Files that hold plugins and candidates for them: they are watched beside the config file.
    pub fn plugin_files(&self) -> Vec<PathBuf> {
        let sources = self.plugins.iter().flat_map(|it| [Some(&it.source), it.shadow.as_ref()]);
        sources
            .flatten()
            .filter_map(|it| match it {
                PluginSource::File(path) => Some(path.clone()),
                PluginSource::Builtin(_) => None,
            })
            .collect()
    }

    /// Files that hold keys: they are watched beside the config file.
    pub fn key_files(&self) -> Vec<PathBuf> {
        self.keys
            .iter()
            .filter_map(|key| match &key.source {
                KeySource::File(path) => Some(path.clone()),
                KeySource::Env(_) | KeySource::Digest(_) => None,
            })
            .collect()
    }

    /// Files that hold secrets of the gate's own (of receivers of alerts, of Kubesnap): they are watched too.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        self.alerts
            .secrets()
            .filter_map(|it| match it {
                alerts::SecretRef::File(path) => Some(path.clone()),
                alerts::SecretRef::Env(_) => None,
            })
            .collect()
    }
}

/// Where the gate listens.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// Requests.
    pub data: Vec<SocketAddr>,
    /// Probes and metrics, read-only; `None`: off.
    pub ops: Option<SocketAddr>,
    /// Full admin API; `None`: off.
    pub admin: Option<AdminListen>,
    /// Whether every request on the admin listener needs a key with scope `admin` (always true off loopback).
    pub admin_needs_key: bool,
}

/// Address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// TCP; outside loopback only with keys.
    Tcp(SocketAddr),
    /// A unix socket, mode 0600.
    Unix(PathBuf),
}

/// One service: where it is and how it is treated.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Unique name, `[a-z0-9-]{1,63}`.
    pub name: String,
    /// One or several; not empty.
    pub upstreams: Vec<Authority>,
    /// Whether it obeys maintenance.
    pub coverage: Coverage,
    /// Whether the client's key is forwarded to it.
    pub forward_key: bool,
    /// In-flight requests over all cores; beyond: 503.
    pub max_in_flight: u32,
    /// Largest request body; beyond: 413. `None`: no limit.
    pub max_body_bytes: Option<u64>,
    /// Time-outs towards it.
    pub timeouts: ServiceTimeouts,
    /// Who judges its health.
    pub policy: PluginUse,
    /// How it is watched.
    pub watching: health::Watching,
}

/// Where an upstream is: plain HTTP for now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Host name or IP address (IPv6 without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Time-outs towards one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// To establish a connection.
    pub connect: Duration,
    /// From the end of the request to the response's head.
    pub response_head: Duration,
    /// Without a byte of the response's body.
    pub response_stall: Duration,
    /// Idle tunnel (after 101).
    pub tunnel_idle: Duration,
    /// Whole exchange; `None`: no limit.
    pub request: Option<Duration>,
}

/// Match + access + target.
#[derive(Clone, Debug)]
pub struct Route {
    /// Host to match (lower case, no port); `None`: any.
    pub host: Option<String>,
    /// Path to match.
    pub path: PathMatch,
    /// Methods to match; empty: all but CONNECT and TRACE.
    pub methods: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// Where it leads.
    pub service: ServiceId,
    /// Retry rule.
    pub retry: Retry,
    /// What happens to a tunnel whose key is revoked.
    pub on_revoke: OnRevoke,
    /// Place in the file, from 0; `None` for routes that the gate adds itself (they have no filters).
    pub number: Option<usize>,
    /// Filters that a request passes after its key, in order.
    pub filters: Vec<PluginUse>,
}

/// How a path is matched, always by whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// `/a/b` matches `/a/b` and `/a/b/...`, not `/a/bc`. Stored without trailing slash; "" matches everything.
    Prefix(String),
    /// This path alone.
    Exact(String),
}

/// When a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Only where the connection failed or accepted no byte.
    Unsent,
    /// Also GET and HEAD without body that got no response byte.
    Idempotent,
}

/// What happens to a tunnel whose key is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRevoke {
    /// It is closed.
    Close,
    /// It lives on.
    Keep,
}

/// A named key, not yet resolved.
#[derive(Clone, Debug)]
pub struct Key {
    /// Shown in logs and metrics.
    pub name: String,
    /// Where the key comes from.
    pub source: KeySource,
    /// What it opens.
    pub scopes: Vec<String>,
    /// Not valid before.
    pub not_before: Option<UnixMs>,
    /// Not valid from then on.
    pub expires_at: Option<UnixMs>,
}

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `env:NAME`.
    Env(String),
    /// `file:PATH`, re-read when it changes; one trailing newline is cut.
    File(PathBuf),
    /// `sha256:HEX` of the key.
    Digest([u8; 32]),
}

/// The maintenance answer.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// 503, or 200 for strict compatibility with StockFlow.
    pub status: u16,
    /// `Retry-After` when no ttl is known.
    pub retry_after: Duration,
    /// Longest ttl that may be asked for; `None`: any, and `on` without ttl is allowed.
    pub max_ttl: Option<Duration>,
}

/// CORS for answers that the gate makes itself.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Allowed origins; `*` alone allows every origin (answered with the origin itself, without credentials).
    pub origins: Vec<String>,
    /// Whether `Access-Control-Allow-Credentials: true` is sent (never with `*`).
    pub credentials: bool,
}

/// Limits of the whole gate.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open downstream connections over all cores.
    pub connections: usize,
    /// Bytes of a request head; beyond: 431.
    pub head_bytes: usize,
    /// Header fields of a head, at most 100; beyond: 431.
    pub head_fields: usize,
    /// Bytes of a request target; beyond: 414.
    pub target_bytes: usize,
    /// Bytes of an upstream's response head; beyond: 502.
    pub response_head_bytes: usize,
    /// Bad keys per client address and minute; beyond: 429.
    pub bad_keys_per_minute: u32,
    /// Bytes per second below which a request body is cut after `min_rate_grace`.
    pub min_body_rate: u64,
    /// See `min_body_rate`.
    pub min_rate_grace: Duration,
}

/// Time-outs of the downstream side.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Without a byte of a request body.
    pub body_stall: Duration,
    /// Without the client taking a byte of the response.
    pub write_stall: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// How long the gate goes on accepting after SIGTERM.
    pub drain_accept: Duration,
    /// How long running exchanges may take after that.
    pub drain: Duration,
}

/// Access log and log format.
#[derive(Clone, Debug)]
pub struct Log {
    /// Whether there is an access log.
    pub access: bool,
    /// Lines that may wait per core; beyond they are dropped and counted.
    pub ring_lines: usize,
}

#[cfg(test)]
mod tests;
