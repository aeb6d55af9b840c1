//! Random bytes and damaged components through everything that a component goes through: refused or taken, never worse.

use headgate::plugin::host::Component;

use super::assemble::Guest;
use super::{label, load, loaded, window};
use headgate::model::alert::Phase;
use headgate::model::health::Severity;
use headgate::plugin::facts::Facts;
use headgate::plugin::{Kind, Said};

/// Enough to reach every section of a small component many times.
const DAMAGED: usize = 1500;

/// A small generator, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % below.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap_or(0)
    }
}

/// Everything that the gate would do with it; whatever it answers is an answer.
fn use_it(component: &Component) {
    let called = component.check_settings(&serde_json::json!({}));
    let _ = (label(&called), component.self_test("{}").outcome.map(|it| it.len()));
    match component.kind() {
        Kind::Policy => {
            let _ = component.evaluate("{}", &window(), None);
        }
        Kind::Formatter => {
            let _ = component.format("{}", &super::event(Phase::Opened, Severity::Critical));
        }
        Kind::Filter => {
            if let Ok(mut instance) = component.instance("{}") {
                let _ = instance.on_request(&mut Facts::default(), &mut Said::default());
            }
        }
    }
}

fn damaged(good: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        match dice.roll(6) {
            0 => bytes[at] = dice.byte(),
            1 => bytes[at] ^= 1 << dice.roll(8),
            2 => {
                bytes.truncate(at.max(1));
            }
            3 => bytes.insert(at, dice.byte()),
            4 => {
                bytes.remove(at);
                bytes.push(0);
            }
            _ => {
                // A stretch from elsewhere.
                let from = dice.roll(good.len());
                let len = dice.roll(64).min(good.len() - from).min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&good[from..from + len]);
            }
        }
    }
    bytes
}

#[test]
fn damaged_components_never_panic() {
    let good: Vec<Vec<u8>> =
        [Guest::policy(), Guest::formatter(), Guest::filter()].iter().map(Guest::build).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut taken) = (0, 0);
    for number in 0..DAMAGED {
        let bytes = damaged(&good[number % good.len()], &mut dice);
        match load(&bytes) {
            Ok(component) => {
                taken += 1;
                use_it(&component);
            }
            Err(refusals) => {
                refused += 1;
                assert!(!refusals.is_empty(), "no reason for number {number}");
            }
        }
    }
    assert!(refused > 100 && taken > 10, "{refused} refused, {taken} taken: nothing was tried");
    assert_eq!(label(&loaded(&Guest::policy()).evaluate("{}", &window(), None)), "ok");
}

#[test]
fn random_bytes_are_refused() {
    let mut dice = Dice(42);
    for number in 0..500 {
        let len = dice.roll(600);
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
        if number % 2 == 0 {
            bytes.splice(..0, *b"\0asm\x0d\0\x01\0");
        }
        assert!(load(&bytes).is_err_and(|it| !it.is_empty()), "number {number}: {bytes:?}");
    }
}
