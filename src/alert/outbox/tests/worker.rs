//! A worker that breaks down.

use std::sync::Arc;

use tokio::time::Instant;

use crate::alert::book::Book;
use crate::alert::outbox::{Outbox, State};
use crate::alert::sinks::tests::parcel;
use crate::health::board::Board;
use crate::model::alert::Phase;
use crate::store::memory::MemoryLedger;
use crate::store::{Batch, Ledger};

#[tokio::test(start_paused = true)]
async fn what_was_on_its_way_when_a_worker_broke_down_is_tried_again() {
    let ledger: Arc<dyn Ledger> = MemoryLedger::new();
    let board = Arc::new(Board::default());
    let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::default());
    let outbox = Outbox::new(ledger, book, board);
    outbox.restore();
    let mut batch = Batch::default();
    assert!(outbox.put(&mut batch, vec![parcel("ed", 0, "a", Phase::Opened)]).is_empty());
    outbox.written();
    let take = || outbox.shelf().queues.get_mut("ed").and_then(|it| it.take(Instant::now()));
    assert!(take().is_some());
    outbox.broke_down("ed");
    let State::Waiting { attempts, error, .. } = outbox.list()[0].state.clone() else { panic!() };
    assert_eq!((attempts, error.is_some()), (1, true));
    tokio::time::advance(std::time::Duration::from_secs(10)).await;
    assert!(take().is_some(), "its place is free again");
}
