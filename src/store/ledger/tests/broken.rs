//! Files that are torn, full of garbage, or none of ours.

use std::fs;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FileType, Mode};

use super::{everything, opened, put, runtime};
use crate::store::fixture::Folder;
use crate::store::ledger::{FILE, RedbLedger};
use crate::store::{Condition, Ledger as _, Op, Row, Table};

type Make<'a> = &'a dyn Fn(&Folder);

#[tokio::test]
async fn what_is_none_of_ours_is_left_alone() {
    let foreign = |dir: &Folder, it: &[u8]| fs::write(dir.0.join(FILE), it).unwrap();
    let cases: [(&str, Make<'_>); 5] = [
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
