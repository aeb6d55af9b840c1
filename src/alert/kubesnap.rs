//! Asks Kubesnap for snapshots: one in flight and a cool-down for each namespace, a daily budget, the body judged.
//!
//! It is not idempotent and reads every pod's log, so nothing is ever asked twice: a time-out is *unknown*.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::alert::book::Book;
use crate::alert::notice::Notice;
use crate::alert::snapshot_budget::SnapshotBudget;
use crate::alert::snapshot_call::{Ask, Asked, BODY_MAX, Heard};
use crate::alert::steady::Steady;
use crate::config::alerts;
use crate::config::secret::Secret;
use crate::generation::alerting::Alerting;
use crate::model::alert::Phase;
use crate::model::incident::{Incident, Snapshot};
use crate::store::{Batch, BoxFuture, Ledger, StoreError, Table};
use crate::telemetry::escape::is_hidden;

/// Row of `Table::Meta`.
const BUDGET: &str = "snapshot-budget";
/// What is kept of words from outside.
const WORDS_MAX: usize = 240;

/// All snapshots of the gate.
#[derive(Debug)]
pub struct Kubesnap {
    ledger: Arc<dyn Ledger>,
    book: Arc<Book>,
    clock: Steady,
    client: Box<dyn Ask>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    budget: SnapshotBudget,
    /// By namespace.
    flights: BTreeMap<String, Flight>,
}

/// A call under way.
#[derive(Debug)]
struct Flight {
    /// Until when alerts wait for it.
    until_ms: u64,
    incidents: Vec<String>,
}

/// A call that is about to be made.
struct Start {
    namespace: String,
    asked: Asked,
}

impl Kubesnap {
    pub fn new(
        ledger: &Arc<dyn Ledger>,
        book: &Arc<Book>,
        clock: Steady,
        client: Box<dyn Ask>,
    ) -> Arc<Self> {
        let (ledger, book, state) = (Arc::clone(ledger), Arc::clone(book), Mutex::default());
        Arc::new(Self { ledger, book, clock, client, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is spent; the ledger is ready.
    pub fn restore(&self) {
        let row = self.ledger.get(Table::Meta, BUDGET);
        let budget = row.and_then(|it| serde_json::from_slice::<SnapshotBudget>(&it).ok());
        self.state().budget = budget.unwrap_or_default().restored(self.clock.now_ms());
    }

    /// Asks for what these notices want and nobody has asked for: incidents that have just opened. Waits for nothing.
    pub fn ask_for(self: &Arc<Self>, notices: &[Arc<Notice>], alerting: &Alerting) {
        let Some(rules) = &alerting.config.kubesnap else { return };
        let (mut outcomes, mut starts) = (Vec::new(), Vec::new());
        for notice in notices {
            if notice.phase != Phase::Opened || !notice.change.snapshot {
                continue;
            }
            let id = &notice.change.incident;
            let Some(namespace) = &notice.change.service.namespace else { continue };
            if self.book.find(id).is_none_or(|it| it.snapshot.is_some()) {
                continue;
            }
            let (outcome, start) =
                self.decide(id, namespace, rules, alerting.kubesnap_key.as_ref());
            outcomes.push((id.clone(), outcome));
            starts.extend(start);
        }
        if !outcomes.is_empty() {
            let written = self.write(&outcomes);
            tokio::spawn(Arc::clone(self).fly(starts, written));
        }
    }

    fn decide(
        &self,
        incident: &str,
        namespace: &str,
        rules: &alerts::Kubesnap,
        key: Option<&Arc<Secret>>,
    ) -> (Snapshot, Option<Start>) {
        let mut state = self.state();
        if let Some(flight) = state.flights.get_mut(namespace) {
            // What is being taken shows the same minutes.
            flight.incidents.push(incident.to_owned());
            return (Snapshot::Pending, None);
        }
        let now_ms = self.clock.now_ms();
        if let Some(reason) = state.budget.refuses(namespace, rules, now_ms) {
            return (Snapshot::Skipped { reason }, None);
        }
        let (Some(key), true) = (key, is_label(namespace)) else {
            let reason = String::from("there is no key for Kubesnap, or the namespace is none");
            return (Snapshot::Skipped { reason }, None);
        };
        state.budget.ask(namespace, now_ms);
        let wait = u64::try_from(rules.wait.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms.saturating_add(wait);
        let incidents = vec![incident.to_owned()];
        state.flights.insert(namespace.to_owned(), Flight { until_ms, incidents });
        let url = format!("{}/api/kubesnap/{namespace}", rules.url.trim_end_matches('/'));
        let asked = Asked { url, key: Arc::clone(key), timeout: rules.timeout };
        (Snapshot::Pending, Some(Start { namespace: namespace.to_owned(), asked }))
    }

    /// That it is asked is on the disk before it is asked: a restart must not ask again.
    async fn fly(
        self: Arc<Self>,
        starts: Vec<Start>,
        written: BoxFuture<'static, Result<(), StoreError>>,
    ) {
        self.book.written(written.await);
        for start in starts {
            let kubesnap = Arc::clone(&self);
            tokio::spawn(kubesnap.call(start));
        }
    }

    async fn call(self: Arc<Self>, Start { namespace, asked }: Start) {
        let asking = Arc::clone(&self);
        let heard = tokio::spawn(async move { asking.client.ask(asked).await }).await;
        // What broke down must not fly for ever: nobody would ask about this namespace again.
        let heard =
            heard.unwrap_or_else(|error| Heard::NoAnswer(format!("the call broke down: {error}")));
        let outcome = judge(&heard);
        tracing::info!(namespace, ?outcome, "a snapshot was asked for");
        let incidents = {
            let mut state = self.state();
            match (&outcome, &heard) {
                (Snapshot::Taken { file }, _) => state.budget.took(&namespace, file),
                (_, Heard::NotSent(_)) => state.budget.not_asked(&namespace),
                _ => {}
            }
            state.flights.remove(&namespace).map(|it| it.incidents).unwrap_or_default()
        };
        let outcomes: Vec<_> = incidents.into_iter().map(|it| (it, outcome.clone())).collect();
        let written = self.write(&outcomes).await;
        self.book.written(written);
    }

    /// Outcomes and what is spent, together.
    fn write(&self, outcomes: &[(String, Snapshot)]) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut batch = Batch::default();
        batch.put(Table::Meta, BUDGET, &self.state().budget);
        self.book.snapshots(outcomes, batch)
    }

    /// Until when the alert of an incident waits for its snapshot (steady clock); `None`: there is nothing to wait for.
    pub fn waits(&self, incident: &Incident) -> Option<u64> {
        if incident.snapshot != Some(Snapshot::Pending) {
            return None;
        }
        let state = self.state();
        let flight = state.flights.values().find(|it| it.incidents.contains(&incident.id));
        flight.map(|it| it.until_ms)
    }
}

/// RFC 1123: nothing else may stand in the path.
fn is_label(namespace: &str) -> bool {
    let safe = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    (1..=63).contains(&namespace.len()) && namespace.bytes().all(safe)
}

/// The fields of an answer that count.
#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    snapshot_status: Option<String>,
    #[serde(default)]
    upload_status: Option<String>,
    #[serde(default)]
    file_name: Option<String>,
    #[serde(default)]
    detail: Option<serde_json::Value>,
}

/// What an answer means by Kubesnap's contract: it answers 200 also when the upload has failed.
pub fn judge(heard: &Heard) -> Snapshot {
    let (status, body, complete) = match heard {
        Heard::Answer { status, body, complete } => (*status, body, *complete),
        Heard::NotSent(reason) => return failed(reason.clone()),
        Heard::NoAnswer(reason) => return Snapshot::Unknown { reason: reason.clone() },
    };
    let body_of = || serde_json::from_slice::<Body>(body).ok();
    match status {
        200 => match body_of() {
            Some(body) => of(&body),
            None if !complete && body.len() < BODY_MAX => {
                Snapshot::Unknown { reason: String::from("the answer broke off") }
            }
            None => failed(String::from("Kubesnap said nothing that could be understood")),
        },
        401 | 403 => failed(format!("Kubesnap does not accept the key ({status})")),
        300..=399 => failed(format!("Kubesnap redirects ({status}), which is not followed")),
        _ => failed(match body_of().and_then(|it| it.detail) {
            Some(serde_json::Value::String(detail)) => {
                format!("Kubesnap answered {status}: {}", words(&detail))
            }
            _ => format!("Kubesnap answered {status}"),
        }),
    }
}

fn of(body: &Body) -> Snapshot {
    let said = |it: &Option<String>| it.as_deref().map_or_else(|| String::from("null"), words);
    let good = |it: &Option<String>| it.as_deref() == Some("success");
    if !good(&body.snapshot_status) {
        return failed(format!("snapshot_status={}", said(&body.snapshot_status)));
    }
    let file = body.file_name.as_deref().map(words).filter(|it| !it.is_empty());
    if !good(&body.upload_status) {
        let file = file.map_or_else(String::new, |it| format!(" ({it} was not uploaded)"));
        return failed(format!("upload_status={}{file}", said(&body.upload_status)));
    }
    match file {
        Some(file) => Snapshot::Taken { file },
        None => failed(String::from("Kubesnap names no file")),
    }
}

fn failed(reason: String) -> Snapshot {
    Snapshot::Failed { reason }
}

/// Words from outside: short, and nothing that moves a cursor or turns the reading round.
fn words(text: &str) -> String {
    let plain = text.trim().chars().map(|it| if is_hidden(it) { ' ' } else { it });
    plain.take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_label, judge};
    use crate::alert::snapshot_call::{BODY_MAX, Heard};
    use crate::model::incident::Snapshot;

    fn answer(status: u16, body: &str) -> Heard {
        Heard::Answer { status, body: body.as_bytes().to_vec(), complete: true }
    }

    fn check(cases: Vec<(Heard, Snapshot)>) {
        for (heard, expected) in cases {
            assert_eq!(judge(&heard), expected, "{heard:?}");
        }
    }

    fn failed(reason: &str) -> Snapshot {
        Snapshot::Failed { reason: reason.to_owned() }
    }

    fn unknown(reason: &str) -> Snapshot {
        Snapshot::Unknown { reason: reason.to_owned() }
    }

    #[test]
    fn an_answer_is_judged_by_its_body() {
        let file = String::from("kubesnap_2026-11-24T10:00:00.zip");
        let good = r#"{"snapshot_status":"success","file_name":"kubesnap_2026-11-24T10:00:00.zip","timestamp":"t","upload_status":"success"}"#;
        let upload = |status: &str| {
            format!(
                r#"{{"snapshot_status":"success","file_name":"a.zip","upload_status":{status}}}"#
            )
        };
        check(vec![
            (answer(200, good), Snapshot::Taken { file }),
            (
                answer(200, &upload(r#""failed""#)),
                failed("upload_status=failed (a.zip was not uploaded)"),
            ),
            (answer(200, &upload("null")), failed("upload_status=null (a.zip was not uploaded)")),
            (answer(200, r#"{"snapshot_status":"failed"}"#), failed("snapshot_status=failed")),
            (
                answer(200, "{\"snapshot_status\":\"a\u{202e}b\\u0007c\"}"),
                failed("snapshot_status=a b c"),
            ),
            (
                answer(200, r#"{"snapshot_status":"success","upload_status":"success"}"#),
                failed("Kubesnap names no file"),
            ),
            (answer(200, r#"{"error":"Incorrect Stock ID"}"#), failed("snapshot_status=null")),
            (
                answer(401, r#"{"detail":"Invalid or missing API Key"}"#),
                failed("Kubesnap does not accept the key (401)"),
            ),
            (
                answer(500, "{\"status\":\"error\",\"detail\":\"no namespace \\u001b[2J dev\"}"),
                failed("Kubesnap answered 500: no namespace  [2J dev"),
            ),
            (answer(500, "Internal Server Error"), failed("Kubesnap answered 500")),
            (answer(302, ""), failed("Kubesnap redirects (302), which is not followed")),
            (answer(204, ""), failed("Kubesnap answered 204")),
        ]);
    }

    #[test]
    fn what_cannot_be_understood_is_no_snapshot_and_what_broke_off_may_be_one() {
        let nothing = || failed("Kubesnap said nothing that could be understood");
        let cut = |body: &[u8]| Heard::Answer { status: 200, body: body.to_vec(), complete: false };
        check(vec![
            (answer(200, "<html>"), nothing()),
            (answer(200, r#"{"snapshot_status":7}"#), nothing()),
            (answer(200, &"[".repeat(BODY_MAX)), nothing()),
            (cut(&vec![b' '; BODY_MAX]), nothing()),
            (cut(br#"{"snapshot_status":"succ"#), unknown("the answer broke off")),
            (Heard::NotSent(String::from("refused")), failed("refused")),
            (Heard::NoAnswer(String::from("no answer in time")), unknown("no answer in time")),
        ]);
    }

    #[test]
    fn only_a_label_goes_into_the_path() {
        for (namespace, expected) in
            [("dev", true), ("a-1", true), ("", false), ("a/b", false), ("..", false), ("A", false)]
        {
            assert_eq!(is_label(namespace), expected, "{namespace}");
        }
    }
}
