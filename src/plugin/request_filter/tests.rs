//! Fail modes, notes and recycling, as far as no component is needed.

use std::sync::Arc;
use std::time::Duration;

use super::{AGE_MAX, CALLS_MAX, CoreFilters, Did, Filtered, OnFailure, RequestFilter, is_used_up};
use crate::plugin::facts::Facts;

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
