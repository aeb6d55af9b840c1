//! Test alerts and previews.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Desk, live, mail, say};
use crate::alert::book::Book;
use crate::alert::fixture;
use crate::alert::outbox::Outbox;
use crate::alert::responder::{Parts, Responder};
use crate::health::board::Board;
use crate::model::incident::Happened::Opened;
use crate::store::memory::MemoryLedger;
use crate::store::{Batch, BoxFuture, Condition, Ledger, Row, StoreError, Table};

/// A ledger that another process holds for a while.
#[derive(Debug)]
struct Held {
    rows: Arc<MemoryLedger>,
    until: Instant,
}

impl Ledger for Held {
    fn ready(&self) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep_until(self.until))
    }

    fn rows(&self, table: Table) -> Vec<Row> {
        Ledger::rows(self.rows.as_ref(), table)
    }

    fn get(&self, table: Table, key: &str) -> Option<Vec<u8>> {
        self.rows.get(table, key)
    }

    fn write(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        self.rows.write(batch)
    }

    fn condition(&self) -> Condition {
        let since = crate::model::UnixMs(0);
        match Instant::now() < self.until {
            true => Condition::Waiting { since, path: std::path::PathBuf::new() },
            false => Condition::Good,
        }
    }

    fn losses(&self) -> Vec<String> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_test_that_nobody_answers_says_so_and_is_taken_back() {
    let desk = Desk::new(mail());
    let sinks = [String::from("mail"), String::from("nobody")];
    let tested = desk.responder.test(&sinks).await;
    let said: Vec<_> = tested.iter().map(|it| (it.sink.as_str(), it.accepted)).collect();
    assert_eq!(said, [("nobody", false), ("mail", false)]);
    assert!(tested[0].detail.contains("known are mail"), "{}", tested[0].detail);
    assert!(tested[1].detail.starts_with("not answered within 15 s"), "{}", tested[1].detail);
    assert_eq!(desk.elapsed(), 15_000);
    assert!(desk.outbox.list().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_preview_sends_nothing() {
    let desk = Desk::new(mail());
    desk.hear(Opened, "a").await;
    let event = desk.outbox.list()[0].event.clone();
    let (message, parcels) = desk.responder.preview(event.clone()).await;
    assert_eq!(message.unwrap().issues, ["a"]);
    assert_eq!(parcels.iter().map(say).collect::<Vec<_>>(), ["opened a > mail"]);
    assert_eq!(desk.outbox.list().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_test_waits_for_the_ledger_and_says_what_it_waited_for() {
    for (seconds, detail) in [(5, "call is under way"), (60, "the ledger is not open")] {
        let until = Instant::now() + Duration::from_secs(seconds);
        let ledger: Arc<dyn Ledger> = Arc::new(Held { rows: MemoryLedger::new(), until });
        let (board, bell) = (Arc::new(Board::default()), Arc::default());
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&ledger), Arc::clone(&book), Arc::clone(&board));
        let live = live(fixture::alerts(&["hook"]));
        let responder = Responder::new(Parts { live, ledger, book, outbox, board, bell });
        let tested = responder.test(&[]).await;
        assert!(tested[0].detail.contains(detail), "{tested:?}");
    }
}
