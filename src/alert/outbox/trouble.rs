//! A sink that does not accept: since when, why, and when it is tried again. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::alert::backoff;

/// Both clocks: one to wait by, one to write down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) ms: u64,
}

impl Now {
    pub(super) fn later_ms(self, wait: Duration) -> u64 {
        self.ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What an attempt met.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) reason: String,
    /// `Retry-After`.
    pub(super) asked: Option<Duration>,
    pub(super) random: u64,
}

/// The back-off of a sink as a whole: ten thousand parcels must not each find out that it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) since_ms: u64,
    pub(super) reason: String,
    /// When it is tried again.
    pub(super) until_ms: u64,
    /// In a row.
    failures: u32,
    until: Instant,
}

impl Trouble {
    /// After one more failure. Calls that were under way together count as one.
    pub(super) fn after(old: Option<Self>, why: &Why, now: Now) -> Self {
        let (since_ms, failures) = match old {
            Some(old) if old.until > now.at && why.asked.is_none() => {
                return Self { reason: why.reason.clone(), ..old };
            }
            Some(old) => (old.since_ms, old.failures.saturating_add(1)),
            None => (now.ms, 1),
        };
        let wait = backoff::delay(failures, why.asked, why.random);
        Self {
            since_ms,
            reason: why.reason.clone(),
            until_ms: now.later_ms(wait),
            failures,
            until: now.at + wait,
        }
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// It is tried now.
    pub(super) fn hurry(&mut self, now: Now) {
        (self.until, self.until_ms) = (now.at, now.ms);
    }

    pub(super) fn is_new(&self) -> bool {
        self.failures == 1
    }
}
