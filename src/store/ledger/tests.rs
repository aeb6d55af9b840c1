//! The ledger against a map, a disk that fails, a file that is broken or held, and a process that is killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::{prop_assert_eq, test_runner::Config};
use rustix::fs::{FileType, Mode};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::store::Op;
use crate::store::file::faults::Faults;
use crate::store::fixture::{Folder, child, child_folder, tell, told, until};

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
async fn what_is_none_of_ours_is_left_alone() {
    let foreign = |dir: &Folder, it: &[u8]| fs::write(dir.0.join(FILE), it).unwrap();
    let cases: [(&str, &dyn Fn(&Folder)); 5] = [
        ("text", &|dir| foreign(dir, &b"not a database\n".repeat(1000))),
        ("a folder", &|dir| fs::create_dir(dir.0.join(FILE)).unwrap()),
        ("a pipe", &|dir| {
            let path = dir.0.join(FILE);
            rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }),
        ("another program's", &|dir| {
            let db = redb::Database::create(dir.0.join(FILE)).unwrap();
            let change = db.begin_write().unwrap();
            let table = redb::TableDefinition::<u64, u64>::new("theirs");
            change.open_table(table).unwrap().insert(1, 1).unwrap();
            change.commit().unwrap();
        }),
        ("a later format", &|dir| {
            let db = redb::Database::create(dir.0.join(FILE)).unwrap();
            let change = db.begin_write().unwrap();
            let table = redb::TableDefinition::<&str, u64>::new("headgate-ledger");
            change.open_table(table).unwrap().insert("format", 2).unwrap();
            change.commit().unwrap();
        }),
    ];
    for (what, make) in cases {
        let dir = Folder::new();
        make(&dir);
        let before = (what == "text").then(|| fs::read(dir.0.join(FILE)).unwrap());
        let ledger = opened(&dir).await;
        let condition = ledger.condition();
        let Condition::MemoryOnly { reason } = condition else { panic!("{what}: {condition:?}") };
        assert!(reason.contains("ledger.redb"), "{reason}");
        assert_eq!(ledger.write(put("a", "1")).await, Ok(()), "{what}");
        assert_eq!(ledger.rows(Table::Outbox).len(), 1, "{what}");
        drop(ledger);
        assert_eq!(dir.names(), [FILE], "{what}");
        if before.is_some() {
            assert_eq!(fs::read(dir.0.join(FILE)).ok(), before, "{what}");
        }
    }
}

#[tokio::test]
async fn a_state_folder_that_is_none_is_told() {
    let dir = Folder::new();
    fs::write(dir.0.join("state"), "").unwrap();
    let ledger = RedbLedger::open(&dir.0.join("state"));
    ledger.ready().await;
    assert!(matches!(ledger.condition(), Condition::MemoryOnly { .. }));
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

/// A ledger's file after some hundred commits, and its rows.
fn used() -> (Vec<u8>, Vec<(Table, Row)>) {
    let (dir, runtime) = (Folder::new(), runtime());
    let ledger = runtime.block_on(opened(&dir));
    for number in 0..300_u32 {
        let mut batch =
            put(&format!("{:03}", number % 90), &format!("{number} {}", "x".repeat(150)));
        batch.0.push(Op::Put(Table::Meta, "last".to_owned(), number.to_string().into_bytes()));
        if number % 7 == 0 {
            batch.0.push(Op::Delete(Table::Outbox, format!("{:03}", number % 50)));
        }
        runtime.block_on(ledger.write(batch)).unwrap();
    }
    let rows = everything(&ledger);
    // As a kill leaves it: not closed.
    let bytes = fs::read(dir.0.join(FILE)).unwrap();
    (bytes, rows)
}

/// Opens a file of these bytes: all rows are there, or a loss is told and the file is set aside.
fn open_damaged(bytes: &[u8], rows: &[(Table, Row)], what: &str) -> bool {
    let (dir, runtime) = (Folder::new(), runtime());
    fs::write(dir.0.join(FILE), bytes).unwrap();
    let ledger = runtime.block_on(opened(&dir));
    let whole = everything(&ledger) == rows;
    if matches!(ledger.condition(), Condition::MemoryOnly { .. }) {
        // The first page says that this is no ledger.
        assert_eq!(dir.names(), [FILE], "{what}");
        return whole;
    }
    let aside = dir.names().iter().any(|it| it == "ledger.redb.broken-1");
    assert_eq!(!ledger.losses().is_empty(), aside, "{what}");
    assert!(whole || aside, "{what}: rows are missing and nothing is told");
    assert_eq!(runtime.block_on(ledger.write(put("new", "1"))), Ok(()), "{what}");
    drop(ledger);
    let again = runtime.block_on(opened(&dir));
    assert_eq!(again.get(Table::Outbox, "new").as_deref(), Some(&b"1"[..]), "{what}");
    assert_eq!(again.losses(), [""; 0], "{what}");
    whole
}

#[test]
fn a_file_that_is_torn_anywhere_is_whole_or_set_aside() {
    let (bytes, rows) = used();
    assert!(open_damaged(&bytes, &rows, "as a kill leaves it"));
    let end = bytes.iter().rposition(|it| *it != 0).unwrap();
    let step = (end / 40).max(1);
    for at in (0..8).map(|it| it * 97).chain((0..end).step_by(step)).chain([end, end + 1]) {
        open_damaged(&bytes[..at], &rows, &format!("cut at {at}"));
    }
    // As when a kill comes after the file has grown and before anything is written there.
    assert!(open_damaged(&[&bytes[..], &[0; 81_920]].concat(), &rows, "longer"));
    open_damaged(&[&bytes[..], &[7; 5000]].concat(), &rows, "longer by garbage");
}

#[test]
fn garbage_in_any_page_is_found_and_set_aside() {
    let (bytes, rows) = used();
    let mut seen = 0;
    for page in 0..bytes.len() / 4096 {
        let at = page * 4096;
        if bytes[at..at + 4096].iter().all(|it| *it == 0) {
            continue;
        }
        for (offset, length) in [(0, 4096), (13, 1), (200, 64)] {
            let mut damaged = bytes.clone();
            damaged[at + offset..at + offset + length].iter_mut().for_each(|it| *it ^= 0x5a);
            open_damaged(&damaged, &rows, &format!("{length} bytes at {}", at + offset));
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[tokio::test]
async fn only_the_last_broken_files_are_kept() {
    let dir = Folder::new();
    for _ in 0..6 {
        fs::write(dir.0.join(FILE), [0; 10_000]).unwrap();
        assert_eq!(opened(&dir).await.losses().len(), 1);
    }
    let aside = ["3", "4", "5", "6"].map(|it| format!("{FILE}.broken-{it}"));
    assert_eq!(dir.names(), [&[FILE.to_owned()][..], &aside[..]].concat());
}

#[tokio::test]
async fn a_file_that_breaks_while_it_is_open_is_written_anew() {
    let dir = Folder::new();
    let ledger = opened(&dir).await;
    for number in 0..200 {
        drop(ledger.write(put(&format!("{number:03}"), &"x".repeat(500))));
    }
    ledger.write(put("last", "1")).await.unwrap();
    let file = fs::OpenOptions::new().write(true).open(dir.0.join(FILE)).unwrap();
    let length = file.metadata().unwrap().len();
    for at in (0..length).step_by(512) {
        file.write_all_at(&[0xa5; 64], at).unwrap();
    }
    let broken_from = everything(&ledger);
    // Whether redb notices at once depends on its cache; at the latest when it is opened again.
    drop(ledger.write(put("after", "1")));
    drop(ledger);
    let ledger = opened(&dir).await;
    if ledger.losses().is_empty() {
        assert_eq!(ledger.rows(Table::Outbox).len(), broken_from.len() + 1);
    }
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

/// Writes numbers and tells each that is on the disk, until it is killed.
#[test]
fn child_writes() {
    let Some(dir) = child_folder() else { return };
    let ledger = RedbLedger::open(&dir);
    runtime().block_on(async {
        ledger.ready().await;
        let first = ledger.get(Table::Meta, "last").map_or(0, |it| number(&it) + 1);
        for number in first.. {
            let mut batch = put(&format!("{:06}", number % 500), &number.to_string());
            batch.0.push(Op::Put(Table::Meta, "last".to_owned(), number.to_string().into_bytes()));
            if ledger.write(batch).await.is_ok() {
                tell(number);
            }
        }
    });
}

fn number(bytes: &[u8]) -> u64 {
    String::from_utf8_lossy(bytes).parse().unwrap()
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let (dir, runtime) = (Folder::new(), runtime());
    let mut last = 0;
    for round in 0..25_u32 {
        let (mut process, mut lines) = child("store::ledger::tests::child_writes", &dir, &[]);
        for _ in 0..=(round * 7 % 40) {
            last = told(&mut lines).expect("the child writes").parse().unwrap();
        }
        process.kill().unwrap();
        while let Some(more) = told(&mut lines) {
            last = more.parse().unwrap();
        }
        process.wait().unwrap();
        let ledger = runtime.block_on(opened(&dir));
        assert_eq!(ledger.losses(), [""; 0], "round {round}");
        let kept = number(&ledger.get(Table::Meta, "last").unwrap());
        assert!(kept == last || kept == last + 1, "round {round}: {kept} of {last}");
        // A batch is there as a whole.
        let row = ledger.get(Table::Outbox, &format!("{:06}", kept % 500)).unwrap();
        assert_eq!(number(&row), kept, "round {round}");
        assert_eq!(ledger.rows(Table::Outbox).len() as u64, (kept + 1).min(500));
    }
    assert_eq!(dir.names(), [FILE]);
}

/// On a file system of 4 MiB: fills it, and goes on when there is room again.
#[test]
fn child_fills_a_small_disk() {
    let Some(dir) = child_folder() else { return };
    runtime().block_on(async {
        let ballast = dir.join("ballast");
        fs::write(&ballast, vec![1; 1_500_000]).unwrap();
        let ledger = RedbLedger::open(&dir);
        ledger.ready().await;
        let mut number = 0;
        while ledger.write(put(&format!("{number:05}"), &"x".repeat(20_000))).await.is_ok() {
            number += 1;
            assert!(number < 300);
        }
        let condition = ledger.condition();
        let Condition::Failing { reason, .. } = condition else { panic!("{condition:?}") };
        assert!(reason.contains("No space left"), "{reason}");
        drop(ledger.write(put("later", "1")));
        drop(ledger);
        // A start on the full disk.
        let ledger = RedbLedger::open(&dir);
        ledger.ready().await;
        assert!(ledger.rows(Table::Outbox).len() >= number, "{number}");
        let again = ledger.write(put("big", &"x".repeat(100_000))).await;
        assert!(matches!(again, Err(StoreError::NotDurable(_))), "{again:?}");
        fs::remove_file(&ballast).unwrap();
        until("there is room again", || ledger.condition() == Condition::Good);
        let before = everything(&ledger);
        drop(ledger);
        let ledger = RedbLedger::open(&dir);
        ledger.ready().await;
        assert_eq!(everything(&ledger), before);
        assert_eq!(ledger.losses(), [""; 0]);
        tell("done");
    });
}

#[test]
fn a_real_disk_that_is_full_loses_nothing() {
    let dir = Folder::new();
    let script = "mount -t tmpfs -o size=4m none \"$HEADGATE_STORE_TEST_CHILD\" && echo told mounted && exec \"$@\"";
    let before = ["unshare", "-Urm", "sh", "-c", script, "sh"];
    let (process, mut lines) =
        child("store::ledger::tests::child_fills_a_small_disk", &dir, &before);
    let mounted = told(&mut lines);
    let done = told(&mut lines);
    let said = process.wait_with_output().unwrap();
    match mounted {
        Some(_) => {
            assert_eq!(done.as_deref(), Some("done"), "{}", String::from_utf8_lossy(&said.stderr));
        }
        // Where namespaces are not allowed the faults above have to do.
        None => tell("SKIP: no small disk to be had"),
    }
}
