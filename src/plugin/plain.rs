//! The native alert formatter: the Event Dispatcher's body, nothing more.
//!
//! `plugins/plain` is the same as a component; a test (`agreement`) compares native and component on thousands of events.

use serde_json::{Map, Value};

use crate::model::alert::{Event, Message, Phase};
use crate::model::health::Health;
use crate::plugin::Issue;

/// Ways that the Event Dispatcher knows.
const CHANNELS: [&str; 2] = ["email", "slack"];
const KNOWN: [&str; 3] = ["channels", "channel", "details"];
const CHANNELS_MAX: usize = 8;
const CHANNEL_BYTES_MAX: usize = 64;
/// What a message may hold.
const ISSUES_MAX: usize = 64;

/// Settings of the formatter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Never empty: the Event Dispatcher answers 200 to none and sends nothing.
    channels: Vec<String>,
    /// Slack channel; `None`: the Event Dispatcher's own.
    channel: Option<String>,
    /// Say what changed and why, not only what it is about.
    details: bool,
}

impl Default for Plain {
    fn default() -> Self {
        let channels = CHANNELS.map(str::to_owned).to_vec();
        Self { channels, channel: None, details: false }
    }
}

impl Plain {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(settings: &Value) -> Result<Self, Vec<Issue>> {
        let Value::Object(members) = settings else {
            return Err(vec![issue("", "expected an object")]);
        };
        let mut issues = Vec::new();
        let preset = Self::default();
        let plain = Self {
            channels: channels(members, &mut issues).unwrap_or(preset.channels),
            channel: channel(members, &mut issues).unwrap_or(preset.channel),
            details: details(members, &mut issues).unwrap_or(preset.details),
        };
        for name in members.keys().filter(|it| !KNOWN.contains(&it.as_str())) {
            // RFC 6901.
            let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            issues.push(issue(&path, &format!("is unknown; known are {}", KNOWN.join(", "))));
        }
        if issues.is_empty() { Ok(plain) } else { Err(issues) }
    }

    /// Puts an event into words. Pure.
    pub fn format(&self, event: &Event) -> Message {
        let named = std::slice::from_ref(&event.service.name);
        let all = if event.issues.is_empty() { named } else { &event.issues };
        let mut issues: Vec<&String> = Vec::new();
        for issue in all {
            if issues.len() < ISSUES_MAX && !issues.contains(&issue) {
                issues.push(issue);
            }
        }
        Message {
            issues: issues.into_iter().map(|it| self.line(it, event)).collect(),
            channels: self.channels.clone(),
            channel: self.channel.clone(),
            dedup_key: Some(format!("{}/{}", event.id, phase_word(event.phase))),
            extra: Vec::new(),
        }
    }

    /// Without details only the end is told apart: receivers know services by their names.
    fn line(&self, issue: &str, event: &Event) -> String {
        match (event.phase, self.details) {
            (Phase::Opened | Phase::Updated, true) => {
                let (old, new) = (health_word(event.old), health_word(event.new));
                format!("{issue}: {old} -> {new} ({})", event.code)
            }
            (Phase::Resolved, true) => format!("{issue}: resolved ({})", event.code),
            (Phase::Resolved, false) => format!("{issue}: resolved"),
            (Phase::Test, true) => format!("{issue}: test"),
            (Phase::Opened | Phase::Updated | Phase::Test, false) => issue.to_owned(),
        }
    }
}

fn issue(path: &str, message: &str) -> Issue {
    Issue { path: path.to_owned(), message: message.to_owned() }
}

fn channels(members: &Map<String, Value>, issues: &mut Vec<Issue>) -> Option<Vec<String>> {
    let items = match members.get("channels")? {
        Value::Array(items) if (1..=CHANNELS_MAX).contains(&items.len()) => items,
        _ => {
            issues.push(issue("/channels", "expected a list of 1 to 8 strings"));
            return None;
        }
    };
    let mut channels: Vec<String> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let word = item.as_str().filter(|it| CHANNELS.contains(it));
        let message = match word {
            Some(word) if channels.iter().any(|it| it == word) => "is there already",
            Some(word) => {
                channels.push(word.to_owned());
                continue;
            }
            None => "expected \"email\" or \"slack\"",
        };
        issues.push(issue(&format!("/channels/{at}"), message));
    }
    Some(channels)
}

fn channel(members: &Map<String, Value>, issues: &mut Vec<Issue>) -> Option<Option<String>> {
    match members.get("channel")? {
        Value::Null => Some(None),
        // It becomes a file name in the Event Dispatcher.
        Value::String(name) if is_channel(name) => Some(Some(name.clone())),
        _ => {
            let message = "expected 1 to 64 letters, digits, _ and -, or null";
            issues.push(issue("/channel", message));
            None
        }
    }
}

fn is_channel(name: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    (1..=CHANNEL_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

fn details(members: &Map<String, Value>, issues: &mut Vec<Issue>) -> Option<bool> {
    let value = members.get("details")?;
    if !value.is_boolean() {
        issues.push(issue("/details", "expected true or false"));
    }
    value.as_bool()
}

/// As `wit/alert-formatter.wit` spells it.
fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Opened => "opened",
        Phase::Updated => "updated",
        Phase::Resolved => "resolved",
        Phase::Test => "test",
    }
}

/// As `wit/types.wit` spells it.
fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failing => "failing",
        Health::Maintenance => "maintenance",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::health::{ServiceFacts, Severity};

    fn event(phase: Phase, issues: &[&str]) -> Event {
        Event {
            now_ms: 1,
            id: "7f".to_owned(),
            phase,
            severity: Severity::Critical,
            service: ServiceFacts {
                name: "engine".to_owned(),
                namespace: None,
                endpoint: String::new(),
                ready: None,
                desired: None,
                labels: Vec::new(),
            },
            old: Health::Degraded,
            new: Health::Failing,
            code: "timeout".to_owned(),
            detail: String::new(),
            issues: issues.iter().map(|it| (*it).to_owned()).collect(),
            snapshot_id: None,
            gateway: String::new(),
            extra: Vec::new(),
        }
    }

    #[test]
    fn each_phase_reads_as_it_should() {
        for (phase, details, expected, key) in [
            (Phase::Opened, false, "a", "7f/opened"),
            (Phase::Updated, false, "a", "7f/updated"),
            (Phase::Resolved, false, "a: resolved", "7f/resolved"),
            (Phase::Test, false, "a", "7f/test"),
            (Phase::Opened, true, "a: degraded -> failing (timeout)", "7f/opened"),
            (Phase::Updated, true, "a: degraded -> failing (timeout)", "7f/updated"),
            (Phase::Resolved, true, "a: resolved (timeout)", "7f/resolved"),
            (Phase::Test, true, "a: test", "7f/test"),
        ] {
            let plain = Plain::new(&json!({ "details": details })).unwrap();
            let message = plain.format(&event(phase, &["a"]));
            assert_eq!(message.issues, [expected]);
            assert_eq!(message.dedup_key.as_deref(), Some(key));
            assert_eq!(message.channels, ["email", "slack"]);
            assert_eq!((message.channel, message.extra), (None, Vec::new()));
        }
    }

    #[test]
    fn issues_are_the_events_own_once_each_and_not_too_many() {
        let plain = Plain::default();
        let issues = |named: &[&str]| plain.format(&event(Phase::Opened, named)).issues;
        assert_eq!(issues(&[]), ["engine"]);
        assert_eq!(issues(&["b", "a", "b"]), ["b", "a"]);
        let many: Vec<String> = (0..70).flat_map(|it| [it.to_string(), it.to_string()]).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let kept = issues(&many);
        assert_eq!((kept.len(), kept.last().map(String::as_str)), (64, Some("63")));
    }

    #[test]
    fn settings_decide_the_channels() {
        let settings = json!({"channels": ["slack"], "channel": "stock_flow-1"});
        let message = Plain::new(&settings).unwrap().format(&event(Phase::Opened, &[]));
        assert_eq!(message.channels, ["slack"]);
        assert_eq!(message.channel.as_deref(), Some("stock_flow-1"));
        assert_eq!(Plain::new(&json!({})).unwrap(), Plain::default());
        assert_eq!(Plain::new(&json!({"channel": null})).unwrap(), Plain::default());
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let settings = json!({
            "a/b": 1, "details": "yes", "channel": "../x", "channels": ["slack", "fax", 1, "slack"],
        });
        let paths: Vec<_> =
            Plain::new(&settings).unwrap_err().into_iter().map(|it| it.path).collect();
        let expected =
            ["/channels/1", "/channels/2", "/channels/3", "/channel", "/details", "/a~1b"];
        assert_eq!(paths, expected);
        for wrong in [json!([]), json!(["email", "slack", "email"]), json!(null), json!("email")] {
            assert!(Plain::new(&json!({"channels": wrong})).is_err());
        }
        for wrong in [json!(""), json!("a b"), json!("é"), json!("a".repeat(65)), json!(1)] {
            assert!(Plain::new(&json!({"channel": wrong})).is_err());
        }
        assert_eq!(Plain::new(&json!([])).unwrap_err()[0].path, "");
    }
}
