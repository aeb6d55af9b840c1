//! Receivers of alerts, one file each: how a parcel becomes a request, and what an answer means.

pub mod event_dispatcher;
pub mod slack;
pub mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::alert::outbox::Parcel;
use crate::generation::alerting::{Alerting, LiveKind, LiveSink};
use crate::model::alert::Phase;
use crate::telemetry::escape::is_hidden;

/// Bytes of an answer that are shown to people.
const SHOWN_MAX: usize = 200;

/// A request to a sink. Only `POST`.
#[derive(Debug)]
pub struct Call {
    /// A secret where the URL is one (Slack): never logged.
    pub url: SecretString,
    /// Without `Content-Type: application/json`, `Idempotency-Key` and `User-Agent`, which every call has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// What a sink's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    Accepted,
    /// Try again; not before `after` when the receiver asked for that.
    Again {
        reason: String,
        after: Option<Duration>,
    },
    /// It will never be accepted as it is.
    Refused {
        reason: String,
    },
}

/// A receiver of alerts.
pub trait Sink: fmt::Debug + Send + Sync {
    /// The name in the config.
    fn name(&self) -> &str;

    /// The word in the config: `event-dispatcher`, `webhook`, `slack`.
    fn kind(&self) -> &'static str;

    /// For one call.
    fn timeout(&self) -> Duration;

    /// How the parcel is sent. Pure.
    ///
    /// # Errors
    /// Why it cannot be sent at all (dead-lettered).
    fn call(&self, parcel: &Parcel, now_ms: u64) -> Result<Call, String>;

    /// What an answer means. Pure; `asked` is what `Retry-After` asks for, `body` is cut at 16 KiB.
    fn judge(&self, status: u16, asked: Option<Duration>, body: &[u8]) -> Answered {
        by_status(status, asked, body)
    }

    /// A plainer form of a parcel that was refused with this status: sent once, at once, and what is answered to it counts.
    /// `None`: there is none.
    fn plainer(&self, parcel: &Parcel, status: u16) -> Option<Call> {
        let _ = (parcel, status);
        None
    }
}

/// The sinks of a generation, in the order of the config.
pub fn from(alerting: &Alerting) -> Vec<Arc<dyn Sink>> {
    alerting.sinks.iter().map(made).collect()
}

/// One line for each kind.
fn made(live: &LiveSink) -> Arc<dyn Sink> {
    match &live.kind {
        LiveKind::EventDispatcher { .. } => Arc::new(event_dispatcher::EventDispatcher::new(live)),
        LiveKind::Webhook { .. } => Arc::new(webhook::Webhook::new(live)),
        LiveKind::Slack { .. } => Arc::new(slack::Slack::new(live)),
    }
}

/// What the status alone says: 2xx is accepted; 408, 425, 429 and 5xx pass; every other answer is for good, redirects too, which
/// nobody follows. A wish for time is heeded where RFC 9110 §10.2.3 and RFC 6585 §4 give it a meaning.
fn by_status(status: u16, asked: Option<Duration>, body: &[u8]) -> Answered {
    let reason = || match shown(body) {
        words if words.is_empty() => format!("it answered {status}"),
        words => format!("it answered {status}: {words}"),
    };
    match status {
        200..=299 => Answered::Accepted,
        408 | 425 | 429 | 500..=599 => {
            let after = asked.filter(|_| matches!(status, 429 | 503));
            Answered::Again { reason: reason(), after }
        }
        300..=399 => Answered::Refused {
            reason: format!(
                "it answered {status}: redirects are not followed; name the place itself"
            ),
        },
        _ => Answered::Refused { reason: reason() },
    }
}

/// The beginning of an answer as one line that is safe to show: nothing in it steers a terminal or turns the reading round.
fn shown(body: &[u8]) -> String {
    let cut = body.get(..SHOWN_MAX).unwrap_or(body);
    let text = String::from_utf8_lossy(cut);
    let printable = |it: char| if is_hidden(it) { ' ' } else { it };
    let line: String = text.chars().map(printable).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Opened => "opened",
        Phase::Updated => "updated",
        Phase::Resolved => "resolved",
        Phase::Test => "test",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Answered, by_status};
    use crate::alert::outbox::{Parcel, State};
    use crate::model::alert::{Event, Message, Phase};
    use crate::model::health::{Health, ServiceFacts, Severity};
    use std::time::Duration;

    /// A parcel about one incident.
    pub(crate) fn parcel(sink: &str, number: u64, incident: &str, phase: Phase) -> Parcel {
        let service = ServiceFacts {
            name: String::from("signal-engine"),
            namespace: Some(String::from("default")),
            endpoint: String::new(),
            ready: None,
            desired: None,
            labels: Vec::new(),
        };
        let event = Event {
            now_ms: 1_795_502_400_000,
            id: incident.to_owned(),
            phase,
            severity: Severity::Critical,
            service,
            old: Health::Ok,
            new: Health::Failing,
            code: String::from("timeout"),
            detail: String::from("no answer in 6 s"),
            issues: Vec::new(),
            snapshot_id: None,
            gateway: String::from("edge"),
            extra: Vec::new(),
        };
        let message = Message {
            issues: vec![String::from("signal-engine")],
            channels: vec![String::from("email")],
            channel: None,
            dedup_key: None,
            extra: Vec::new(),
        };
        Parcel {
            number,
            sink: sink.to_owned(),
            incidents: vec![incident.to_owned()],
            phase,
            key: format!("{incident}-{number}"),
            created_ms: 1_795_502_400_000,
            event,
            message,
            state: State::Waiting { attempts: 0, next_try_ms: 0, error: None },
        }
    }

    #[test]
    fn the_status_decides() {
        let asked = Some(Duration::from_secs(7));
        for (status, expected) in [
            (200, "accepted"),
            (202, "accepted"),
            (204, "accepted"),
            (301, "refused"),
            (307, "refused"),
            (400, "refused"),
            (401, "refused"),
            (404, "refused"),
            (408, "again"),
            (422, "refused"),
            (425, "again"),
            (429, "again 7"),
            (500, "again"),
            (502, "again"),
            (503, "again 7"),
            (599, "again"),
            (600, "refused"),
        ] {
            let got = match by_status(status, asked, b"{\"detail\":\n\"x\"}") {
                Answered::Accepted => String::from("accepted"),
                Answered::Again { after: Some(after), .. } => format!("again {}", after.as_secs()),
                Answered::Again { reason, .. } => {
                    assert_eq!(reason, format!("it answered {status}: {{\"detail\": \"x\"}}"));
                    String::from("again")
                }
                Answered::Refused { .. } => String::from("refused"),
            };
            assert_eq!(got, expected, "{status}");
        }
    }

    #[test]
    fn an_answer_is_shown_as_one_short_line() {
        let long = ["\x1b[31m\r\n\0 \u{202e}x\u{200b} ".as_bytes(), &[b'y'; 999]].concat();
        let Answered::Refused { reason } = by_status(400, None, &long) else { panic!() };
        assert!(reason.starts_with("it answered 400: [31m x yyy"), "{reason:?}");
        assert!(reason.len() < 240, "{reason:?}");
    }
}
