//! A formatter over recorded incidents, beside the words of what acts now.

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cli::gate::{Api, Failure, Gate};
use crate::cli::plugin::differences;
use crate::cli::replay::difference::{Report, Sort};
use crate::cli::replay::show::plugin;
use crate::cli::replay::{Candidate, Cmd, Stopped};
use crate::cli::telling::{PATIENCE, block_on};
use crate::model::alert::{Event, Phase};
use crate::model::health::Health;

const LIST: Api = Api { member: "incidents", ask: "headgate replay" };
const PREVIEW: Api = Api { member: "event", ask: "headgate replay" };
const INCIDENTS_MAX: &str = "1000";

pub(super) fn replay(cmd: &Cmd, tried: &Candidate, since_ms: u64) -> Result<Report, Stopped> {
    if cmd.state.is_some() {
        let text = "a formatter is replayed over the incidents of a running gate: --gate URL, without --state";
        return Err(Stopped::Refused(text.to_owned()));
    }
    let (settings, note) = tried.settings(&json!({}))?;
    let settings = settings.to_string();
    let worded = block_on(worded(cmd, since_ms))??;
    let mut notes: Vec<String> = note.into_iter().collect();
    if worded.is_empty() {
        notes.push("nothing to replay: no incident in this time".to_owned());
    }
    let mut sort = Sort { recorded: worded.len(), candidate: worded.len(), ..Sort::default() };
    for (event, old) in &worded {
        let new = match tried.component.format(&settings, event).outcome {
            Ok(message) => json!(message),
            Err(fault) => json!({ "fault": fault.label(), "message": fault.to_string() }),
        };
        // Both ways: what only one of them has is different too.
        let same = differences(old, &new).is_empty() && differences(&new, old).is_empty();
        if !same {
            sort.differ(event.now_ms, Some(old.to_string()), Some(new.to_string()));
        }
    }
    Ok(Report { plugin: plugin(tried), since_ms, notes, services: Vec::new(), words: Some(sort) })
}

/// Events of the incidents, with the words that the gate would find for them now.
async fn worded(cmd: &Cmd, since_ms: u64) -> Result<Vec<(Event, Value)>, Failure> {
    let gate = Gate::new(&cmd.target, LIST, PATIENCE)?;
    let list = gate.get("headgate/incidents", &[("limit", INCIDENTS_MAX)]).await?;
    let gate = Gate::new(&cmd.target, PREVIEW, PATIENCE)?;
    let mut worded = Vec::new();
    for incident in list.get("incidents").and_then(Value::as_array).into_iter().flatten() {
        let opened = incident.get("opened-ms").and_then(Value::as_u64).unwrap_or(0);
        let service = incident.pointer("/service/name").and_then(Value::as_str).unwrap_or_default();
        let is_chosen = cmd.services.is_empty() || cmd.services.iter().any(|it| it == service);
        let Some(id) = incident.get("id").and_then(Value::as_str) else { continue };
        if opened < since_ms || !is_chosen {
            continue;
        }
        let answer = gate.post("headgate/alerts/preview", &[("incident", id)]).await?;
        let Some(one) = read(&answer) else { continue };
        if one.0.phase == Phase::Resolved {
            // It had a beginning too.
            let begin =
                Event { phase: Phase::Opened, old: Health::Ok, new: one.0.old, ..one.0.clone() };
            let answer = gate.post_json("headgate/alerts/preview", &[], &json!(begin)).await?;
            worded.extend(read(&answer));
        }
        worded.push(one);
    }
    Ok(worded)
}

fn read(answer: &Value) -> Option<(Event, Value)> {
    let event = Event::deserialize(answer.get("event")?).ok()?;
    Some((event, answer.get("message").cloned().unwrap_or(Value::Null)))
}
