//! A process that is killed while it writes, and a disk that is really full.

use std::fs;

use super::{everything, opened, put, runtime};
use crate::store::fixture::{Folder, child, child_folder, tell, told, until};
use crate::store::ledger::{FILE, RedbLedger};
use crate::store::{Condition, Ledger as _, Op, StoreError, Table};

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
        let (mut process, mut lines) =
            child("store::ledger::tests::killed::child_writes", &dir, &[]);
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
        child("store::ledger::tests::killed::child_fills_a_small_disk", &dir, &before);
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
