//! Words an alert for people who read it in Slack. Pure; knows nothing of the component model.

use json::{Issue, Settings};

use crate::blocks::{Blocks, escaped};

/// What the operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    channel: Option<String>,
    /// Whom to call when something critical begins.
    mention: Option<&'static str>,
    /// Keeps updates of severity info back.
    quiet: bool,
    /// Where to read what to do; the service's name is put behind it.
    runbooks: Option<String>,
}

/// What happened; states by their words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) id: &'a str,
    pub(crate) phase: Phase,
    pub(crate) severity: Severity,
    pub(crate) service: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) pods: Option<(u32, u32)>,
    pub(crate) old: &'a str,
    pub(crate) new: &'a str,
    pub(crate) code: &'a str,
    pub(crate) detail: &'a str,
    pub(crate) issues: &'a [String],
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) gateway: &'a str,
}

/// Where in its life an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Opened,
    Updated,
    Resolved,
    Test,
}

/// How loud it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Info,
    Warning,
    Critical,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// One headline, then what else is known: for mail, and whoever knows no blocks.
    pub(crate) lines: Vec<String>,
    pub(crate) channel: Option<String>,
    pub(crate) slack_text: String,
    pub(crate) slack_blocks: String,
}

/// Lines of the alert, the headline included.
const LINES_MAX: usize = 64;
/// Characters of a line: all lines together must stay below what a call may hand to the gate.
const LINE_CHARS_MAX: usize = 400;
/// Characters of the fallback text.
const TEXT_CHARS_MAX: usize = 300;

impl Style {
    /// Reads settings; what is absent keeps its default.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(json: &str) -> Result<Self, Vec<Issue>> {
        let mut read = Settings::parse(json)?;
        let style = Self {
            channel: channel(&mut read),
            mention: mention(&mut read),
            quiet: read.boolean("quiet").unwrap_or(false),
            runbooks: runbooks(&mut read),
        };
        read.finish()?;
        Ok(style)
    }

    /// Words one event; `None` keeps it back.
    pub(crate) fn format(&self, event: &Event<'_>) -> Option<Words> {
        let minor = event.phase == Phase::Updated && event.severity == Severity::Info;
        if self.quiet && minor {
            return None;
        }
        // The headline names the service already.
        let others = event.issues.iter().filter(|it| *it != event.service);
        let others: Vec<String> = others.cloned().collect();
        let event = &Event { issues: &others, ..*event };
        let headline = headline(event);
        Some(Words {
            lines: lines(&headline, event),
            channel: self.channel.clone(),
            slack_text: escaped(&headline, TEXT_CHARS_MAX),
            slack_blocks: self.blocks(&headline, event),
        })
    }

    fn blocks(&self, headline: &str, event: &Event<'_>) -> String {
        let mut blocks = Blocks::default();
        blocks.header(headline);
        if let Some(whom) = self.mention
            && event.phase == Phase::Opened
            && event.severity == Severity::Critical
        {
            blocks.mention(whom);
        }
        if !event.detail.is_empty() {
            blocks.section(event.detail);
        }
        blocks.fields(&facts(event));
        blocks.bullets(event.issues);
        if let Some(runbooks) = &self.runbooks {
            blocks.link(&format!("{runbooks}{}", event.service), "Runbook");
        }
        blocks.context(&format!("{} · incident {}", event.gateway, event.id));
        blocks.json()
    }
}

/// One line that says it all: mail shows it as the subject, a phone as the notice.
fn headline(event: &Event<'_>) -> String {
    let Event { service, old, new, code, .. } = event;
    let emoji = match (event.phase, event.severity) {
        (Phase::Test, _) => "🧪",
        (Phase::Resolved, _) => "🟢",
        (_, Severity::Critical) => "🔴",
        (_, Severity::Warning) => "🟠",
        (_, Severity::Info) => "🔵",
    };
    match event.phase {
        Phase::Opened => format!("{emoji} {service} is {new} ({code})"),
        Phase::Updated => format!("{emoji} {service} went from {old} to {new} ({code})"),
        Phase::Resolved => format!("{emoji} {service} is {new} again (was {old})"),
        Phase::Test => format!("{emoji} {service}: a test, nothing has happened"),
    }
}

fn lines(headline: &str, event: &Event<'_>) -> Vec<String> {
    let detail = (!event.detail.is_empty()).then(|| event.detail.to_owned());
    let snapshot = event.snapshot.map(|it| format!("snapshot: {it}"));
    let issues = event.issues.iter().map(|it| format!("• {it}"));
    let rest = detail.into_iter().chain(snapshot).chain(issues);
    let all = std::iter::once(headline.to_owned()).chain(rest);
    all.take(LINES_MAX).map(|it| one_line(&it)).collect()
}

/// Without control characters, and no longer than a line may be.
fn one_line(text: &str) -> String {
    let plain = |it: char| if it.is_control() { ' ' } else { it };
    text.chars().take(LINE_CHARS_MAX).map(plain).collect()
}

fn facts(event: &Event<'_>) -> Vec<(&'static str, String)> {
    let change = format!("{} → {}", event.old, event.new);
    let mut facts = vec![("Service", event.service.to_owned()), ("State", change)];
    facts.push(("Cause", event.code.to_owned()));
    facts.extend(event.namespace.map(|it| ("Namespace", it.to_owned())));
    facts
        .extend(event.pods.map(|(ready, desired)| ("Pods", format!("{ready} of {desired} ready"))));
    facts.extend(event.snapshot.map(|it| ("Snapshot", it.to_owned())));
    facts
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

fn mention(read: &mut Settings) -> Option<&'static str> {
    let word = read.text_or_null("mention", 1..=16)??;
    let known = ["here", "channel"].into_iter().find(|it| *it == word);
    if known.is_none() {
        read.fault("/mention", "expected \"here\", \"channel\" or null");
    }
    known
}

fn runbooks(read: &mut Settings) -> Option<String> {
    let url = read.text_or_null("runbooks", 1..=256)??;
    let plain = |it: u8| it.is_ascii_graphic() && !matches!(it, b'<' | b'>' | b'|' | b'"');
    if !url.starts_with("https://") || !url.bytes().all(plain) {
        read.fault("/runbooks", "expected a URL that begins with https://");
        return None;
    }
    Some(url)
}

/// An event and how its first line must read.
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    settings: &'static str,
    phase: Phase,
    severity: Severity,
    /// `None`: it is kept back.
    expected: Option<&'static str>,
}

const fn golden(
    name: &'static str,
    phase: Phase,
    severity: Severity,
    expected: &'static str,
) -> Golden {
    Golden { name, settings: "{}", phase, severity, expected: Some(expected) }
}

/// Run by `self-test` in the sandbox and by the tests natively.
pub(crate) const GOLDEN: &[Golden] = &[
    golden(
        "something critical begins",
        Phase::Opened,
        Severity::Critical,
        "🔴 signal-engine is failing (timeout)",
    ),
    golden(
        "a warning begins",
        Phase::Opened,
        Severity::Warning,
        "🟠 signal-engine is failing (timeout)",
    ),
    golden(
        "it changes",
        Phase::Updated,
        Severity::Info,
        "🔵 signal-engine went from ok to failing (timeout)",
    ),
    golden(
        "it ends",
        Phase::Resolved,
        Severity::Critical,
        "🟢 signal-engine is ok again (was failing)",
    ),
    golden(
        "an operator tries it",
        Phase::Test,
        Severity::Info,
        "🧪 signal-engine: a test, nothing has happened",
    ),
    Golden {
        name: "a minor update is kept back",
        settings: r#"{"quiet":true}"#,
        phase: Phase::Updated,
        severity: Severity::Info,
        expected: None,
    },
];

impl Golden {
    /// What came instead, when it is not what was expected.
    pub(crate) fn differs(&self) -> Option<String> {
        let Ok(style) = Style::read(self.settings) else {
            return Some("its settings are wrong".to_owned());
        };
        let over = self.phase == Phase::Resolved;
        let words = style.format(&Event {
            id: "7f",
            phase: self.phase,
            severity: self.severity,
            service: "signal-engine",
            namespace: Some("dev"),
            pods: Some((0, 2)),
            old: if over { "failing" } else { "ok" },
            new: if over { "ok" } else { "failing" },
            code: "timeout",
            detail: "2 probes in a row timed out",
            issues: &[],
            snapshot: None,
            gateway: "headgate",
        });
        let first = words.as_ref().and_then(|it| it.lines.first()).map(String::as_str);
        (first != self.expected).then(|| format!("came {}", first.unwrap_or("nothing")))
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, GOLDEN, Phase, Severity, Style};

    fn event<'a>(detail: &'a str, issues: &'a [String]) -> Event<'a> {
        Event {
            id: "7f",
            phase: Phase::Opened,
            severity: Severity::Critical,
            service: "signal-engine",
            namespace: Some("dev"),
            pods: Some((0, 2)),
            old: "ok",
            new: "failing",
            code: "timeout",
            detail,
            issues,
            snapshot: Some("kubesnap_1.zip"),
            gateway: "headgate",
        }
    }

    #[test]
    fn golden_events_read_as_they_should() {
        for golden in GOLDEN {
            assert_eq!(golden.differs(), None, "{}", golden.name);
        }
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let settings =
            r#"{"channel":"a b","mention":"all","quiet":"no","runbooks":"http://x","y":1}"#;
        let issues = Style::read(settings).expect_err("all wrong");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["/channel", "/mention", "/quiet", "/runbooks", "/y"]);
        assert!(Style::read(r#"{"runbooks":"https://x/<!channel>"}"#).is_err());
    }

    #[test]
    fn whatever_is_put_in_the_message_keeps_its_bounds() {
        let style = Style::read(r#"{"mention":"here","runbooks":"https://wiki/"}"#).expect("right");
        let nasty = "<!channel> & \u{1f525}\"\\\n\u{1}".repeat(500);
        let issues: Vec<String> = (0..200).map(|it| format!("{it} {nasty}")).collect();
        let words = style.format(&event(&nasty, &issues)).expect("goes out");
        assert!(words.lines.len() <= 64);
        for line in &words.lines {
            assert!(!line.is_empty() && line.len() <= 4096, "{} bytes", line.len());
            assert!(!line.chars().any(char::is_control));
        }
        assert!(words.slack_text.len() <= 4096);
        assert!(words.slack_blocks.len() <= 24_576, "{} bytes", words.slack_blocks.len());
        let blocks: serde_json::Value = serde_json::from_str(&words.slack_blocks).expect("JSON");
        assert!(blocks.as_array().expect("an array").len() <= 50);
        let texts = words.slack_blocks.replace("<!here>", "").replace("<https://wiki/", "");
        assert!(!texts.contains("<!"), "nobody else is called");
    }

    #[test]
    fn an_alert_carries_what_is_known() {
        let style = Style::read(r#"{"channel":"ops"}"#).expect("right");
        let words = style
            .format(&event("2 probes", &["signal-engine".to_owned(), "db".to_owned()]))
            .expect("goes out");
        assert_eq!(
            words.lines,
            [
                "🔴 signal-engine is failing (timeout)",
                "2 probes",
                "snapshot: kubesnap_1.zip",
                "• db"
            ]
        );
        assert_eq!(words.channel.as_deref(), Some("ops"));
        let blocks: serde_json::Value = serde_json::from_str(&words.slack_blocks).expect("JSON");
        let kinds: Vec<&str> = blocks
            .as_array()
            .expect("an array")
            .iter()
            .filter_map(|it| it["type"].as_str())
            .collect();
        assert_eq!(kinds, ["header", "section", "section", "section", "context"]);
        assert_eq!(blocks[2]["fields"].as_array().map(Vec::len), Some(6));
        assert_eq!(blocks[3]["text"]["text"], "• db");
    }
}
