//! The journal's thread: opens the file, writes about once a second, begins anew when the file is broken.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use redb::Database;
use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::Condition;
use crate::store::file::{Opening, Trouble, guarded};
use crate::store::journal::buffer::Taken;
use crate::store::journal::ring::Shared;
use crate::store::journal::rows::{self, Facts};

/// What a kill may lose.
const EVERY: Duration = Duration::from_secs(1);

/// How often a file that another process holds is tried.
const HELD_RETRY: Duration = Duration::from_millis(50);

/// Between two attempts on a disk that refuses: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a commit takes along is dropped after so many failures: it may be the reason.
const FAILURES_MAX: u32 = 3;

pub(super) struct Writer {
    shared: Arc<Shared>,
    opening: Opening,
    open: Option<(Arc<Database>, Facts, (u64, u64))>,
    /// What could not be written.
    again: Option<Taken>,
    failures: u32,
    delay: Duration,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, opening: Opening) -> Self {
        Self { shared, opening, open: None, again: None, failures: 0, delay: RETRY.0 }
    }

    /// Until the journal is dropped, or the file turns out to be none of ours.
    pub(super) fn run(mut self) {
        while self.next() {}
        self.close();
        let mut buffer = self.shared.buffer();
        (buffer.tried, buffer.ended) = (true, true);
        self.shared.done.notify_all();
    }

    /// One step; false at the end.
    fn next(&mut self) -> bool {
        if self.open.is_none() {
            return match self.open() {
                Ok(()) => true,
                Err(trouble) => self.pause(trouble),
            };
        }
        let (taken, asked, stop) = self.wait();
        let goes_on = taken.is_empty() || self.commit(taken);
        let mut buffer = self.shared.buffer();
        buffer.done = asked;
        self.shared.done.notify_all();
        goes_on && !stop
    }

    /// Waits until there is something that has waited for a second, or that is asked for.
    fn wait(&mut self) -> (Taken, u64, bool) {
        let mut buffer = self.shared.buffer();
        if let Some(again) = self.again.take() {
            return (again, buffer.done, false);
        }
        loop {
            let left = buffer.since.map(|it| EVERY.saturating_sub(it.elapsed()));
            if buffer.stop || buffer.asked > buffer.done || left.is_some_and(|it| it.is_zero()) {
                return (buffer.take(), buffer.asked, buffer.stop);
            }
            buffer = match left {
                None => {
                    let woken = self.shared.work.wait(buffer);
                    woken.unwrap_or_else(std::sync::PoisonError::into_inner)
                }
                Some(left) => {
                    let waited = self.shared.work.wait_timeout(buffer, left);
                    waited.map_or_else(|it| it.into_inner().0, |it| it.0)
                }
            };
        }
    }

    fn open(&mut self) -> Result<(), Trouble> {
        let boot = crate::linux::boot::id();
        // redb trusts its pages; after a crash of the machine, those that the kernel held may be missing.
        self.opening.verify = false;
        let mut opened = self.opening.open(rows::begin_new)?;
        let mut facts = Facts::default();
        if !opened.fresh {
            facts = guarded(|| rows::facts(&opened.db))?;
            if facts.boot == 0 || facts.boot != boot {
                drop(opened);
                self.opening.verify = true;
                opened = self.opening.open(rows::begin_new)?;
                facts = guarded(|| rows::facts(&opened.db))?;
            }
        }
        facts.boot = boot;
        guarded(|| rows::mark(&opened.db, facts))?;
        let db = Arc::new(opened.db);
        *self.shared.db() = Some(Arc::clone(&db));
        self.open = Some((db, facts, opened.identity));
        let mut buffer = self.shared.buffer();
        buffer.tried = true;
        if self.again.is_none() {
            self.delay = RETRY.0;
            buffer.condition = Condition::Good;
        }
        Ok(())
    }

    /// Writes; false at the end.
    fn commit(&mut self, taken: Taken) -> bool {
        let Some((db, facts, identity)) = &mut self.open else { return true };
        if self.opening.is_elsewhere(*identity) {
            tracing::warn!(path = %self.opening.path.display(), "the journal's file was removed or replaced");
            self.again = Some(taken);
            self.close();
            return true;
        }
        let now = UnixMs::now();
        match guarded(|| rows::write(db, *facts, &taken, now.0)) {
            Ok((new, too_large)) => {
                *facts = new;
                (self.failures, self.delay) = (0, RETRY.0);
                let mut buffer = self.shared.buffer();
                buffer.dropped = buffer.dropped.saturating_add(too_large);
                buffer.condition = Condition::Good;
                true
            }
            Err(trouble) => {
                self.failures = self.failures.saturating_add(1);
                if self.failures.is_multiple_of(FAILURES_MAX) {
                    let lost = u64::try_from(taken.observations.len()).unwrap_or(u64::MAX);
                    let mut buffer = self.shared.buffer();
                    buffer.dropped = buffer.dropped.saturating_add(lost);
                } else {
                    self.again = Some(taken);
                }
                self.close();
                self.pause(trouble)
            }
        }
    }

    fn close(&mut self) {
        let ours = self.open.take();
        let readers = self.shared.db().take();
        let closed = guarded(|| {
            drop((ours, readers));
            Ok(())
        });
        if let Err(trouble) = closed {
            tracing::warn!(?trouble, "the journal's file could not be closed");
        }
    }

    /// Deals with what is in the way and waits; false at the end.
    fn pause(&mut self, trouble: Trouble) -> bool {
        let path = self.opening.path.display().to_string();
        match trouble {
            Trouble::Held => self.sleep(HELD_RETRY),
            Trouble::Broken(reason) => {
                tracing::warn!(
                    "{path} is broken and begun anew, observations of the last day are lost: {reason}"
                );
                match fs::remove_file(&self.opening.path) {
                    Ok(()) if self.failures < FAILURES_MAX => true,
                    Ok(()) => self.fail(&reason),
                    Err(error) => {
                        self.fail(&format!("{reason}, and it cannot be removed: {error}"))
                    }
                }
            }
            Trouble::Foreign(reason) | Trouble::Denied(reason) if !self.shared.buffer().tried => {
                let reason = format!("{path} cannot be used: {reason}");
                tracing::error!("observations do not outlive this process: {reason}");
                self.shared.buffer().condition = Condition::MemoryOnly { reason };
                false
            }
            Trouble::Disk(reason) | Trouble::Foreign(reason) | Trouble::Denied(reason) => {
                self.fail(&reason)
            }
        }
    }

    fn fail(&mut self, reason: &str) -> bool {
        let delay = self.delay;
        self.delay = delay.saturating_mul(2).min(RETRY.1);
        let reason = format!("{} cannot be written: {reason}", self.opening.path.display());
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let now = UnixMs::now();
        let next_try = UnixMs(now.0.saturating_add(millis));
        let mut buffer = self.shared.buffer();
        let since = match &buffer.condition {
            Condition::Failing { since, .. } => *since,
            _ => {
                tracing::warn!("{reason}; observations are dropped");
                now
            }
        };
        buffer.condition = Condition::Failing { since, reason, pending: 0, next_try };
        (buffer.tried, buffer.done) = (true, buffer.asked);
        drop(buffer);
        self.shared.done.notify_all();
        self.sleep(delay)
    }

    /// False when the journal is dropped meanwhile.
    fn sleep(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        let mut buffer = self.shared.buffer();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if buffer.stop || left.is_zero() {
                return !buffer.stop;
            }
            let waited = self.shared.work.wait_timeout(buffer, left);
            buffer = waited.map_or_else(|it| it.into_inner().0, |it| it.0);
        }
    }
}
