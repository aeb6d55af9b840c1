//! How often a service has changed lately, with two thresholds. Pure.

use serde::{Deserialize, Serialize};

use crate::config::health::Flap;

/// The last verdicts as well (`true`) or not, newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(pub Vec<bool>);

/// What a rate of change means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Below the lower threshold.
    Calm,
    /// Between the two: it stays what it was.
    Between,
    /// At the upper threshold or above.
    High,
}

/// Verdicts that are kept at most, whatever a saved history says.
const WINDOW_MAX: usize = 64;

impl History {
    /// Takes a verdict in and forgets what is older than the window.
    pub fn push(&mut self, good: bool, flap: Flap) {
        self.0.push(good);
        let keep = window(flap);
        if self.0.len() > keep {
            self.0.drain(..self.0.len() - keep);
        }
    }

    /// Changes between neighbours.
    pub fn changes(&self) -> usize {
        self.0.windows(2).filter(|it| it.first() != it.last()).count()
    }

    /// Where the share of changes stands. It is a share of the whole window, also while that is not full: two changes
    /// right after the start are no flapping (Icinga and Nagios count so too).
    pub fn rate(&self, flap: Flap) -> Rate {
        let share = self.changes().saturating_mul(100);
        let places = window(flap) - 1;
        let of =
            |percent: u32| places.saturating_mul(usize::try_from(percent).unwrap_or(usize::MAX));
        if share >= of(flap.high).max(1) {
            Rate::High
        } else if share < of(flap.low).max(1) {
            Rate::Calm
        } else {
            Rate::Between
        }
    }
}

fn window(flap: Flap) -> usize {
    usize::try_from(flap.window).unwrap_or(WINDOW_MAX).clamp(4, WINDOW_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAP: Flap = Flap { window: 20, high: 30, low: 20 };

    fn history(text: &str) -> History {
        let mut history = History::default();
        text.chars().for_each(|it| history.push(it == '.', FLAP));
        history
    }

    #[test]
    fn changes_are_a_share_of_the_whole_window() {
        for (verdicts, changes, rate) in [
            ("", 0, Rate::Calm),
            (".", 0, Rate::Calm),
            ("x", 0, Rate::Calm),
            ("....................", 0, Rate::Calm),
            (".x.", 2, Rate::Calm),
            (".x.x.", 4, Rate::Between),
            (".x.x.x", 5, Rate::Between),
            (".x.x.x.", 6, Rate::High),
            ("x.x.x.x.x.x.x.x.x.x.", 19, Rate::High),
            ("..xx..xx..xx..xx..xx", 9, Rate::High),
            ("...xxx...xxx...xxx..", 6, Rate::High),
            ("x.x.x.x.x.xxxxxxxxxxxxxxxxxxxx", 0, Rate::Calm),
        ] {
            let history = history(verdicts);
            assert_eq!((history.changes(), history.rate(FLAP)), (changes, rate), "{verdicts}");
        }
    }

    #[test]
    fn a_smaller_window_forgets_and_a_silly_one_does_no_harm() {
        let mut history = history("x.x.x.x.x.x.x.x.x.x.");
        history.push(true, Flap { window: 5, ..FLAP });
        assert_eq!(history.0.len(), 5);
        for flap in [
            Flap { window: 0, high: 0, low: 0 },
            Flap { window: u32::MAX, high: u32::MAX, low: u32::MAX },
        ] {
            for good in [true, false, true] {
                history.push(good, flap);
                history.rate(flap);
            }
            assert!(history.0.len() <= WINDOW_MAX);
        }
        assert_eq!(History::default().rate(Flap { window: 4, high: 0, low: 0 }), Rate::Calm);
    }
}
