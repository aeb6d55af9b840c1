//! The hostile guests of `tests/guests`, as a real compiler made them.

use std::path::Path;

use headgate::model::alert::Phase;
use headgate::model::health::{Saved, Severity};
use headgate::plugin::facts::Facts;
use headgate::plugin::host::Component;
use headgate::plugin::{Fault, Said};
use serde_json::json;

use super::{event, label, load, window};
use crate::support::peers::skip;

/// A guest that `scripts/build-plugins --guests` has built.
fn built(name: &str, test: &str) -> Option<Component> {
    let target = Path::new(env!("CARGO_BIN_EXE_headgate")).ancestors().nth(2);
    let file = target.expect("a target folder").join(format!("guests/{name}.wasm"));
    match std::fs::read(file) {
        Ok(wasm) => Some(load(&wasm).expect("it is let in: it misbehaves later")),
        Err(_) => {
            skip(test, "the guests (scripts/build-plugins --guests)");
            None
        }
    }
}

fn misbehaving(word: &str) -> String {
    json!({ "misbehave": word }).to_string()
}

/// Words for what a guest of any kind can do, and the label of the fault.
const ANY: [(&str, &str); 8] = [
    ("loop", "timeout"),
    ("recursion", "trap"),
    ("memory", "memory"),
    ("huge", "memory"),
    ("panic", "trap"),
    ("index", "trap"),
    ("divide", "trap"),
    ("abort", "trap"),
];

#[test]
fn policies_end_by_their_budget() {
    let Some(policy) = built("hostile-policy", "policies_end_by_their_budget") else { return };
    let own = [
        ("", "ok"),
        ("large-state", "data"),
        ("large-detail", "data"),
        ("no-slug", "invalid-output"),
        ("lines", "ok"),
        ("error", "error"),
    ];
    for (word, expected) in ANY.into_iter().chain(own) {
        let called = policy.evaluate(&misbehaving(word), &window(), None);
        assert_eq!(label(&called), expected, "{word}: {:?}", called.outcome);
        assert!(called.said.lines.len() <= 32, "{word}");
        let good = policy.evaluate("{}", &window(), None);
        assert_eq!(label(&good), "ok", "after {word}");
    }
    let called = policy.evaluate(&misbehaving("panic"), &window(), None);
    let Err(Fault::Trap { message }) = &called.outcome else { panic!("{called:?}") };
    assert!(message.contains("misbehave"), "the function is not named: {message}");
    assert!(message.contains("this guest panics in panic"), "the words are lost: {message}");
}

#[test]
fn a_policys_memory_is_what_the_host_gives_back_to_it() {
    let test = "a_policys_memory_is_what_the_host_gives_back_to_it";
    let Some(policy) = built("hostile-policy", test) else { return };
    let settings = misbehaving("remember");
    let mut saved: Option<Saved> = None;
    for round in 1..=20 {
        let called = policy.evaluate(&settings, &window(), saved.as_ref());
        let verdict = called.outcome.expect("a verdict");
        assert_eq!(verdict.detail, format!("{round} calls"));
        saved = verdict.state.map(|bytes| Saved { version: policy.info().state_version, bytes });
    }
    // Without it the policy begins anew, and where things lie is the same each time.
    for word in ["", "address"] {
        let call =
            || policy.evaluate(&misbehaving(word), &window(), None).outcome.expect("a verdict");
        let first = call();
        assert!((0..20).all(|_| call() == first), "{word}");
    }
}

#[test]
fn formatters_end_by_their_budget() {
    let Some(formatter) = built("hostile-formatter", "formatters_end_by_their_budget") else {
        return;
    };
    let opened = event(Phase::Opened, Severity::Critical);
    let own = [("", "ok"), ("many", "invalid-output"), ("error", "error"), ("silence", "ok")];
    for (word, expected) in ANY.into_iter().chain(own) {
        let called = formatter.format(&misbehaving(word), &opened);
        let found = label(&called);
        assert!(found == expected || (word == "many" && found == "data"), "{word}: {called:?}");
    }
}

#[test]
fn filters_end_by_their_budget() {
    let Some(filter) = built("hostile-filter", "filters_end_by_their_budget") else { return };
    let own = [
        ("", "ok"),
        ("slow", "ok"),
        ("forge-key", "invalid-output"),
        ("forge-length", "invalid-output"),
        ("split", "invalid-output"),
        ("status-99", "invalid-output"),
        ("status-101", "invalid-output"),
        ("large-body", "data"),
    ];
    for (word, expected) in ANY.into_iter().chain(own) {
        let mut instance = filter.instance(&misbehaving(word)).expect("configure is fine");
        let mut said = Said::default();
        let outcome = instance.on_request(&mut Facts::default(), &mut said);
        let found = outcome.map_or_else(|it| it.label(), |_| "ok");
        // To fill so much memory may take longer than 2 ms.
        let late = ["memory", "large-body"].contains(&word) && found == "timeout";
        assert!(found == expected || late, "{word}: {found}");
    }
}
