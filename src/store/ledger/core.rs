//! The ledger's memory: every row, which of them differ from the disk, and who waits for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::{Batch, Condition, Op, Row, StoreError, Table};

/// Rows that may differ from the disk.
const UNSAVED_MAX: usize = 100_000;
/// Bytes of them.
const UNSAVED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of all rows.
const BYTES_MAX: usize = 256 * 1024 * 1024;
/// Callers that wait before it is looked who has given up.
const ANSWERS: usize = 1_024;
/// Losses that are told; each is a file that was set aside.
const LOSSES_MAX: usize = 16;

pub(super) type Key = (Table, String);
pub(super) type Value = Arc<[u8]>;
type Answer = oneshot::Sender<Result<(), StoreError>>;

/// What one transaction takes: rows with their present value (`None`: deleted) and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) rows: Vec<(Key, Option<Value>)>,
    answers: Vec<Answer>,
}

impl Taken {
    pub(super) fn answer(self, answer: &Result<(), StoreError>) {
        for waiting in self.answers {
            // Nobody has to wait for it.
            let _ = waiting.send(answer.clone());
        }
    }
}

/// How the disk is.
#[derive(Clone, Debug)]
enum Disk {
    Good,
    Waiting { since: UnixMs },
    Failing { since: UnixMs, reason: String, next: Instant, next_wall: UnixMs },
    Nowhere { reason: String },
}

/// Behind the store's lock, which is never held over the disk.
#[derive(Debug)]
pub(crate) struct Core {
    path: PathBuf,
    rows: BTreeMap<Table, BTreeMap<String, Value>>,
    /// Bytes of keys and values of all rows.
    bytes: usize,
    /// Rows that differ from the disk, with their bytes.
    unsaved: BTreeMap<Key, usize>,
    unsaved_bytes: usize,
    answers: Vec<Answer>,
    /// When to look for those that gave up.
    answers_kept: usize,
    disk: Disk,
    pub(super) losses: Vec<String>,
    /// Whether the rows of the file have been read.
    pub(super) loaded: bool,
    pub(super) stop: bool,
    pub(super) ended: bool,
}

impl Core {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            rows: BTreeMap::new(),
            bytes: 0,
            unsaved: BTreeMap::new(),
            unsaved_bytes: 0,
            answers: Vec::new(),
            answers_kept: 0,
            // Until the file has been opened, which takes some milliseconds.
            disk: Disk::Waiting { since: UnixMs::now() },
            losses: Vec::new(),
            loaded: false,
            stop: false,
            ended: false,
        }
    }

    pub(super) fn rows(&self, table: Table) -> Vec<Row> {
        let rows = self.rows.get(&table).into_iter().flatten();
        rows.map(|(key, value)| (key.clone(), value.to_vec())).collect()
    }

    pub(super) fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.rows.get(&table)?.get(key).map(|it| it.to_vec())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the changes; whoever called waits for the answer, if there is anything to wait for.
    pub(super) fn take(
        &mut self,
        batch: Batch,
        now: Instant,
    ) -> Result<Option<oneshot::Receiver<Result<(), StoreError>>>, StoreError> {
        self.has_room(&batch)?;
        let nothing = batch.is_empty();
        batch.0.into_iter().for_each(|it| self.apply(it));
        if nothing {
            return Ok(None);
        }
        match &self.disk {
            Disk::Nowhere { .. } => return Ok(None),
            Disk::Failing { reason, next, .. } if now < *next => {
                return Err(StoreError::NotDurable(reason.clone()));
            }
            Disk::Good | Disk::Waiting { .. } | Disk::Failing { .. } => {}
        }
        let (answer, answered) = oneshot::channel();
        // Those that gave up are not kept: a file may be held by another process for days.
        if self.answers.len() >= self.answers_kept.max(ANSWERS) {
            self.answers.retain(|it| !it.is_closed());
            self.answers_kept = self.answers.len().saturating_mul(2);
        }
        self.answers.push(answer);
        Ok(Some(answered))
    }

    fn has_room(&self, batch: &Batch) -> Result<(), StoreError> {
        let (mut grown, mut changed) = (0_usize, 0_usize);
        for op in &batch.0 {
            let (table, key, size) = match op {
                Op::Put(table, key, value) => (table, key, key.len().saturating_add(value.len())),
                Op::Delete(table, key) => (table, key, 0),
            };
            let old = self.rows.get(table).and_then(|it| Some(key.len() + it.get(key)?.len()));
            grown = grown.saturating_add(size.saturating_sub(old.unwrap_or(0)));
            changed = changed.saturating_add(size.max(key.len()));
        }
        let full = |what: String| Err(StoreError::Full(what));
        if grown > 0 && self.bytes.saturating_add(grown) > BYTES_MAX {
            return full(format!("its rows would take more than {BYTES_MAX} bytes"));
        }
        if matches!(self.disk, Disk::Nowhere { .. }) {
            return Ok(());
        }
        if self.unsaved.len().saturating_add(batch.0.len()) > UNSAVED_MAX {
            return full(format!("{} changes wait for the disk", self.unsaved.len()));
        }
        if self.unsaved_bytes.saturating_add(changed) > UNSAVED_BYTES_MAX {
            return full(format!("{} bytes wait for the disk", self.unsaved_bytes));
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) {
        let (table, key, value) = match op {
            Op::Put(table, key, value) => (table, key, Some(Value::from(value))),
            Op::Delete(table, key) => (table, key, None),
        };
        let size = key.len().saturating_add(value.as_ref().map_or(0, |it| it.len()));
        self.set(table, &key, value);
        if !matches!(self.disk, Disk::Nowhere { .. }) {
            self.mark((table, key), size);
        }
    }

    fn set(&mut self, table: Table, key: &str, value: Option<Value>) {
        let rows = self.rows.entry(table).or_default();
        let old = match value {
            Some(value) => {
                self.bytes = self.bytes.saturating_add(key.len() + value.len());
                rows.insert(key.to_owned(), value)
            }
            None => rows.remove(key),
        };
        let gone = old.map_or(0, |it| key.len() + it.len());
        self.bytes = self.bytes.saturating_sub(gone);
    }

    fn mark(&mut self, key: Key, size: usize) {
        let old = self.unsaved.insert(key, size).unwrap_or(0);
        self.unsaved_bytes = self.unsaved_bytes.saturating_add(size).saturating_sub(old);
    }

    /// The rows of the file; what was written since, or could not be written yet, is newer.
    pub(super) fn load(&mut self, rows: Vec<(Key, Vec<u8>)>) {
        for ((table, key), value) in rows {
            let at = (table, key);
            if !self.unsaved.contains_key(&at) {
                self.set(table, &at.1, Some(Value::from(value)));
            }
        }
        self.loaded = true;
    }

    /// The file holds nothing of what is in memory.
    pub(super) fn all_unsaved(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        for (table, rows) in &rows {
            for (key, value) in rows {
                self.mark((*table, key.clone()), key.len() + value.len());
            }
        }
        self.rows = rows;
    }

    pub(super) fn is_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    /// All rows that differ from the disk, as they are now.
    pub(super) fn take_unsaved(&mut self) -> Taken {
        self.unsaved_bytes = 0;
        let keys = std::mem::take(&mut self.unsaved).into_keys();
        let rows = keys.map(|key| {
            let value = self.rows.get(&key.0).and_then(|it| it.get(&key.1)).cloned();
            (key, value)
        });
        Taken { rows: rows.collect(), answers: std::mem::take(&mut self.answers) }
    }

    /// They could not be written. What has changed since is as unsaved as before.
    pub(super) fn put_back(&mut self, taken: Taken) {
        for (key, value) in taken.rows {
            if !self.unsaved.contains_key(&key) {
                let size = key.1.len() + value.map_or(0, |it| it.len());
                self.mark(key, size);
            }
        }
        self.answers.extend(taken.answers);
    }

    /// They are on the disk; whether that is news.
    pub(super) fn is_good(&mut self) -> bool {
        !matches!(std::mem::replace(&mut self.disk, Disk::Good), Disk::Good)
    }

    /// Another process holds the file; whether that is news.
    pub(super) fn is_held(&mut self) -> bool {
        match &self.disk {
            Disk::Waiting { .. } => false,
            _ => {
                self.disk = Disk::Waiting { since: UnixMs::now() };
                true
            }
        }
    }

    /// The disk refuses: everyone who waits is told. Whether that is news.
    pub(super) fn is_failing(&mut self, reason: &str, next: Instant, next_wall: UnixMs) -> bool {
        let (since, news) = match &self.disk {
            Disk::Failing { since, reason: old, .. } => (*since, old != reason),
            _ => (UnixMs::now(), true),
        };
        self.disk = Disk::Failing { since, reason: reason.to_owned(), next, next_wall };
        let answers = std::mem::take(&mut self.answers);
        let answer = Err(StoreError::NotDurable(reason.to_owned()));
        Taken { rows: Vec::new(), answers }.answer(&answer);
        news
    }

    /// Nothing will be written; whoever waits need not.
    pub(super) fn only_memory(&mut self, reason: String) {
        self.disk = Disk::Nowhere { reason };
        (self.unsaved, self.unsaved_bytes) = (BTreeMap::new(), 0);
        let answers = std::mem::take(&mut self.answers);
        Taken { rows: Vec::new(), answers }.answer(&Ok(()));
    }

    pub(super) fn lost(&mut self, what: String) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(what);
        }
    }

    pub(super) fn condition(&self) -> Condition {
        match &self.disk {
            Disk::Good => Condition::Good,
            Disk::Waiting { since } => {
                Condition::Waiting { since: *since, path: self.path.clone() }
            }
            Disk::Failing { since, reason, next_wall, .. } => Condition::Failing {
                since: *since,
                reason: reason.clone(),
                pending: self.unsaved.len(),
                next_try: *next_wall,
            },
            Disk::Nowhere { reason } => Condition::MemoryOnly { reason: reason.clone() },
        }
    }
}
