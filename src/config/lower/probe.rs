//! Probes: what is asked, over what, how often, and what the answer must be.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::health::{Expect, GrpcProbe, HttpProbe, Probe, ProbeKind, ProbeTls};
use super::super::raw::Opt;
use super::super::raw_health;
use super::super::shapes::{Anything, At, FlagOr, NameOr, Pairs};
use super::super::tree::{NodeId, Value};
use super::super::{AdminListen, Authority, Config, defaults, units};
use super::services::leads_to;
use super::{Cx, Wrong, numbers, query, routes, words};

/// Headers of one probe.
const HEADERS_MAX: usize = 32;
/// Bytes of a header's value, and of the text that a body must hold.
const TEXT_BYTES_MAX: usize = 1024;
/// gRPC's service names are far shorter.
const GRPC_BYTES_MAX: usize = 256;
/// More often is a load test.
const INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Fields that only an HTTP probe has.
const HTTP_ALONE: [&str; 4] = ["method", "host", "headers", "expect"];

/// `None` where it is bad; that has been noted.
pub(super) fn probe(
    at: &At<NameOr<raw_health::Probe>>,
    prefix: &str,
    cx: &Cx<'_>,
) -> Option<Probe> {
    let path = |id: NodeId, text: &str| {
        let at = At { id, value: Some(text.to_owned()) };
        cx.word(&at, |text| routes::probe_path(text, prefix))
    };
    match at.value.as_ref()? {
        NameOr::Name(text) => Some(Probe {
            kind: ProbeKind::Http(Box::new(plain(path(at.id, text)?))),
            interval: defaults::PROBE_INTERVAL,
            unhealthy_interval: defaults::PROBE_UNHEALTHY_INTERVAL,
            timeout: defaults::PROBE_TIMEOUT,
        }),
        NameOr::More(raw) => {
            let (interval, unhealthy_interval, timeout) = times(raw, cx);
            let kind = match one_kind(at.id, raw, cx)? {
                "http" => {
                    let field = raw.http.as_ref()?;
                    let path = path(field.id, field.value.as_deref()?);
                    ProbeKind::Http(Box::new(http(raw, path, timeout, cx)?))
                }
                "grpc" => ProbeKind::Grpc(grpc(raw, cx)?),
                _ => ProbeKind::Tcp,
            };
            Some(Probe { kind, interval, unhealthy_interval, timeout })
        }
    }
}

fn plain(path: String) -> HttpProbe {
    HttpProbe {
        method: String::from(defaults::PROBE_METHOD),
        path,
        host: None,
        headers: Vec::new(),
        port: None,
        tls: None,
        expect: Expect {
            statuses: vec![defaults::PROBE_STATUSES],
            json: None,
            body: None,
            latency: None,
        },
    }
}

/// Which of the three it is; notes fields that do not belong to it.
fn one_kind(parent: NodeId, raw: &raw_health::Probe, cx: &Cx<'_>) -> Option<&'static str> {
    let given = [
        ("http", raw.http.as_ref().map(|it| it.id)),
        ("tcp", raw.tcp.as_ref().map(|it| it.id)),
        ("grpc", raw.grpc.as_ref().map(|it| it.id)),
    ];
    let mut kinds = given.into_iter().filter_map(|(name, id)| id.map(|id| (name, id)));
    let Some((kind, _)) = kinds.next() else {
        cx.missing(parent, "http", "`http: PATH`, `tcp: true` or `grpc: SERVICE`");
        return None;
    };
    if let Some((second, id)) = kinds.next() {
        let message = format!("the probe has both `{kind}` and `{second}`");
        cx.push(cx.error(id, message).expected("one of them"));
        return None;
    }
    if let Some(at) = raw.tcp.as_ref().filter(|it| it.value == Some(false)) {
        let expected = "`tcp: true`, `http: PATH` or `grpc: SERVICE`";
        cx.push(cx.error(at.id, "this probe asks nothing").expected(expected));
        return None;
    }
    refuse_foreign(kind, raw, cx);
    Some(kind)
}

fn refuse_foreign(kind: &str, raw: &raw_health::Probe, cx: &Cx<'_>) {
    let given = [
        ("method", raw.method.as_ref().map(|it| it.id)),
        ("host", raw.host.as_ref().map(|it| it.id)),
        ("headers", raw.headers.as_ref().map(|it| it.id)),
        ("expect", raw.expect.as_ref().map(|it| it.id)),
        ("port", raw.port.as_ref().map(|it| it.id)),
        ("tls", raw.tls.as_ref().map(|it| it.id)),
    ];
    for (field, id) in given {
        let foreign = match kind {
            "http" => false,
            "grpc" => HTTP_ALONE.contains(&field),
            _ => true,
        };
        if let Some(id) = id.filter(|_| foreign) {
            let message = format!("`{field}` means nothing to a `{kind}` probe");
            cx.push(cx.error(id, message).expected("an `http` probe, or not this field"));
        }
    }
}

/// Interval, unhealthy interval and time-out.
fn times(raw: &raw_health::Probe, cx: &Cx<'_>) -> (Duration, Duration, Duration) {
    let range = (INTERVAL_MIN, numbers::LONGEST);
    let interval = cx.time_within(&raw.interval, range, defaults::PROBE_INTERVAL);
    let default = defaults::PROBE_UNHEALTHY_INTERVAL.min(interval);
    let unhealthy = cx.time_within(&raw.unhealthy_interval, range, default);
    if let Some(at) = raw.unhealthy_interval.as_ref().filter(|_| unhealthy > interval) {
        let message = "a service that is not well would be asked more seldom than one that is";
        cx.push(cx.warning(at.id, message).expected("`unhealthyInterval` at most `interval`"));
    }
    let timeout = cx.time(&raw.timeout, defaults::PROBE_TIMEOUT.min(interval));
    if let Some(at) = raw.timeout.as_ref().filter(|_| timeout > interval) {
        let message = format!(
            "the next probe would be due before this one is given up: `{}` is more than `{}`",
            units::duration(timeout),
            units::duration(interval)
        );
        cx.push(cx.error(at.id, message).expected("`timeout` at most `interval`"));
    }
    (interval, unhealthy, timeout)
}

/// `path` is `None` where it was bad; the rest is read all the same, so that every mistake shows.
fn http(
    raw: &raw_health::Probe,
    path: Option<String>,
    timeout: Duration,
    cx: &Cx<'_>,
) -> Option<HttpProbe> {
    let method = raw.method.as_ref().and_then(|at| cx.word(at, words::method));
    let is_head = method.as_deref() == Some("HEAD");
    let probe = HttpProbe {
        method: method.unwrap_or_else(|| String::from(defaults::PROBE_METHOD)),
        host: raw.host.as_ref().and_then(|at| cx.word(at, host_header)),
        headers: raw.headers.as_ref().map_or_else(Vec::new, |at| headers(at, cx)),
        port: port(&raw.port, cx),
        tls: raw.tls.as_ref().and_then(|at| tls(at, cx)),
        expect: expect(&raw.expect, timeout, cx),
        ..plain(path?)
    };
    let body = probe.expect.json.is_some() || probe.expect.body.is_some();
    if let Some(at) = raw.method.as_ref().filter(|_| is_head && body) {
        let message = "an answer to HEAD has no body that could be looked at";
        cx.push(cx.error(at.id, message).expected("`GET`, or no `json` and no `body`"));
    }
    Some(probe)
}

/// A host, with or without a port.
fn host_header(text: &str) -> Result<String, Wrong> {
    let expected = "a host such as `app.example` or `app.example:8080`";
    words::authority(text, 80, expected).map_err(|it| Wrong { expected: expected.into(), ..it })?;
    Ok(text.to_ascii_lowercase())
}

/// What the gate sets itself, and what belongs to a connection (RFC 9110 §7.6.1).
const FIXED: [&str; 9] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
];

/// Headers whose value opens something.
const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

fn headers(at: &At<Pairs>, cx: &Cx<'_>) -> Vec<(String, String)> {
    let Some(pairs) = at.value.as_ref() else { return Vec::new() };
    if pairs.0.0.len() > HEADERS_MAX {
        let message = format!("there are {} headers", pairs.0.0.len());
        cx.push(cx.error(at.id, message).expected(format!("at most {HEADERS_MAX}")));
    }
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in &pairs.0.0 {
        let key = At { id: name.id, value: Some(cx.tree.text(name.id).to_owned()) };
        let Some((name, value)) = cx.word(&key, header_name).zip(cx.word(value, header_value))
        else {
            continue;
        };
        if found.iter().any(|it| it.0.eq_ignore_ascii_case(&name)) {
            cx.push(cx.error(key.id, format!("header `{name}` stands here twice")));
        }
        found.push((name, value));
    }
    found
}

fn header_name(text: &str) -> Result<String, Wrong> {
    let lower = text.to_ascii_lowercase();
    if !words::is_field_name(text) {
        return Err(Wrong::new("this cannot name a header", "a name such as `Accept`"));
    }
    if lower == "host" {
        return Err(Wrong::new("`Host` has a field of its own", "`host: NAME` in the probe"));
    }
    if FIXED.contains(&lower.as_str()) {
        return Err(Wrong::new(format!("`{text}` is the gate's to set"), "another header"));
    }
    if CREDENTIALS.contains(&lower.as_str()) {
        let message = "a secret never stands in the config, and a probe has no other to send";
        let expected = "a health route that needs no key (`tcp: true` where there is none)";
        return Err(Wrong::new(message, expected));
    }
    Ok(text.to_owned())
}

fn header_value(text: &str) -> Result<String, Wrong> {
    let inside = |b: u8| b.is_ascii_graphic() || b == b' ';
    if text.len() <= TEXT_BYTES_MAX && text.bytes().all(inside) && text.trim() == text {
        return Ok(text.to_owned());
    }
    let expected = format!("at most {TEXT_BYTES_MAX} bytes of visible ASCII and spaces inside");
    Err(Wrong::new("no header can carry this", expected))
}

fn port(field: &Opt<u64>, cx: &Cx<'_>) -> Option<u16> {
    let at = field.as_ref()?;
    let port = at.value.map(|it| u16::try_from(it).ok().filter(|it| *it > 0))?;
    if port.is_none() {
        cx.push(cx.error(at.id, "this is not a port").expected("from 1 to 65535"));
    }
    port
}

fn tls(at: &At<FlagOr<raw_health::ProbeTls>>, cx: &Cx<'_>) -> Option<ProbeTls> {
    let raw = match at.value.as_ref()? {
        FlagOr::Flag(on) => return on.then(ProbeTls::default),
        FlagOr::More(raw) => raw,
    };
    let insecure = cx.or(&raw.insecure, false);
    if let Some(field) = raw.ca.as_ref().filter(|_| insecure) {
        let message = "roots say nothing where any certificate will do";
        cx.push(cx.warning(field.id, message).expected("`ca`, or `insecure: true`"));
    }
    let ca = raw.ca.as_ref().and_then(|at| {
        cx.word(at, |text| match text {
            "" => Err(Wrong::new("the path is empty", "a file with certificates (PEM)")),
            some => Ok(cx.path(some)),
        })
    });
    let server_name = raw.server_name.as_ref().and_then(|at| cx.word(at, words::host));
    Some(ProbeTls { server_name, ca, insecure })
}

fn grpc(raw: &raw_health::Probe, cx: &Cx<'_>) -> Option<GrpcProbe> {
    let read = |text: &str| {
        let inside = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
        if text.len() <= GRPC_BYTES_MAX && text.bytes().all(inside) {
            return Ok(text.to_owned());
        }
        let expected = "a name such as `package.Service`, or `\"\"` for the server as a whole";
        Err(Wrong::new("this cannot name a gRPC service", expected))
    };
    let service = raw.grpc.as_ref().and_then(|at| cx.word(at, read));
    let (port, tls) = (port(&raw.port, cx), raw.tls.as_ref().and_then(|at| tls(at, cx)));
    Some(GrpcProbe { service: service?, port, tls })
}

fn expect(field: &Opt<raw_health::Expect>, timeout: Duration, cx: &Cx<'_>) -> Expect {
    let default = plain(String::new()).expect;
    let Some(raw) = field.as_ref().and_then(|it| it.value.as_ref()) else { return default };
    let statuses = raw.status.as_ref().and_then(|at| at.value.as_ref().map(|it| (at.id, &it.0)));
    if let Some((id, _)) = statuses.filter(|it| it.1.is_empty()) {
        cx.push(cx.error(id, "the list is empty").expected("at least one status"));
    }
    let statuses = statuses.map_or(default.statuses, |(_, list)| {
        list.iter().filter_map(|it| it.value).map(|it| (it.0, it.1)).collect()
    });
    let latency = raw.latency.as_ref().filter(|it| it.value.is_some());
    let most = cx.time(&raw.latency, timeout);
    if let Some(at) = latency.filter(|_| most > timeout) {
        let message = "no answer is that slow: the probe is given up before";
        let expected = format!("at most its `timeout`, `{}`", units::duration(timeout));
        cx.push(cx.error(at.id, message).expected(expected));
    }
    Expect {
        statuses,
        json: raw.json.as_ref().and_then(|at| json(at, cx)),
        body: raw.body.as_ref().and_then(|at| cx.word(at, body)),
        latency: latency.map(|_| most),
    }
}

fn body(text: &str) -> Result<String, Wrong> {
    if (1..=TEXT_BYTES_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    let expected = format!("1 to {TEXT_BYTES_MAX} bytes that the body must hold");
    Err(Wrong::new(format!("this text has {} bytes", text.len()), expected))
}

/// One place and what stands there.
fn json(at: &At<Anything>, cx: &Cx<'_>) -> Option<(String, serde_json::Value)> {
    const EXPECTED: &str = "one place and its value, for example `{ \"$.status\": OK }`";
    let Value::Map(entries) = &cx.tree.node(at.id).value else {
        cx.push(cx.error(at.id, "this is not a mapping").expected(EXPECTED));
        return None;
    };
    let [(key, value)] = entries.as_slice() else {
        let message = format!("there are {} places", entries.len());
        cx.push(cx.error(at.id, message).expected(EXPECTED));
        return None;
    };
    let name = At { id: *key, value: Some(cx.tree.text(*key).to_owned()) };
    let place = cx.word(&name, query::singular);
    let wanted = match &cx.tree.node(*value).value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(it) => (*it).into(),
        Value::Int(it) => (*it).into(),
        Value::Count(it) => (*it).into(),
        Value::Float(it) => (*it).into(),
        Value::Text(it) => it.as_str().into(),
        Value::List(_) | Value::Map(_) => {
            let message = "only single values are compared";
            cx.push(
                cx.error(*value, message).expected("a text, a number, `true`, `false` or `null`"),
            );
            return None;
        }
    };
    place.map(|place| (place, wanted))
}

/// Refuses probes that would ask the gate itself: it would judge itself by its own answer.
pub(super) fn refuse_loops(config: &Config, service: usize, id: NodeId, cx: &Cx<'_>) {
    let Some(service) = config.services.get(service) else { return };
    let kind = service.watching.probe.as_ref().map(|it| &it.kind);
    let port = match kind {
        Some(ProbeKind::Http(it)) => it.port,
        Some(ProbeKind::Grpc(it)) => it.port,
        // Without a port of its own it goes where the upstream is, which is looked at elsewhere.
        Some(ProbeKind::Tcp) | None => None,
    };
    let Some(port) = port else { return };
    for upstream in &service.upstreams {
        let asked = Authority { host: upstream.host.clone(), port };
        let own = own_listeners(config).find(|(_, own)| leads_to(&asked, own));
        if let Some((name, own)) = own {
            let message = format!("this probe would ask the gate's own {name} listener `{own}`");
            cx.push(cx.error(id, message).expected("the port of the service"));
            return;
        }
    }
}

fn own_listeners(config: &Config) -> impl Iterator<Item = (&'static str, SocketAddr)> {
    let data = config.listeners.data.iter().map(|it| ("data", *it));
    let ops = config.listeners.ops.map(|it| ("ops", it));
    let admin = match config.listeners.admin {
        Some(AdminListen::Tcp(it)) => Some(("admin", it)),
        _ => None,
    };
    data.chain(ops).chain(admin)
}
