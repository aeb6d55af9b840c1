//! What has been told to the journal since its last commit; bounded, so that a disk that hangs costs observations and not memory.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::model::UnixMs;
use crate::model::health::Saved;
use crate::store::Condition;
use crate::store::journal::{Latest, Observation, SavedState};

/// Observations between two commits.
const OBSERVATIONS_MAX: usize = 20_000;
/// Bytes of them, about.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Services, and pairs of service and component.
const NAMES_MAX: usize = 10_000;
/// What an observation takes besides its texts.
const FIXED_BYTES: usize = 128;

/// What one transaction takes.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) observations: Vec<Observation>,
    pub(super) latest: HashMap<String, Latest>,
    pub(super) saved: HashMap<(String, String), Option<Saved>>,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.observations.is_empty() && self.latest.is_empty() && self.saved.is_empty()
    }
}

/// Behind the journal's lock, which is never held over the disk.
#[derive(Debug)]
pub(super) struct Buffer {
    taken: Taken,
    bytes: usize,
    /// When the oldest in it came.
    pub(super) since: Option<Instant>,
    pub(super) dropped: u64,
    pub(super) condition: Condition,
    /// Commits that readers asked for, and the last that has been made.
    pub(super) asked: u64,
    pub(super) done: u64,
    /// Whether it has been tried to open the file, with or without success.
    pub(super) tried: bool,
    pub(super) stop: bool,
    pub(super) ended: bool,
}

impl Buffer {
    pub(super) fn new(path: std::path::PathBuf) -> Self {
        Self {
            taken: Taken::default(),
            bytes: 0,
            since: None,
            dropped: 0,
            condition: Condition::Waiting { since: UnixMs::now(), path },
            asked: 0,
            done: 0,
            tried: false,
            stop: false,
            ended: false,
        }
    }

    /// Whether nothing will be written any more.
    fn is_closed(&self) -> bool {
        self.ended || matches!(self.condition, Condition::MemoryOnly { .. })
    }

    /// Whether the writer has to be woken: it sleeps while there is nothing.
    pub(super) fn observed(&mut self, observation: Observation) -> bool {
        let texts = observation.samples.iter().map(|it| it.body.as_ref().map_or(0, String::len));
        let bytes = FIXED_BYTES.saturating_add(texts.sum());
        let full = self.taken.observations.len() >= OBSERVATIONS_MAX
            || self.bytes.saturating_add(bytes) > BYTES_MAX;
        if full || self.is_closed() {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.taken.observations.push(observation);
        self.has_some()
    }

    pub(super) fn latest(&mut self, service: &str, latest: Latest) -> bool {
        if self.is_closed() || self.taken.latest.len() >= NAMES_MAX {
            return false;
        }
        match self.taken.latest.get_mut(service) {
            Some(old) => *old = latest,
            None => drop(self.taken.latest.insert(service.to_owned(), latest)),
        }
        self.has_some()
    }

    pub(super) fn saved(&mut self, states: Vec<SavedState>) -> bool {
        if self.is_closed() || states.is_empty() {
            return false;
        }
        for (service, digest, state) in states {
            if self.taken.saved.len() < NAMES_MAX {
                self.taken.saved.insert((service, digest), state);
            }
        }
        self.has_some()
    }

    fn has_some(&mut self) -> bool {
        let first = self.since.is_none();
        self.since.get_or_insert_with(Instant::now);
        first
    }

    pub(super) fn take(&mut self) -> Taken {
        (self.bytes, self.since) = (0, None);
        std::mem::take(&mut self.taken)
    }

    pub(super) fn waiting(&self) -> usize {
        self.taken.observations.len()
    }
}
