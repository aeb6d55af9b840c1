//! A policy that does what its settings say, which is nothing good.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../../wit", world: "health-policy-plugin" });
}
#[path = "../../misbehave.rs"]
mod misbehave;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bindings::exports::headgate::plugin::health_policy::{self, Health, Input, Saved, Verdict};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::headgate::plugin::telemetry::{self, Level};

static WORD: Mutex<String> = Mutex::new(String::new());
static CALLS: AtomicU32 = AtomicU32::new(0);

struct Hostile;
bindings::export!(Hostile with_types_in bindings);

impl plugin::Guest for Hostile {
    fn describe() -> Info {
        Info {
            name: "hostile-policy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Does what its settings say, which is nothing good".to_owned(),
            config_schema: None,
            example_config: None,
            state_version: 1,
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
        let passed = *WORD.lock().expect("one thread") != "self-test";
        vec![Check { name: "golden".to_owned(), passed, message: String::new() }]
    }
}

impl health_policy::Guest for Hostile {
    fn evaluate(_: Input, prior: Option<Saved>) -> Result<Verdict, String> {
        let word = WORD.lock().expect("one thread").clone();
        misbehave::misbehave(&word);
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = prior.map(|it| it.bytes).unwrap_or_default();
        let mut verdict = Verdict {
            status: Health::Ok,
            code: "fine".to_owned(),
            detail: format!("call {calls} of this instance"),
            actions: Vec::new(),
            next_check_ms: None,
            state: None,
            extra: Vec::new(),
        };
        match word.as_str() {
            // One byte more each time: its memory is how often it was called.
            "remember" => {
                state.push(b'x');
                verdict.detail = format!("{} calls", state.len());
                verdict.state = Some(state);
            }
            "large-state" => verdict.state = Some(vec![7; 10 << 20]),
            "large-detail" => verdict.detail = "x".repeat(10 << 20),
            "no-slug" => verdict.code = "Not a slug".to_owned(),
            "lines" => {
                (0..10_000).for_each(|it| telemetry::log(Level::Warn, &format!("line {it}")))
            }
            // Where something lies is the same in every instance, or replays would differ.
            "address" => verdict.detail = format!("{:p}", Box::new(calls)),
            "error" => return Err("does not want to".to_owned()),
            _ => {}
        }
        Ok(verdict)
    }
}
