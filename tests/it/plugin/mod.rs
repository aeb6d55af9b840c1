//! Plugins that mean harm, or are only broken: each is refused at its step or ends by its budget, and nothing else feels it.

mod filters;
mod formatters;
mod gate;
mod guests;
mod policies;
mod proof;
mod refused;
pub(crate) mod stand;
mod swap;
mod wit;

#[path = "../../guests/assemble.rs"]
pub(crate) mod assemble;

use std::sync::OnceLock;

use headgate::model::alert::{Event, Phase};
use headgate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source, Window};
use headgate::plugin::host::{Component, Host, Purpose, inspect};
use headgate::plugin::{Called, Class, Refusal};

use assemble::Guest;

/// The engine that these tests share, as all plugins of a gate do.
fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::start(Purpose::Serve).expect("an engine"))
}

/// As the gate takes a component in, but for the child that compiles.
fn load(wasm: &[u8]) -> Result<Component, Vec<Refusal>> {
    let seen = inspect(wasm, Class::Default)?;
    let artifact = host().compile(wasm).map_err(|it| vec![it])?;
    host().load(&artifact, &seen, Class::Default)
}

#[track_caller]
fn loaded(guest: &Guest) -> Component {
    match load(&guest.build()) {
        Ok(component) => component,
        Err(refusals) => panic!("not loaded: {refusals:?}"),
    }
}

/// `ok`, or the label of the fault.
fn label<T>(called: &Called<T>) -> &'static str {
    called.outcome.as_ref().map_or_else(|it| it.label(), |_| "ok")
}

fn service() -> ServiceFacts {
    ServiceFacts {
        name: "signal-engine".to_owned(),
        namespace: Some("default".to_owned()),
        endpoint: "http://signal-engine:8000/health".to_owned(),
        ready: Some(2),
        desired: Some(2),
        labels: Vec::new(),
    }
}

/// The usual window: twelve probes with bodies of a hundred bytes.
fn window() -> Window {
    let body = format!("{{\"status\":\"OK\",\"padding\":\"{}\"}}", "x".repeat(72));
    let sample = |number: u64| Sample {
        at_ms: 1_000_000 + number * 10_000,
        source: Source::Probe,
        kind: "http".to_owned(),
        latency_us: 1500,
        outcome: Outcome::Ok,
        status: Some(200),
        body: Some(body.clone()),
        extra: Vec::new(),
    };
    Window {
        now_ms: 1_200_000,
        service: service(),
        current: Health::Ok,
        since_ms: 900_000,
        samples: (0..12).map(|it| std::sync::Arc::new(sample(it))).collect(),
        seed: 7,
        extra: Vec::new(),
    }
}

fn event(phase: Phase, severity: Severity) -> Event {
    Event {
        now_ms: 1_200_000,
        id: "incident-1".to_owned(),
        phase,
        severity,
        service: service(),
        old: Health::Ok,
        new: Health::Failing,
        code: "bad-status".to_owned(),
        detail: "it answers 500".to_owned(),
        issues: vec!["signal-engine".to_owned()],
        snapshot_id: None,
        gateway: "gate".to_owned(),
        extra: Vec::new(),
    }
}

/// An endless loop that leaves an answer for the validator.
const LOOP: &str = "(loop $l (br $l)) unreachable";

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib * 1024
}
