//! Words an alert as plainly as it can. Pure; knows nothing of the component model.
//!
//! The gate has the same formatter built in; a test there compares the two on thousands of events.

use json::{Issue, Settings};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wording {
    channels: Vec<&'static str>,
    channel: Option<String>,
    /// Each line says what changed, and why.
    details: bool,
}

/// What happened, as far as the wording looks at it; states and phases by their words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) id: &'a str,
    pub(crate) phase: &'a str,
    pub(crate) service: &'a str,
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
    pub(crate) code: &'a str,
    pub(crate) issues: &'a [String],
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) issues: Vec<String>,
    pub(crate) channels: Vec<String>,
    pub(crate) channel: Option<String>,
    pub(crate) dedup_key: String,
}

/// Through which the Event Dispatcher can send.
const CHANNELS: [&str; 2] = ["email", "slack"];

const ISSUES_MAX: usize = 64;

impl Wording {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Issue>> {
        let mut read = Settings::parse(json)?;
        let wording = Self {
            channels: channels(&mut read).unwrap_or(CHANNELS.to_vec()),
            channel: channel(&mut read),
            details: read.boolean("details").unwrap_or(false),
        };
        read.finish()?;
        Ok(wording)
    }

    /// Words one event.
    pub(crate) fn format(&self, event: &Event<'_>) -> Words {
        let mut issues: Vec<String> = Vec::new();
        let own = [event.service.to_owned()];
        let named = if event.issues.is_empty() { &own } else { event.issues };
        for issue in named {
            if issues.len() < ISSUES_MAX && !issues.contains(issue) {
                issues.push(issue.clone());
            }
        }
        Words {
            issues: issues.into_iter().map(|it| self.line(it, event)).collect(),
            channels: self.channels.iter().map(|&it| it.to_owned()).collect(),
            channel: self.channel.clone(),
            dedup_key: format!("{}/{}", event.id, event.phase),
        }
    }

    /// Without details only the end of an incident is told apart: the Event Dispatcher knows services by name.
    fn line(&self, issue: String, event: &Event<'_>) -> String {
        let Event { phase, old, new, code, .. } = event;
        match (self.details, *phase) {
            (true, "resolved") => format!("{issue}: resolved ({code})"),
            (true, "test") => format!("{issue}: test"),
            (true, _) => format!("{issue}: {old} -> {new} ({code})"),
            (false, "resolved") => format!("{issue}: resolved"),
            (false, _) => issue,
        }
    }
}

fn channels(read: &mut Settings) -> Option<Vec<&'static str>> {
    let mut channels = Vec::new();
    for (at, item) in read.list("channels", 1..=8)? {
        let known = item.as_str().and_then(|word| CHANNELS.into_iter().find(|it| *it == word));
        match known {
            Some(word) if channels.contains(&word) => read.fault(at, "is there already"),
            Some(word) => channels.push(word),
            None => read.fault(at, "expected \"email\" or \"slack\""),
        }
    }
    Some(channels)
}

fn channel(read: &mut Settings) -> Option<String> {
    let channel = read.text_or_null("channel", 1..=64)??;
    let plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_' || it == b'-';
    if !channel.bytes().all(plain) {
        read.fault("/channel", "expected letters, digits, _ and - only");
        return None;
    }
    Some(channel)
}

/// An event and how it must read.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    settings: &'static str,
    phase: &'static str,
    issues: &'static [&'static str],
    expected: &'static [&'static str],
}

/// Run by `self-test` in the sandbox and by the tests natively.
pub(crate) const GOLDEN: &[Golden] = &[
    Golden {
        name: "an incident begins",
        settings: "{}",
        phase: "opened",
        issues: &[],
        expected: &["signal-engine"],
    },
    Golden {
        name: "equal issues are one",
        settings: "{}",
        phase: "updated",
        issues: &["a", "b", "a"],
        expected: &["a", "b"],
    },
    Golden {
        name: "it ends",
        settings: "{}",
        phase: "resolved",
        issues: &["a", "b"],
        expected: &["a: resolved", "b: resolved"],
    },
    Golden {
        name: "it begins, with details",
        settings: r#"{"details":true}"#,
        phase: "opened",
        issues: &[],
        expected: &["signal-engine: ok -> failing (timeout)"],
    },
    Golden {
        name: "it ends, with details",
        settings: r#"{"details":true}"#,
        phase: "resolved",
        issues: &["a"],
        expected: &["a: resolved (timeout)"],
    },
    Golden {
        name: "an operator tries it",
        settings: r#"{"details":true,"channels":["slack"],"channel":"ops"}"#,
        phase: "test",
        issues: &[],
        expected: &["signal-engine: test"],
    },
];

impl Golden {
    /// What came instead, when it is not what was expected.
    pub(crate) fn differs(&self) -> Option<String> {
        let Ok(wording) = Wording::read(self.settings) else {
            return Some("its settings are wrong".to_owned());
        };
        let issues: Vec<String> = self.issues.iter().map(|&it| it.to_owned()).collect();
        let words = wording.format(&Event {
            id: "7f",
            phase: self.phase,
            service: "signal-engine",
            old: "ok",
            new: "failing",
            code: "timeout",
            issues: &issues,
        });
        let same = words.issues == self.expected && words.dedup_key == format!("7f/{}", self.phase);
        (!same).then(|| format!("came {}", words.issues.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, GOLDEN, Wording};

    #[test]
    fn golden_events_read_as_they_should() {
        for golden in GOLDEN {
            assert_eq!(golden.differs(), None, "{}", golden.name);
        }
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings =
            r#"{"channels":["email","fax","email",1],"channel":"a b","details":1,"x":{}}"#;
        let issues = Wording::read(settings).expect_err("all wrong");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(
            paths,
            ["/channels/1", "/channels/2", "/channels/3", "/channel", "/details", "/x"]
        );
        let issues = Wording::read(r#"{"channels":[]}"#).expect_err("never send none");
        assert_eq!(issues[0].path, "/channels");
    }

    #[test]
    fn channels_come_from_the_settings_and_issues_are_bounded() {
        let wording = Wording::read(r#"{"channels":["slack"],"channel":"ops"}"#).expect("right");
        let issues: Vec<String> = (0..100).map(|it| it.to_string()).collect();
        let event = Event {
            id: "1",
            phase: "opened",
            service: "s",
            old: "ok",
            new: "failing",
            code: "c",
            issues: &issues,
        };
        let words = wording.format(&event);
        assert_eq!(words.issues, issues[..64]);
        assert_eq!(
            (words.channels, words.channel.as_deref()),
            (vec!["slack".to_owned()], Some("ops"))
        );
    }
}
