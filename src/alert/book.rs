//! Incidents and tracks: what monitors report is kept here, in one write with the notices that follow.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::health::board::Board;
use crate::health::tracker::Track;
use crate::health::{Report, Reporter};
use crate::model::incident::{Incident, Moment, Snapshot};
use crate::store::{BoxFuture, Ledger};

/// The book of incidents.
#[derive(Debug)]
pub struct Book {
    ledger: Arc<dyn Ledger>,
    board: Arc<Board>,
    /// Rung when there is a notice.
    bell: Arc<Notify>,
}

impl Book {
    /// Empty until [`Book::restore`].
    pub fn new(ledger: Arc<dyn Ledger>, board: Arc<Board>, bell: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { ledger, board, bell })
    }

    /// Reads what the last process left; the ledger is ready.
    pub fn restore(&self) {}

    /// Where the trackers stood, by service.
    pub fn tracks(&self) -> Vec<(String, Track)> {
        let _ = (&self.ledger, &self.board, &self.bell);
        Vec::new()
    }

    /// Newest first; open ones before those that are over.
    pub fn incidents(&self) -> Vec<Incident> {
        Vec::new()
    }

    pub fn get(&self, id: &str) -> Option<Incident> {
        let _ = id;
        None
    }

    /// Adds a line to a timeline. Not waited for: a line that a crash takes is no loss.
    pub fn note(&self, incident: &str, moment: Moment) {
        let _ = (incident, moment);
    }

    /// What became of the snapshot.
    pub fn snapshot(&self, incident: &str, snapshot: Snapshot) {
        let _ = (incident, snapshot);
    }
}

impl Reporter for Book {
    fn report(&self, report: Report) -> BoxFuture<'_, ()> {
        let _ = report;
        Box::pin(std::future::ready(()))
    }
}
