//! Stores that outlive nothing: for tests, tools and gates without a state folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::journal::{Journal, Latest, Observation, SavedState, Wanted};
use crate::store::{Batch, BoxFuture, Condition, Ledger, Op, Row, StoreError, Table};

/// A ledger in memory.
#[derive(Debug, Default)]
pub struct MemoryLedger {
    rows: Mutex<BTreeMap<(Table, String), Vec<u8>>>,
}

impl MemoryLedger {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<(Table, String), Vec<u8>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn rows(&self, table: Table) -> Vec<Row> {
        let rows = self.rows();
        let of_table = rows.iter().filter(|((it, _), _)| *it == table);
        of_table.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.rows().get(&(table, key.to_owned())).cloned()
    }

    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut rows = self.rows();
        for op in batch.0 {
            match op {
                Op::Put(table, key, value) => rows.insert((table, key), value),
                Op::Delete(table, key) => rows.remove(&(table, key)),
            };
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn condition(&self) -> Condition {
        Condition::MemoryOnly { reason: "there is no state folder".to_owned() }
    }

    fn losses(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A journal that keeps nothing.
#[derive(Debug, Default)]
pub struct MemoryJournal;

impl MemoryJournal {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Journal for MemoryJournal {
    fn observed(&self, _: Observation) {}
    fn latest(&self, _: &str, _: Latest) {}
    fn saved(&self, _: Vec<SavedState>) {}

    fn read(&self, _: &Wanted) -> Vec<((u64, u64), Observation)> {
        Vec::new()
    }

    fn newest(&self, _: usize) -> Vec<Observation> {
        Vec::new()
    }

    fn all_latest(&self) -> Vec<(String, Latest)> {
        Vec::new()
    }

    fn all_saved(&self) -> Vec<SavedState> {
        Vec::new()
    }

    fn condition(&self) -> Condition {
        Condition::MemoryOnly { reason: "there is no state folder".to_owned() }
    }

    fn dropped(&self) -> u64 {
        0
    }
}
