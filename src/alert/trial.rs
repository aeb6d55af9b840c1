//! Test alerts, and what the formatter would say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::alert::outbox::{Chosen, Outbox, Parcel, State};
use crate::alert::responder::{Parts, Tested};
use crate::alert::{notice, routing};
use crate::generation::Generation;
use crate::model::UnixMs;
use crate::model::alert::{Event, Message, Phase};
use crate::model::health::{Health, ServiceFacts, Severity};
use crate::store::Batch;

/// How long a test waits for all receivers together.
const TEST_WAIT: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// What the test is about: no service has this name in the book.
const SUBJECT: &str = "headgate-test";

/// Sends a test alert to these sinks (all, when empty) and waits for their answers.
pub(super) async fn test(parts: &Parts, generation: &Generation, wanted: &[String]) -> Vec<Tested> {
    let there: Vec<&str> =
        generation.alerting.config.sinks.iter().map(|it| it.name.as_str()).collect();
    let chosen: Vec<&str> = match wanted.is_empty() {
        true => there.clone(),
        false => there.iter().copied().filter(|it| wanted.iter().any(|one| one == it)).collect(),
    };
    let unknown = wanted.iter().filter(|it| !there.contains(&it.as_str()));
    let mut tested: Vec<Tested> = unknown
        .map(|it| refused(it, format!("there is no such sink; known are {}", there.join(", "))))
        .collect();
    if chosen.is_empty() {
        return tested;
    }
    if timeout(TEST_WAIT, parts.ledger.ready()).await.is_err() {
        let why = "the ledger is not open yet; `headgate outbox list` says what it waits for";
        tested.extend(chosen.iter().map(|it| refused(it, why.to_owned())));
        return tested;
    }
    let event = event(&generation.alerting.config.gateway);
    let (Some(message), _) = words(generation, &event).await else { return tested };
    let parcels: Vec<_> = chosen.iter().map(|it| parcel(it, &event, &message)).collect();
    let mut waiting: Vec<(String, String)> =
        parcels.iter().map(|it| (it.sink.clone(), it.key.clone())).collect();
    let mut batch = Batch::default();
    for it in parts.outbox.put(&mut batch, parcels) {
        waiting.retain(|(sink, _)| *sink != it.sink);
        tested.push(refused(&it.sink, String::from("the outbox has no room")));
    }
    if waiting.is_empty() {
        return tested;
    }
    let written = parts.ledger.write(batch).await;
    parts.outbox.written();
    if let Err(error) = written {
        tracing::warn!(%error, "a test alert is not on the disk; it goes out all the same");
    }
    tested.extend(follow(&parts.outbox, waiting).await);
    tested
}

/// Until every parcel is gone or dead. What is late is taken back: a test that arrives hours later helps nobody.
async fn follow(outbox: &Outbox, mut waiting: Vec<(String, String)>) -> Vec<Tested> {
    let mut tested = Vec::new();
    let deadline = Instant::now() + TEST_WAIT;
    while !waiting.is_empty() && Instant::now() < deadline {
        sleep(LOOK_AGAIN).await;
        let mut still = Vec::new();
        for (sink, key) in waiting {
            match outbox.find(&sink, &key) {
                None => tested.push(accepted(&sink)),
                Some((number, State::Dead { reason, .. })) => {
                    outbox.drop_chosen(&Chosen::One(sink.clone(), number)).await;
                    tested.push(refused(&sink, reason));
                }
                Some(_) => still.push((sink, key)),
            }
        }
        waiting = still;
    }
    for (sink, key) in waiting {
        let Some((number, state)) = outbox.find(&sink, &key) else {
            tested.push(accepted(&sink));
            continue;
        };
        outbox.drop_chosen(&Chosen::One(sink.clone(), number)).await;
        let trouble = outbox.sinks().into_iter().find(|it| it.name == sink);
        let trouble = trouble.and_then(|it| it.reason);
        tested.push(refused(&sink, late(&state, trouble.as_deref())));
    }
    tested
}

/// `trouble` is why the sink accepts nothing at the moment.
fn late(state: &State, trouble: Option<&str>) -> String {
    let seconds = TEST_WAIT.as_secs();
    match state {
        State::Waiting { error: Some(error), attempts, .. } => {
            format!(
                "not accepted within {seconds} s ({attempts} attempts, the last: {error}); taken back"
            )
        }
        State::Waiting { attempts: 0, .. } => match trouble {
            Some(it) => {
                format!(
                    "not sent within {seconds} s: others go first, and for them {it}; taken back"
                )
            }
            None => format!(
                "not answered within {seconds} s: a call is under way, or others go first; taken back"
            ),
        },
        State::Waiting { .. } | State::Dead { .. } => {
            format!("not accepted within {seconds} s; taken back")
        }
    }
}

fn accepted(sink: &str) -> Tested {
    Tested { sink: sink.to_owned(), accepted: true, detail: String::from("accepted") }
}

fn refused(sink: &str, detail: String) -> Tested {
    Tested { sink: sink.to_owned(), accepted: false, detail }
}

/// The words for an event, and the parcels that would follow.
pub(super) async fn preview(
    generation: &Generation,
    event: Event,
) -> (Option<Message>, Vec<Parcel>) {
    let (message, sinks) = words(generation, &event).await;
    let parcels = match &message {
        Some(message) => sinks.iter().map(|it| parcel(it, &event, message)).collect(),
        None => Vec::new(),
    };
    (message, parcels)
}

async fn words(generation: &Generation, event: &Event) -> (Option<Message>, BTreeSet<String>) {
    let formatted = generation.plugins.formatter.format(Arc::new(event.clone())).await;
    let alerts = &generation.alerting.config;
    (formatted.message, routing::sinks(alerts, &event.service.name, event.severity))
}

fn event(gateway: &str) -> Event {
    let now_ms = UnixMs::now().0;
    Event {
        now_ms,
        id: format!("test-{now_ms:011x}"),
        phase: Phase::Test,
        severity: Severity::Info,
        service: ServiceFacts {
            name: SUBJECT.to_owned(),
            namespace: None,
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        },
        old: Health::Unknown,
        new: Health::Unknown,
        code: String::from("test"),
        detail: String::from("somebody tries the way of the alerts; nothing is wrong"),
        issues: vec![format!("test alert of {gateway}")],
        snapshot_id: None,
        gateway: gateway.to_owned(),
        extra: vec![(String::from("why"), String::from("test"))],
    }
}

/// About no incident that anything has to keep in order with.
fn parcel(sink: &str, event: &Event, message: &Message) -> Parcel {
    Parcel {
        number: 0,
        sink: sink.to_owned(),
        incidents: match event.phase {
            Phase::Test => Vec::new(),
            Phase::Opened | Phase::Updated | Phase::Resolved => vec![event.id.clone()],
        },
        phase: event.phase,
        key: format!("{}-{}-{sink}", event.id, notice::phase_word(event.phase))
            .chars()
            .take(64)
            .collect(),
        created_ms: event.now_ms,
        event: event.clone(),
        message: message.clone(),
        state: State::Waiting { attempts: 0, next_try_ms: 0, error: None },
    }
}

#[cfg(test)]
mod tests {
    use super::late;
    use crate::alert::outbox::State;

    #[test]
    fn a_test_that_comes_late_says_what_holds_it_up() {
        let state = |attempts, error: Option<&str>| State::Waiting {
            attempts,
            next_try_ms: 0,
            error: error.map(str::to_owned),
        };
        for (state, trouble, part) in [
            (state(2, Some("status 500")), Some("TLS failed"), "2 attempts, the last: status 500"),
            (state(0, None), Some("TLS failed"), "others go first, and for them TLS failed;"),
            (state(0, None), None, "a call is under way"),
        ] {
            let said = late(&state, trouble);
            assert!(said.contains(part) && said.ends_with("taken back"), "{said}");
        }
    }
}
