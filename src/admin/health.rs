//! `headgate/health`: how the gate is, what it thinks of its services, and everything that is in trouble.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::status::{services, word};
use crate::admin::toggle::unknown_service;
use crate::admin::{Admin, Call};
use crate::alert::outbox::SinkStatus;
use crate::generation::Gate;
use crate::health::board::ServiceHealth;
use crate::model::UnixMs;
use crate::model::incident::{Happened, Incident, Moment, Snapshot};
use crate::store::Condition;

/// How long a core may take to say that it is alive.
const CORE_PATIENCE: Duration = Duration::from_millis(250);

/// An answer of Kubesnap that is older says nothing about how it is now.
const STALE_MS: u64 = 24 * 3_600_000;

impl Admin {
    /// `status` is about the gate itself; how the services are stands with each of them.
    pub(super) async fn health(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["service"])?;
        let gate = self.parts.live.load();
        let wanted = query.one("service")?;
        if let Some(name) = wanted
            && !gate.generation.config.services.iter().any(|it| it.name == name)
        {
            return Err(unknown_service(name, &gate.generation.config));
        }
        let seen = self.parts.live.settle(CORE_PATIENCE).await;
        let now = UnixMs::now();
        let plugins = self.plugin_troubles().await;
        let single = gate.modes.services.iter().filter(|it| it.1.running(now));
        let troubles = self.troubles();
        let own = |it: &&Value| it["kind"] == "store" || it["kind"] == "sink";
        let well =
            seen.laggards.is_empty() && plugins.is_empty() && !troubles.iter().any(|it| own(&it));
        let watched = &self.parts.watched;
        Ok(json!({
            "status": if well { "OK" } else { "degraded" },
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.parts.started.rfc3339(),
            "uptime_seconds": now.0.saturating_sub(self.parts.started.0) / 1000,
            "generation": { "number": gate.generation.number, "hash": gate.generation.hash },
            "maintenance": {
                "all": word(gate.modes.everywhere(now).is_some()),
                "services": single.map(|it| it.0.as_str()).collect::<Vec<_>>(),
            },
            "plugins": plugins,
            "cores": { "count": seen.cores, "silent": seen.laggards },
            "services": self.watched_services(&gate, now, wanted),
            "stores": {
                "ledger": condition(&watched.ledger.condition()),
                "journal": condition(&watched.journal.condition()),
                "observations_dropped": watched.journal.dropped(),
                "losses": watched.ledger.losses(),
            },
            "sinks": watched.outbox.sinks(),
            "troubles": troubles.into_iter().filter(|it| is_about(it, wanted)).collect::<Vec<_>>(),
        }))
    }

    /// Each service with what is thought of it; `null` until it was judged for the first time.
    fn watched_services(&self, gate: &Gate, now: UnixMs, wanted: Option<&str>) -> Vec<Value> {
        let Value::Array(forms) = services(gate, now) else { return Vec::new() };
        let is_wanted = |it: &Value| wanted.is_none_or(|wanted| it["name"] == wanted);
        let with_health = |mut form: Value| {
            let known = form["name"].as_str().and_then(|it| self.parts.watched.board.get(it));
            form["health"] = known.map_or(Value::Null, |it| health_form(&it));
            form
        };
        forms.into_iter().filter(is_wanted).map(with_health).collect()
    }

    /// Everything that does not do its part: `kind`, `name`, `reason`, and as far as they are known `since` and `next_try`.
    fn troubles(&self) -> Vec<Value> {
        let watched = &self.parts.watched;
        let services = watched.board.all();
        let services = services.iter().filter_map(|it| service_trouble(it));
        let stores =
            [("ledger", watched.ledger.condition()), ("journal", watched.journal.condition())];
        let losses = watched.ledger.losses();
        let stores =
            stores.iter().filter_map(|(name, it)| store_trouble(name, it, !losses.is_empty()));
        let sinks = watched.outbox.sinks();
        let sinks = sinks.iter().filter_map(sink_trouble);
        let config = Arc::clone(&self.parts.live.load().generation);
        let cooldown = config.config.alerts.kubesnap.as_ref().map(|it| it.cooldown);
        let incidents = watched.book.incidents();
        let snapshot = cooldown.and_then(|it| kubesnap_trouble(&incidents, it, UnixMs::now()));
        services.chain(stores).chain(sinks).chain(snapshot).collect()
    }
}

/// Whether a trouble is told to somebody who asks for one service.
fn is_about(trouble: &Value, service: Option<&str>) -> bool {
    service.is_none_or(|it| trouble["kind"] != "service" || trouble["name"] == it)
}

/// Everything of the board; of the policy's memory only its size.
fn health_form(health: &ServiceHealth) -> Value {
    let mut form = json!(health);
    if let Some(verdict) = form.get_mut("verdict").and_then(Value::as_object_mut) {
        let bytes =
            verdict.remove("state").and_then(|it| it.as_str().map(str::len)).unwrap_or(0) / 2;
        verdict.insert("state-bytes".to_owned(), json!(bytes));
    }
    form
}

fn service_trouble(it: &ServiceHealth) -> Option<Value> {
    use crate::model::health::Health::{Degraded, Failing, Maintenance, Ok, Unknown};
    let judged = match it.health {
        Degraded | Failing => it.verdict.as_ref().map(|it| format!("{}: {}", it.code, it.detail)),
        Ok | Maintenance | Unknown => None,
    };
    let said = [judged, it.reason.clone()].into_iter().flatten().collect::<Vec<_>>();
    if said.is_empty() && !matches!(it.health, Degraded | Failing) {
        return None;
    }
    Some(json!({
        "kind": "service",
        "name": it.service,
        "health": it.health,
        "reason": said.join("; "),
        "since": at(it.since_ms),
        "next_try": it.next_probe_ms.and_then(at),
        "incident": it.incident,
    }))
}

fn sink_trouble(it: &SinkStatus) -> Option<Value> {
    let reason = match (&it.reason, it.dead) {
        (Some(reason), _) => reason.clone(),
        (None, 0) => return None,
        (None, dead) => format!(
            "{dead} notices were refused for good or given up; see headgate outbox list --dead"
        ),
    };
    Some(json!({
        "kind": "sink",
        "name": it.name,
        "reason": reason,
        "since": it.failing_since_ms.and_then(at),
        "next_try": it.next_try_ms.and_then(at),
        "waiting": it.waiting,
        "dead": it.dead,
    }))
}

/// Memory alone is a trouble only where something was lost by it: a gate may have no state folder by choice.
fn store_trouble(name: &str, it: &Condition, lost: bool) -> Option<Value> {
    let mut form = match it {
        Condition::Good => return None,
        Condition::MemoryOnly { .. } if !lost => return None,
        other => condition(other),
    };
    form["kind"] = json!("store");
    form["name"] = json!(name);
    Some(form)
}

/// What Kubesnap answered last, if that was no snapshot: the next one is asked for by the next incident, after the cool-down.
fn kubesnap_trouble(incidents: &[Arc<Incident>], cooldown: Duration, now: UnixMs) -> Option<Value> {
    let answered = incidents.iter().filter(|it| {
        use Snapshot::{Failed, Taken, Unknown};
        matches!(it.snapshot, Some(Taken { .. } | Failed { .. } | Unknown { .. }))
    });
    let last = answered.max_by_key(|it| it.opened_ms)?;
    let (Snapshot::Failed { reason } | Snapshot::Unknown { reason }) = last.snapshot.as_ref()?
    else {
        return None;
    };
    let told =
        |it: &&Moment| matches!(it.what, Happened::SnapshotFailed | Happened::SnapshotUnknown);
    let since = last.timeline.iter().rfind(told).map_or(last.opened_ms, |it| it.at_ms);
    if now.0.saturating_sub(since) > STALE_MS {
        return None;
    }
    let cooldown = u64::try_from(cooldown.as_millis()).unwrap_or(u64::MAX);
    Some(json!({
        "kind": "kubesnap",
        "name": last.service.namespace,
        "reason": reason,
        "since": at(since),
        "next_try": at(since.saturating_add(cooldown).max(now.0)),
        "incident": last.id,
    }))
}

/// How a store is.
pub(super) fn condition(it: &Condition) -> Value {
    match it {
        Condition::Good => json!({ "state": "good" }),
        Condition::Waiting { since, path } => json!({
            "state": "waiting",
            "since": since.rfc3339(),
            "reason": format!(
                "{} is not open yet; for more than a moment: another process holds it, and this one waits",
                path.display()
            ),
        }),
        Condition::Failing { since, reason, pending, next_try } => json!({
            "state": "failing",
            "since": since.rfc3339(),
            "reason": reason,
            "pending": pending,
            "next_try": next_try.rfc3339(),
        }),
        Condition::MemoryOnly { reason } => json!({ "state": "memory-only", "reason": reason }),
    }
}

fn at(ms: u64) -> Option<String> {
    (ms > 0).then(|| UnixMs(ms).rfc3339())
}

/// The members of an object that are named.
pub(super) fn picked(value: &Value, names: &[&str]) -> Map<String, Value> {
    let members =
        names.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name)?.clone())));
    members.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(opened_ms: u64, snapshot: &Value) -> Incident {
        let form = json!({
            "id": format!("i{opened_ms}"), "service": { "name": "a", "namespace": "default" }, "severity": "critical",
            "opened-ms": opened_ms, "health": "failing", "code": "refused", "detail": "",
            "snapshot": snapshot, "timeline": [],
        });
        serde_json::from_value(form).unwrap()
    }

    #[test]
    fn kubesnap_is_as_its_last_answer_was() {
        let taken = json!({ "state": "taken", "file": "f" });
        let failed = json!({ "state": "failed", "reason": "status 500" });
        let skipped = json!({ "state": "skipped", "reason": "cool-down" });
        let cooldown = Duration::from_secs(600);
        let trouble = |all: &[(u64, &Value)], now| {
            let all: Vec<_> = all.iter().map(|(at, it)| Arc::new(incident(*at, it))).collect();
            kubesnap_trouble(&all, cooldown, UnixMs(now))
        };
        assert_eq!(trouble(&[], 9), None);
        assert_eq!(trouble(&[(5_000, &failed), (6_000, &taken)], 7_000), None);
        assert_eq!(trouble(&[(5_000, &failed)], 5_000 + STALE_MS + 1), None);
        // What was not asked says nothing.
        let told = trouble(&[(4_000, &taken), (5_000, &failed), (6_000, &skipped)], 7_000).unwrap();
        assert_eq!((&told["reason"], &told["name"]), (&json!("status 500"), &json!("default")));
        assert_eq!(told["next_try"], "1970-01-01T00:10:05.000Z");
        let late = trouble(&[(5_000, &failed)], 900_000).unwrap();
        assert_eq!(late["next_try"], "1970-01-01T00:15:00.000Z");
    }
}
