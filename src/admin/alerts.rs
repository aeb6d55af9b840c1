//! `headgate/alerts`: a test alert to the receivers, and the words that an event would get.

use serde_json::{Value, json};

use crate::admin::incidents::unknown_incident;
use crate::admin::problem::Problem;
use crate::admin::query::Query;
use crate::admin::{Admin, Call};
use crate::maintenance::audit::{Action, Entry};
use crate::model::UnixMs;
use crate::model::alert::{Event, Phase};
use crate::model::health::Health;
use crate::model::incident::{Incident, Snapshot};

impl Admin {
    /// Waits for the receivers' answers.
    pub(super) async fn alert_test(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["sink"])?;
        let sinks: Vec<String> = query.all("sink").map(str::to_owned).collect();
        for name in &sinks {
            self.check_sink(name)?;
        }
        if self.parts.live.load().generation.alerting.config.sinks.is_empty() {
            let detail = "the config names no sinks; incidents are recorded and nobody is told (alerts.sinks)";
            return Err(Problem::new(409, "no-sinks", "Nobody to tell", detail));
        }
        let tested = self.parts.watched.responder.test(&sinks).await;
        let entry = Entry {
            request_id: Some(call.request_id.clone()),
            reason: Some(sinks.join(" ")).filter(|it| !it.is_empty()),
            changed: false,
            ..Entry::new(Action::AlertTest, &call.actor, UnixMs::now())
        };
        let warning = self.parts.switch.record(entry).await;
        let accepted = !tested.is_empty() && tested.iter().all(|it| it.accepted);
        Ok(json!({ "accepted": accepted, "tested": tested, "audit_warning": warning }))
    }

    /// Sends nothing.
    pub(super) async fn alert_preview(&self, call: &Call) -> Result<Value, Problem> {
        let query = Query::parse(call.query.as_deref())?;
        query.only(&["incident"])?;
        let event = match (query.one("incident")?, call.body.trim_ascii()) {
            (Some(id), b"" | b"{}") => {
                let incident =
                    self.parts.watched.book.get(id).ok_or_else(|| unknown_incident(id))?;
                let gate = self.parts.live.load();
                event_of(&incident, &gate.generation.alerting.config.gateway, UnixMs::now())
            }
            (None, body) if !body.is_empty() => {
                serde_json::from_slice(body).map_err(|error| no_event(&error))?
            }
            _ => {
                let detail = "send an event as the body, or name an incident: ?incident=ID";
                return Err(Problem::new(400, "bad-query", "Query cannot be used", detail));
            }
        };
        let (message, parcels) = self.parts.watched.responder.preview(event.clone()).await;
        Ok(json!({ "event": event, "message": message, "parcels": parcels }))
    }
}

fn no_event(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is no event as in wit/ (names in kebab-case): {error}");
    Problem::bad_value("body", detail)
}

/// The event that an incident would make now.
fn event_of(it: &Incident, gateway: &str, now: UnixMs) -> Event {
    let resolved = it.resolved_ms.is_some();
    // Once it is over, its health is good; what it was before, the timeline may not say any more.
    let bad = if it.health == Health::Ok { Health::Failing } else { it.health };
    Event {
        now_ms: now.0,
        id: it.id.clone(),
        phase: if resolved { Phase::Resolved } else { Phase::Opened },
        severity: it.severity,
        service: it.service.clone(),
        old: if resolved { bad } else { Health::Ok },
        new: if resolved { Health::Ok } else { bad },
        code: it.code.clone(),
        detail: it.detail.clone(),
        issues: it.issues.clone(),
        snapshot_id: match &it.snapshot {
            Some(Snapshot::Taken { file }) => Some(file.clone()),
            _ => None,
        },
        gateway: gateway.to_owned(),
        extra: Vec::new(),
    }
}
