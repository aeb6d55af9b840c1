//! How one component behaves, whoever uses it: its faults, its probation, its quarantine and the inputs it failed on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::model::UnixMs;
use crate::plugin::registry::kept::digest_text;
use crate::plugin::registry::probation::Probation;
use crate::plugin::registry::quarantine::{Budget, Strikes, Weight, away};
use crate::plugin::{Digest, Fault};

/// Inputs that are kept for the author.
const POISON_MAX: usize = 8;

/// How long after its end a quarantine is remembered of what nobody uses, with the inputs for the author.
const REMEMBERED_MS: u64 = 60 * 60_000;

/// Bytes of one of them; the rest is cut.
const POISON_BYTES: usize = 64 * 1024;

/// An input on which a component failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Poison {
    pub(crate) at: UnixMs,
    pub(crate) fault: String,
    /// JSON, as `plugin run` reads it; cut when it is long.
    pub(crate) input: String,
}

/// The conduct of one digest. A call that goes well outside probation reads three atomics and writes nothing.
#[derive(Debug)]
pub(crate) struct Conduct {
    pub(crate) digest: Digest,
    /// Quarantined until then; zero when it is not.
    until: AtomicU64,
    /// Whether a good call must be written down, too.
    tainted: AtomicBool,
    watched: AtomicBool,
    /// Calls since probation began.
    calls: AtomicU64,
    /// Whether somebody knows that the quarantine is over.
    told: AtomicBool,
    record: Mutex<Record>,
    /// Wakes whoever chooses another component.
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Record {
    strikes: Strikes,
    probation: Option<Probation>,
    /// Quarantines in a row.
    times: u32,
    reason: String,
    poison: VecDeque<Poison>,
}

/// What outlives the process of a component that was put away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConductNote {
    #[serde(with = "digest_text")]
    pub(crate) digest: Digest,
    /// Zero once it was let in again.
    pub(crate) until: u64,
    /// Quarantines in a row: the next one is longer.
    pub(crate) times: u32,
    pub(crate) reason: String,
}

/// Where a component stands by its conduct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    Probation { ends: UnixMs },
    Quarantined { until: UnixMs, reason: String },
}

impl Conduct {
    pub(crate) fn new(digest: Digest, wake: Arc<Notify>) -> Self {
        Self {
            digest,
            until: AtomicU64::new(0),
            tainted: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            told: AtomicBool::new(false),
            record: Mutex::default(),
            wake,
        }
    }

    /// Of an earlier process. A clock that was set back does not lengthen a quarantine beyond the longest.
    pub(crate) fn remembered(note: ConductNote, wake: Arc<Notify>, now: UnixMs) -> Self {
        let last = u64::try_from(away(u32::MAX).as_millis()).unwrap_or(u64::MAX);
        let conduct = Self::new(note.digest, wake);
        conduct.until.store(note.until.min(now.0.saturating_add(last)), Relaxed);
        let mut record = conduct.record();
        (record.times, record.reason) = (note.times, note.reason);
        drop(record);
        conduct
    }

    /// What a later process must know; `None` of a component without fault.
    pub(crate) fn note(&self) -> Option<ConductNote> {
        let record = self.record();
        (record.times > 0).then(|| ConductNote {
            digest: self.digest,
            until: self.until.load(Relaxed),
            times: record.times,
            reason: record.reason.clone(),
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call ended. Callable from data threads: takes a lock only after a fault and now and then on probation.
    pub(crate) fn called(&self, fault: Option<&Fault>) {
        if self.watched.load(Relaxed) {
            self.calls.fetch_add(1, Relaxed);
        }
        if fault.is_some() || self.tainted.load(Relaxed) {
            self.weigh(fault, UnixMs::now());
        }
    }

    /// The same at a given time.
    pub(crate) fn weigh(&self, fault: Option<&Fault>, now: UnixMs) {
        let mut record = self.record();
        let budget = match record.probation {
            Some(it) if !it.is_over(now, self.calls.load(Relaxed)) => Budget::PROBATION,
            _ => Budget::USUAL,
        };
        let weighed = record.strikes.ended(Weight::of(fault), now, budget);
        self.tainted.store(!record.strikes.is_clean(), Relaxed);
        if let Err(reason) = weighed
            && self.until.load(Relaxed) == 0
        {
            self.quarantine(&mut record, reason, now);
        }
    }

    fn quarantine(&self, record: &mut Record, reason: String, now: UnixMs) {
        let away = u64::try_from(away(record.times).as_millis()).unwrap_or(u64::MAX);
        record.times = record.times.saturating_add(1);
        record.reason = reason;
        record.probation = None;
        self.watched.store(false, Relaxed);
        self.told.store(false, Relaxed);
        self.until.store(now.0.saturating_add(away).max(1), Relaxed);
        self.wake.notify_one();
    }

    /// Whether calls must not be made now.
    pub(crate) fn is_away(&self, now: UnixMs) -> bool {
        now.0 < self.until.load(Relaxed)
    }

    /// Whether it was put away and not let in again since.
    pub(crate) fn is_quarantined(&self) -> bool {
        self.until.load(Relaxed) != 0
    }

    /// Whether its quarantine must be known although nobody uses it: it would be let in again too soon.
    pub(crate) fn is_remembered(&self, now: UnixMs) -> bool {
        let until = self.until.load(Relaxed);
        until != 0 && now.0 < until.saturating_add(REMEMBERED_MS)
    }

    /// Whether its quarantine is over and nobody has been told; tells.
    pub(crate) fn take_due(&self, now: UnixMs) -> bool {
        let over = self.is_quarantined() && !self.is_away(now);
        over && !self.told.swap(true, Relaxed)
    }

    /// Begins a probation: at the first time in action, and when a quarantine is over.
    pub(crate) fn watch(&self, now: UnixMs) {
        let mut record = self.record();
        record.strikes = Strikes::default();
        record.probation = Some(Probation { since: now });
        self.calls.store(0, Relaxed);
        self.until.store(0, Relaxed);
        self.tainted.store(false, Relaxed);
        self.watched.store(true, Relaxed);
    }

    /// Ends a probation whose time has come; whether it did so now.
    pub(crate) fn settle(&self, now: UnixMs) -> bool {
        let mut record = self.record();
        let over = record.probation.is_some_and(|it| it.is_over(now, self.calls.load(Relaxed)));
        if over {
            record.probation = None;
            record.times = 0;
            self.watched.store(false, Relaxed);
        }
        over
    }

    pub(crate) fn standing(&self) -> Standing {
        let record = self.record();
        match (self.until.load(Relaxed), record.probation) {
            (0, None) => Standing::Good,
            (0, Some(it)) => Standing::Probation { ends: it.ends() },
            (until, _) => {
                Standing::Quarantined { until: UnixMs(until), reason: record.reason.clone() }
            }
        }
    }

    /// Keeps an input on which it failed.
    pub(crate) fn poisoned(&self, fault: &Fault, mut input: String, now: UnixMs) {
        let end = (0..=POISON_BYTES.min(input.len())).rev().find(|it| input.is_char_boundary(*it));
        input.truncate(end.unwrap_or(0));
        let mut record = self.record();
        if record.poison.len() == POISON_MAX {
            record.poison.pop_front();
        }
        record.poison.push_back(Poison { at: now, fault: fault.to_string(), input });
    }

    pub(crate) fn poison(&self) -> Vec<Poison> {
        self.record().poison.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conduct() -> Conduct {
        Conduct::new(Digest([1; 32]), Arc::default())
    }

    fn trap() -> Fault {
        Fault::Trap { message: "unreachable".to_owned() }
    }

    #[test]
    fn two_traps_end_a_probation_and_three_a_normal_life() {
        let watched = conduct();
        watched.watch(UnixMs(1_000));
        let tried = conduct();
        for (at, put_away) in [(2_000, [false, false]), (3_000, [true, false])] {
            for (it, away) in [&watched, &tried].into_iter().zip(put_away) {
                it.weigh(Some(&trap()), UnixMs(at));
                assert_eq!(it.is_quarantined(), away, "{at}");
            }
        }
        tried.weigh(Some(&trap()), UnixMs(4_000));
        let reason = "3 traps or time-outs within a minute".to_owned();
        assert_eq!(tried.standing(), Standing::Quarantined { until: UnixMs(64_000), reason });
        assert!(tried.is_away(UnixMs(63_999)) && !tried.is_away(UnixMs(64_000)));
    }

    #[test]
    fn each_quarantine_in_a_row_is_longer_and_a_passed_probation_forgives() {
        let it = conduct();
        let mut now = 1_000;
        for minutes in [1, 2, 4] {
            it.watch(UnixMs(now));
            it.weigh(Some(&trap()), UnixMs(now));
            it.weigh(Some(&trap()), UnixMs(now));
            assert!(it.is_away(UnixMs(now + minutes * 60_000 - 1)), "{minutes}");
            now += minutes * 60_000;
            assert!(!it.is_away(UnixMs(now)), "{minutes}");
        }
        it.watch(UnixMs(now));
        assert!(!it.settle(UnixMs(now + 599_999)));
        assert!(it.settle(UnixMs(now + 600_000)) && !it.settle(UnixMs(now + 600_001)));
        assert_eq!(it.standing(), Standing::Good);
        for _ in 0..3 {
            it.weigh(Some(&trap()), UnixMs(now + 700_000));
        }
        assert!(!it.is_away(UnixMs(now + 760_000)));
    }

    #[test]
    fn a_quarantine_is_remembered_for_an_hour_after_its_end() {
        let it = conduct();
        assert!(!it.is_remembered(UnixMs(0)));
        (0..3).for_each(|_| it.weigh(Some(&trap()), UnixMs(1_000)));
        assert!(it.is_remembered(UnixMs(61_000 + 3_599_999)));
        assert!(!it.is_remembered(UnixMs(61_000 + 3_600_000)));
    }

    #[test]
    fn a_quarantine_goes_on_in_the_next_process() {
        let it = conduct();
        assert_eq!(it.note(), None);
        (0..3).for_each(|_| it.weigh(Some(&trap()), UnixMs(1_000)));
        let next = Conduct::remembered(it.note().unwrap(), Arc::default(), UnixMs(2_000));
        assert_eq!(next.standing(), it.standing());
        assert!(next.is_away(UnixMs(60_999)) && next.take_due(UnixMs(61_000)));
        next.watch(UnixMs(61_000));
        (0..2).for_each(|_| next.weigh(Some(&trap()), UnixMs(61_000)));
        assert!(next.is_away(UnixMs(61_000 + 119_999)), "the second in a row is longer");
        let set_back = Conduct::remembered(next.note().unwrap(), Arc::default(), UnixMs(0));
        assert!(!set_back.is_away(UnixMs(3_600_000)));
    }

    #[test]
    fn calls_end_a_probation() {
        let it = conduct();
        it.watch(UnixMs::now());
        (0..999).for_each(|_| it.called(None));
        assert!(!it.settle(UnixMs::now()));
        it.called(None);
        assert!(it.settle(UnixMs::now()));
    }

    #[test]
    fn the_last_poison_inputs_are_kept_and_cut() {
        let it = conduct();
        for number in 0..10 {
            it.poisoned(&trap(), format!("{number}{}", "ä".repeat(POISON_BYTES)), UnixMs(number));
        }
        let kept = it.poison();
        assert_eq!(kept.len(), POISON_MAX);
        assert!(kept.iter().all(|it| it.input.len() <= POISON_BYTES));
        assert!(kept[0].input.starts_with('2') && kept[7].input.starts_with('9'));
    }
}
