//! `maintenance/status`: StockFlow's two fields first, then who, when, why and until when.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::problem::Problem;
use crate::admin::{ANONYMOUS, Admin, Call};
use crate::config::Authority;
use crate::generation::Gate;
use crate::maintenance::Window;
use crate::maintenance::switch::chain;
use crate::model::{Coverage, UnixMs};
use crate::wire::balance::Endpoint;

/// How long a disk may take to give the audit file; what is live is told anyway.
const AUDIT_PATIENCE: Duration = Duration::from_secs(2);

/// Audit entries shown in the status.
const AUDIT_SHOWN: usize = 10;

impl Admin {
    /// `status` is `on` while the window of all covered services is; `services` says what holds for each. Unknown
    /// parameters are passed over: scripts add some against caches. Without a key: no reasons, no names of keys.
    pub(super) async fn status(&self, call: &Call) -> Result<Value, Problem> {
        let now = UnixMs::now();
        let gate = self.parts.live.load();
        let mut body = short(&gate, now);
        if call.actor == ANONYMOUS {
            return Ok(Value::Object(body));
        }
        let all = gate.modes.everywhere(now);
        body.insert("all".to_owned(), all.map_or(Value::Null, |it| window_form(it, now).into()));
        body.insert("services".to_owned(), services(&gate, now));
        match tokio::time::timeout(AUDIT_PATIENCE, self.parts.switch.audit(AUDIT_SHOWN)).await {
            Ok(Ok(entries)) => body.insert("audit".to_owned(), json!(entries)),
            Ok(Err(error)) => body.insert("warning".to_owned(), json!(chain(&error))),
            Err(_) => {
                body.insert("warning".to_owned(), json!("the disk does not give the audit file"))
            }
        };
        Ok(Value::Object(body))
    }
}

/// What anybody may know: what a covered service's own answer says anyway.
fn short(gate: &Gate, now: UnixMs) -> Map<String, Value> {
    let all = gate.modes.everywhere(now);
    let mut body = Map::new();
    body.insert("status".to_owned(), json!(word(all.is_some())));
    body.insert("timestamp".to_owned(), json!(timestamp(now)));
    if let Some(window) = all {
        body.insert("since".to_owned(), json!(window.since.rfc3339()));
        body.insert("until".to_owned(), json!(window.until.map(UnixMs::rfc3339)));
        body.insert("remaining_seconds".to_owned(), json!(window.remaining_seconds(now)));
    }
    let ending = gate.modes.all_ending(now);
    if !ending.is_empty() {
        body.insert("ending".to_owned(), json!(ending));
    }
    body
}

/// Each service with what holds for it.
pub(super) fn services(gate: &Gate, now: UnixMs) -> Value {
    let forms = gate.generation.services.iter().map(|it| {
        let covered = it.service.coverage == Coverage::Covered;
        let window = gate.modes.covers(&it.service.name, now).filter(|_| covered);
        let upstreams = it.service.upstreams.iter();
        json!({
            "name": it.service.name,
            "maintenance": match window {
                _ if !covered => "exempt",
                // Off, and covered until it has noticed.
                Some(_) if gate.modes.ending(&it.service.name, now).is_some() => "ending",
                it => word(it.is_some()),
            },
            "window": window.map(|it| window_form(it, now)),
            "in_flight": it.in_flight.load(Relaxed),
            "max_in_flight": it.service.max_in_flight,
            "upstreams": upstreams.map(authority).collect::<Vec<_>>(),
            "endpoints": it.endpoints.list().iter().map(|it| endpoint(it, now)).collect::<Vec<_>>(),
        })
    });
    let known = |name: &str| gate.generation.services.iter().any(|it| it.service.name == name);
    let gone = gate.modes.services.iter().filter(|it| !known(&it.0) && it.1.running(now));
    // Not in the config any more, but it would be covered at once if it came back.
    let gone = gone.map(|(name, window)| {
        json!({
            "name": name,
            "maintenance": "on",
            "window": window_form(window, now),
            "configured": false,
        })
    });
    Value::Array(forms.chain(gone).collect())
}

/// One address behind the upstreams, and whether it is out of the balance.
fn endpoint(it: &Endpoint, now: UnixMs) -> Value {
    json!({
        "address": it.addr,
        "pending": it.pending.load(Relaxed),
        "ejected": it.is_ejected(now),
    })
}

fn authority(it: &Authority) -> String {
    let Authority { host, port } = it;
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(super) fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A window with all that is known of it.
pub(super) fn window_form(window: &Window, now: UnixMs) -> Map<String, Value> {
    let mut form = Map::new();
    form.insert("since".to_owned(), json!(window.since.rfc3339()));
    form.insert("until".to_owned(), json!(window.until.map(UnixMs::rfc3339)));
    form.insert("remaining_seconds".to_owned(), json!(window.remaining_seconds(now)));
    form.insert("until_healthy".to_owned(), json!(window.until_healthy));
    form.insert("reason".to_owned(), json!(window.reason));
    form.insert("by".to_owned(), json!(window.by));
    form
}

/// As StockFlow's services write it: `2026-11-23 23:24:39.76+00:00`.
pub(super) fn timestamp(at: UnixMs) -> String {
    let hundredths = at.0 % 1000 / 10;
    i64::try_from(at.0).ok().and_then(|it| jiff::Timestamp::from_millisecond(it).ok()).map_or_else(
        || "unknown".to_owned(),
        |it| format!("{}.{hundredths:02}+00:00", it.strftime("%Y-%m-%d %H:%M:%S")),
    )
}
