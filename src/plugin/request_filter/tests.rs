//! Fail modes, notes and recycling, as far as no component is needed.

use std::sync::Arc;
use std::time::Duration;

use super::running::{AGE_MAX, CALLS_MAX, is_used_up};
use super::{CoreFilters, Did, Filtered, OnFailure, RequestFilter};
use crate::plugin::facts::Facts;
use crate::telemetry::metrics::Metrics;

fn unproven(id: u64, plugin: &str, on_failure: OnFailure) -> Arc<RequestFilter> {
    Arc::new(RequestFilter::new(id, plugin.to_owned(), None, on_failure, Vec::new()))
}

#[test]
fn the_fail_mode_speaks_for_a_filter_that_is_not_there() {
    let mut core = CoreFilters::default();
    let mut facts = Facts::default();
    let open = unproven(1, "open", OnFailure::Open);
    let closed = unproven(2, "closed", OnFailure::Closed);

    let run = core.run(&[], &mut facts);
    assert!(matches!(run, Filtered::Pass(edits) if edits.is_empty()));
    assert_eq!(core.take_note(), None);

    let run = core.run(&[Arc::clone(&open), Arc::clone(&open)], &mut facts);
    assert!(matches!(run, Filtered::Pass(edits) if edits.is_empty()));
    let note = core.take_note().unwrap();
    assert_eq!((&*note.plugin, note.did), ("open", Did::FailedOpen("unproven")));

    let run = core.run(&[open, Arc::clone(&closed), closed], &mut facts);
    let Filtered::Refused { filter, fault: None } = run else { panic!("{run:?}") };
    assert_eq!(filter.id, 2);
    let note = core.take_note().unwrap();
    assert_eq!((&*note.plugin, note.did), ("closed", Did::FailedClosed("unproven")));
    assert_eq!(core.instances(), 0);
}

#[test]
fn every_request_of_a_filter_that_is_not_there_is_a_fall_back() {
    let metrics = Metrics::new(1);
    let counts = Some(metrics.plugins().plugin("gone"));
    let none = Vec::new();
    let gone = RequestFilter::new(1, "gone".to_owned(), None, OnFailure::Closed, none);
    let gone = [Arc::new(gone.missed_by(counts))];
    let mut core = CoreFilters::default();
    for _ in 0..3 {
        core.run(&gone, &mut Facts::default());
    }
    let line = "headgate_plugin_fallbacks_total{plugin=\"gone\"} 3";
    assert!(metrics.render().lines().any(|it| it == line));
}

#[test]
fn a_filter_without_a_component_needs_no_spares() {
    assert_eq!(unproven(1, "a", OnFailure::Open).prepare(), Ok(()));
}

#[test]
fn an_instance_is_used_up_by_calls_age_or_memory() {
    let young = Duration::ZERO;
    for (calls, age, memory, expected) in [
        (64, young, (100, 100), false),
        (64, young, (100, 199), false),
        (64, young, (100, 200), true),
        (64, young, (0, 0), false),
        (64, young, (0, 1), true),
        (CALLS_MAX - 1, young, (1, 1), false),
        (CALLS_MAX, young, (1, 1), true),
        (64, AGE_MAX - Duration::from_millis(1), (1, 1), false),
        (64, AGE_MAX, (1, 1), true),
    ] {
        assert_eq!(is_used_up(calls, age, memory), expected, "{calls} {age:?} {memory:?}");
    }
}

#[test]
fn the_weightiest_deed_is_noted() {
    let mut all =
        [Did::FailedClosed("trap"), Did::Edited, Did::Replied, Did::FailedOpen("timeout")];
    all.sort();
    assert_eq!(all.map(Did::word), ["edited", "failed-open", "replied", "failed-closed"]);
    assert_eq!(all.map(Did::why), [None, Some("timeout"), None, Some("trap")]);
}

mod with_a_component {
    use std::sync::Arc;

    use crate::model::UnixMs;
    use crate::plugin::facts::{Fact, Facts};
    use crate::plugin::host::{FilterDecision, Host, Purpose, inspect};
    use crate::plugin::registry::Place;
    use crate::plugin::registry::acting::Acting;
    use crate::plugin::request_filter::{CoreFilters, Did, Filtered, OnFailure, RequestFilter};
    use crate::plugin::{Class, Fault};

    const SETTINGS: &str = r#"{"header":"x-tenant","set":{"x-checked":"yes"}}"#;

    fn filter(id: u64, on_failure: OnFailure) -> Arc<RequestFilter> {
        let host = Host::start(Purpose::Serve).unwrap();
        let wasm = include_bytes!("../../../plugins/dist/require-header.wasm");
        let seen = inspect(wasm, Class::Default).unwrap();
        let artifact = host.compile(wasm).unwrap();
        let component = host.load(&artifact, &seen, Class::Default).unwrap();
        let acting = Acting::alone("require-header", Place::Route(0, 0), component, SETTINGS);
        let name = "require-header".to_owned();
        Arc::new(RequestFilter::new(id, name, Some(acting), on_failure, vec!["*".to_owned()]))
    }

    fn facts(tenant: Option<&str>) -> Facts {
        let mut facts = Facts::default();
        facts.set(Fact::Method, b"GET");
        facts.now_ms = 1_800_000_000_000;
        tenant.into_iter().for_each(|it| facts.add_header(b"X-Tenant", it.as_bytes()));
        facts
    }

    #[test]
    fn one_instance_answers_request_after_request() {
        let filters = [filter(7, OnFailure::Closed)];
        filters[0].prepare().unwrap();
        let mut core = CoreFilters::default();
        for _ in 0..200 {
            let run = core.run(&filters, &mut facts(Some("a")));
            let Filtered::Pass(edits) = run else { panic!("{run:?}") };
            assert_eq!(edits.len(), 1);
            assert_eq!(core.take_note().unwrap().did, Did::Edited);
            let run = core.run(&filters, &mut facts(None));
            let Filtered::Reply { reply, .. } = run else { panic!("{run:?}") };
            assert_eq!(reply.status, 400);
            assert_eq!(core.take_note().unwrap().did, Did::Replied);
        }
        assert_eq!(core.instances(), 1);
        core.keep(filters.iter());
        assert_eq!(core.instances(), 1);
        core.keep([].iter());
        assert_eq!(core.instances(), 0);
        let run = core.run(&filters, &mut facts(Some("a")));
        assert!(matches!(run, Filtered::Pass(_)), "there are spares: {run:?}");
    }

    #[test]
    fn a_suspended_filter_is_not_asked() {
        for on_failure in [OnFailure::Closed, OnFailure::Open] {
            let filters = [filter(7, on_failure)];
            filters[0].prepare().unwrap();
            let mut core = CoreFilters::default();
            let acting = filters[0].component.clone().unwrap();
            let mut facts = facts(None);
            acting.suspend(UnixMs(facts.now_ms + 1));
            let run = core.run(&filters, &mut facts);
            match on_failure {
                OnFailure::Closed => assert!(matches!(run, Filtered::Refused { fault: None, .. })),
                OnFailure::Open => assert!(matches!(run, Filtered::Pass(_))),
            }
            assert_eq!(core.take_note().unwrap().did.why(), Some("suspended"));
            facts.now_ms += 1;
            assert!(matches!(core.run(&filters, &mut facts), Filtered::Reply { .. }));
        }
    }

    #[test]
    fn without_a_spare_the_filter_is_busy_and_one_is_being_made() {
        let filters = [filter(7, OnFailure::Closed)];
        let mut core = CoreFilters::default();
        let run = core.run(&filters, &mut facts(None));
        assert!(matches!(run, Filtered::Refused { fault: Some(Fault::Busy), .. }), "{run:?}");
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while matches!(core.run(&filters, &mut facts(None)), Filtered::Refused { .. }) {
            assert!(tokio::time::Instant::now() < end, "none was made");
            std::thread::yield_now();
        }
        assert_eq!(core.instances(), 1);
    }

    #[test]
    fn the_cost_of_a_call_is_that_of_the_guest() {
        let filter = filter(7, OnFailure::Closed);
        filter.prepare().unwrap();
        let filters = [filter];
        let (mut core, mut facts) = (CoreFilters::default(), facts(Some("a")));
        let mut instance = filters[0].spares.take().unwrap();
        let rounds = 2_000;
        let began = crate::linux::clock::thread_cpu_time();
        let mut said = crate::plugin::Said::default();
        for _ in 0..rounds {
            let decision = instance.on_request(&mut facts, &mut said).unwrap();
            assert!(matches!(decision, FilterDecision::Edit(_)));
        }
        let bare = crate::linux::clock::thread_cpu_time() - began;
        let began = crate::linux::clock::thread_cpu_time();
        for _ in 0..rounds {
            let _ = core.run(&filters, &mut facts);
        }
        let whole = crate::linux::clock::thread_cpu_time() - began;
        // Wide: unoptimised code on a busy machine. What is meant is that nothing of another order comes on top.
        assert!(whole < bare * 5, "{whole:?} for {rounds} calls, {bare:?} without the budget");
    }
}
