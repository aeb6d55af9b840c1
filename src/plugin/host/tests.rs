//! The reference components in the sandbox: described, configured, tested, called; and what the sandbox refuses.

use std::path::Path;
use std::sync::Arc;

use super::{Component, FilterDecision, Host, Purpose, inspect};
use crate::model::alert::{Event, Phase};
use crate::model::health::{Health, Outcome, Sample, ServiceFacts, Severity, Source, Window};
use crate::plugin::facts::{Fact, Facts};
use crate::plugin::host::state::State;
use crate::plugin::limits::Limits;
use crate::plugin::{Class, DeclaredMetric, Kind, Level, MetricKind, Said};

fn load(host: &Host, name: &str, kind: Kind) -> Component {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/dist").join(name);
    let wasm = std::fs::read(path.with_extension("wasm")).expect("a built component");
    let seen = inspect(&wasm, Class::Default).expect("a plugin");
    assert_eq!(seen.kind, kind);
    let artifact = host.compile(&wasm).expect("compiles");
    host.load(&artifact, &seen, Class::Default).expect("loads")
}

fn service() -> ServiceFacts {
    ServiceFacts {
        name: "signal-engine".to_owned(),
        namespace: Some("stockflow".to_owned()),
        endpoint: "http://signal-engine:8000/health".to_owned(),
        ready: Some(1),
        desired: Some(1),
        labels: vec![("tier".to_owned(), "backend".to_owned())],
    }
}

/// Twelve samples with bodies of a hundred bytes.
pub(super) fn window(status: u16) -> Window {
    let sample = |number: u64| Sample {
        at_ms: 1_700_000_000_000 + number * 10_000,
        source: Source::Probe,
        kind: "http".to_owned(),
        latency_us: 2_500,
        outcome: if status == 200 { Outcome::Ok } else { Outcome::BadStatus },
        status: Some(status),
        body: Some(format!("{{\"status\":\"OK\",\"padding\":\"{}\"}}", "x".repeat(72))),
        extra: Vec::new(),
    };
    Window {
        now_ms: 1_700_000_120_000,
        service: service(),
        current: Health::Ok,
        since_ms: 1_700_000_000_000,
        samples: (0..12).map(|it| Arc::new(sample(it))).collect(),
        seed: 7,
        extra: Vec::new(),
    }
}

pub(super) fn event() -> Event {
    Event {
        now_ms: 1_700_000_120_000,
        id: "inc-1".to_owned(),
        phase: Phase::Opened,
        severity: Severity::Critical,
        service: service(),
        old: Health::Ok,
        new: Health::Failing,
        code: "bad-status".to_owned(),
        detail: "answered 500".to_owned(),
        issues: vec!["signal-engine".to_owned()],
        snapshot_id: None,
        gateway: "gate".to_owned(),
        extra: Vec::new(),
    }
}

#[test]
fn a_policy_is_described_tested_and_judges() {
    let host = Host::start(Purpose::Serve).expect("an engine");
    let policy = load(&host, "threshold", Kind::Policy);
    assert_eq!(policy.info().name, "threshold");

    let settings: serde_json::Value =
        serde_json::from_str(policy.info().example_config.as_deref().unwrap_or("{}"))
            .expect("JSON");
    assert_eq!(policy.check_settings(&settings).outcome, Ok(Vec::new()));
    let checks = policy.self_test("{}").outcome.expect("a self-test");
    assert!(checks.iter().all(|it| it.passed), "{checks:?}");

    let good = policy.evaluate("{}", &window(200), None);
    assert_eq!(good.outcome.as_ref().map(|it| it.status), Ok(Health::Ok), "{good:?}");
    assert!(good.spent.memory_bytes > 0 && good.spent.fuel.is_none());
    let bad = policy.evaluate("{}", &window(500), None);
    assert_eq!(bad.outcome.as_ref().map(|it| it.status), Ok(Health::Failing), "{bad:?}");
}

#[test]
fn a_formatter_words_an_event() {
    let host = Host::start(Purpose::Serve).expect("an engine");
    let formatter = load(&host, "plain", Kind::Formatter);

    let message =
        formatter.format("{}", &event()).outcome.expect("a message").expect("not suppressed");

    assert!(message.issues.iter().any(|it| it.contains("signal-engine")), "{message:?}");
}

#[test]
fn a_filter_asks_and_decides_again_and_again_in_one_instance() {
    let host = Host::start(Purpose::Serve).expect("an engine");
    let filter = load(&host, "require-header", Kind::Filter);
    let settings = filter.info().example_config.clone().expect("an example");
    let mut instance = filter.instance(&settings).expect("an instance");
    let (mut facts, mut said) = (Facts::default(), Said::default());
    let mut memory = None;
    for _ in 0..1_000 {
        facts.clear();
        facts.set(Fact::Method, b"GET");
        facts.set(Fact::Path, b"/api/signal");
        let refused = instance.on_request(&mut facts, &mut said).expect("a decision");
        assert!(matches!(refused, FilterDecision::Reply(_)), "{refused:?}");
        assert_eq!(facts.get(Fact::Path), Some(&b"/api/signal"[..]), "the facts come back");

        facts.add_header(b"X-Tenant", b"eu-acme");
        let passed = instance.on_request(&mut facts, &mut said).expect("a decision");
        assert!(!matches!(passed, FilterDecision::Reply(_)), "{passed:?}");
        let now = instance.memory_bytes();
        assert_eq!(*memory.get_or_insert(now), now, "memory stays");
    }
}

#[test]
fn fuel_is_counted_for_measuring_and_is_the_same_each_time() {
    let host = Host::start(Purpose::Measure).expect("an engine");
    let policy = load(&host, "threshold", Kind::Policy);

    let fuel = |_| policy.evaluate("{}", &window(200), None).spent.fuel;

    let counted: Vec<_> = (0..3).map(fuel).collect();
    assert!(counted.iter().all(|it| it.is_some_and(|it| it > 0)), "{counted:?}");
    assert!(counted.windows(2).all(|it| it.first() == it.last()), "{counted:?}");
}

#[test]
fn what_a_guest_says_is_kept_within_its_limits() {
    let host = Host::start(Purpose::Serve).expect("an engine");
    let metric =
        |name: &str, kind| DeclaredMetric { name: name.to_owned(), help: String::new(), kind };
    let declared = vec![metric("seen", MetricKind::Counter), metric("level", MetricKind::Gauge)];
    let limits = Limits::of(Kind::Filter, Class::Default);
    let sandbox = Arc::new(host.sandbox(limits, declared));
    let mut store = State::store(host.engine(), &sandbox);
    let state = store.data_mut();
    state.begin();

    let kept = (0..100).filter(|_| state.takes_line()).count();
    assert_eq!((kept, state.said.lines_dropped), (32, 68));

    let given = [
        ("seen", 1.0),
        ("seen", -1.0),
        ("level", -1.0),
        ("level", f64::NAN),
        ("seen", f64::INFINITY),
        ("undeclared", 1.0),
        ("", 1.0),
    ];
    for (name, value) in given {
        state.record(state.metric(name), value);
    }
    assert_eq!(state.said.metrics, [(0, 1.0), (1, -1.0)]);
    assert_eq!(state.said.metrics_dropped, 5);
    (0..100).for_each(|_| state.record(Some(1), 0.5));
    assert_eq!((state.said.metrics.len(), state.said.metrics_dropped), (64, 43));

    assert_eq!(state.line(Level::Info, &"x".repeat(9_999)).text.len(), 2048);
}
