//! The journal in a redb file: told without waiting, written once a second by one thread, read beside it.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::Database;
use tokio::time::Instant;

use crate::store::Condition;
use crate::store::file::{Opening, Sync, Trouble, guarded};
use crate::store::journal::buffer::Buffer;
use crate::store::journal::writer::Writer;
use crate::store::journal::{Journal, Latest, Observation, SavedState, Wanted, rows};

/// Name of the file below the state folder.
pub const FILE: &str = "journal.redb";

/// redb's own cache; the newest pages are what is written and read.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Longest wait of a reader for the file to be opened, and for what was told a moment ago.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Longest wait for the last commit when the journal is dropped.
const GOODBYE: Duration = Duration::from_secs(1);

/// The journal in a file.
pub struct RedbJournal {
    shared: Arc<Shared>,
}

/// What the callers and the writer share.
pub(super) struct Shared {
    buffer: Mutex<Buffer>,
    /// Wakes the writer.
    pub(super) work: Condvar,
    /// Wakes readers, and whoever drops the journal.
    pub(super) done: Condvar,
    /// Readers' way to the file, while it is open.
    pub(super) db: Mutex<Option<Arc<Database>>>,
}

impl Shared {
    pub(super) fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn db(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RedbJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbJournal").field("condition", &self.condition()).finish_non_exhaustive()
    }
}

impl RedbJournal {
    /// The journal of a state folder; the file is opened on a thread of its own, so this never waits and never fails.
    pub fn open(state_dir: &Path) -> Arc<Self> {
        Self::start(Opening::new(state_dir.join(FILE), Sync::Kernel, CACHE_BYTES))
    }

    pub(super) fn start(opening: Opening) -> Arc<Self> {
        let shared = Arc::new(Shared {
            buffer: Mutex::new(Buffer::new(opening.path.clone())),
            work: Condvar::new(),
            done: Condvar::new(),
            db: Mutex::default(),
        });
        let writer = Writer::new(Arc::clone(&shared), opening);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        if let Err(error) = thread.spawn(move || writer.run()) {
            let mut buffer = shared.buffer();
            buffer.condition = Condition::MemoryOnly { reason: format!("no thread: {error}") };
            (buffer.tried, buffer.ended) = (true, true);
        }
        Arc::new(Self { shared })
    }

    /// Runs a look at the file once everything is in it that was told before.
    fn look<T: Default>(&self, look: impl FnOnce(&Database) -> Result<T, Trouble>) -> T {
        self.catch_up();
        let Some(db) = self.shared.db().clone() else { return T::default() };
        guarded(|| look(&db)).unwrap_or_else(|trouble| {
            tracing::warn!(?trouble, "the journal cannot be read");
            T::default()
        })
    }

    /// Asks for a commit and waits for it.
    fn catch_up(&self) {
        let until = Instant::now() + READ_WITHIN;
        let mut buffer = self.shared.buffer();
        buffer.asked = buffer.asked.saturating_add(1);
        let asked = buffer.asked;
        self.shared.work.notify_one();
        let late = |it: &Buffer| it.done < asked || !it.tried;
        while late(&buffer) && !buffer.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.done.wait_timeout(buffer, left);
            buffer = waited.map_or_else(|it| it.into_inner().0, |it| it.0);
        }
    }

    fn tell(&self, tell: impl FnOnce(&mut Buffer) -> bool) {
        if tell(&mut self.shared.buffer()) {
            self.shared.work.notify_one();
        }
    }
}

impl Journal for RedbJournal {
    fn observed(&self, observation: Observation) {
        self.tell(|it| it.observed(observation));
    }

    fn latest(&self, service: &str, latest: Latest) {
        self.tell(|it| it.latest(service, latest));
    }

    fn saved(&self, states: Vec<SavedState>) {
        self.tell(|it| it.saved(states));
    }

    fn read(&self, wanted: &Wanted) -> Vec<((u64, u64), Observation)> {
        self.look(|it| rows::read(it, wanted))
    }

    fn newest(&self, each: usize) -> Vec<Observation> {
        self.look(|it| rows::newest(it, each))
    }

    fn all_latest(&self) -> Vec<(String, Latest)> {
        self.look(rows::all_latest)
    }

    fn all_saved(&self) -> Vec<SavedState> {
        self.look(rows::all_saved)
    }

    fn condition(&self) -> Condition {
        let buffer = self.shared.buffer();
        match buffer.condition.clone() {
            Condition::Failing { since, reason, next_try, .. } => {
                Condition::Failing { since, reason, pending: buffer.waiting(), next_try }
            }
            other => other,
        }
    }

    fn dropped(&self) -> u64 {
        self.shared.buffer().dropped
    }
}

impl Drop for RedbJournal {
    fn drop(&mut self) {
        let until = Instant::now() + GOODBYE;
        let mut buffer = self.shared.buffer();
        buffer.stop = true;
        self.shared.work.notify_one();
        while !buffer.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.done.wait_timeout(buffer, left);
            buffer = waited.map_or_else(|it| it.into_inner().0, |it| it.0);
        }
    }
}
