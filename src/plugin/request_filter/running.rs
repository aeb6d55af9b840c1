//! A filter's instance on one core, until it is used up.

use std::time::Duration;

use tokio::time::Instant;

use crate::plugin::host::Instance;

/// Calls after which an instance is changed for a fresh one.
pub(super) const CALLS_MAX: u32 = 10_000;
/// Age after which it is.
pub(super) const AGE_MAX: Duration = Duration::from_secs(60);
/// How often its memory is looked at; twice what it began with is enough to change it.
pub(super) const CALLS_PER_LOOK: u32 = 64;

/// One instance on one core, and how long it may go on.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) instance: Instance,
    since: Instant,
    pub(super) calls: u32,
    /// What it began with.
    memory_bytes: usize,
}

impl Running {
    pub(super) fn new(instance: Instance) -> Self {
        let memory_bytes = instance.memory_bytes();
        Self { instance, since: Instant::now(), calls: 0, memory_bytes }
    }

    /// Looked at every few calls, so that most calls look at nothing but a number.
    pub(super) fn is_used_up(&self) -> bool {
        self.calls > 0
            && self.calls.is_multiple_of(CALLS_PER_LOOK)
            && is_used_up(
                self.calls,
                self.since.elapsed(),
                (self.memory_bytes, self.instance.memory_bytes()),
            )
    }
}

/// Memory is what it was at first, and what it is now.
pub(super) fn is_used_up(calls: u32, age: Duration, (first, now): (usize, usize)) -> bool {
    calls >= CALLS_MAX || age >= AGE_MAX || (now > first && now >= first.saturating_mul(2))
}
