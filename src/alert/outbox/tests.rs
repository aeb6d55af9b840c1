//! Order, waits, room and give-up by rule; sockets are in `tests/it/outbox.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::{any, prop, proptest};
use tokio::time::Instant;

use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::shelf::Shelf;
use crate::alert::outbox::trouble::{Now, Why};
use crate::alert::outbox::{Chosen, Parcel, State, row};
use crate::alert::sinks::tests::parcel;
use crate::model::alert::Phase;
use crate::store::{Batch, Op, Table};

const T0: u64 = 1_795_502_400_000;
const GIVE_UP: Duration = Duration::from_hours(24);

/// A clock that is moved by hand.
fn clock() -> Now {
    Now { at: Instant::now(), ms: T0 }
}

fn after(now: Now, wait: Duration) -> Now {
    Now { at: now.at + wait, ms: now.later_ms(wait) }
}

fn why(asked: Option<u64>) -> Why {
    let reason = String::from("it answered 500");
    Why { reason, asked: asked.map(Duration::from_secs), random: u64::MAX / 2 }
}

fn about(number: u64, incidents: &[&str], phase: Phase) -> Parcel {
    let incidents = incidents.iter().copied().map(str::to_owned).collect();
    Parcel { incidents, ..parcel("ed", number, "i", phase) }
}

fn queue(now: Now, parcels: &[(&str, Phase)]) -> Queue {
    let mut queue = Queue::default();
    for (number, (incident, phase)) in (1..).zip(parcels) {
        queue.add(about(number, &[incident], *phase), false, now);
    }
    queue
}

fn take(queue: &mut Queue, now: Now) -> Vec<u64> {
    std::iter::from_fn(|| queue.take(now.at)).map(|it| it.number).collect()
}

fn accept(queue: &mut Queue, number: u64) {
    assert!(queue.accepted(number));
    queue.gone(number).unwrap();
}

fn dead(queue: &Queue) -> Vec<(u64, String)> {
    let reason = |it: &Parcel| match &it.state {
        State::Dead { reason, .. } => Some((it.number, reason.clone())),
        State::Waiting { .. } => None,
    };
    queue.parcels().filter_map(|it| reason(it)).collect()
}

#[test]
fn four_incidents_at_once_each_in_order() {
    let now = clock();
    let (open, end) = (Phase::Opened, Phase::Resolved);
    let of = [("a", open), ("a", end), ("b", open), ("c", open), ("d", open), ("e", open)];
    let mut queue = queue(now, &of);
    assert_eq!(take(&mut queue, now), [1, 3, 4, 5]);
    assert!(queue.accepted(1));
    // Accepted, but not yet deleted on the disk: its end must wait, others need not.
    assert_eq!(take(&mut queue, now), [6]);
    queue.gone(1);
    accept(&mut queue, 3);
    assert_eq!(take(&mut queue, now), [2]);
}

#[test]
fn a_notice_of_several_waits_for_all_of_them() {
    let now = clock();
    let mut queue = queue(now, &[("a", Phase::Opened), ("b", Phase::Opened)]);
    queue.add(about(3, &["a", "b"], Phase::Resolved), false, now);
    assert_eq!(take(&mut queue, now), [1, 2]);
    accept(&mut queue, 2);
    assert_eq!(take(&mut queue, now), [] as [u64; 0]);
    accept(&mut queue, 1);
    assert_eq!(take(&mut queue, now), [3]);
}

#[test]
fn a_sink_that_fails_gets_one_at_a_time_until_it_accepts() {
    let now = clock();
    let all: Vec<String> = (0..20).map(|it| format!("i{it}")).collect();
    let all: Vec<_> = all.iter().map(|it| (it.as_str(), Phase::Opened)).collect();
    let mut queue = queue(now, &all);
    assert_eq!(take(&mut queue, now), [1, 2, 3, 4]);
    for number in 1..=4 {
        queue.again(number, &why(None), now).unwrap();
    }
    assert_eq!(take(&mut queue, now), [] as [u64; 0]);
    let until = queue.next().unwrap();
    assert!(until > now.at && until <= now.at + Duration::from_secs(1));
    // The four counted as one failure, so the next wait is the second.
    let mut now = Now { at: until, ms: now.ms };
    let tried = take(&mut queue, now);
    assert_eq!(tried.len(), 1);
    assert_eq!(queue.next(), None);
    queue.again(tried[0], &why(Some(60)), now).unwrap();
    now = after(now, Duration::from_secs(59));
    assert_eq!(take(&mut queue, now), [] as [u64; 0]);
    now = after(now, Duration::from_secs(1));
    let probe = take(&mut queue, now);
    assert_eq!(probe.len(), 1);
    let trouble = queue.trouble.clone().unwrap();
    assert_eq!((trouble.since_ms, trouble.reason.as_str()), (T0, "it answered 500"));
    accept(&mut queue, probe[0]);
    assert!(queue.trouble.is_none());
    assert_eq!(take(&mut queue, now).len(), 4);
}

#[test]
fn one_that_always_fails_keeps_only_its_own_incident() {
    let mut now = clock();
    let mut queue = Queue::default();
    queue.add(about(1, &["poison"], Phase::Opened), false, now);
    queue.add(about(2, &["poison"], Phase::Resolved), false, now);
    let (mut next, mut delivered) = (3, 0);
    for _ in 0..200 {
        queue.add(about(next, &[&format!("i{next}")], Phase::Opened), false, now);
        next += 1;
        now = after(now, Duration::from_secs(2));
        for number in take(&mut queue, now) {
            match number {
                1 => drop(queue.again(1, &why(None), now).unwrap()),
                2 => panic!("an end before its alert"),
                _ => {
                    accept(&mut queue, number);
                    delivered += 1;
                }
            }
        }
    }
    assert!(delivered >= 190, "{delivered}");
    let attempts = queue.parcels().map(|it| it.state.clone()).next().unwrap();
    let State::Waiting { attempts, .. } = attempts else { panic!() };
    assert!((5..40).contains(&attempts), "{attempts}");
}

#[test]
fn what_follows_an_alert_that_was_refused_is_dead_too() {
    let now = clock();
    let (open, update, end) = (Phase::Opened, Phase::Updated, Phase::Resolved);
    let mut queue = queue(now, &[("a", open), ("a", update), ("b", open), ("b", end)]);
    queue.add(about(5, &["a", "b"], end), false, now);
    queue.add(about(6, &["a"], open), false, now);
    assert_eq!(take(&mut queue, now), [1, 3]);
    queue.refused(1, "it answered 422", now);
    // 5 is of `b` too, whose alert may be heard; 6 opens again.
    let because = |alert: u64| format!("its alert was not delivered: {alert}");
    assert_eq!(dead(&queue), [(1, String::from("it answered 422")), (2, because(1))]);
    queue.refused(3, "it answered 422", now);
    let numbers: Vec<u64> = dead(&queue).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(take(&mut queue, now), [6]);
    // One that comes later, too.
    queue.add(about(7, &["b"], end), true, now);
    assert_eq!(queue.release(7, now).len(), 1);
    // A person has the last word, in order.
    assert!(queue.retry(3, now).is_some() && queue.retry(4, now).is_some());
    assert_eq!(take(&mut queue, now), [3]);
    accept(&mut queue, 3);
    assert_eq!(take(&mut queue, now), [4]);
}

#[test]
fn a_refused_update_takes_nothing_with_it() {
    let now = clock();
    let of = [("a", Phase::Opened), ("a", Phase::Updated), ("a", Phase::Resolved)];
    let mut queue = queue(now, &of);
    take(&mut queue, now);
    accept(&mut queue, 1);
    assert_eq!(take(&mut queue, now), [2]);
    queue.refused(2, "it answered 422", now);
    assert_eq!(take(&mut queue, now), [3]);
}

#[test]
fn what_is_dead_and_tried_again_goes_before_what_is_later() {
    let now = clock();
    let mut queue = queue(now, &[("a", Phase::Updated), ("a", Phase::Updated)]);
    take(&mut queue, now);
    queue.refused(1, "it answered 422", now);
    // 2 is first now, but 1 comes back before it went.
    queue.retry(1, now).unwrap();
    assert_eq!(take(&mut queue, now), [1]);
    queue.refused(1, "it answered 422", now);
    assert_eq!(take(&mut queue, now), [2]);
    // And while 2 is on its way, 1 waits.
    queue.retry(1, now).unwrap();
    assert_eq!(take(&mut queue, now), [] as [u64; 0]);
    accept(&mut queue, 2);
    assert_eq!(take(&mut queue, now), [1]);
}

#[test]
fn it_is_given_up_by_the_clock_that_does_not_jump() {
    let now = clock();
    let mut queue = queue(now, &[("a", Phase::Opened), ("a", Phase::Resolved)]);
    let jumped = Now { at: now.at + Duration::from_secs(60), ms: now.ms + 365 * 86_400_000 };
    assert!(queue.expire(GIVE_UP, jumped).is_empty());
    let back = Now { at: now.at + Duration::from_secs(60), ms: 0 };
    assert!(queue.expire(GIVE_UP, back).is_empty());
    let late = after(now, GIVE_UP);
    let dead: Vec<u64> = queue.expire(GIVE_UP, late).iter().map(|it| it.number).collect();
    assert_eq!(dead, [1, 2]);
}

#[test]
fn a_gate_that_was_off_for_days_still_tries() {
    let now = clock();
    let mut old = about(1, &["a"], Phase::Opened);
    old.created_ms = T0 - 7 * 86_400_000;
    let mut queue = Queue::default();
    queue.add(old, false, now);
    assert!(queue.expire(GIVE_UP, after(now, Duration::from_mins(14))).is_empty());
    assert_eq!(queue.expire(GIVE_UP, after(now, Duration::from_mins(15))).len(), 1);
}

#[test]
fn a_wait_outlives_the_process_but_not_a_clock_that_jumped() {
    let now = clock();
    for (next_try_ms, wait) in [(T0 + 5000, 5), (T0 + 999 * 86_400_000, 3600), (T0 - 1, 0)] {
        let mut parcel = about(1, &["a"], Phase::Opened);
        parcel.state = State::Waiting { attempts: 3, next_try_ms, error: None };
        let mut queue = Queue::default();
        queue.add(parcel, false, now);
        let early = after(now, Duration::from_secs(wait).saturating_sub(Duration::from_millis(1)));
        assert_eq!(queue.take(early.at).is_some(), wait == 0);
        if wait > 0 {
            assert!(queue.take(now.at + Duration::from_secs(wait)).is_some());
        }
    }
}

#[test]
fn one_that_is_dropped_on_its_way_leaves_no_trace() {
    let now = clock();
    let mut queue = queue(now, &[("a", Phase::Opened), ("b", Phase::Opened)]);
    take(&mut queue, now);
    queue.gone(1).unwrap();
    queue.gone(2).unwrap();
    assert!(!queue.accepted(1));
    assert!(queue.again(2, &why(None), now).is_none());
    assert!(queue.is_idle() && queue.len() == 0 && queue.waiting() == 0);
}

#[derive(Clone, Debug)]
struct Step {
    incidents: BTreeSet<u8>,
    phase: u8,
    outcomes: Vec<u8>,
}

fn phase(number: u8) -> Phase {
    [Phase::Opened, Phase::Updated, Phase::Resolved, Phase::Test][usize::from(number % 4)]
}

proptest! {
    /// Whatever the receiver answers: nothing is lost, nothing of one incident overtakes, four fly at most, and it ends.
    #[test]
    fn any_course_keeps_the_promises(
        steps in prop::collection::vec(
            (prop::collection::btree_set(0..5_u8, 1..3), any::<u8>(), prop::collection::vec(0..4_u8, 0..4)),
            1..30,
        ),
        drops in prop::collection::vec(0..40_u64, 0..3),
        retries in prop::collection::vec(0..40_u64, 0..3),
    ) {
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|(incidents, phase, outcomes)| Step { incidents, phase, outcomes })
            .collect();
        course(&steps, &drops, &retries);
    }
}

fn course(steps: &[Step], drops: &[u64], retries: &[u64]) {
    let mut now = clock();
    let mut queue = Queue::default();
    let mut left: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let incidents_of = |number: u64| &steps[usize::try_from(number - 1).unwrap()].incidents;
    for (number, it) in (1..).zip(steps) {
        let names: Vec<String> = it.incidents.iter().map(u8::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add(about(number, &names, phase(it.phase)), false, now);
        left.insert(number, it.outcomes.clone());
    }
    let (mut flying, mut over, mut turn) = (BTreeSet::new(), BTreeSet::new(), 0_u64);
    while queue.waiting() > 0 {
        turn += 1;
        assert!(turn < 3000, "it does not end");
        if retries.contains(&turn) {
            // Only the dead: one that waits is merely tried at once.
            let first = queue.dead().first().copied();
            first.and_then(|it| queue.retry(it, now));
        }
        for number in take(&mut queue, now) {
            let earlier = queue.parcels().map(|it| it.number).filter(|it| *it < number);
            for other in earlier.filter(|it| !dead_now(&queue, *it)) {
                let shared = incidents_of(other).intersection(incidents_of(number)).count();
                assert_eq!(shared, 0, "{number} overtakes {other}");
            }
            assert!(flying.insert(number));
        }
        assert!(flying.len() <= 4);
        let Some(number) = flying.pop_first() else {
            let next = queue.next().expect("something is due some time");
            now = after(now, next.saturating_duration_since(now.at));
            continue;
        };
        if drops.contains(&number) {
            queue.gone(number);
            over.insert(number);
        }
        match left.get_mut(&number).and_then(Vec::pop) {
            None | Some(0) => {
                if queue.accepted(number) {
                    queue.gone(number);
                    assert!(over.insert(number));
                }
            }
            Some(1) => drop(queue.refused(number, "no", now)),
            Some(2) => drop(queue.again(number, &why(Some(9)), now)),
            Some(_) => drop(queue.again(number, &why(None), now)),
        }
    }
    let kept: BTreeSet<u64> = queue.parcels().map(|it| it.number).collect();
    assert_eq!(&kept, queue.dead());
    let all: BTreeSet<u64> = left.keys().copied().collect();
    assert_eq!(kept.union(&over).copied().collect::<BTreeSet<u64>>(), all);
}

fn dead_now(queue: &Queue, number: u64) -> bool {
    queue.dead().contains(&number)
}

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
    shelf.restore(parcel("ed", 41, "a", Phase::Opened), now);
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
