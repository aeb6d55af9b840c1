//! The parcels of all sinks: numbers, room, and what is still on the way to the disk. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::trouble::Now;
use crate::alert::outbox::{Chosen, Parcel, SinkStatus};
use crate::alert::sinks::Sink;
use crate::config::defaults;
use crate::store::{Batch, Op, Table};

/// Row of `Table::Meta` with the next number.
pub(super) const NEXT_NUMBER: &str = "outbox-next-number";
/// A batch is written within a second or so; whoever was stopped in between will never say that it is.
const STAGED_MOST: Duration = Duration::from_secs(5);

/// Parcels of one batch that its caller has not yet reported as written.
#[derive(Debug)]
struct Staged {
    /// Sink and number.
    parcels: Vec<(String, u64)>,
    since: Instant,
}

/// Everything that the outbox knows.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) queues: BTreeMap<String, Queue>,
    pub(super) sinks: BTreeMap<String, Arc<dyn Sink>>,
    /// Wakes the worker of a sink; no bell, no worker.
    pub(super) bells: BTreeMap<String, Arc<Notify>>,
    /// In the order of their batches.
    staged: VecDeque<Staged>,
    pub(super) next_number: u64,
    pub(super) is_restored: bool,
    pub(super) rows_max: usize,
    pub(super) give_up: Duration,
}

impl Default for Shelf {
    fn default() -> Self {
        let alerts = defaults::alerts();
        Self {
            queues: BTreeMap::new(),
            sinks: BTreeMap::new(),
            bells: BTreeMap::new(),
            staged: VecDeque::new(),
            next_number: 1,
            is_restored: false,
            rows_max: alerts.outbox_rows,
            give_up: alerts.give_up,
        }
    }
}

/// What a call of [`Shelf::put`] has done.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// No room.
    pub(super) back: Vec<Parcel>,
    /// Had to go.
    pub(super) dropped: Vec<Arc<Parcel>>,
}

impl Shelf {
    /// The rows of the last process. Gives what is dead: it may have ended between the row of what follows an alert that was
    /// refused, and the word that it is dead too.
    pub(super) fn restore(&mut self, parcels: Vec<Parcel>, now: Now) -> Vec<Arc<Parcel>> {
        let mut added = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            self.next_number = self.next_number.max(parcel.number.saturating_add(1));
            added.push((parcel.sink.clone(), parcel.number));
            self.queues.entry(parcel.sink.clone()).or_default().add(parcel, true, now);
        }
        self.let_go(added, now)
    }

    pub(super) fn put(&mut self, batch: &mut Batch, parcels: Vec<Parcel>, now: Now) -> Placed {
        let mut placed = Placed::default();
        let mut staged = Vec::new();
        for mut parcel in parcels {
            if !self.make_room(&parcel.sink, batch, &mut placed.dropped) {
                placed.back.push(parcel);
                continue;
            }
            parcel.number = self.next_number;
            self.next_number += 1;
            batch.put(Table::Outbox, parcel.row(), &parcel);
            staged.push((parcel.sink.clone(), parcel.number));
            self.queues.entry(parcel.sink.clone()).or_default().add(parcel, true, now);
        }
        if !staged.is_empty() {
            batch.put(Table::Meta, NEXT_NUMBER, &self.next_number);
            self.stage(batch, staged, now);
        }
        placed
    }

    /// Several calls may fill one batch, which is written once.
    fn stage(&mut self, batch: &Batch, parcels: Vec<(String, u64)>, now: Now) {
        let last = self.staged.back_mut();
        let same = last.filter(|it| it.parcels.first().is_some_and(|it| holds(batch, it)));
        match same {
            Some(it) => it.parcels.extend(parcels),
            None => self.staged.push_back(Staged { parcels, since: now.at }),
        }
    }

    /// Whether one more row of a sink fits. The oldest update makes room, then the oldest that is dead; never what opens or
    /// ends.
    fn make_room(&mut self, sink: &str, batch: &mut Batch, dropped: &mut Vec<Arc<Parcel>>) -> bool {
        let share = self.share();
        while self.rows().saturating_add(self.kept_free(sink, share)) >= self.rows_max {
            let oldest = |of: fn(&Queue) -> Option<u64>| {
                // What is taken from a share that others may not use makes no room.
                let may = |(name, it): &(&String, &Queue)| {
                    *name == sink || it.len() > share || !self.sinks.contains_key(*name)
                };
                let queues = self.queues.iter().filter(may);
                queues.filter_map(|(sink, it)| Some((of(it)?, sink.clone()))).min()
            };
            let update = oldest(Queue::oldest_update);
            let Some((number, sink)) = update.or_else(|| oldest(Queue::oldest_dead)) else {
                return false;
            };
            dropped.extend(self.delete(&sink, number, batch));
        }
        true
    }

    /// Rows that each sink can count on: one that is down, or gone, must not keep alerts from the others. Half of the room,
    /// in equal parts; the rest is for whoever comes first.
    fn share(&self) -> usize {
        self.rows_max / 2 / self.sinks.len().max(1)
    }

    /// What the shares of the other sinks still have to offer.
    fn kept_free(&self, sink: &str, share: usize) -> usize {
        let others = self.sinks.keys().filter(|it| *it != sink);
        let rows = |name| self.queues.get(name).map_or(0, Queue::len);
        others.map(|it| share.saturating_sub(rows(it))).sum()
    }

    fn rows(&self) -> usize {
        self.queues.values().map(Queue::len).sum()
    }

    fn delete(&mut self, sink: &str, number: u64, batch: &mut Batch) -> Option<Arc<Parcel>> {
        let parcel = self.queues.get_mut(sink)?.drop_one(number)?;
        batch.delete(Table::Outbox, parcel.row());
        Some(parcel)
    }

    /// The oldest batch is written; or all that have been for too long on the way. Gives what is dead because of that.
    pub(super) fn release(&mut self, one: bool, now: Now) -> Vec<Arc<Parcel>> {
        let mut released: Vec<Staged> = Vec::new();
        released.extend(one.then(|| self.staged.pop_front()).flatten());
        let late = |it: &Staged| now.at.saturating_duration_since(it.since) >= STAGED_MOST;
        while self.staged.front().is_some_and(late) {
            released.extend(self.staged.pop_front());
        }
        self.let_go(released.into_iter().flat_map(|it| it.parcels).collect(), now)
    }

    /// Their rows are on the disk. Gives what is dead because of that.
    fn let_go(&mut self, parcels: Vec<(String, u64)>, now: Now) -> Vec<Arc<Parcel>> {
        let mut dead = Vec::new();
        for (sink, number) in parcels {
            if let Some(queue) = self.queues.get_mut(&sink) {
                dead.extend(queue.release(number, now));
            }
        }
        dead
    }

    pub(super) fn ring(&self) {
        self.bells.values().for_each(|it| it.notify_one());
    }

    /// Sinks and numbers, in order.
    fn chosen(&self, chosen: &Chosen) -> Vec<(String, u64)> {
        match chosen {
            Chosen::One(sink, number) => {
                let there = self.queues.get(sink).is_some_and(|it| it.has(*number));
                if there { vec![(sink.clone(), *number)] } else { Vec::new() }
            }
            Chosen::AllDead(sink) => {
                let wanted = |it: &str| sink.as_ref().is_none_or(|sink| sink == it);
                let queues = self.queues.iter().filter(|(name, _)| wanted(name));
                queues
                    .flat_map(|(name, it)| it.dead().iter().map(|number| (name.clone(), *number)))
                    .collect()
            }
        }
    }

    /// The rows to write are added to the batch.
    pub(super) fn retry(&mut self, chosen: &Chosen, batch: &mut Batch, now: Now) -> usize {
        let mut count = 0;
        for (sink, number) in self.chosen(chosen) {
            let queue = self.queues.get_mut(&sink);
            if let Some(parcel) = queue.and_then(|it| it.retry(number, now)) {
                batch.put(Table::Outbox, parcel.row(), parcel.as_ref());
                count += 1;
            }
        }
        count
    }

    pub(super) fn drop_chosen(&mut self, chosen: &Chosen, batch: &mut Batch) -> Vec<Arc<Parcel>> {
        let all = self.chosen(chosen);
        all.into_iter().filter_map(|(sink, number)| self.delete(&sink, number, batch)).collect()
    }

    pub(super) fn status(&self) -> Vec<SinkStatus> {
        let named = self.sinks.keys().chain(self.queues.keys());
        let names: std::collections::BTreeSet<&String> = named.collect();
        names.into_iter().filter_map(|it| self.status_of(it)).collect()
    }

    fn status_of(&self, name: &str) -> Option<SinkStatus> {
        let (sink, queue) = (self.sinks.get(name), self.queues.get(name));
        if sink.is_none() && queue.is_none_or(|it| it.len() == 0) {
            return None;
        }
        let waiting = queue.map_or(0, Queue::waiting);
        let trouble = queue.and_then(|it| it.trouble.as_ref()).filter(|_| waiting > 0);
        Some(SinkStatus {
            name: name.to_owned(),
            kind: sink.map_or("gone", |it| it.kind()),
            waiting,
            dead: queue.map_or(0, |it| it.dead().len()),
            delivered: queue.map_or(0, |it| it.delivered),
            failing_since_ms: trouble.map(|it| it.since_ms),
            reason: trouble.map(|it| it.reason.clone()),
            next_try_ms: trouble.map(|it| it.until_ms),
        })
    }
}

fn holds(batch: &Batch, (sink, number): &(String, u64)) -> bool {
    let row = super::row(sink, *number);
    batch.0.iter().any(|it| matches!(it, Op::Put(Table::Outbox, key, _) if *key == row))
}
