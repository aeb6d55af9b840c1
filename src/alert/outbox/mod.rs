//! What has to be delivered: written before it is sent, tried until it is accepted, refused for good or given up.

mod queue;
mod shelf;
#[cfg(test)]
mod tests;
mod trouble;
mod unheard;
pub mod worker;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alert::book::Book;
use crate::alert::client::LazyClient;
use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::shelf::{NEXT_NUMBER, Placed, Shelf};
use crate::alert::outbox::trouble::Now;
use crate::alert::sinks::{self, Sink};
use crate::generation::alerting::Alerting;
use crate::health::board::{Board, Told};
use crate::model::UnixMs;
use crate::model::alert::{Event, Message, Phase};
use crate::model::incident::{Happened, Moment};
use crate::store::crash::crash_point;
use crate::store::{Batch, Condition, Ledger, StoreError, Table};
use crate::telemetry::alerts::AlertMetrics;

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
        row(&self.sink, self.number)
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
    shelf: Mutex<Shelf>,
    client: LazyClient,
    counts: OnceLock<Arc<AlertMetrics>>,
}

impl Outbox {
    /// Empty until [`Outbox::restore`].
    pub fn new(ledger: Arc<dyn Ledger>, book: Arc<Book>, board: Arc<Board>) -> Arc<Self> {
        let (client, counts) = (LazyClient::default(), OnceLock::new());
        Arc::new(Self { ledger, book, board, shelf: Mutex::default(), client, counts })
    }

    /// Where deliveries are counted; only the first counts.
    pub fn count_in(&self, metrics: Arc<AlertMetrics>) {
        let _ = self.counts.set(metrics);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the last process left; the ledger is ready. Again it does nothing.
    pub fn restore(&self) {
        let (rows, now) = (self.ledger.rows(Table::Outbox), now());
        let next = self.ledger.get(Table::Meta, NEXT_NUMBER);
        let next = next.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or(1);
        let mut shelf = self.shelf();
        if std::mem::replace(&mut shelf.is_restored, true) {
            return;
        }
        shelf.next_number = shelf.next_number.max(next);
        let parsed = rows.into_iter().filter_map(|(key, value)| {
            let parsed = serde_json::from_slice(&value);
            // It stays in the store: a later version may read it.
            let failed = |error| tracing::error!(key, %error, "a row of the outbox cannot be read");
            parsed.map_err(failed).ok()
        });
        let dead = shelf.restore(parsed.collect(), now);
        shelf.ring();
        drop(shelf);
        self.bury(&dead);
    }

    /// Takes over where alerts go: what the sinks are, when they are given up, how many may wait.
    pub fn follow(self: &Arc<Self>, alerting: &Alerting) {
        self.shelf().give_up = alerting.config.give_up;
        self.serve(sinks::from(alerting), alerting.config.outbox_rows);
    }

    /// Takes over the sinks of a new generation: a worker for each that is new, none for those that are gone. `rows_max`
    /// bounds what may wait.
    pub fn serve(self: &Arc<Self>, sinks: Vec<Arc<dyn Sink>>, rows_max: usize) {
        let mut shelf = self.shelf();
        shelf.rows_max = rows_max;
        shelf.sinks = sinks.into_iter().map(|it| (it.name().to_owned(), it)).collect();
        let names: Vec<String> = shelf.sinks.keys().cloned().collect();
        for name in names {
            if !shelf.bells.contains_key(&name) {
                let bell = Arc::new(Notify::new());
                shelf.bells.insert(name.clone(), Arc::clone(&bell));
                tokio::spawn(worker::work(Arc::clone(self), name, bell));
            }
        }
        shelf.ring();
    }

    /// Adds the rows of these parcels to a batch that the caller writes at once, and keeps them from the workers until
    /// [`Outbox::written`]. Numbers are given here. Several calls may fill one batch. Without room, updates and reminders make
    /// it; what cannot be placed at all is given back.
    pub fn put(&self, batch: &mut Batch, parcels: Vec<Parcel>) -> Vec<Parcel> {
        if !self.shelf().is_restored {
            // Numbers could be those of rows that nobody has read yet.
            if matches!(self.ledger.condition(), Condition::Waiting { .. }) {
                return parcels;
            }
            self.restore();
        }
        let Placed { back, dropped } = self.shelf().put(batch, parcels, now());
        for parcel in &dropped {
            self.tell(parcel, &Fate::Dropped("to make room for newer ones"));
        }
        crash_point("outbox-put");
        back
    }

    /// The batch is on the disk, or is known not to be: the workers may go. Once for each batch, in the order of the batches.
    pub fn written(&self) {
        crash_point("outbox-written");
        self.release(true);
        self.shelf().ring();
    }

    /// By sink and number.
    pub fn list(&self) -> Vec<Arc<Parcel>> {
        self.shelf().queues.values().flat_map(Queue::parcels).cloned().collect()
    }

    /// Number and state of the parcel with this key; `None`: it is delivered, or was dropped.
    pub fn find(&self, sink: &str, key: &str) -> Option<(u64, State)> {
        let shelf = self.shelf();
        let mut parcels = shelf.queues.get(sink)?.parcels();
        let found = parcels.find(|it| it.key == key)?;
        Some((found.number, found.state.clone()))
    }

    pub fn sinks(&self) -> Vec<SinkStatus> {
        self.shelf().status()
    }

    /// Dead ones are sent again, waiting ones at once; gives how many.
    pub async fn retry(&self, chosen: &Chosen) -> usize {
        let mut batch = Batch::default();
        let count = self.shelf().retry(chosen, &mut batch, now());
        let written = self.ledger.write(batch).await;
        self.note_failure(written);
        self.shelf().ring();
        count
    }

    /// They are deleted; gives how many.
    pub async fn drop_chosen(&self, chosen: &Chosen) -> usize {
        let mut batch = Batch::default();
        let dropped = self.shelf().drop_chosen(chosen, &mut batch);
        let written = self.ledger.write(batch).await;
        self.note_failure(written);
        for parcel in &dropped {
            self.tell(parcel, &Fate::Dropped("by a person"));
        }
        self.shelf().ring();
        dropped.len()
    }

    fn note_failure(&self, written: Result<(), StoreError>) {
        if let Err(error) = written {
            tracing::warn!(%error, "a change of the outbox may be lost with the process");
        }
    }

    /// Tells timeline and followers what became of a parcel.
    fn tell(&self, parcel: &Parcel, fate: &Fate<'_>) {
        let at_ms = UnixMs::now().0;
        let sink = &parcel.sink;
        let (what, happened, text) = match fate {
            Fate::Delivered => {
                ("delivered", Happened::Delivered, format!("{sink} has accepted it"))
            }
            Fate::Dead(reason) => ("dead", Happened::DeadLettered, format!("{sink}: {reason}")),
            Fate::Dropped(why) => ("dropped", Happened::Dropped, format!("{sink}: dropped {why}")),
        };
        for incident in &parcel.incidents {
            if parcel.phase == Phase::Opened && matches!(fate, Fate::Dropped(_)) {
                self.book.unheard(incident, sink);
            }
            let (code, text) = (parcel.event.code.clone(), text.clone());
            let health = parcel.event.new;
            self.book
                .note(incident, Moment { at_ms, what: happened, health, code, text, by: None });
        }
        let data = serde_json::json!({
            "what": what, "sink": sink, "number": parcel.number, "key": parcel.key,
            "phase": parcel.phase, "incidents": parcel.incidents, "text": text,
        });
        self.board.tell(Told { kind: "outbox", at_ms, data });
        if let Some(counts) = self.counts.get() {
            match fate {
                Fate::Delivered => {
                    let ms = at_ms.saturating_sub(parcel.created_ms);
                    counts.delivered(sink, Duration::from_millis(ms));
                }
                Fate::Dead(_) => counts.sink(sink).died(),
                Fate::Dropped(_) => counts.sink(sink).dropped(),
            }
        }
    }
}

/// What became of a parcel.
enum Fate<'a> {
    Delivered,
    Dead(&'a str),
    Dropped(&'a str),
}

fn row(sink: &str, number: u64) -> String {
    format!("{sink}/{number:020}")
}

fn now() -> Now {
    Now { at: Instant::now(), ms: UnixMs::now().0 }
}
