//! One sink's parcels: which may go now, which wait and for what, which are dead. Pure: the time is handed in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::alert::backoff;
use crate::alert::outbox::trouble::{Now, Trouble, Why};
use crate::alert::outbox::unheard::{Unheard, set};
use crate::alert::outbox::{Parcel, State};
use crate::model::alert::Phase;

/// Parcels that are on their way to one sink at once, of distinct incidents.
const IN_FLIGHT_MAX: usize = 4;
/// Nothing is given up before this process has had so much time to deliver it: it may have been off for days.
const GRACE: Duration = Duration::from_mins(15);
/// A test that arrives hours later helps nobody.
const TEST_MOST: Duration = Duration::from_mins(10);
/// A wait that was written down by a clock which has jumped since is no longer than this.
const WAIT_MOST: Duration = Duration::from_hours(1);

/// Where a parcel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its row is on the way to the disk.
    Staged,
    Queued,
    Flying,
    /// Accepted; its row is being deleted. What follows it waits for that, so that a crash never repeats an alert after its end.
    Done,
    Dead,
}

#[derive(Debug)]
struct Entry {
    parcel: Arc<Parcel>,
    place: Place,
    not_before: Option<Instant>,
    /// When this process got it, and how old it was then: the wall clock may jump.
    since: Instant,
    before: Duration,
}

impl Entry {
    fn is_expired(&self, give_up: Duration, now: Instant) -> bool {
        let most = match self.parcel.phase {
            Phase::Test => give_up.min(TEST_MOST),
            Phase::Opened | Phase::Updated | Phase::Resolved => give_up,
        };
        let here = now.saturating_duration_since(self.since);
        self.before.saturating_add(here) >= most && here >= most.min(GRACE)
    }
}

/// All parcels of one sink.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    /// Those that are not dead, by incident: the first of each may go.
    by_incident: BTreeMap<String, BTreeSet<u64>>,
    /// First of all their incidents, and not waiting.
    ready: BTreeSet<u64>,
    /// First of all their incidents, and waiting.
    later: BTreeSet<(Instant, u64)>,
    /// On their way, even when they were dropped meanwhile.
    flying: BTreeMap<u64, Arc<Parcel>>,
    /// Queued ones that may make room.
    updates: BTreeSet<u64>,
    dead: BTreeSet<u64>,
    unheard: Unheard,
    pub(super) trouble: Option<Trouble>,
    pub(super) delivered: u64,
}

impl Queue {
    pub(super) fn add(&mut self, parcel: Parcel, staged: bool, now: Now) {
        let (number, created_ms) = (parcel.number, parcel.created_ms);
        let (place, not_before) = match parcel.state {
            State::Dead { .. } => (Place::Dead, None),
            State::Waiting { next_try_ms, .. } => {
                let wait = Duration::from_millis(next_try_ms.saturating_sub(now.ms));
                let not_before = (!wait.is_zero()).then(|| now.at + wait.min(WAIT_MOST));
                (if staged { Place::Staged } else { Place::Queued }, not_before)
            }
        };
        let before = Duration::from_millis(now.ms.saturating_sub(created_ms));
        let entry = Entry { parcel: Arc::new(parcel), place, not_before, since: now.at, before };
        self.entries.insert(number, entry);
        self.put(number, place);
    }

    /// The only place where a parcel changes its place, so that the sets agree.
    fn put(&mut self, number: u64, place: Place) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.place = place;
        let (parcel, waits) = (Arc::clone(&entry.parcel), entry.not_before);
        for set in [&mut self.ready, &mut self.updates, &mut self.dead] {
            set.remove(&number);
        }
        waits.map(|at| self.later.remove(&(at, number)));
        let opening = parcel.phase == Phase::Opened;
        for incident in &parcel.incidents {
            let dead = place == Place::Dead;
            set(&mut self.by_incident, incident, number, !dead);
            self.unheard.refused(incident, number, dead && opening);
        }
        match place {
            Place::Dead => {
                self.dead.insert(number);
            }
            Place::Queued if parcel.phase == Phase::Updated => {
                self.updates.insert(number);
            }
            Place::Staged | Place::Queued | Place::Flying | Place::Done => {}
        }
        self.line_up(number);
        self.move_up(&parcel);
    }

    /// Makes it ready if it is queued and nothing of its incidents goes before it.
    fn line_up(&mut self, number: u64) {
        let Some(entry) = self.entries.get(&number).filter(|it| it.place == Place::Queued) else {
            return;
        };
        let first = |incident: &String| {
            self.by_incident.get(incident).and_then(BTreeSet::first) == Some(&number)
        };
        // One that was dead and is tried again may find a later one on its way.
        let flies = |it| self.flying.values().any(|flying| flying.incidents.contains(it));
        if !entry.parcel.incidents.iter().all(|it| first(it) && !flies(it)) {
            return;
        }
        match entry.not_before {
            Some(at) => drop(self.later.insert((at, number))),
            None => drop(self.ready.insert(number)),
        }
    }

    /// Looks at those that may be first now, and at those that were.
    fn move_up(&mut self, parcel: &Parcel) {
        for incident in &parcel.incidents {
            let Some(line) = self.by_incident.get(incident) else { continue };
            let mut line = line.iter().copied();
            let (first, second) = (line.next(), line.next());
            if let Some(first) = first.filter(|it| *it != parcel.number) {
                self.line_up(first);
            }
            if let Some(second) = second {
                self.ready.remove(&second);
                let waits = self.entries.get(&second).and_then(|it| it.not_before);
                waits.map(|at| self.later.remove(&(at, second)));
            }
        }
    }

    /// Its row is on the disk. Gives what is dead because of that: what follows an alert that was refused.
    pub(super) fn release(&mut self, number: u64, now: Now) -> Vec<Arc<Parcel>> {
        let Some(entry) = self.entries.get(&number).filter(|it| it.place == Place::Staged) else {
            return Vec::new();
        };
        match self.unheard.by(&entry.parcel) {
            Some(alert) => self.bury(number, &unheard(alert), now),
            None => {
                self.put(number, Place::Queued);
                Vec::new()
            }
        }
    }

    /// The next one that may go.
    pub(super) fn take(&mut self, now: Instant) -> Option<Arc<Parcel>> {
        while let Some((_, number)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.pop_first();
            if let Some(entry) = self.entries.get_mut(&number) {
                entry.not_before = None;
                self.ready.insert(number);
            }
        }
        if !self.may_send(now) {
            return None;
        }
        let number = *self.ready.first()?;
        let parcel = Arc::clone(&self.entries.get(&number)?.parcel);
        self.flying.insert(number, Arc::clone(&parcel));
        self.put(number, Place::Flying);
        Some(parcel)
    }

    /// What waited for it may go, even when it was dropped on its way.
    fn land(&mut self, number: u64) {
        if let Some(parcel) = self.flying.remove(&number) {
            self.move_up(&parcel);
        }
    }

    /// A sink that fails gets one at a time, and not before its time.
    fn may_send(&self, now: Instant) -> bool {
        match &self.trouble {
            Some(it) => it.until() <= now && self.flying.is_empty(),
            None => self.flying.len() < IN_FLIGHT_MAX,
        }
    }

    /// When there may be something to take; `None`: not before something else happens.
    pub(super) fn next(&self) -> Option<Instant> {
        let until = self.trouble.as_ref().map(Trouble::until);
        let first = match (self.ready.is_empty(), self.later.first()) {
            (false, _) => None,
            (true, Some((at, _))) => Some(*at),
            (true, None) => return None,
        };
        let busy = self.flying.len() >= IN_FLIGHT_MAX || until.is_some() && !self.flying.is_empty();
        if busy { None } else { first.max(until) }
    }

    /// The sink has it. It stays until [`Queue::gone`]; `false`: it was dropped meanwhile.
    pub(super) fn accepted(&mut self, number: u64) -> bool {
        if let Some(parcel) = self.flying.get(&number) {
            self.unheard.heard(parcel);
        }
        self.land(number);
        self.trouble = None;
        self.delivered += 1;
        self.put(number, Place::Done);
        self.entries.contains_key(&number)
    }

    /// Its row is deleted, though nobody accepted it. Gives it.
    pub(super) fn drop_one(&mut self, number: u64) -> Option<Arc<Parcel>> {
        let accepted = self.entries.get(&number)?.place == Place::Done;
        let parcel = self.gone(number)?;
        if parcel.phase == Phase::Opened && !accepted {
            self.unheard.dropped(&parcel);
        }
        Some(parcel)
    }

    /// Its row is deleted.
    pub(super) fn gone(&mut self, number: u64) -> Option<Arc<Parcel>> {
        // Dead is nobody's predecessor; then nothing of it may stay.
        self.put(number, Place::Dead);
        let parcel = self.entries.remove(&number)?.parcel;
        self.dead.remove(&number);
        for incident in &parcel.incidents {
            self.unheard.refused(incident, number, false);
        }
        Some(parcel)
    }

    /// It did not come through; both it and the sink wait. Gives the row to write; `None`: it was dropped meanwhile.
    pub(super) fn again(&mut self, number: u64, why: &Why, now: Now) -> Option<Arc<Parcel>> {
        self.land(number);
        self.trouble = Some(Trouble::after(self.trouble.take(), why, now));
        let entry = self.entries.get_mut(&number)?;
        let attempts = attempts(&entry.parcel).saturating_add(1);
        let wait = backoff::delay(attempts, why.asked, why.random);
        entry.not_before = Some(now.at + wait);
        let state = &mut Arc::make_mut(&mut entry.parcel).state;
        let (next_try_ms, error) = (now.later_ms(wait), Some(why.reason.clone()));
        *state = State::Waiting { attempts, next_try_ms, error };
        let parcel = Arc::clone(&entry.parcel);
        self.put(number, Place::Queued);
        Some(parcel)
    }

    /// Refused for good. Gives it and what is dead with it, as rows to write.
    pub(super) fn refused(&mut self, number: u64, reason: &str, now: Now) -> Vec<Arc<Parcel>> {
        self.land(number);
        // A sink that refuses answers.
        self.trouble = None;
        self.bury(number, reason, now)
    }

    /// What is too old, and what is dead with it.
    pub(super) fn expire(&mut self, give_up: Duration, now: Now) -> Vec<Arc<Parcel>> {
        let old = |it: &Entry| it.place == Place::Queued && it.is_expired(give_up, now.at);
        let old: Vec<u64> =
            self.entries.iter().filter(|(_, it)| old(it)).map(|(number, _)| *number).collect();
        let mut dead = Vec::new();
        for number in old {
            let Some(entry) = self.entries.get(&number).filter(|it| it.place == Place::Queued)
            else {
                continue;
            };
            let last = match &entry.parcel.state {
                State::Waiting { error: Some(error), .. } => error.as_str(),
                State::Waiting { .. } | State::Dead { .. } => {
                    self.trouble.as_ref().map_or("not accepted in time", |it| it.reason.as_str())
                }
            };
            let reason = format!("given up: {last}");
            dead.extend(self.bury(number, &reason, now));
        }
        dead
    }

    fn bury(&mut self, number: u64, reason: &str, now: Now) -> Vec<Arc<Parcel>> {
        let mut dead = Vec::new();
        let mut next = vec![(number, reason.to_owned())];
        while let Some((number, reason)) = next.pop() {
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            let tried = u32::from(entry.place == Place::Flying);
            let attempts = attempts(&entry.parcel).saturating_add(tried);
            entry.not_before.take().map(|at| self.later.remove(&(at, number)));
            let parcel = Arc::make_mut(&mut entry.parcel);
            parcel.state = State::Dead { at_ms: now.ms, attempts, reason };
            let parcel = Arc::clone(&entry.parcel);
            self.put(number, Place::Dead);
            next.extend(self.followers(&parcel).map(|it| (it, unheard(number))));
            dead.push(parcel);
        }
        dead
    }

    /// What waits behind an alert that nobody heard.
    fn followers(&self, parcel: &Parcel) -> impl Iterator<Item = u64> + use<> {
        let behind = parcel.incidents.iter().filter_map(|it| self.by_incident.get(it)).flatten();
        let behind = behind.filter_map(|it| Some((it, self.entries.get(it)?)));
        let dead: BTreeSet<u64> = behind
            .filter(|(_, it)| it.place == Place::Queued && self.unheard.by(&it.parcel).is_some())
            .map(|(number, _)| *number)
            .collect();
        dead.into_iter()
    }

    /// It is sent again: from the beginning if it is dead, at once if it waits. Gives the row to write.
    pub(super) fn retry(&mut self, number: u64, now: Now) -> Option<Arc<Parcel>> {
        let entry = self.entries.get_mut(&number)?;
        match entry.place {
            Place::Dead => {
                (entry.since, entry.before) = (now.at, Duration::ZERO);
                let parcel = Arc::make_mut(&mut entry.parcel);
                parcel.state = State::Waiting { attempts: 0, next_try_ms: 0, error: None };
            }
            Place::Queued => {}
            Place::Staged | Place::Flying | Place::Done => return None,
        }
        entry.not_before.take().map(|at| self.later.remove(&(at, number)));
        if let Some(trouble) = &mut self.trouble {
            trouble.hurry(now);
        }
        self.put(number, Place::Queued);
        Some(Arc::clone(&self.entries.get(&number)?.parcel))
    }

    pub(super) fn dead(&self) -> &BTreeSet<u64> {
        &self.dead
    }

    /// The oldest update or reminder that is not on its way.
    pub(super) fn oldest_update(&self) -> Option<u64> {
        self.updates.first().copied()
    }

    pub(super) fn oldest_dead(&self) -> Option<u64> {
        self.dead.first().copied()
    }

    /// All that is there, by number.
    pub(super) fn parcels(&self) -> impl Iterator<Item = &Arc<Parcel>> {
        self.entries.values().filter(|it| it.place != Place::Done).map(|it| &it.parcel)
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.entries.get(&number).is_some_and(|it| it.place != Place::Done)
    }

    /// Rows, whatever becomes of them.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.parcels().count() - self.dead.len()
    }

    pub(super) fn flying(&self) -> Vec<u64> {
        self.flying.keys().copied().collect()
    }
}

fn unheard(alert: u64) -> String {
    format!("its alert was not delivered: {alert}")
}

fn attempts(parcel: &Parcel) -> u32 {
    match parcel.state {
        State::Waiting { attempts, .. } | State::Dead { attempts, .. } => attempts,
    }
}
