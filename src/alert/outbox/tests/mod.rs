//! Order, waits, room and give-up by rule; sockets are in `tests/it/outbox.rs`.

mod course;
mod shelf;
mod worker;

use std::time::Duration;

use tokio::time::Instant;

use crate::alert::outbox::queue::Queue;
use crate::alert::outbox::trouble::{Now, Why};
use crate::alert::outbox::{Parcel, State};
use crate::alert::sinks::tests::parcel;
use crate::model::alert::Phase;

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
    assert!(queue.flying().is_empty() && queue.len() == 0 && queue.waiting() == 0);
}
