//! What must survive a crash: incidents and the outbox, durable; observations, disposable.
//!
//! Two redb files below the state folder. `ledger.redb` holds little and must not lose anything: group commit, one
//! writer, a copy of every row in memory, so that readers never wait for the disk. `journal.redb` is a ring of what was
//! observed: written about once a second without waiting for the disk, and begun anew when it is broken.

pub mod crash;
mod file;
#[cfg(test)]
pub(crate) mod fixture;
pub mod journal;
pub mod ledger;
pub mod memory;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use crate::model::UnixMs;

/// A future that a trait object can give.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A table of the ledger. Keys are text, values JSON of the room that owns the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Where the tracker stands, by service.
    Tracks,
    /// By incident id; those that are over for long are cut by the owner.
    Incidents,
    /// What has been decided and not yet been put into words, by number.
    Notices,
    /// What has to be delivered, by sink and number.
    Outbox,
    /// Counters and the like: last number, Kubesnap's budget.
    Meta,
}

impl Table {
    pub const ALL: [Self; 5] =
        [Self::Tracks, Self::Incidents, Self::Notices, Self::Outbox, Self::Meta];

    /// Name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracks => "tracks",
            Self::Incidents => "incidents",
            Self::Notices => "notices",
            Self::Outbox => "outbox",
            Self::Meta => "meta",
        }
    }
}

/// One row: key and value.
pub type Row = (String, Vec<u8>);

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(pub Vec<Op>);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Table, String, Vec<u8>),
    Delete(Table, String),
}

impl Batch {
    /// Puts a row. A value that cannot be written as JSON is a bug in its type; it is written as `null`.
    pub fn put(&mut self, table: Table, key: impl Into<String>, value: &impl serde::Serialize) {
        let bytes = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        self.0.push(Op::Put(table, key.into(), bytes));
    }

    pub fn delete(&mut self, table: Table, key: impl Into<String>) {
        self.0.push(Op::Delete(table, key.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why a batch is not on the disk (yet).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It is kept in memory and written as soon as that works; the caller goes on.
    #[error("not on the disk yet: {0}")]
    NotDurable(String),
    /// There are too many changes in memory already.
    #[error("the store is full: {0}")]
    Full(String),
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Everything that was written is on the disk.
    Good,
    /// Another process holds the file; this one waits for it.
    Waiting { since: UnixMs, path: PathBuf },
    /// The disk refuses; changes wait in memory. `reason` names the cause and the next step.
    Failing { since: UnixMs, reason: String, pending: usize, next_try: UnixMs },
    /// Nothing outlives the process (no state folder, or an unreadable file that was set aside).
    MemoryOnly { reason: String },
}

/// The durable store. Cheap to clone behind an `Arc`; readers see their own writes at once.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Waits until the rows of the last process can be read: another process may hold the file.
    fn ready(&self) -> BoxFuture<'_, ()>;

    /// All rows of a table, by key. From memory.
    fn rows(&self, table: Table) -> Vec<Row>;

    /// One row. From memory.
    fn get(&self, table: Table, key: &str) -> Option<Vec<u8>>;

    /// Makes the changes visible at once, and answers when they are on the disk. Calls are applied in the order in which
    /// they are made (not in which they are awaited). Never waits longer than a second: then [`StoreError::NotDurable`].
    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>>;

    fn condition(&self) -> Condition;

    /// What was broken and is lost or set aside, for the log and the status; empty when all was well.
    fn losses(&self) -> Vec<String>;
}
