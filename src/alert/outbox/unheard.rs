//! Incidents of whose beginning a sink has not heard: nobody there would understand what follows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::alert::outbox::Parcel;
use crate::model::alert::Phase;

/// Incidents whose beginning was dropped, as far as they are remembered.
const DROPPED_MAX: usize = 10_000;

/// For one sink.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// The alerts that are dead, by incident.
    refused: BTreeMap<String, BTreeSet<u64>>,
    /// Alerts that are not here any more: they made room, or a person dropped them. An update still goes.
    dropped: BTreeMap<String, u64>,
}

impl Unheard {
    /// Whether an alert is among the dead.
    pub(super) fn refused(&mut self, incident: &String, alert: u64, is_dead: bool) {
        set(&mut self.refused, incident, alert, is_dead);
    }

    /// An alert that nobody accepted is deleted.
    pub(super) fn dropped(&mut self, alert: &Parcel) {
        for incident in &alert.incidents {
            self.dropped.insert(incident.clone(), alert.number);
        }
        // Ids begin with the time.
        while self.dropped.len() > DROPPED_MAX {
            self.dropped.pop_first();
        }
    }

    /// The sink has accepted something about these incidents.
    pub(super) fn heard(&mut self, parcel: &Parcel) {
        for incident in &parcel.incidents {
            self.dropped.remove(incident);
        }
    }

    /// The alert whose further course this is, if nobody has heard of any of its incidents.
    pub(super) fn by(&self, parcel: &Parcel) -> Option<u64> {
        if !matches!(parcel.phase, Phase::Updated | Phase::Resolved) {
            return None;
        }
        let is_end = parcel.phase == Phase::Resolved;
        let alert = |it: &String| {
            let dead = self.refused.get(it).and_then(BTreeSet::first);
            dead.or_else(|| self.dropped.get(it).filter(|_| is_end)).copied()
        };
        let all: Option<Vec<u64>> = parcel.incidents.iter().map(alert).collect();
        all?.first().copied()
    }
}

/// Puts a number into the set of an incident or takes it out; empty sets are not kept.
pub(super) fn set(
    map: &mut BTreeMap<String, BTreeSet<u64>>,
    key: &String,
    number: u64,
    there: bool,
) {
    if there {
        map.entry(key.clone()).or_default().insert(number);
    } else if let Some(numbers) = map.get_mut(key) {
        numbers.remove(&number);
        if numbers.is_empty() {
            map.remove(key);
        }
    }
}
