//! An alert formatter: text and blocks for people who read alerts in Slack.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../wit", world: "alert-formatter-plugin" });
}
mod blocks;
mod rule;

use std::sync::Mutex;

use memory as _;

use bindings::exports::headgate::plugin::alert_formatter::{
    self, Event, Health, Message, Phase, Severity,
};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::headgate::plugin::telemetry::{self, Level};
use rule::{GOLDEN, Style};

/// Set by `configure`. An instance serves one configuration.
static STYLE: Mutex<Option<Style>> = Mutex::new(None);

struct SlackBlocks;
bindings::export!(SlackBlocks with_types_in bindings);

impl plugin::Guest for SlackBlocks {
    fn describe() -> Info {
        Info {
            name: "slack-blocks".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Alerts as people read them in Slack: a headline, facts, blocks".to_owned(),
            config_schema: Some(include_str!("../settings.schema.json").to_owned()),
            example_config: Some(include_str!("../settings.example.json").to_owned()),
            state_version: 0,
            wants: Vec::new(),
            metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        tell_panics();
        let to_wit = |it: json::Issue| Issue { path: it.path, message: it.message };
        let style = Style::read(&json)
            .map_err(|issues| issues.into_iter().map(to_wit).collect::<Vec<_>>())?;
        *STYLE.lock().expect("one thread") = Some(style);
        Ok(())
    }

    fn self_test() -> Vec<Check> {
        GOLDEN
            .iter()
            .map(|golden| {
                let differs = golden.differs();
                let passed = differs.is_none();
                Check { name: golden.name.to_owned(), passed, message: differs.unwrap_or_default() }
            })
            .collect()
    }
}

impl alert_formatter::Guest for SlackBlocks {
    fn format(event: Event) -> Result<Option<Message>, String> {
        let style = STYLE.lock().expect("one thread");
        let style = style.as_ref().ok_or("called before configure")?;
        let words = style.format(&seen(&event));
        Ok(words.map(|words| Message {
            issues: words.lines,
            channels: vec!["slack".to_owned()],
            channel: words.channel,
            dedup_key: None,
            extra: vec![
                ("slack-text".to_owned(), words.slack_text),
                ("slack-blocks".to_owned(), words.slack_blocks),
            ],
        }))
    }
}

fn seen(event: &Event) -> rule::Event<'_> {
    let service = &event.service;
    rule::Event {
        id: &event.id,
        phase: match event.phase {
            Phase::Opened => rule::Phase::Opened,
            Phase::Updated => rule::Phase::Updated,
            Phase::Resolved => rule::Phase::Resolved,
            Phase::Test => rule::Phase::Test,
        },
        severity: match event.severity {
            Severity::Info => rule::Severity::Info,
            Severity::Warning => rule::Severity::Warning,
            Severity::Critical => rule::Severity::Critical,
        },
        service: &service.name,
        namespace: service.namespace.as_deref(),
        pods: service.ready.zip(service.desired),
        old: health(event.old),
        new: health(event.new),
        code: &event.code,
        detail: &event.detail,
        issues: &event.issues,
        snapshot: event.snapshot_id.as_deref(),
        gateway: &event.gateway,
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failing => "failing",
        Health::Maintenance => "in maintenance",
    }
}

/// A panic ends the call with a trap, which says where; this says why.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
}
