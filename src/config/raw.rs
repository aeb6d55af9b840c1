//! The config file as it is written; the comments here are the reference text of its schema.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Bytes, OrNone, Span};
use super::raw_alerts::{Alerts, Kubesnap};
use super::raw_health::Health;
use super::raw_plugins::{FilterUse, Plugin};
use super::shapes::{At, NameOr, Named, OneOrMany};
use super::{defaults, units};

/// A value that may be left out.
pub(super) type Opt<T> = Option<At<T>>;

/// The config of Headgate, a gate in front of a handful of HTTP services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping: `services`, `routes`, ..."
)]
#[schemars(title = "Headgate")]
pub(super) struct Document {
    /// Stands before every `/api` path of the deployment, for example `/dev`; `{prefix}` in a route's path is replaced
    /// by it. Left out: no prefix.
    #[schemars(extend("default" = ""))]
    pub(super) prefix: Opt<String>,
    /// Where the gate listens.
    pub(super) listeners: Opt<Listeners>,
    /// Networks (`10.42.0.0/16`) or addresses of the proxies in front of the gate. What they say about the client
    /// (`X-Forwarded-*`) is believed, and only they may ask `/forward-auth`.
    pub(super) trusted_proxies: Opt<Vec<At<String>>>,
    /// Threads of the data path. Left out: one per core of the machine.
    #[schemars(range(min = 1, max = 1024))]
    pub(super) cores: Opt<u32>,
    /// Directory where the gate keeps its state (maintenance, audit); relative to the config file.
    #[schemars(extend("default" = defaults::STATE))]
    pub(super) state: Opt<String>,
    /// The services behind the gate, by name (`[a-z0-9-]`, at most 63 characters).
    #[schemars(required)]
    pub(super) services: Opt<Named<Service>>,
    /// Who answers what the gate does not answer itself under `{prefix}/api/admin/`.
    pub(super) admin: Opt<Admin>,
    /// Which request goes where, and who may send it. The most specific route wins, whatever the order: exact before
    /// prefix, longer before shorter, with host before without.
    #[schemars(required)]
    pub(super) routes: Opt<Vec<At<Route>>>,
    /// Plugins by name (`[a-z0-9-]`, at most 63 characters): WebAssembly components. Those that the gate ships
    /// (`threshold`, `latency-slo`, `plain`, `slack-blocks`, `require-header`) need no entry; an entry with such a name
    /// takes its place.
    pub(super) plugins: Opt<Named<Plugin>>,
    /// Where alerts go, and how they are put into words.
    pub(super) alerts: Opt<Alerts>,
    /// Who takes diagnostic snapshots when a service fails. Left out: nobody.
    pub(super) kubesnap: Opt<Kubesnap>,
    /// The keys that clients present as `X-API-KEY`.
    pub(super) keys: Opt<Vec<At<Key>>>,
    /// How the gate answers for services in maintenance.
    pub(super) maintenance: Opt<Maintenance>,
    /// CORS headers on answers that the gate makes itself (401, 503, ...). Left out: none.
    pub(super) cors: Opt<Cors>,
    /// Limits of the whole gate.
    pub(super) limits: Opt<Limits>,
    /// Time-outs towards clients.
    pub(super) timeouts: Opt<Timeouts>,
    /// Logs.
    pub(super) log: Opt<Log>,
}

/// Where the gate listens.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ data: 0.0.0.0:8080 }`"
)]
pub(super) struct Listeners {
    /// Requests: one `ADDRESS:PORT` or a list of them.
    #[schemars(extend("default" = defaults::DATA.to_string()))]
    pub(super) data: Opt<OneOrMany<String>>,
    /// Probes and metrics, read-only: `ADDRESS:PORT` or `off`.
    #[schemars(extend("default" = defaults::OPS.to_string()))]
    pub(super) ops: Opt<String>,
    /// The full admin API: `ADDRESS:PORT`, `unix:PATH` or `off`. Outside loopback every request needs a key with scope
    /// `admin`.
    #[schemars(extend("default" = defaults::ADMIN.to_string()))]
    pub(super) admin: Opt<String>,
}

/// One service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ upstreams: [http://HOST:PORT] }`"
)]
pub(super) struct Service {
    /// `http://HOST[:PORT]`, one or a list; requests go to the one with the fewest pending.
    #[schemars(required)]
    pub(super) upstreams: Opt<OneOrMany<String>>,
    /// `covered`: the gate answers for it while maintenance is on. `exempt`: it stays reachable.
    #[schemars(extend("default" = "covered"))]
    pub(super) maintenance: Opt<Maintained>,
    /// Whether the client's `X-API-KEY` is forwarded, for a service that checks it itself.
    #[schemars(extend("default" = false))]
    pub(super) forward_key: Opt<bool>,
    /// Requests and tunnels under way over all cores; beyond: 503 with `Retry-After`.
    #[schemars(range(min = 1), extend("default" = defaults::MAX_IN_FLIGHT))]
    pub(super) max_in_flight: Opt<u32>,
    /// Largest request body, or `none`; beyond: 413. Bodies stream, so `none` costs the gate no memory.
    #[schemars(extend("default" = units::size(defaults::MAX_BODY)))]
    pub(super) max_body: Opt<OrNone<Bytes>>,
    /// Time-outs towards the service.
    pub(super) timeouts: Opt<ServiceTimeouts>,
    /// How it is watched and how its health is judged.
    pub(super) health: Opt<Health>,
}

/// Whether a service obeys maintenance.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Maintained {
    /// The gate answers for it while maintenance is on.
    Covered,
    /// It stays reachable in maintenance.
    Exempt,
}

/// Time-outs towards one service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ connect: 2s }`"
)]
pub(super) struct ServiceTimeouts {
    /// To establish a connection.
    #[schemars(extend("default" = units::duration(defaults::SERVICE_TIMEOUTS.connect)))]
    pub(super) connect: Opt<Span>,
    /// From the end of the request to the head of the response.
    #[schemars(extend("default" = units::duration(defaults::SERVICE_TIMEOUTS.response_head)))]
    pub(super) response_head: Opt<Span>,
    /// Without a byte of the response's body.
    #[schemars(extend("default" = units::duration(defaults::SERVICE_TIMEOUTS.response_stall)))]
    pub(super) response_stall: Opt<Span>,
    /// A tunnel (WebSocket) without a byte in either direction.
    #[schemars(extend("default" = units::duration(defaults::SERVICE_TIMEOUTS.tunnel_idle)))]
    pub(super) tunnel_idle: Opt<Span>,
    /// The whole exchange, or `none`.
    #[schemars(extend("default" = "none"))]
    pub(super) request: Opt<OrNone<Span>>,
}

/// Who answers the rest of the admin prefix.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ service: NAME }`"
)]
pub(super) struct Admin {
    /// Service that gets what the gate does not answer itself under `{prefix}/api/admin/`, behind a key with scope
    /// `admin`. Left out: 404.
    pub(super) service: Opt<String>,
    /// Whether `{prefix}/api/admin/maintenance/status` needs a key.
    #[schemars(extend("default" = false))]
    pub(super) status_needs_key: Opt<bool>,
    /// Whether the admin listener asks for a key on loopback and unix sockets too; elsewhere it always does.
    #[schemars(extend("default" = false))]
    pub(super) listener_needs_key: Opt<bool>,
}

/// One route: exactly one of `path` and `exact`, an access and a service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ path: /api/, service: NAME, access: public }`"
)]
#[schemars(extend("oneOf" = [{ "required": ["path"] }, { "required": ["exact"] }]))]
pub(super) struct Route {
    /// Host name, without port. Left out: any.
    pub(super) host: Opt<String>,
    /// Path and everything below it, by whole segments: `{prefix}/api/` matches `/dev/api` and `/dev/api/x`, not
    /// `/dev/apix`. A trailing `/` or `/*` changes nothing.
    #[schemars(extend("examples" = ["{prefix}/api/"]))]
    pub(super) path: Opt<String>,
    /// This path alone.
    #[schemars(extend("examples" = ["{prefix}/api/health"]))]
    pub(super) exact: Opt<String>,
    /// Methods, one or a list. Left out: all but CONNECT and TRACE.
    pub(super) methods: Opt<OneOrMany<String>>,
    /// `public`, or `key:SCOPE`: a valid key with that scope. There is no default.
    #[schemars(required, extend("pattern" = "^(public|key:[a-z0-9][a-z0-9._:-]{0,62})$"))]
    pub(super) access: Opt<String>,
    /// Name of a service.
    #[schemars(required)]
    pub(super) service: Opt<String>,
    /// When a request may be sent a second time. `unsent`: the service cannot have seen it. `idempotent`: also GET and
    /// HEAD without a body that got no byte of a response.
    #[schemars(extend("default" = "unsent"))]
    pub(super) retry: Opt<Retry>,
    /// What happens to an open tunnel when its key is revoked.
    #[schemars(extend("default" = "close"))]
    pub(super) on_revoke: Opt<OnRevoke>,
    /// Filter plugins that a request passes after its key, in this order; not under the admin prefix.
    pub(super) filters: Opt<OneOrMany<NameOr<FilterUse>>>,
}

/// When a request may be sent a second time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Retry {
    /// The connection failed or accepted no byte.
    Unsent,
    /// Also GET and HEAD without a body that got no byte of a response.
    Idempotent,
}

/// What happens to an open tunnel when its key is revoked.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnRevoke {
    /// It is closed.
    Close,
    /// It lives on.
    Keep,
}

/// One key. The key itself never stands in the config.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ name: NAME, key: env:NAME, scopes: [admin] }`"
)]
pub(super) struct Key {
    /// Shown in logs, metrics and the audit.
    #[schemars(required, extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub(super) name: Opt<String>,
    /// Reference to the key: `env:NAME`, `file:PATH` (re-read when it changes; relative to the config file) or
    /// `sha256:HEX` (its digest; `headgate key new` prints one).
    #[schemars(
        required,
        extend("pattern" = "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+|sha256:[0-9A-Fa-f]{64})$")
    )]
    pub(super) key: Opt<String>,
    /// What the key opens: the scopes that routes name, `admin` (the admin API and `admin.service`), and
    /// `maintenance:bypass` (covered services during maintenance).
    #[schemars(required)]
    pub(super) scopes: Opt<OneOrMany<String>>,
    /// Not valid before (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub(super) not_before: Opt<String>,
    /// Not valid from then on (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub(super) expires_at: Opt<String>,
}

/// How the gate answers for services in maintenance.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ status: 503 }`"
)]
pub(super) struct Maintenance {
    /// 503, or 200 for callers that know only StockFlow's own behaviour.
    #[schemars(extend("enum" = [503, 200], "default" = defaults::MAINTENANCE.status))]
    pub(super) status: Opt<u16>,
    /// `Retry-After` while no end is known.
    #[schemars(extend("default" = units::duration(defaults::MAINTENANCE.retry_after)))]
    pub(super) retry_after: Opt<Span>,
    /// Longest `ttl` that may be asked for, or `none`; with a limit, `on` needs a `ttl`.
    #[schemars(extend("default" = "none"))]
    pub(super) max_ttl: Opt<OrNone<Span>>,
}

/// CORS for answers that the gate makes itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ origins: [https://app.example] }`"
)]
pub(super) struct Cors {
    /// Origins (`https://app.example`), or `*` alone for every origin.
    #[schemars(required)]
    pub(super) origins: Opt<OneOrMany<String>>,
    /// Whether browsers may send credentials; not with `*`.
    #[schemars(extend("default" = false))]
    pub(super) credentials: Opt<bool>,
}

/// Limits of the whole gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ connections: 10000 }`"
)]
pub(super) struct Limits {
    /// Open client connections over all cores.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = defaults::LIMITS.connections))]
    pub(super) connections: Opt<u64>,
    /// Size of a request's head; beyond: 431.
    #[schemars(extend("default" = units::size(defaults::LIMITS.head_bytes as u64)))]
    pub(super) head_bytes: Opt<Bytes>,
    /// Header fields of a request; beyond: 431.
    #[schemars(range(min = 1, max = 100), extend("default" = defaults::LIMITS.head_fields))]
    pub(super) head_fields: Opt<u64>,
    /// Size of a request's target (path and query); beyond: 414.
    #[schemars(extend("default" = units::size(defaults::LIMITS.target_bytes as u64)))]
    pub(super) target_bytes: Opt<Bytes>,
    /// Size of the head of a service's response; beyond: 502.
    #[schemars(extend("default" = units::size(defaults::LIMITS.response_head_bytes as u64)))]
    pub(super) response_head_bytes: Opt<Bytes>,
    /// Bad keys per client address and minute; beyond: 429. A valid key is never locked out.
    #[schemars(range(min = 1, max = 100_000), extend("default" = defaults::LIMITS.bad_keys_per_minute))]
    pub(super) bad_keys_per_minute: Opt<u64>,
    /// Bytes of a request body per second, below which the connection is cut after `minRateGrace`, or `none`.
    #[schemars(extend("default" = units::size(defaults::LIMITS.min_body_rate)))]
    pub(super) min_body_rate: Opt<OrNone<Bytes>>,
    /// How long a body may be slower than `minBodyRate`.
    #[schemars(extend("default" = units::duration(defaults::LIMITS.min_rate_grace)))]
    pub(super) min_rate_grace: Opt<Span>,
}

/// Time-outs towards clients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ idle: 120s }`"
)]
pub(super) struct Timeouts {
    /// From the first byte of a request's head to its last.
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.head)))]
    pub(super) head: Opt<Span>,
    /// Without a byte of a request's body.
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.body_stall)))]
    pub(super) body_stall: Opt<Span>,
    /// Without the client taking a byte of the response.
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.write_stall)))]
    pub(super) write_stall: Opt<Span>,
    /// Between two requests of a connection; longer than the proxy in front keeps its own (Traefik: 90s).
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.idle)))]
    pub(super) idle: Opt<Span>,
    /// After SIGTERM, how long the gate goes on accepting while it reports itself not ready.
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.drain_accept)))]
    pub(super) drain_accept: Opt<Span>,
    /// How long running exchanges may take after that.
    #[schemars(extend("default" = units::duration(defaults::TIMEOUTS.drain)))]
    pub(super) drain: Opt<Span>,
}

/// Logs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a mapping, for example `{ access: true }`"
)]
pub(super) struct Log {
    /// Whether every request gets a line.
    #[schemars(extend("default" = defaults::LOG.access))]
    pub(super) access: Opt<bool>,
    /// Lines per core that may wait to be written; beyond they are dropped and counted.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = defaults::LOG.ring_lines))]
    pub(super) ring_lines: Opt<u64>,
}
