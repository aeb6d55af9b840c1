//! Quarantines that outlive the process: a component that was put away is not let in again by a restart.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::model::UnixMs;
use crate::plugin::Digest;
use crate::plugin::registry::Plugins;
use crate::plugin::registry::conduct::{Conduct, ConductNote};
use crate::plugin::registry::shelf::Shelf;

/// Below the plugins' state folder.
const FILE: &str = "conduct.json";
/// Bytes of the file.
const BYTES: usize = 256 * 1024;
/// Components in it; a gate has a handful.
const NOTES: usize = 256;

/// The file, and what it holds.
#[derive(Debug)]
pub(crate) struct Remembered {
    shelf: Shelf,
    written: Mutex<Vec<ConductNote>>,
}

impl Remembered {
    pub(crate) fn open(state: Option<&Path>) -> Self {
        Self { shelf: Shelf::open(state, "conduct"), written: Mutex::default() }
    }

    /// The conducts of an earlier process, at the start. A file that cannot be read is told and counts as none.
    pub(crate) fn load(&self, wake: &Arc<Notify>) -> HashMap<Digest, Arc<Conduct>> {
        let notes = match self.shelf.read(FILE, BYTES) {
            Ok(None) => Vec::new(),
            Ok(Some(text)) => serde_json::from_slice::<Vec<ConductNote>>(&text).unwrap_or_else(|error| {
                tracing::warn!(file = FILE, %error, "the note about components in quarantine is damaged");
                Vec::new()
            }),
            Err(error) => {
                tracing::warn!(file = FILE, %error, "the note about components in quarantine cannot be read");
                Vec::new()
            }
        };
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = notes.clone();
        let now = UnixMs::now();
        let conducts = notes.into_iter().take(NOTES).map(|note| {
            let digest = note.digest;
            (digest, Arc::new(Conduct::remembered(note, Arc::clone(wake), now)))
        });
        conducts.collect()
    }
}

impl Plugins {
    fn conduct_notes(&self) -> Vec<ConductNote> {
        let mut notes: Vec<_> =
            self.with(|it| it.conducts.values().filter_map(|it| it.note()).collect());
        notes.sort_unstable_by_key(|it| it.digest);
        notes.truncate(NOTES);
        notes
    }

    /// Whether a component was put away or let in again since [`Plugins::keep_conduct`]. Reads no file.
    pub fn conduct_changed(&self) -> bool {
        let notes = self.conduct_notes();
        *self.remembered.written.lock().unwrap_or_else(PoisonError::into_inner) != notes
    }

    /// Writes down which components are in quarantine. Blocks on the disk.
    pub fn keep_conduct(&self) {
        let notes = self.conduct_notes();
        let mut written = self.remembered.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written == notes {
            return;
        }
        let text = serde_json::to_vec_pretty(&notes).unwrap_or_default();
        match self.remembered.shelf.write(FILE, &text) {
            Ok(()) => *written = notes,
            Err(error) => tracing::warn!(%error, "a quarantine will not outlive this process"),
        }
    }
}
