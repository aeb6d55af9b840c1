//! Room, numbers and batches.

use std::sync::Arc;
use std::time::Duration;

use crate::alert::outbox::shelf::Shelf;
use crate::alert::outbox::tests::{after, clock, take};
use crate::alert::outbox::trouble::Now;
use crate::alert::outbox::{Chosen, Parcel, State, row};
use crate::alert::sinks::tests::parcel;
use crate::alert::sinks::webhook::Webhook;
use crate::generation::alerting::{LiveKind, LiveSink};
use crate::model::alert::Phase;
use crate::store::{Batch, Op, Table};

fn shelf(rows_max: usize) -> Shelf {
    let mut shelf = Shelf::default();
    shelf.rows_max = rows_max;
    shelf
}

fn put(shelf: &mut Shelf, phases: &[Phase], now: Now) -> (Batch, Vec<Parcel>, Vec<u64>) {
    let mut batch = Batch::default();
    let made = |(at, phase): (usize, &Phase)| parcel("ed", 0, &format!("i{at}"), *phase);
    let parcels = phases.iter().enumerate().map(made).collect();
    let placed = shelf.put(&mut batch, parcels, now);
    let dropped = placed.dropped.iter().map(|it| it.number).collect();
    (batch, placed.back, dropped)
}

#[test]
fn updates_make_room_then_the_dead_and_never_what_opens_or_ends() {
    let now = clock();
    let (open, update, end) = (Phase::Opened, Phase::Updated, Phase::Resolved);
    let mut shelf = shelf(4);
    put(&mut shelf, &[open, update, end, update], now);
    shelf.release(true, now);
    shelf.queues.get_mut("ed").unwrap().refused(3, "no", now);
    let (batch, back, dropped) = put(&mut shelf, &[open, end], now);
    assert_eq!((back.len(), dropped), (0, vec![2, 4]));
    assert!(batch.0.contains(&Op::Delete(Table::Outbox, row("ed", 2))));
    let (_, back, dropped) = put(&mut shelf, &[open], now);
    assert_eq!((back.len(), dropped), (0, vec![3]));
    for phase in [open, update, end] {
        let (batch, back, dropped) = put(&mut shelf, &[phase], now);
        assert_eq!((back.len(), dropped.len(), batch.is_empty()), (1, 0, true));
    }
}

#[test]
fn nothing_goes_before_its_batch_is_written() {
    let now = clock();
    let mut shelf = shelf(100);
    // Two calls fill one batch, a third another.
    let mut batch = Batch::default();
    shelf.put(&mut batch, vec![parcel("ed", 0, "a", Phase::Opened)], now);
    shelf.put(&mut batch, vec![parcel("ed", 0, "b", Phase::Opened)], now);
    put(&mut shelf, &[Phase::Opened], now);
    let taken = |shelf: &mut Shelf| take(shelf.queues.get_mut("ed").unwrap(), now);
    assert_eq!(taken(&mut shelf), [] as [u64; 0]);
    shelf.release(true, now);
    assert_eq!(taken(&mut shelf), [1, 2]);
    shelf.release(false, after(now, Duration::from_secs(4)));
    assert_eq!(taken(&mut shelf), [] as [u64; 0]);
    // Nobody says that the second is written: it goes after a while.
    shelf.release(false, after(now, Duration::from_secs(5)));
    assert_eq!(taken(&mut shelf), [3]);
}

#[test]
fn numbers_go_on_and_a_batch_holds_what_they_are() {
    let now = clock();
    let mut shelf = shelf(100);
    assert!(shelf.restore(vec![parcel("ed", 41, "a", Phase::Opened)], now).is_empty());
    let (batch, _, _) = put(&mut shelf, &[Phase::Opened], now);
    let rows = batch.0.iter().map(|it| match it {
        Op::Put(table, key, _) | Op::Delete(table, key) => (*table, key.as_str()),
    });
    let rows = rows.collect::<Vec<_>>();
    let number = row("ed", 42);
    assert_eq!(rows, [(Table::Outbox, number.as_str()), (Table::Meta, "outbox-next-number")]);
}

#[test]
fn sinks_that_are_gone_are_shown_as_long_as_they_have_rows() {
    let now = clock();
    let mut shelf = shelf(100);
    put(&mut shelf, &[Phase::Opened, Phase::Opened], now);
    shelf.release(true, now);
    let status = &shelf.status()[0];
    assert_eq!((status.name.as_str(), status.kind, status.waiting), ("ed", "gone", 2));
    let mut batch = Batch::default();
    shelf.queues.get_mut("ed").unwrap().refused(2, "no", now);
    assert_eq!(shelf.retry(&Chosen::AllDead(Some(String::from("other"))), &mut batch, now), 0);
    assert_eq!(shelf.retry(&Chosen::AllDead(None), &mut batch, now), 1);
    for number in [1, 2] {
        let one = Chosen::One(String::from("ed"), number);
        assert_eq!(shelf.drop_chosen(&one, &mut batch).len(), 1);
    }
    assert!(shelf.status().is_empty());
}

#[test]
fn what_follows_an_alert_that_was_refused_is_dead_after_a_restart_too() {
    let now = clock();
    let reason = String::from("it answered 422");
    let state = State::Dead { at_ms: 0, attempts: 1, reason };
    let refused = Parcel { state, ..parcel("ed", 1, "a", Phase::Opened) };
    let other = parcel("ed", 3, "b", Phase::Opened);
    let rows = vec![refused, parcel("ed", 2, "a", Phase::Resolved), other];
    let mut shelf = shelf(100);
    let dead: Vec<_> = shelf.restore(rows, now).iter().map(|it| it.number).collect();
    assert_eq!(dead, [2]);
    assert_eq!(take(shelf.queues.get_mut("ed").unwrap(), now), [3]);
}

#[test]
fn an_end_does_not_go_when_its_alert_had_to_make_room_or_was_dropped() {
    let now = clock();
    let mut shelf = shelf(2);
    let put = |shelf: &mut Shelf, incident, phase| {
        let mut batch = Batch::default();
        let back = shelf.put(&mut batch, vec![parcel("ed", 0, incident, phase)], now).back;
        assert!(back.is_empty());
        shelf.release(true, now).iter().map(|it| it.number).collect::<Vec<_>>()
    };
    put(&mut shelf, "a", Phase::Opened);
    put(&mut shelf, "b", Phase::Opened);
    let queue = shelf.queues.get_mut("ed").unwrap();
    assert_eq!(take(queue, now), [1, 2]);
    queue.refused(1, "it answered 422", now);
    // 1 makes room for its own end.
    assert_eq!(put(&mut shelf, "a", Phase::Resolved), [3]);
    // 2 is dropped on its way; the receiver has it all the same.
    shelf.drop_chosen(&Chosen::One(String::from("ed"), 2), &mut Batch::default());
    shelf.queues.get_mut("ed").unwrap().accepted(2);
    assert_eq!(put(&mut shelf, "b", Phase::Resolved), [] as [u64; 0]);
    assert_eq!(take(shelf.queues.get_mut("ed").unwrap(), now), [4]);
}

#[test]
fn a_sink_that_takes_nothing_leaves_the_others_their_share() {
    let now = clock();
    let mut shelf = shelf(8);
    for name in ["down", "well"] {
        let kind = LiveKind::Webhook { url: String::from("http://h/"), secrets: Vec::new() };
        let live = LiveSink { name: name.to_owned(), timeout: Duration::from_secs(1), kind };
        shelf.sinks.insert(name.to_owned(), Arc::new(Webhook::new(&live)));
    }
    let fill = |shelf: &mut Shelf, sink: &str, phase| {
        let parcels = (0..10).map(|it| parcel(sink, 0, &format!("{sink}{it}"), phase)).collect();
        let placed = shelf.put(&mut Batch::default(), parcels, now);
        shelf.release(true, now);
        (10 - placed.back.len(), placed.dropped.len())
    };
    // A row of a sink that the config has no more is nobody's share.
    assert_eq!(fill(&mut shelf, "gone", Phase::Updated), (4, 0));
    assert_eq!(fill(&mut shelf, "down", Phase::Opened), (6, 4));
    assert_eq!(fill(&mut shelf, "well", Phase::Opened), (2, 0));
}
