//! A clock that tells the time of day and never jumps: what is waited for must not hang on the wall clock.

use tokio::time::Instant;

use crate::model::UnixMs;

/// The wall clock as it was at the start, and the time since.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    start_ms: u64,
    start: Instant,
}

impl Steady {
    /// Right now, and as regular as the machine from now on.
    pub fn new() -> Self {
        Self { start_ms: UnixMs::now().0, start: Instant::now() }
    }

    /// Unix milliseconds, as far as the wall clock was right at the start.
    pub fn now_ms(&self) -> u64 {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.start_ms.saturating_add(since)
    }
}

impl Default for Steady {
    fn default() -> Self {
        Self::new()
    }
}
