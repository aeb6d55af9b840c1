//! Native rules and their components agree to the letter, on thousands of random inputs that reach every verdict.

mod bodies;
mod doubtful;
mod events;
mod windows;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::plugin::host::{Component, Host, Purpose, inspect};
use crate::plugin::plain::Plain;
use crate::plugin::threshold::Threshold;
use crate::plugin::{Called, Class, Fault, Issue};

/// Every code that the rule has.
const CODES: [&str; 16] = [
    "no-samples",
    "stale",
    "maintenance",
    "late",
    "timeout",
    "refused",
    "reset",
    "dns",
    "tls",
    "protocol",
    "probe-error",
    "unexpected",
    "bad-status",
    "bad-body",
    "slow",
    "ok",
];
const WINDOWS: usize = 4500;
const EVENTS: usize = 2000;

/// SplitMix64: the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap();
        from[at].clone()
    }
}

fn load(wasm: &[u8]) -> Component {
    let host = Host::start(Purpose::Serve).unwrap();
    let seen = inspect(wasm, Class::Default).unwrap();
    let artifact = host.compile(wasm).unwrap();
    host.load(&artifact, &seen, Class::Default).unwrap()
}

fn threshold() -> Component {
    load(include_bytes!("../../../plugins/dist/threshold.wasm"))
}

fn plain() -> Component {
    load(include_bytes!("../../../plugins/dist/plain.wasm"))
}

#[test]
fn the_threshold_rules_agree_on_windows_that_reach_every_verdict() {
    let (component, mut random) = (threshold(), Random(1));
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    for number in 0..WINDOWS {
        let (settings, window) = windows::case(CODES[number % CODES.len()], &mut random);
        let native = Threshold::new(&settings).unwrap().judge(&window);
        *codes.entry(native.code.clone()).or_default() += 1;
        let foreign = component.evaluate(&settings.to_string(), &window, None).outcome;
        assert_eq!(foreign, Ok(native), "number {number}: {settings} on {window:#?}");
    }
    for code in CODES {
        let share = codes.remove(code).unwrap_or(0) * 100;
        assert!(share >= WINDOWS * 5, "{code} came {share} times in 100 x {WINDOWS}");
    }
    assert!(codes.is_empty(), "unknown codes: {codes:?}");
}

#[test]
fn the_plain_formatters_agree() {
    let (component, mut random) = (plain(), Random(2));
    for number in 0..EVENTS {
        let (settings, event) = events::case(&mut random);
        let native = Plain::new(&settings).unwrap().format(&event);
        let foreign = component.format(&settings.to_string(), &event).outcome;
        assert_eq!(foreign, Ok(Some(native)), "number {number}: {settings} on {event:#?}");
    }
}

#[test]
fn the_same_settings_are_refused_at_the_same_places() {
    let mut random = Random(3);
    let (policy, formatter) = (threshold(), plain());
    let (window, event) = (windows::case("ok", &mut random).1, events::case(&mut random).1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..600 {
        let settings = doubtful::of_policy(&mut random);
        let foreign = policy.evaluate(&settings.to_string(), &window, None);
        let native = Threshold::new(&settings).map(drop);
        same_places(&settings, native, foreign, &mut taken, &mut refused);
        let settings = doubtful::of_formatter(&mut random);
        let foreign = formatter.format(&settings.to_string(), &event);
        let native = Plain::new(&settings).map(drop);
        same_places(&settings, native, foreign, &mut taken, &mut refused);
    }
    assert!(taken > 100 && refused > 300, "{taken} taken, {refused} refused");
}

fn same_places<T: std::fmt::Debug>(
    settings: &Value,
    native: Result<(), Vec<Issue>>,
    foreign: Called<T>,
    taken: &mut u32,
    refused: &mut u32,
) {
    let paths = |it: Vec<Issue>| it.into_iter().map(|it| it.path).collect::<Vec<_>>();
    match (native, foreign.outcome) {
        (Ok(()), Ok(_)) => *taken += 1,
        (Err(native), Err(Fault::Settings(foreign))) => {
            assert_eq!(paths(native), paths(foreign), "{settings}");
            *refused += 1;
        }
        (native, foreign) => panic!("{settings}: native {native:?}, component {foreign:?}"),
    }
}
