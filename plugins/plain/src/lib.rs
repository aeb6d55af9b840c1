//! An alert formatter: the Event Dispatcher's body, nothing more.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../wit", world: "alert-formatter-plugin" });
}
mod rule;

use std::sync::Mutex;

use memory as _;

use bindings::exports::headgate::plugin::alert_formatter::{self, Event, Health, Message, Phase};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::headgate::plugin::telemetry::{self, Level};
use rule::{GOLDEN, Wording};

/// Set by `configure`. An instance serves one configuration.
static WORDING: Mutex<Option<Wording>> = Mutex::new(None);

struct Plain;
bindings::export!(Plain with_types_in bindings);

impl plugin::Guest for Plain {
    fn describe() -> Info {
        Info {
            name: "plain".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "The names of what fails, as the Event Dispatcher takes them".to_owned(),
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
        let wording = Wording::read(&json)
            .map_err(|issues| issues.into_iter().map(to_wit).collect::<Vec<_>>())?;
        *WORDING.lock().expect("one thread") = Some(wording);
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

impl alert_formatter::Guest for Plain {
    fn format(event: Event) -> Result<Option<Message>, String> {
        let wording = WORDING.lock().expect("one thread");
        let wording = wording.as_ref().ok_or("called before configure")?;
        let words = wording.format(&rule::Event {
            id: &event.id,
            phase: phase(event.phase),
            service: &event.service.name,
            old: health(event.old),
            new: health(event.new),
            code: &event.code,
            issues: &event.issues,
        });
        Ok(Some(Message {
            issues: words.issues,
            channels: words.channels,
            channel: words.channel,
            dedup_key: Some(words.dedup_key),
            extra: Vec::new(),
        }))
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Opened => "opened",
        Phase::Updated => "updated",
        Phase::Resolved => "resolved",
        Phase::Test => "test",
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Failing => "failing",
        Health::Maintenance => "maintenance",
    }
}

/// A panic ends the call with a trap, which says where; this says why.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
}
