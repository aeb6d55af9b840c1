//! What has to be delivered: written before it is sent, tried until it is accepted, refused for good or given up.

pub mod worker;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::book::Book;
use crate::alert::sinks::Sink;
use crate::health::board::Board;
use crate::model::alert::{Event, Message, Phase};
use crate::store::{Batch, Ledger};

/// Where a parcel is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// To be sent, or sent again.
    #[serde(rename_all = "kebab-case")]
    Waiting {
        attempts: u32,
        /// Not before, unix milliseconds.
        next_try_ms: u64,
        /// What the last attempt met.
        #[serde(default)]
        error: Option<String>,
    },
    /// Refused for good, or given up: nobody tries again until a person does (`headgate outbox retry`).
    #[serde(rename_all = "kebab-case")]
    Dead { at_ms: u64, attempts: u32, reason: String },
}

/// One notice on its way to one sink: a row of `Table::Outbox`, key `{sink}/{number:020}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Parcel {
    pub number: u64,
    pub sink: String,
    /// Incidents that it is about; parcels that share one go out in the order of their numbers.
    pub incidents: Vec<String>,
    pub phase: Phase,
    /// `Idempotency-Key` and `webhook-id`: the same on every attempt, and for every process that sends it.
    pub key: String,
    pub created_ms: u64,
    /// What was put into words, for sinks that send facts and not words.
    pub event: Event,
    pub message: Message,
    #[serde(flatten)]
    pub state: State,
}

impl Parcel {
    /// Key of its row.
    pub fn row(&self) -> String {
        format!("{}/{:020}", self.sink, self.number)
    }
}

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    pub name: String,
    /// `event-dispatcher`, `webhook`, `slack`; `gone` for rows of a sink that the config has no more.
    pub kind: &'static str,
    pub waiting: usize,
    pub dead: usize,
    pub delivered: u64,
    /// Since when nothing has been accepted though something waits, and why.
    pub failing_since_ms: Option<u64>,
    pub reason: Option<String>,
    pub next_try_ms: Option<u64>,
}

/// Which parcels a person means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// By sink and number.
    One(String, u64),
    /// All of a sink (`None`: of every sink) that are dead.
    AllDead(Option<String>),
}

/// All parcels and the workers that deliver them.
#[derive(Debug)]
pub struct Outbox {
    ledger: Arc<dyn Ledger>,
    book: Arc<Book>,
    board: Arc<Board>,
}

impl Outbox {
    /// Empty until [`Outbox::restore`].
    pub fn new(ledger: Arc<dyn Ledger>, book: Arc<Book>, board: Arc<Board>) -> Arc<Self> {
        Arc::new(Self { ledger, book, board })
    }

    /// Reads what the last process left; the ledger is ready.
    pub fn restore(&self) {
        let _ = (&self.ledger, &self.book, &self.board);
    }

    /// Takes over the sinks of a new generation: a worker for each that is new, none for those that are gone. `rows_max`
    /// bounds what may wait.
    pub fn serve(self: &Arc<Self>, sinks: Vec<Arc<dyn Sink>>, rows_max: usize) {
        let _ = (sinks, rows_max);
    }

    /// Adds the rows of these parcels to a batch that the caller writes, and keeps them from the workers until
    /// [`Outbox::written`]. Numbers are given here. Without room, updates and reminders make it; what cannot be placed at all
    /// is given back.
    pub fn put(&self, batch: &mut Batch, parcels: Vec<Parcel>) -> Vec<Parcel> {
        let _ = batch;
        parcels
    }

    /// The batch is on the disk, or is known not to be: the workers may go.
    pub fn written(&self) {}

    /// By sink and number.
    pub fn list(&self) -> Vec<Parcel> {
        Vec::new()
    }

    pub fn sinks(&self) -> Vec<SinkStatus> {
        Vec::new()
    }

    /// Dead ones are sent again, waiting ones at once; gives how many.
    pub async fn retry(&self, chosen: &Chosen) -> usize {
        let _ = chosen;
        0
    }

    /// They are deleted; gives how many.
    pub async fn drop_chosen(&self, chosen: &Chosen) -> usize {
        let _ = chosen;
        0
    }
}
