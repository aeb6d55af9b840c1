//! A filter that does what its settings say, which is nothing good; `{"read":[...]}` reads headers for the benchmark.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../../wit", world: "request-filter-plugin" });
}
#[path = "../../misbehave.rs"]
mod misbehave;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::exports::headgate::plugin::request_filter::{self, Decision, HeaderOp, Reply};
use bindings::headgate::plugin::request;
use bindings::headgate::plugin::telemetry::{self, Level};

static WORD: Mutex<String> = Mutex::new(String::new());
static READ: Mutex<Vec<String>> = Mutex::new(Vec::new());
static CALLS: AtomicU32 = AtomicU32::new(0);
static LEAK: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

struct Hostile;
bindings::export!(Hostile with_types_in bindings);

impl plugin::Guest for Hostile {
    fn describe() -> Info {
        Info {
            name: "hostile-filter".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Does what its settings say, which is nothing good".to_owned(),
            config_schema: None,
            example_config: None,
            state_version: 0,
            wants: vec!["header:*".to_owned()],
            metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
        *WORD.lock().expect("one thread") = misbehave::word(&json);
        let list = json.split_once("\"read\"").map_or("", |it| it.1);
        let names = list.split('"').skip(1).step_by(2).map(str::to_owned);
        *READ.lock().expect("one thread") = names.collect();
        Ok(())
    }

    fn self_test() -> Vec<Check> {
        vec![Check { name: "golden".to_owned(), passed: true, message: String::new() }]
    }
}

impl request_filter::Guest for Hostile {
    fn on_request() -> Decision {
        let word = WORD.lock().expect("one thread");
        if word.is_empty() {
            let names = READ.lock().expect("one thread");
            let found = names.iter().filter(|it| request::header(it).is_some()).count();
            return if found == names.len() { Decision::Next } else { refuse(403, "absent") };
        }
        misbehave::misbehave(&word);
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        match word.as_str() {
            // What it did before shows: an instance is used for many requests.
            "count" => refuse(200, &format!("{calls}")),
            "leak" => {
                LEAK.lock().expect("one thread").push(vec![1; 1 << 20]);
                Decision::Next
            }
            "slow" => {
                (0..200_000_u32).for_each(|it| {
                    std::hint::black_box(it);
                });
                Decision::Next
            }
            "forge-key" => set("x-api-key", b"operator-key-0123456789abcdef"),
            "forge-length" => set("content-length", b"0"),
            "split" => set("x-note", b"a\r\nx-api-key: forged"),
            "status-99" => refuse(99, ""),
            "status-101" => refuse(101, ""),
            "large-body" => refuse(200, &"x".repeat(10 << 20)),
            "lines" => {
                (0..10_000).for_each(|it| telemetry::log(Level::Warn, &format!("line {it}")));
                Decision::Next
            }
            _ => Decision::Next,
        }
    }
}

fn set(name: &str, value: &[u8]) -> Decision {
    Decision::Edit(vec![HeaderOp::Set((name.to_owned(), value.to_vec()))])
}

fn refuse(status: u16, body: &str) -> Decision {
    Decision::Reply(Reply { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
}
