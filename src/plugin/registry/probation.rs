//! How long a component that has just been let in is watched more closely; pure, with the time as an argument.

use crate::model::UnixMs;

/// Longest time on probation.
const TIME_MS: u64 = 10 * 60_000;

/// Calls that end it earlier.
const CALLS: u64 = 1_000;

/// A component's first time in action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probation {
    pub(crate) since: UnixMs,
}

impl Probation {
    /// When it ends at the latest.
    pub(crate) fn ends(self) -> UnixMs {
        UnixMs(self.since.0.saturating_add(TIME_MS))
    }

    /// Whether it is over after `calls`.
    pub(crate) fn is_over(self, now: UnixMs, calls: u64) -> bool {
        calls >= CALLS || now >= self.ends()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probation_ends_by_time_or_by_calls() {
        let it = Probation { since: UnixMs(5_000) };
        for (now, calls, over) in [
            (5_000, 0, false),
            (5_000, 999, false),
            (5_000, 1_000, true),
            (604_999, 0, false),
            (605_000, 0, true),
            (0, 0, false),
        ] {
            assert_eq!(it.is_over(UnixMs(now), calls), over, "{now} {calls}");
        }
    }
}
