//! The durable store on redb: one writer thread, group commit, a copy of every row in memory.
//!
//! What must be written is not a queue of changes but the set of rows that differ from the disk: one transaction takes
//! the present value of all of them. So a batch is never torn, order cannot be wrong, and what waits for a full disk
//! takes no more room than the rows themselves.

mod core;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::model::UnixMs;
use crate::store::file::{Opening, Sync};
use crate::store::ledger::core::Core;
use crate::store::ledger::writer::Writer;
use crate::store::{Batch, BoxFuture, Condition, Ledger, Row, StoreError, Table};

/// Name of the file below the state folder.
pub const FILE: &str = "ledger.redb";

/// Longest wait of a caller for the disk.
const ANSWER_WITHIN: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 1 });

/// Longest wait for the last commit when the store is dropped.
const GOODBYE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 1 });

/// redb's own cache; its default is 1 GiB, and all rows are in memory already.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

/// The ledger in a file.
pub struct RedbLedger {
    shared: Arc<Shared>,
}

/// What the callers and the writer share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// Wakes the writer: there is something to write, or it must end.
    work: Condvar,
    /// Wakes whoever drops the store: the writer has ended.
    ended: Condvar,
    ready: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RedbLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbLedger").field("condition", &self.condition()).finish_non_exhaustive()
    }
}

impl RedbLedger {
    /// The ledger of a state folder; the file is opened on a thread of its own, so this never waits and never fails.
    pub fn open(state_dir: &Path) -> Arc<Self> {
        Self::start(Opening::new(state_dir.join(FILE), Sync::Disk, CACHE_BYTES))
    }

    pub(crate) fn start(opening: Opening) -> Arc<Self> {
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(&opening.path)),
            work: Condvar::new(),
            ended: Condvar::new(),
            ready: watch::Sender::new(false),
        });
        let writer = Writer::new(Arc::clone(&shared), opening);
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        if let Err(error) = thread.spawn(move || writer.run()) {
            shared.core().only_memory(format!("no thread for it: {error}"));
            shared.core().ended = true;
            shared.ready.send_replace(true);
        }
        Arc::new(Self { shared })
    }
}

impl Ledger for RedbLedger {
    fn ready(&self) -> BoxFuture<'_, ()> {
        let mut ready = self.shared.ready.subscribe();
        Box::pin(async move {
            // The sender lives as long as the store.
            let _ = ready.wait_for(|it| *it).await;
        })
    }

    fn rows(&self, table: Table) -> Vec<Row> {
        self.shared.core().rows(table)
    }

    fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.shared.core().get(table, key)
    }

    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        let answered = self.shared.core().take(batch, Instant::now());
        match answered {
            Ok(Some(answer)) => {
                self.shared.work.notify_one();
                Box::pin(within_a_second(answer))
            }
            Ok(None) => Box::pin(std::future::ready(Ok(()))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn condition(&self) -> Condition {
        self.shared.core().condition()
    }

    fn losses(&self) -> Vec<String> {
        self.shared.core().losses.clone()
    }
}

async fn within_a_second(
    answer: oneshot::Receiver<Result<(), StoreError>>,
) -> Result<(), StoreError> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(StoreError::NotDurable("the store has ended".to_owned())),
        Err(_) => Err(StoreError::NotDurable("the disk has not answered for a second".to_owned())),
    }
}

impl Drop for RedbLedger {
    fn drop(&mut self) {
        let mut core = self.shared.core();
        core.stop = true;
        self.shared.work.notify_one();
        // What was written a moment ago is on its way; a disk that hangs is not waited for.
        let until = Instant::now() + GOODBYE;
        while !core.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(at = %UnixMs::now().rfc3339(), "the ledger's disk is still busy at the end");
                return;
            }
            let waited = self.shared.ended.wait_timeout(core, left);
            core = waited.map_or_else(|it| it.into_inner().0, |it| it.0);
        }
    }
}
