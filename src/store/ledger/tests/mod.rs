//! The ledger against a map, a disk that fails, a file that is held or removed.

mod broken;
mod killed;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{prop_assert_eq, test_runner::Config};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::store::Op;
use crate::store::file::faults::Faults;
use crate::store::fixture::{Folder, until};

const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn put(key: &str, value: &str) -> Batch {
    Batch(vec![Op::Put(Table::Outbox, key.to_owned(), value.as_bytes().to_vec())])
}

/// A ledger whose disk can be made to fail.
fn fallible(dir: &Folder) -> (Arc<RedbLedger>, Arc<Faults>) {
    let opening = Opening::new(dir.0.join(FILE), Sync::Disk, CACHE_BYTES);
    let faults = Arc::clone(&opening.faults);
    (RedbLedger::start(opening), faults)
}

async fn opened(dir: &Folder) -> Arc<RedbLedger> {
    let ledger = RedbLedger::open(&dir.0);
    ledger.ready().await;
    ledger
}

fn everything(ledger: &RedbLedger) -> Vec<(Table, Row)> {
    let of = |table: Table| ledger.rows(table).into_iter().map(move |it| (table, it));
    Table::ALL.into_iter().flat_map(of).collect()
}

#[tokio::test]
async fn rows_are_seen_at_once_and_survive() {
    let dir = Folder::new();
    let ledger = RedbLedger::open(&dir.0.join("state"));
    let writing = ledger.write(put("a", "1"));
    assert_eq!(ledger.get(Table::Outbox, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(writing.await, Ok(()));
    ledger.ready().await;
    assert_eq!(ledger.condition(), Condition::Good);
    drop(ledger);
    let mode = |it: &str| fs::metadata(dir.0.join(it)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/ledger.redb")), (0o700, 0o600));
    let ledger = RedbLedger::open(&dir.0.join("state"));
    ledger.ready().await;
    assert_eq!(ledger.rows(Table::Outbox), [("a".to_owned(), b"1".to_vec())]);
    assert_eq!(ledger.losses(), [""; 0]);
}

#[tokio::test]
async fn many_at_once_are_one_commit_and_all_answered() {
    let dir = Folder::new();
    let ledger = opened(&dir).await;
    let writes: Vec<_> =
        (0..10_000).map(|it| ledger.write(put(&format!("{it:05}"), &"x".repeat(200)))).collect();
    // The answers come in any case; a slow machine may be told that the disk is slow.
    for answer in writes {
        let answer = answer.await;
        assert!(matches!(answer, Ok(()) | Err(StoreError::NotDurable(_))), "{answer:?}");
    }
    drop(ledger);
    assert_eq!(opened(&dir).await.rows(Table::Outbox).len(), 10_000);
}

#[derive(Clone, Debug)]
enum Act {
    Write(Vec<Op>),
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let table = (0..Table::ALL.len()).prop_map(|it| Table::ALL[it]);
    let key = prop_oneof![Just(String::new()), "[a-e]{1,2}", "\\PC{0,9}"];
    let value = proptest::collection::vec(any::<u8>(), 0..300);
    let op =
        (table, key, proptest::option::weighted(0.7, value)).prop_map(|(table, key, value)| {
            match value {
                Some(value) => Op::Put(table, key, value),
                None => Op::Delete(table, key),
            }
        });
    let act = prop_oneof![
        6 => proptest::collection::vec(op, 0..6).prop_map(Act::Write),
        1 => Just(Act::Reopen),
    ];
    proptest::collection::vec(act, 1..25)
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_writes_leave_what_a_map_would_hold(acts in acts()) {
        let dir = Folder::new();
        let mut model: BTreeMap<(Table, String), Vec<u8>> = BTreeMap::new();
        let runtime = runtime();
        let mut ledger = runtime.block_on(opened(&dir));
        for act in acts.into_iter().chain([Act::Reopen]) {
            match act {
                Act::Write(ops) => {
                    for op in ops.clone() {
                        match op {
                            Op::Put(table, key, value) => model.insert((table, key), value),
                            Op::Delete(table, key) => model.remove(&(table, key)),
                        };
                    }
                    // Not awaited: the order is that of the calls, and the end waits for the disk.
                    drop(ledger.write(Batch(ops)));
                }
                Act::Reopen => {
                    drop(ledger);
                    ledger = runtime.block_on(opened(&dir));
                }
            }
            let rows: Vec<_> = model.iter().map(|((table, key), value)| (*table, (key.clone(), value.clone()))).collect();
            prop_assert_eq!(everything(&ledger), rows);
        }
    }
}

#[tokio::test]
async fn a_disk_that_refuses_loses_nothing_and_is_told() {
    for errno in [NO_SPACE, IO_ERROR] {
        let dir = Folder::new();
        let (ledger, faults) = fallible(&dir);
        ledger.write(put("a", "1")).await.unwrap();
        faults.set(errno);
        let answer = ledger.write(put("a", "2")).await;
        assert!(matches!(answer, Err(StoreError::NotDurable(_))), "{answer:?}");
        // What comes while the next attempt is not due is answered without waiting for it.
        for number in 3..50 {
            let answer = ledger.write(put("a", &number.to_string())).await;
            assert!(matches!(answer, Err(StoreError::NotDurable(_))), "{answer:?}");
            drop(ledger.write(put(&number.to_string(), "x")));
        }
        assert_eq!(ledger.get(Table::Outbox, "a").as_deref(), Some(&b"49"[..]));
        let Condition::Failing { since, reason, pending, next_try } = ledger.condition() else {
            panic!("{:?}", ledger.condition());
        };
        assert!(reason.contains(dir.0.to_str().unwrap()), "{reason}");
        assert_eq!(reason.contains("free some there"), errno == NO_SPACE, "{reason}");
        assert_eq!(pending, 48);
        assert!(next_try > since);
        faults.set(0);
        until("the disk is back", || ledger.condition() == Condition::Good);
        assert_eq!(ledger.write(put("b", "1")).await, Ok(()));
        let before = everything(&ledger);
        drop(ledger);
        let ledger = opened(&dir).await;
        assert_eq!(everything(&ledger), before);
        assert_eq!(ledger.losses(), [""; 0]);
    }
}

#[tokio::test]
async fn a_disk_that_refuses_from_the_start_still_gives_the_rows() {
    let dir = Folder::new();
    opened(&dir).await.write(put("a", "1")).await.unwrap();
    let opening = Opening::new(dir.0.join(FILE), Sync::Disk, CACHE_BYTES);
    let faults = Arc::clone(&opening.faults);
    faults.set(NO_SPACE);
    let ledger = RedbLedger::start(opening);
    ledger.ready().await;
    assert_eq!(ledger.rows(Table::Outbox), [("a".to_owned(), b"1".to_vec())]);
    assert!(ledger.write(put("b", "2")).await.is_err());
    faults.set(0);
    until("the disk is back", || ledger.condition() == Condition::Good);
    drop(ledger);
    assert_eq!(opened(&dir).await.rows(Table::Outbox).len(), 2);
}

#[tokio::test]
async fn what_waits_is_bounded_and_refused_whole() {
    let dir = Folder::new();
    let (ledger, faults) = fallible(&dir);
    ledger.ready().await;
    faults.set(IO_ERROR);
    let large = "x".repeat(16 * 1024 * 1024);
    for number in 0..3 {
        let answer = ledger.write(put(&number.to_string(), &large)).await;
        assert!(matches!(answer, Err(StoreError::NotDurable(_))));
    }
    let mut both = put("small", "x");
    both.0.extend(put("large", &large).0);
    assert!(matches!(ledger.write(both).await, Err(StoreError::Full(_))));
    assert_eq!(ledger.get(Table::Outbox, "small"), None);
    let answer = ledger.write(put("small", "x")).await;
    assert!(matches!(answer, Err(StoreError::NotDurable(_))), "{answer:?}");
}

#[tokio::test]
async fn a_second_process_waits_for_the_first() {
    let dir = Folder::new();
    let first = opened(&dir).await;
    first.write(put("a", "1")).await.unwrap();
    let second = RedbLedger::open(&dir.0);
    let early = second.write(put("b", "2"));
    let path = dir.0.join(FILE);
    let waits = |it: &RedbLedger| matches!(it.condition(), Condition::Waiting { path: of, .. } if of == path);
    until("it waits", || waits(&second));
    assert!(matches!(early.await, Err(StoreError::NotDurable(_))));
    first.write(put("a", "3")).await.unwrap();
    assert!(waits(&second));
    drop(first);
    second.ready().await;
    assert_eq!(second.get(Table::Outbox, "a").as_deref(), Some(&b"3"[..]));
    assert_eq!(second.write(put("c", "1")).await, Ok(()));
    assert_eq!(second.condition(), Condition::Good);
    drop(second);
    assert_eq!(opened(&dir).await.rows(Table::Outbox).len(), 3);
}

#[tokio::test]
async fn a_file_that_is_removed_or_replaced_is_written_again() {
    let dir = Folder::new();
    let ledger = opened(&dir).await;
    ledger.write(put("a", "1")).await.unwrap();
    fs::remove_file(dir.0.join(FILE)).unwrap();
    ledger.write(put("b", "2")).await.unwrap();
    fs::remove_dir_all(&dir.0).unwrap();
    ledger.write(put("c", "3")).await.unwrap();
    drop(ledger);
    assert_eq!(opened(&dir).await.rows(Table::Outbox).len(), 3);
}

#[tokio::test]
async fn a_file_that_has_grown_is_compacted_at_the_start() {
    let dir = Folder::new();
    let ledger = opened(&dir).await;
    let large = "x".repeat(1024 * 1024);
    for number in 0..24 {
        while ledger.write(put(&number.to_string(), &large)).await.is_err() {}
    }
    for number in 0..24 {
        drop(ledger.write(put(&number.to_string(), "small")));
    }
    drop(ledger);
    let size = || fs::metadata(dir.0.join(FILE)).unwrap().len();
    let before = size();
    assert!(before > COMPACTED, "{before}");
    let ledger = opened(&dir).await;
    until("it is smaller", || size() < COMPACTED);
    assert_eq!(ledger.write(put("a", "1")).await, Ok(()));
    assert_eq!(ledger.rows(Table::Outbox).len(), 25);
}

const COMPACTED: u64 = 8 * 1024 * 1024;
