//! A health policy: the newest probe against a handful of thresholds.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../wit", world: "health-policy-plugin" });
}
mod rule;

use std::sync::Mutex;

use memory as _;

use bindings::exports::headgate::plugin::health_policy::{
    self, Action, Alert, Health, Input, Saved, Severity, Verdict,
};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue};
use bindings::headgate::plugin::telemetry::{self, Level};
use bindings::headgate::plugin::types::{Outcome, Sample, Source};
use rule::{Ended, GOLDEN, Judgement, Kind, Probe, Status, Thresholds};

/// Set by `configure`. An instance serves one configuration.
static THRESHOLDS: Mutex<Option<Thresholds>> = Mutex::new(None);

/// While something is wrong, look again soon.
const NEXT_CHECK_MS: u32 = 10_000;

struct Threshold;
bindings::export!(Threshold with_types_in bindings);

impl plugin::Guest for Threshold {
    fn describe() -> Info {
        Info {
            name: "threshold".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "The newest probe against a handful of thresholds".to_owned(),
            config_schema: Some(include_str!("../settings.schema.json").to_owned()),
            example_config: Some(include_str!("../settings.example.json").to_owned()),
            state_version: 0,
            wants: vec!["action:snapshot".to_owned(), "action:alert".to_owned()],
            metrics: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        tell_panics();
        let to_wit = |it: json::Issue| Issue { path: it.path, message: it.message };
        let thresholds = Thresholds::read(&json)
            .map_err(|issues| issues.into_iter().map(to_wit).collect::<Vec<_>>())?;
        *THRESHOLDS.lock().expect("one thread") = Some(thresholds);
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

impl health_policy::Guest for Threshold {
    fn evaluate(input: Input, _: Option<Saved>) -> Result<Verdict, String> {
        let thresholds = THRESHOLDS.lock().expect("one thread");
        let thresholds = thresholds.as_ref().ok_or("called before configure")?;
        let probes: Vec<Probe<'_>> = input.samples.iter().filter_map(probe).collect();
        Ok(verdict(thresholds.judge(input.now_ms, &probes), &input))
    }
}

/// A sample that counts: probes and scheduled runs that were made.
fn probe(sample: &Sample) -> Option<Probe<'_>> {
    let ended = match sample.outcome {
        Outcome::Ok => Ended::Answered,
        Outcome::BadStatus => Ended::BadStatus,
        Outcome::Timeout => Ended::Timeout,
        Outcome::Refused => Ended::Refused,
        Outcome::Reset => Ended::Reset,
        Outcome::Dns => Ended::Dns,
        Outcome::Tls => Ended::Tls,
        Outcome::Protocol => Ended::Protocol,
        Outcome::Skipped => return None,
        Outcome::Other => Ended::Other,
    };
    let kind = match sample.kind.as_str() {
        "http" => Kind::Http,
        "grpc" => Kind::Grpc,
        _ => Kind::Other,
    };
    let expect = sample.extra.iter().find(|(name, _)| name == "expect");
    matches!(sample.source, Source::Probe | Source::Schedule).then(|| Probe {
        kind,
        at_ms: sample.at_ms,
        latency_us: sample.latency_us,
        ended,
        status: sample.status,
        body: sample.body.as_deref(),
        expect: expect.map(|(_, sentence)| sentence.as_str()),
    })
}

fn verdict(judgement: Judgement, input: &Input) -> Verdict {
    let service = &input.service;
    let alert = |severity| {
        let issues = vec![service.name.clone()];
        Action::Alert(Alert { severity, issues, channels: Vec::new() })
    };
    let (status, actions) = match judgement.status {
        Status::Unknown => (Health::Unknown, Vec::new()),
        Status::Ok => (Health::Ok, Vec::new()),
        Status::Maintenance => (Health::Maintenance, Vec::new()),
        Status::Degraded => (Health::Degraded, vec![alert(Severity::Warning)]),
        Status::Failing => {
            let snapshot = service.namespace.clone().map(Action::Snapshot);
            (Health::Failing, snapshot.into_iter().chain([alert(Severity::Critical)]).collect())
        }
    };
    Verdict {
        status,
        code: judgement.code.to_owned(),
        detail: judgement.detail,
        next_check_ms: (!actions.is_empty()).then_some(NEXT_CHECK_MS),
        actions,
        state: None,
        extra: Vec::new(),
    }
}

/// A panic ends the call with a trap, which says where; this says why.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
}
