//! A formatter that does what its settings say, which is nothing good.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../../wit", world: "alert-formatter-plugin" });
}
#[path = "../../misbehave.rs"]
mod misbehave;

use std::sync::Mutex;

use bindings::exports::headgate::plugin::alert_formatter::{self, Event, Message};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::headgate::plugin::telemetry::{self, Level};

static WORD: Mutex<String> = Mutex::new(String::new());

struct Hostile;
bindings::export!(Hostile with_types_in bindings);

impl plugin::Guest for Hostile {
    fn describe() -> Info {
        Info {
            name: "hostile-formatter".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Does what its settings say, which is nothing good".to_owned(),
            config_schema: None,
            example_config: None,
            state_version: 0,
            wants: Vec::new(),
            metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
        *WORD.lock().expect("one thread") = misbehave::word(&json);
        Ok(())
    }

    fn self_test() -> Vec<Check> {
        vec![Check { name: "golden".to_owned(), passed: true, message: String::new() }]
    }
}

impl alert_formatter::Guest for Hostile {
    fn format(event: Event) -> Result<Option<Message>, String> {
        let word = WORD.lock().expect("one thread").clone();
        misbehave::misbehave(&word);
        let mut message = Message {
            issues: vec![format!("{} by the component", event.service.name)],
            channels: Vec::new(),
            channel: None,
            dedup_key: None,
            extra: Vec::new(),
        };
        match word.as_str() {
            "silence" => return Ok(None),
            "many" => message.issues = vec!["x".to_owned(); 10_000],
            "error" => return Err("does not want to".to_owned()),
            _ => {}
        }
        Ok(Some(message))
    }
}
