//! An alert formatter: one line that says what happened, and where help is.

use std::sync::OnceLock;

use serde::Deserialize;

mod wit {
    wit_bindgen::generate!({ path: "wit", world: "alert-formatter-plugin" });
}
use wit::exports::headgate::plugin::alert_formatter::{
    self, Event, Health, Message, Phase, Severity,
};
use wit::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use wit::headgate::plugin::telemetry::{self, Level};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    runbook: Option<String>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The words: a headline, then the runbook where there is one.
fn lines(settings: &Settings, event: &Event) -> Vec<String> {
    let mark = match (event.phase, event.severity) {
        (Phase::Resolved, _) => "RESOLVED",
        (Phase::Test, _) => "TEST",
        (_, Severity::Info) => "INFO",
        (_, Severity::Warning) => "WARNING",
        (_, Severity::Critical) => "CRITICAL",
    };
    let health = match event.new {
        Health::Unknown => "unknown",
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failing => "failing",
        Health::Maintenance => "in maintenance",
    };
    let headline = format!("[{mark}] {} is {health}: {}", event.service.name, event.detail);
    let help = settings.runbook.as_ref().filter(|_| event.phase != Phase::Resolved);
    let help = help.map(|it| format!("Runbook: {it}{}", event.code));
    [headline].into_iter().chain(help).collect()
}

struct Plugin;
wit::export!(Plugin with_types_in wit);

impl alert_formatter::Guest for Plugin {
    fn format(event: Event) -> Result<Option<Message>, String> {
        let settings = SETTINGS.get().ok_or("not configured")?;
        Ok(Some(Message {
            issues: lines(settings, &event),
            channels: vec![],
            channel: None,
            dedup_key: None,
            extra: vec![],
        }))
    }
}

impl plugin::Guest for Plugin {
    fn describe() -> Info {
        Info {
            name: "{{name}}".to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            summary: "Words an alert in one line, with a link to the runbook".to_string(),
            config_schema: Some(include_str!("../settings.schema.json").to_string()),
            example_config: Some(include_str!("../settings.example.json").to_string()),
            state_version: 0,
            wants: vec![],
            metrics: vec![],
            extra: vec![],
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        // A panic ends the call with a trap, which says where; this says why.
        std::panic::set_hook(Box::new(|it| telemetry::log(Level::Error, &it.to_string())));
        let settings = serde_json::from_str(&json)
            .map_err(|it| vec![Issue { path: String::new(), message: it.to_string() }])?;
        SETTINGS.set(settings).map_err(|_| vec![])
    }

    fn self_test() -> Vec<Check> {
        let event = Event {
            now_ms: 0,
            id: "golden".to_string(),
            phase: Phase::Opened,
            severity: Severity::Critical,
            service: alert_formatter::Service {
                name: "shop".to_string(),
                namespace: None,
                endpoint: String::new(),
                ready: None,
                desired: None,
                labels: vec![],
            },
            old: Health::Ok,
            new: Health::Failing,
            code: "refused".to_string(),
            detail: "connection refused".to_string(),
            issues: vec![],
            snapshot_id: None,
            gateway: String::new(),
            extra: vec![],
        };
        let came = lines(&Settings::default(), &event);
        vec![Check {
            name: "an incident has one line".to_string(),
            passed: came == ["[CRITICAL] shop is failing: connection refused"],
            message: format!("one line was expected, this came: {came:?}"),
        }]
    }
}
