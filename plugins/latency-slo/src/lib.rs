//! A health policy with a memory: how fast a service burns its error budget.

mod bindings {
    #![allow(missing_docs, clippy::all, reason = "generated from the WIT")]
    wit_bindgen::generate!({ path: "../../wit", world: "health-policy-plugin" });
}
mod buckets;
mod rule;

use std::sync::Mutex;

use memory as _;

use bindings::exports::headgate::plugin::health_policy::{
    self, Action, Alert, Health, Input, Saved, Severity, Verdict,
};
use bindings::exports::headgate::plugin::plugin::{self, Check, Info, Issue, Metric, MetricKind};
use bindings::headgate::plugin::telemetry::{self, Level};
use bindings::headgate::plugin::types::{Outcome, Sample, Source};
use rule::{GOLDEN, Judgement, Probe, Slo, Status};

/// Set by `configure`. An instance serves one configuration.
static SLO: Mutex<Option<Slo>> = Mutex::new(None);

/// Layout of the saved state; what was saved under another one is forgotten.
const STATE_VERSION: u32 = 1;

/// Burn rates of the short and the long window, as `describe` declares them.
const METRICS: [(&str, &str); 2] = [
    ("burn_rate_short", "Error budget burn rate over the short window"),
    ("burn_rate_long", "Error budget burn rate over the long window"),
];

struct LatencySlo;
bindings::export!(LatencySlo with_types_in bindings);

impl plugin::Guest for LatencySlo {
    fn describe() -> Info {
        let gauge = |(name, help): (&str, &str)| Metric {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: MetricKind::Gauge,
        };
        Info {
            name: "latency-slo".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "How fast the error budget burns, over a short and a long window".to_owned(),
            config_schema: Some(include_str!("../settings.schema.json").to_owned()),
            example_config: Some(include_str!("../settings.example.json").to_owned()),
            state_version: STATE_VERSION,
            wants: vec!["action:snapshot".to_owned(), "action:alert".to_owned()],
            metrics: METRICS.map(gauge).to_vec(),
            extra: Vec::new(),
        }
    }

    fn configure(json: String) -> Result<(), Vec<Issue>> {
        tell_panics();
        let to_wit = |it: json::Issue| Issue { path: it.path, message: it.message };
        let slo = Slo::read(&json)
            .map_err(|issues| issues.into_iter().map(to_wit).collect::<Vec<_>>())?;
        *SLO.lock().expect("one thread") = Some(slo);
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

impl health_policy::Guest for LatencySlo {
    fn evaluate(input: Input, prior: Option<Saved>) -> Result<Verdict, String> {
        let slo = SLO.lock().expect("one thread");
        let slo = slo.as_ref().ok_or("called before configure")?;
        let prior = prior.filter(|it| it.version == STATE_VERSION);
        let probes: Vec<Probe<'_>> = input.samples.iter().filter_map(probe).collect();
        let judgement = slo.judge(prior.as_ref().map(|it| &*it.bytes), input.now_ms, &probes);
        if let Some((short, long)) = judgement.burns {
            for ((name, _), thousandths) in METRICS.into_iter().zip([short, long]) {
                telemetry::record_metric(name, thousandths as f64 / 1000.0);
            }
        }
        Ok(verdict(judgement, &input))
    }
}

/// A sample that counts: probes and scheduled runs that were made.
fn probe(sample: &Sample) -> Option<Probe<'_>> {
    let made = sample.outcome != Outcome::Skipped;
    (made && matches!(sample.source, Source::Probe | Source::Schedule)).then(|| Probe {
        at_ms: sample.at_ms,
        latency_us: sample.latency_us,
        answered: sample.outcome == Outcome::Ok,
        body: sample.body.as_deref(),
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
        actions,
        next_check_ms: None,
        state: Some(judgement.state),
        extra: Vec::new(),
    }
}

/// A panic ends the call with a trap, which says where; this says why.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| telemetry::log(Level::Error, &panic.to_string())));
}
