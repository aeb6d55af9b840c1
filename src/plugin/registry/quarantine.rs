//! When a component has failed too often, and when it may try again; pure, with the time as an argument.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::UnixMs;
use crate::plugin::Fault;

/// Time over which traps and time-outs are counted.
const WINDOW_MS: u64 = 60_000;

/// Calls over which the share of faults is taken.
const CALLS: u32 = 50;

const RETRY_FIRST: Duration = Duration::from_mins(1);
const RETRY_LAST: Duration = Duration::from_hours(1);

/// What a component may do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// So many traps or time-outs within [`WINDOW_MS`] are too many.
    grave: usize,
    /// More faults than these among the last [`CALLS`] are too many.
    share: u32,
}

impl Budget {
    /// Three traps in a minute, or more than 20 % of the last 50 calls.
    pub(crate) const USUAL: Self = Self { grave: 3, share: 10 };
    /// Half of it, while a component is on probation.
    pub(crate) const PROBATION: Self = Self { grave: 2, share: 5 };
}

/// How much a fault weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// None, or one that is not the guest's: no thread was free.
    Nothing,
    /// An answer that is no use.
    Light,
    /// It cost more than an answer: the instance is gone, or time and memory were taken to the limit.
    Grave,
}

impl Weight {
    pub(crate) fn of(fault: Option<&Fault>) -> Self {
        match fault {
            None | Some(Fault::Busy) => Self::Nothing,
            Some(
                Fault::Trap { .. }
                | Fault::Timeout { .. }
                | Fault::Memory { .. }
                | Fault::Data { .. },
            ) => Self::Grave,
            Some(Fault::Invalid { .. } | Fault::Failed { .. } | Fault::Settings(_)) => Self::Light,
        }
    }
}

/// The faults of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strikes {
    /// When the last traps and time-outs were.
    grave: VecDeque<UnixMs>,
    /// One bit a call, the newest lowest; set for a fault.
    recent: u64,
}

impl Strikes {
    /// A call ended.
    ///
    /// # Errors
    /// Why the component must stop.
    pub(crate) fn ended(
        &mut self,
        weight: Weight,
        now: UnixMs,
        budget: Budget,
    ) -> Result<(), String> {
        self.recent =
            (self.recent << 1 | u64::from(weight != Weight::Nothing)) & ((1 << CALLS) - 1);
        if weight == Weight::Grave {
            self.grave.push_back(now);
        }
        self.grave.retain(|at| now.0.saturating_sub(at.0) < WINDOW_MS);
        if self.grave.len() >= budget.grave {
            return Err(format!("{} traps or time-outs within a minute", self.grave.len()));
        }
        let faults = self.recent.count_ones();
        if faults > budget.share {
            return Err(format!("{faults} of the last {CALLS} calls failed"));
        }
        Ok(())
    }

    /// Whether nothing is held against the component, so that a good call need not be written down.
    pub(crate) fn is_clean(&self) -> bool {
        self.recent == 0 && self.grave.is_empty()
    }
}

/// How long a component stays away after its `times`th quarantine in a row (from 0).
pub(crate) fn away(times: u32) -> Duration {
    RETRY_FIRST.saturating_mul(2_u32.saturating_pow(times)).min(RETRY_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds calls (`t` trap, `e` error, `.` good), `step` ms apart; the number of the call that was too much.
    fn first_refused(calls: &str, step: u64, budget: Budget) -> Option<usize> {
        let mut strikes = Strikes::default();
        calls.chars().enumerate().find_map(|(number, call)| {
            let weight = match call {
                't' => Weight::Grave,
                'e' => Weight::Light,
                _ => Weight::Nothing,
            };
            let now = UnixMs(1_000_000 + number as u64 * step);
            strikes.ended(weight, now, budget).is_err().then_some(number)
        })
    }

    #[test]
    fn faults_are_too_many_by_count_or_by_share() {
        let good = ".".repeat(60);
        for (calls, step, usual, probation) in [
            ("ttt", 1_000, Some(2), Some(1)),
            ("t.t.t", 10_000, Some(4), Some(2)),
            // The first has left the minute when the third comes.
            ("ttt", 30_000, None, Some(1)),
            ("ttt", 60_000, None, None),
            ("eeeeeeeeeeee", 1_000, Some(10), Some(5)),
            ("e...e...e...e...e...e...", 1_000, None, Some(20)),
            // One in five is the limit, not beyond it.
            (&"e....".repeat(40), 1_000, None, Some(25)),
            (&"e...".repeat(40), 1_000, Some(40), Some(20)),
            (&format!("eeeeee{good}eeeeee{good}"), 1_000, None, Some(5)),
            (&good, 1, None, None),
        ] {
            assert_eq!(first_refused(calls, step, Budget::USUAL), usual, "usual {calls}");
            assert_eq!(first_refused(calls, step, Budget::PROBATION), probation, "halved {calls}");
        }
    }

    #[test]
    fn a_fault_is_forgotten_after_fifty_good_calls_and_a_minute() {
        let mut strikes = Strikes::default();
        strikes.ended(Weight::Grave, UnixMs(0), Budget::USUAL).unwrap();
        for call in 1..=50 {
            assert!(!strikes.is_clean(), "call {call}");
            strikes.ended(Weight::Nothing, UnixMs(call * 2_000), Budget::USUAL).unwrap();
        }
        assert!(strikes.is_clean());
    }

    #[test]
    fn a_full_queue_is_nobodys_fault() {
        assert_eq!(Weight::of(Some(&Fault::Busy)), Weight::Nothing);
        assert_eq!(Weight::of(Some(&Fault::Memory { limit: 1 })), Weight::Grave);
        assert_eq!(Weight::of(Some(&Fault::Failed { message: String::new() })), Weight::Light);
    }

    #[test]
    fn the_time_away_doubles_up_to_an_hour() {
        let minutes: Vec<u64> = (0..9).map(|times| away(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(away(u32::MAX), RETRY_LAST);
    }
}
