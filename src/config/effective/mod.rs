//! The config in effect, in the words of its file, with the origin of every value.

mod watching;

use std::fmt::Write as _;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{AdminListen, Config, Key, KeySource, Parsed, PathMatch, Retry, Route, Service, units};
use crate::config::{Authority, OnRevoke, Plugin, PluginSource, PluginUse};
use crate::model::{Access, Coverage, ServiceId, hex};

/// As a JSON document: in place of each value `{"value": ..., "origin": "FILE:LINE" or "default"}`.
pub fn json(parsed: &Parsed) -> Value {
    with_origins(&document(&parsed.config), "", parsed)
}

/// As YAML with the origins as comments. Read again it gives the same config; only digests are hidden.
pub fn yaml(parsed: &Parsed) -> String {
    let mut text = String::new();
    let at = At { path: "", depth: 0, parsed };
    write_map(&mut text, &document(&parsed.config), at, "");
    text
}

/// In the shape of the file. Secrets are references, and digests are hidden.
fn document(config: &Config) -> Value {
    let named = |id: ServiceId| config.services.get(id.0).map(|it| it.name.as_str());
    let services: Map<String, Value> =
        config.services.iter().map(|it| (it.name.clone(), service(it))).collect();
    json!({
        "prefix": config.prefix,
        "listeners": {
            "data": config.listeners.data,
            "ops": config.listeners.ops.map_or_else(|| String::from("off"), |it| it.to_string()),
            "admin": admin_listen(config.listeners.admin.as_ref()),
        },
        "trustedProxies": config.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cores": config.cores,
        "state": config.state_dir.display().to_string(),
        "services": services,
        "admin": {
            "service": config.admin_service.and_then(named),
            "statusNeedsKey": config.status_needs_key,
            "listenerNeedsKey": config.listeners.admin_needs_key,
        },
        "plugins": plugins(config),
        "alerts": watching::alerts(config, &plugin_use(&config.formatter)),
        "kubesnap": config.alerts.kubesnap.as_ref().map(watching::kubesnap),
        "routes": config.routes.iter().map(|it| route(it, named(it.service))).collect::<Vec<_>>(),
        "keys": config.keys.iter().map(key).collect::<Vec<_>>(),
        "maintenance": {
            "status": config.maintenance.status,
            "retryAfter": units::duration(config.maintenance.retry_after),
            "maxTtl": or_none(config.maintenance.max_ttl.map(units::duration)),
        },
        "cors": config.cors.as_ref().map(|it| {
            json!({ "origins": it.origins, "credentials": it.credentials })
        }),
        "limits": limits(config),
        "timeouts": timeouts(config),
        "log": { "access": config.log.access, "ringLines": config.log.ring_lines },
    })
}

fn admin_listen(listen: Option<&AdminListen>) -> String {
    match listen {
        None => String::from("off"),
        Some(AdminListen::Tcp(it)) => it.to_string(),
        Some(AdminListen::Unix(it)) => format!("unix:{}", it.display()),
    }
}

fn service(service: &Service) -> Value {
    let times = &service.timeouts;
    let maintenance = match service.coverage {
        Coverage::Covered => "covered",
        Coverage::Exempt => "exempt",
    };
    json!({
        "upstreams": service.upstreams.iter().map(upstream).collect::<Vec<_>>(),
        "maintenance": maintenance,
        "forwardKey": service.forward_key,
        "maxInFlight": service.max_in_flight,
        "maxBody": or_none(service.max_body_bytes.map(units::size)),
        "timeouts": {
            "connect": units::duration(times.connect),
            "responseHead": units::duration(times.response_head),
            "responseStall": units::duration(times.response_stall),
            "tunnelIdle": units::duration(times.tunnel_idle),
            "request": or_none(times.request.map(units::duration)),
        },
        "health": watching::health(&service.watching, &plugin_use(&service.policy)),
    })
}

fn plugins(config: &Config) -> Map<String, Value> {
    config.plugins.iter().map(|it| (it.name.clone(), plugin(it))).collect()
}

fn plugin(plugin: &Plugin) -> Value {
    let source = |it: &PluginSource| match it {
        PluginSource::Builtin(name) => ("builtin", json!(name)),
        PluginSource::File(path) => ("file", json!(path.display().to_string())),
    };
    let digest = plugin.sha256.map(|it| ("sha256", json!(hex(&it))));
    let limits = ("limits", json!(if plugin.large { "large" } else { "default" }));
    let shadow = plugin.shadow.as_ref().map(|it| ("shadow", source(it).1));
    let fields = [Some(source(&plugin.source)), digest, Some(limits)].into_iter();
    let fields = fields.chain([Some(("grants", json!(plugin.grants))), shadow]).flatten();
    fields.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The name alone where nothing else is said.
fn plugin_use(it: &PluginUse) -> Value {
    let plain = it.settings.as_object().is_some_and(Map::is_empty);
    if plain { json!(it.name()) } else { json!({ "plugin": it.name(), SETTINGS: it.settings }) }
}

/// Names where nothing else is said of any.
fn filters(filters: &[PluginUse]) -> Value {
    let plain =
        |it: &PluginUse| !it.fail_open && it.settings.as_object().is_some_and(Map::is_empty);
    if filters.iter().all(plain) {
        return filters.iter().map(|it| json!(it.name())).collect();
    }
    let full = |it: &PluginUse| {
        let on_failure = if it.fail_open { "open" } else { "closed" };
        json!({ "plugin": it.name(), SETTINGS: it.settings, "onFailure": on_failure })
    };
    filters.iter().map(full).collect()
}

/// The field whose value is the plugin's own affair.
const SETTINGS: &str = "settings";

fn upstream(it: &Authority) -> String {
    let brackets = it.host.contains(':');
    let host = if brackets { format!("[{}]", it.host) } else { it.host.clone() };
    format!("http://{host}:{}", it.port)
}

fn route(route: &Route, service: Option<&str>) -> Value {
    let mut map = Map::new();
    if let Some(host) = &route.host {
        map.insert(String::from("host"), json!(host));
    }
    match &route.path {
        PathMatch::Prefix(it) => map.insert(String::from("path"), json!(format!("{it}/"))),
        PathMatch::Exact(it) => map.insert(String::from("exact"), json!(it)),
    };
    if !route.methods.is_empty() {
        map.insert(String::from("methods"), json!(route.methods));
    }
    let access = match &route.access {
        Access::Public => String::from("public"),
        Access::Key(scope) => format!("key:{scope}"),
    };
    let retry = match route.retry {
        Retry::Unsent => "unsent",
        Retry::Idempotent => "idempotent",
    };
    let on_revoke = match route.on_revoke {
        OnRevoke::Close => "close",
        OnRevoke::Keep => "keep",
    };
    let rest = [
        ("access", json!(access)),
        ("service", json!(service)),
        ("retry", json!(retry)),
        ("onRevoke", json!(on_revoke)),
    ];
    map.extend(rest.map(|(name, value)| (name.to_owned(), value)));
    if !route.filters.is_empty() {
        map.insert(String::from("filters"), filters(&route.filters));
    }
    Value::Object(map)
}

fn key(key: &Key) -> Value {
    let source = match &key.source {
        KeySource::Env(name) => format!("env:{name}"),
        KeySource::File(path) => format!("file:{}", path.display()),
        KeySource::Digest(_) => String::from("sha256:(hidden)"),
    };
    let mut map = Map::new();
    let fixed = [("name", json!(key.name)), ("key", json!(source)), ("scopes", json!(key.scopes))];
    map.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    for (name, time) in [("notBefore", key.not_before), ("expiresAt", key.expires_at)] {
        map.extend(time.map(|it| (name.to_owned(), json!(it.rfc3339()))));
    }
    Value::Object(map)
}

fn limits(config: &Config) -> Value {
    let it = &config.limits;
    let size = |bytes: usize| units::size(u64::try_from(bytes).unwrap_or(u64::MAX));
    let rate = Some(it.min_body_rate).filter(|it| *it > 0);
    json!({
        "connections": it.connections,
        "headBytes": size(it.head_bytes),
        "headFields": it.head_fields,
        "targetBytes": size(it.target_bytes),
        "responseHeadBytes": size(it.response_head_bytes),
        "badKeysPerMinute": it.bad_keys_per_minute,
        "minBodyRate": or_none(rate.map(units::size)),
        "minRateGrace": units::duration(it.min_rate_grace),
    })
}

fn timeouts(config: &Config) -> Value {
    let it = &config.timeouts;
    json!({
        "head": units::duration(it.head),
        "bodyStall": units::duration(it.body_stall),
        "writeStall": units::duration(it.write_stall),
        "idle": units::duration(it.idle),
        "drainAccept": units::duration(it.drain_accept),
        "drain": units::duration(it.drain),
    })
}

fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| String::from("none"))
}

/// Where the value at a path comes from.
fn origin(path: &str, parsed: &Parsed) -> String {
    let origins = &parsed.origins;
    // A plugin may stand there by its name alone, and a probe by its path.
    let short = [".plugin", ".http"].iter().find_map(|it| path.strip_suffix(it));
    let short = short.and_then(|it| origins.lines.get(it));
    let line = origins.lines.get(path).or(short);
    line.map_or_else(|| String::from("default"), |line| format!("{}:{line}", origins.file))
}

/// Fields of `health` whose names are not ours.
const FREE: [&str; 3] = ["labels", "headers", "json"];

/// A scalar, a list of scalars, or what has names that are not ours: what stands on one line and has one origin.
fn is_leaf(value: &Value, path: &str) -> bool {
    let last = path.rsplit('.').next();
    match value {
        _ if last == Some(SETTINGS) => true,
        _ if last.is_some_and(|it| FREE.contains(&it)) && path.contains(".health.") => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.iter().all(|it| !it.is_object()),
        _ => true,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn with_origins(value: &Value, path: &str, parsed: &Parsed) -> Value {
    match value {
        leaf if is_leaf(leaf, path) => json!({ "value": leaf, "origin": origin(path, parsed) }),
        Value::Object(map) => map
            .iter()
            .map(|(name, it)| (name.clone(), with_origins(it, &join(path, name), parsed)))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, it)| with_origins(it, &format!("{path}[{index}]"), parsed))
            .collect(),
        other => other.clone(),
    }
}

/// Where the writer is.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a str,
    depth: usize,
    parsed: &'a Parsed,
}

/// Writes a mapping; its first line begins with `lead` in place of the indentation (`- ` of a list).
fn write_map(text: &mut String, value: &Value, at: At<'_>, lead: &str) {
    let indent = "  ".repeat(at.depth);
    let mut start = if lead.is_empty() { indent.clone() } else { lead.to_owned() };
    for (name, it) in value.as_object().into_iter().flatten() {
        let path = join(at.path, name);
        let below = At { path: &path, depth: at.depth + 1, ..at };
        if is_leaf(it, &path) {
            let line = format!("{start}{name}: {}", flow(it));
            let _ = writeln!(text, "{line:<48} # {}", origin(&path, at.parsed));
        } else {
            let _ = writeln!(text, "{start}{name}:");
            match it {
                Value::Array(items) => write_list(text, items, below),
                _ => write_map(text, it, below, ""),
            }
        }
        start.clone_from(&indent);
    }
}

fn write_list(text: &mut String, items: &[Value], at: At<'_>) {
    let lead = format!("{}- ", "  ".repeat(at.depth));
    for (index, item) in items.iter().enumerate() {
        let path = format!("{}[{index}]", at.path);
        write_map(text, item, At { path: &path, depth: at.depth + 1, ..at }, &lead);
    }
}

/// A leaf on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(it) if is_plain(it) => it.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        // JSON is YAML.
        other => other.to_string(),
    }
}

/// Whether YAML reads the text as this text without quotes.
fn is_plain(text: &str) -> bool {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let inside = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./:-".contains(&b));
    let word = ["true", "false", "null"].iter().any(|it| text.eq_ignore_ascii_case(it));
    // Other words that start with a digit may be a number or a time to some reader.
    let number = text.starts_with(|c: char| c.is_ascii_digit())
        && units::parse_duration(text).is_none()
        && units::parse_size(text).is_none()
        && text.parse::<SocketAddr>().is_err()
        && text.parse::<IpNet>().is_err();
    first && inside && !text.ends_with(':') && !word && !number
}

#[cfg(test)]
mod tests {
    use super::{document, json, yaml};
    use crate::config::parse;
    use std::path::Path;

    const TEXT: &str = "\
prefix: /dev
services:
  app: { upstreams: ['http://[::1]:80', http://b], maxBody: none, health: { policy: slo } }
  other:
    upstreams: http://c:8000
    maintenance: exempt
    health: { policy: { plugin: native, settings: { latencyMs: 800, odd: [{ a: 'é\\' }, -1.5, null] } } }
plugins:
  slo: { builtin: latency-slo }
  tenant-check:
    file: plugins/tenant.wasm
    sha256: ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB
    limits: large
    grants: [Header:X-Tenant, 'header:*']
    shadow: plugins/next.wasm
alerts: { formatter: slack-blocks }
routes:
  - { path: \"{prefix}/api/\", methods: [GET], service: app, access: key:read }
  - exact: /x
    host: a.example
    service: other
    access: public
    filters: require-header
  - path: /y
    service: other
    access: public
    filters: [require-header, { plugin: tenant-check, settings: { a: 1 }, onFailure: open }]
cors: { origins: ['*'] }
limits: { minBodyRate: none }
keys:
  - { name: a, key: env:A, scopes: read, expiresAt: 2030-01-01T00:00:00Z }
  - { name: b, key: file:/run/b, scopes: [admin] }
";

    #[test]
    fn every_value_has_its_origin() {
        let parsed = parse(TEXT, Path::new("gate.yaml")).unwrap();
        let found = json(&parsed);
        for (pointer, value, origin) in [
            ("/prefix", json!("/dev"), "gate.yaml:1"),
            ("/services/app/maxBody", json!("none"), "gate.yaml:3"),
            ("/services/app/maintenance", json!("covered"), "default"),
            ("/services/other/maintenance", json!("exempt"), "gate.yaml:6"),
            ("/services/other/upstreams", json!(["http://c:8000"]), "gate.yaml:5"),
            ("/services/app/timeouts/connect", json!("2s"), "default"),
            ("/routes/0/path", json!("/dev/api/"), "gate.yaml:18"),
            ("/routes/1/exact", json!("/x"), "gate.yaml:19"),
            ("/routes/1/retry", json!("unsent"), "default"),
            ("/services/app/health/policy", json!("slo"), "gate.yaml:3"),
            ("/services/other/health/policy/plugin", json!("native"), "gate.yaml:7"),
            ("/plugins/tenant-check/sha256", json!("ab".repeat(32)), "gate.yaml:12"),
            ("/plugins/slo/limits", json!("default"), "default"),
            ("/alerts/formatter", json!("slack-blocks"), "gate.yaml:16"),
            ("/routes/1/filters", json!(["require-header"]), "gate.yaml:23"),
            ("/routes/2/filters/0/plugin", json!("require-header"), "gate.yaml:27"),
            ("/routes/2/filters/1/settings", json!({ "a": 1 }), "gate.yaml:27"),
            ("/routes/2/filters/1/onFailure", json!("open"), "gate.yaml:27"),
            ("/routes/2/filters/0/onFailure", json!("closed"), "default"),
            ("/keys/0/scopes", json!(["read"]), "gate.yaml:31"),
            ("/keys/1/key", json!("file:/run/b"), "gate.yaml:32"),
            ("/listeners/data", json!(["0.0.0.0:8080"]), "default"),
            ("/timeouts/idle", json!("2m"), "default"),
        ] {
            let expected = json!({ "value": value, "origin": origin });
            assert_eq!(found.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    const WATCHED: &str = "\
prefix: /dev
services:
  short: { upstreams: http://a, health: { probe: '{prefix}/api/health', passesInMaintenance: true } }
  long:
    upstreams: http://b
    health:
      policy: native
      probe:
        http: '/health?full=1'
        method: POST
        host: app.example:81
        headers: { Accept: application/json, X-From: 'the gate: #1' }
        port: 81
        tls: { serverName: app.example, ca: roots.pem }
        expect: { status: [200, 200-204], json: { \"$['a b'][0].c\": null }, body: up, latency: 2s }
        interval: 1m
        unhealthyInterval: 500ms
        timeout: 3s
      rise: 1
      fall: 5
      flap: { window: 10, high: 30, low: 20 }
      severity: warning
      namespace: dev
      followsMaintenance: true
      labels: { runbook: 'https://wiki.example/a?b=c#d', team: 'a, b' }
  tcp: { upstreams: http://c, health: { probe: { tcp: true } } }
  grpc: { upstreams: http://d, health: { probe: { grpc: '', tls: true, port: 9 } } }
  labels: { upstreams: http://e, health: { probe: { grpc: a.B, tls: { insecure: true } } } }
routes:
  - { path: /, service: short, access: public }
alerts:
  gateway: the 'gate'
  sinks:
    - { name: ed, eventDispatcher: http://ed:8000, channels: [slack], channel: a, allowedChannels: [a, b], timeout: 3s }
    - { name: hook, webhook: https://hooks.example/X, secret: [env:A, file:/run/b] }
    - { name: oncall, slack: env:SLACK_URL }
  routes:
    - { services: [long, tcp], severity: critical, sinks: [oncall, ed] }
    - { sinks: [] }
  groupWait: 0s
  remindAfter: none
  quietHours: { from: '22:00', to: '07:05', zone: '+05:30', below: warning }
  giveUp: 2d
  outboxRows: 10
  staleMaintenance: 1m
kubesnap: { url: https://kubesnap.example, key: file:/run/k, timeout: 30s, wait: 1s, cooldown: 0s, budget: 3 }
";

    #[test]
    fn what_watches_has_its_origin_too() {
        let parsed = parse(WATCHED, Path::new("gate.yaml")).unwrap();
        assert_eq!(parsed.config.secret_files(), [Path::new("/run/b"), Path::new("/run/k")]);
        let found = json(&parsed);
        for (pointer, value, origin) in [
            ("/services/short/health/probe/http", json!("/dev/api/health"), "gate.yaml:3"),
            ("/services/short/health/probe/interval", json!("10s"), "default"),
            ("/services/short/health/rise", json!(2), "default"),
            (
                "/services/long/health/probe/expect/json",
                json!({ "$['a b'][0].c": null }),
                "gate.yaml:15",
            ),
            ("/services/long/health/probe/tls/serverName", json!("app.example"), "gate.yaml:14"),
            ("/services/tcp/health/probe/tcp", json!(true), "gate.yaml:26"),
            ("/services/grpc/health/probe/tls", json!(true), "gate.yaml:27"),
            ("/alerts/sinks/1/secret", json!(["env:A", "file:/run/b"]), "gate.yaml:35"),
            ("/alerts/sinks/2/timeout", json!("10s"), "default"),
            ("/alerts/routes/0/sinks", json!(["oncall", "ed"]), "gate.yaml:38"),
            ("/alerts/remindAfter", json!("none"), "gate.yaml:41"),
            ("/kubesnap/key", json!("file:/run/k"), "gate.yaml:46"),
        ] {
            let expected = json!({ "value": value, "origin": origin });
            assert_eq!(found.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn the_yaml_read_again_gives_the_same_config() {
        for text in [
            TEXT,
            WATCHED,
            include_str!("../../../examples/stockflow.yaml"),
            include_str!("../../../examples/standalone.yaml"),
        ] {
            let once = parse(text, Path::new("/etc/gate.yaml")).unwrap();
            let written = yaml(&once);
            let again = parse(&written, Path::new("/etc/gate.yaml")).unwrap_or_else(|findings| {
                panic!("{}\n{written}", crate::config::findings::render(&findings))
            });
            assert_eq!(document(&once.config), document(&again.config));
            assert_eq!(format!("{:?}", once.config), format!("{:?}", again.config));
        }
    }

    #[test]
    fn digests_are_hidden() {
        let hex = "cd".repeat(32);
        let text = TEXT.replace("env:A", &format!("sha256:{hex}"));
        let parsed = parse(&text, Path::new("gate.yaml")).unwrap();
        let shown = format!("{}{}", yaml(&parsed), json(&parsed));
        assert!(shown.contains("sha256:(hidden)") && !shown.contains(&hex));
    }
}
