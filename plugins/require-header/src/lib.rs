//! A request filter: refuses requests without a header, and may set others.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../wit", world: "request-filter-plugin" });
}
mod rule;

use std::sync::Mutex;

use memory as _;

use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::exports::headgate::plugin::request_filter::{self, HeaderOp, Reply};
use bindings::headgate::plugin::request;
use bindings::headgate::plugin::telemetry::{self, Level};
use rule::{Decision, Demand, GOLDEN};

/// Set by `configure`. An instance serves one configuration.
static DEMAND: Mutex<Option<Demand>> = Mutex::new(None);

struct RequireHeader;
bindings::export!(RequireHeader with_types_in bindings);

impl plugin::Guest for RequireHeader {
    fn describe() -> Info {
        Info {
            name: "require-header".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "Refuses requests without a header, and may set others".to_owned(),
            config_schema: Some(include_str!("../settings.schema.json").to_owned()),
            example_config: Some(include_str!("../settings.example.json").to_owned()),
            state_version: 0,
            // Which header is in the settings; the operator names it in the grant.
            wants: vec!["header:*".to_owned()],
            metrics: Vec::new(),
            extra: vec![("security".to_owned(), "true".to_owned())],
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        tell_panics();
        let to_wit = |it: json::Issue| Issue { path: it.path, message: it.message };
        let demand = Demand::read(&json)
            .map_err(|issues| issues.into_iter().map(to_wit).collect::<Vec<_>>())?;
        *DEMAND.lock().expect("one thread") = Some(demand);
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

impl request_filter::Guest for RequireHeader {
    fn on_request() -> request_filter::Decision {
        let demand = DEMAND.lock().expect("one thread");
        let demand = demand.as_ref().expect("configure was called before");
        match demand.decide(request::header(&demand.header).as_deref()) {
            Decision::Pass => request_filter::Decision::Next,
            Decision::Edit => request_filter::Decision::Edit(edits(demand)),
            Decision::Refuse => request_filter::Decision::Reply(reply(demand)),
        }
    }
}

fn edits(demand: &Demand) -> Vec<HeaderOp> {
    let set = |(name, value): &(String, String)| {
        HeaderOp::Set((name.clone(), value.clone().into_bytes()))
    };
    demand.set.iter().map(set).collect()
}

fn reply(demand: &Demand) -> Reply {
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    Reply {
        status: demand.refusal.status,
        headers: vec![
            header("content-type", "application/problem+json"),
            header("cache-control", "no-store"),
        ],
        body: demand.refusal.body.clone().into_bytes(),
    }
}

/// A panic ends the call with a trap, which says where; this says why.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
}
