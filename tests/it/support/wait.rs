//! Waits for conditions, always with a deadline.

#![expect(clippy::disallowed_types, reason = "tests wait for real processes, so real time counts")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for something that should be near: long, because machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the condition holds; fails the test after [`PATIENCE`].
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until there is a value; fails the test after [`PATIENCE`].
#[track_caller]
pub(crate) fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Time taken by an act.
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let outcome = act();
    (outcome, start.elapsed())
}

/// Goes on with `act` until `span` is over.
pub(crate) fn during(span: Duration, mut act: impl FnMut()) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        act();
    }
}

/// A flag that one thread sets and others wait for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<(Mutex<bool>, Condvar)>);

impl Signal {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn set(&self) {
        *self.0.0.lock().expect("no panic under this lock") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.0.lock().expect("no panic under this lock")
    }

    /// Waits; false when [`PATIENCE`] is over.
    pub(crate) fn wait(&self) -> bool {
        let guard = self.0.0.lock().expect("no panic under this lock");
        let waited = self.0.1.wait_timeout_while(guard, PATIENCE, |set| !*set);
        *waited.expect("no panic under this lock").0
    }
}
