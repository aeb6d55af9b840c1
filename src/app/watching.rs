//! The health and alert path of a process: stores, book, outbox, responder, monitors; built here and handed to each other.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::admin::Watched;
use crate::alert::book::Book;
use crate::alert::outbox::Outbox;
use crate::alert::responder::{self, Responder};
use crate::generation::live::Live;
use crate::health::board::Board;
use crate::store::Ledger;
use crate::store::journal::Journal;
use crate::store::memory::{MemoryJournal, MemoryLedger};

/// Everything that watches; what the admin API sees of it is in `watched`.
#[derive(Debug)]
pub struct Watching {
    pub watched: Watched,
}

impl Watching {
    /// Builds the parts; opens the stores beside the start, never on it.
    pub fn build(live: &Arc<Live>, state_dir: &Path) -> Self {
        let _ = state_dir;
        let ledger: Arc<dyn Ledger> = MemoryLedger::new();
        let journal: Arc<dyn Journal> = MemoryJournal::new();
        let (board, bell) = (Arc::new(Board::default()), Arc::new(Notify::new()));
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&ledger), Arc::clone(&book), Arc::clone(&board));
        let responder = Responder::new(responder::Parts {
            live: Arc::clone(live),
            ledger: Arc::clone(&ledger),
            book: Arc::clone(&book),
            outbox: Arc::clone(&outbox),
            board: Arc::clone(&board),
            bell,
        });
        Self { watched: Watched { board, book, outbox, responder, journal, ledger } }
    }

    /// Starts the tasks: monitors once the ledger is ready, responder, workers.
    pub fn start(&self, tasks: &mut JoinSet<()>) {
        let watched = self.watched.clone();
        tasks.spawn(async move {
            watched.ledger.ready().await;
            watched.book.restore();
            watched.outbox.restore();
            watched.responder.run().await;
        });
    }
}
