//! The ledger against a map, a disk that fails, a file that is broken or held, and a process that is killed.

use std::path::PathBuf;

use super::*;
use crate::store::Op;

/// A folder that is removed with its owner.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("headgate-{name}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(key: &str, value: &str) -> Batch {
    Batch(vec![Op::Put(Table::Outbox, key.to_owned(), value.as_bytes().to_vec())])
}

#[tokio::test]
async fn rows_are_seen_at_once_and_survive() {
    let dir = Folder::new("ledger");
    let ledger = RedbLedger::open(&dir.0);
    let writing = ledger.write(put("a", "1"));
    assert_eq!(ledger.get(Table::Outbox, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(writing.await, Ok(()));
    ledger.ready().await;
    assert_eq!(ledger.condition(), Condition::Good);
    drop(ledger);
    let ledger = RedbLedger::open(&dir.0);
    ledger.ready().await;
    assert_eq!(ledger.rows(Table::Outbox), [("a".to_owned(), b"1".to_vec())]);
    assert_eq!(ledger.losses(), [""; 0]);
}
