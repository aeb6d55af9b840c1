//! A health policy: a service fails when its newest probes failed, so many in a row.

use std::sync::OnceLock;

use serde::Deserialize;

mod wit {
    wit_bindgen::generate!({ path: "wit", world: "health-policy-plugin" });
}
use wit::exports::headgate::plugin::health_policy::{
    self, Action, Alert, Health, Input, Saved, Severity, Verdict,
};
use wit::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use wit::headgate::plugin::telemetry::{self, Level};
use wit::headgate::plugin::types::{Outcome, Sample};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    failures: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { failures: 2 }
    }
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// The rule: how many of the newest probes failed in a row.
fn judge(settings: &Settings, samples: &[Sample]) -> (Health, &'static str, String) {
    let made: Vec<_> = samples.iter().filter(|it| it.outcome != Outcome::Skipped).collect();
    let failed = made.iter().rev().take_while(|it| it.outcome != Outcome::Ok).count();
    if made.is_empty() {
        (Health::Unknown, "no-samples", "no probe has been made yet".to_string())
    } else if failed >= settings.failures {
        (Health::Failing, "failed", format!("{failed} probes in a row failed"))
    } else if failed > 0 {
        (Health::Degraded, "wavering", format!("{failed} of {} probes failed", settings.failures))
    } else {
        (Health::Ok, "ok", "as expected".to_string())
    }
}

struct Plugin;
wit::export!(Plugin with_types_in wit);

impl health_policy::Guest for Plugin {
    fn evaluate(input: Input, _prior: Option<Saved>) -> Result<Verdict, String> {
        let settings = SETTINGS.get().ok_or("not configured")?;
        let (status, code, detail) = judge(settings, &input.samples);
        let alert = Alert {
            severity: Severity::Critical,
            issues: vec![input.service.name],
            channels: vec![],
        };
        let failing = status == Health::Failing;
        Ok(Verdict {
            status,
            code: code.to_string(),
            detail,
            actions: if failing { vec![Action::Alert(alert)] } else { vec![] },
            next_check_ms: None,
            state: None,
            extra: vec![],
        })
    }
}

impl plugin::Guest for Plugin {
    fn describe() -> Info {
        Info {
            name: "{{name}}".to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            summary: "Fails a service when its newest probes failed, so many in a row".to_string(),
            config_schema: Some(include_str!("../settings.schema.json").to_string()),
            example_config: Some(include_str!("../settings.example.json").to_string()),
            state_version: 0,
            wants: vec!["action:alert".to_string()],
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
        let (status, code, detail) = judge(&Settings::default(), &[]);
        vec![Check {
            name: "nothing seen is unknown".to_string(),
            passed: status == Health::Unknown && code == "no-samples",
            message: format!("unknown was expected, {code} came: {detail}"),
        }]
    }
}
