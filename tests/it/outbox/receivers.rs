//! Receivers that are down, slow, broken or hostile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headgate::alert::outbox::{Chosen, Parcel, State};
use headgate::config::secret::Secret;
use headgate::generation::alerting::{LiveKind, LiveSink};
use headgate::model::alert::Phase;
use headgate::store::ledger::RedbLedger;
use headgate::store::memory::MemoryLedger;

use serde_json::Value;

use super::world::{Kept, World, check, delivery, parcel, receiver};
use crate::support::gateway::TempDir;
use crate::support::toxic::{ToxicProxy, Toxics};
use crate::support::{Exchange, Upstream, until};

type Spoil = fn(&mut Exchange);

/// How a receiver behaves until it is mended, and what the outbox says of it.
const MISBEHAVING: [(&str, Spoil, &str); 7] = [
    ("answers 500", |it| it.respond(500, "", b"out of order"), "it answered 500: out of order"),
    ("is silent", Exchange::hang, "no answer in time"),
    ("closes at once", Exchange::close, "the connection was closed before the answer"),
    ("resets", |it| drop(it.body()), "the connection was closed before the answer"),
    ("sends half a head", half_a_head, "no answer in time"),
    ("speaks something else", |it| nonsense(it), "the answer is not HTTP"),
    ("is busy", |it| it.respond(429, "Retry-After: 0\r\n", b""), "it answered 429"),
];

fn half_a_head(exchange: &mut Exchange) {
    exchange.body();
    exchange.send("HTTP/1.1 200 OK\r\nContent-Le");
    exchange.hang();
}

fn nonsense(exchange: &mut Exchange) {
    exchange.body();
    exchange.send("220 ready\r\n\r\n");
    exchange.close();
}

#[test]
fn what_a_receiver_does_not_take_is_tried_until_it_does() {
    for (what, spoil, reason) in MISBEHAVING {
        let (broken, kept) = (Arc::new(AtomicBool::new(true)), Kept::default());
        let (for_upstream, keeps) = (Arc::clone(&broken), Arc::clone(&kept));
        let upstream = Upstream::by(move |exchange| {
            if for_upstream.load(Ordering::SeqCst) {
                spoil(exchange);
                if what == "resets" {
                    exchange.reset();
                }
                return;
            }
            let delivery = delivery(exchange);
            keeps.lock().expect("no panic under this lock").push(delivery);
            exchange.respond(200, "", b"{}");
        });
        let (other, others) = receiver();
        let sinks = [("bad", upstream.url()), ("good", other.url())];
        let world = World::new(MemoryLedger::new(), &sinks);
        world.put(vec![
            parcel("bad", "a", Phase::Opened, "bad-1"),
            parcel("good", "a", Phase::Opened, "good-1"),
            parcel("bad", "a", Phase::Resolved, "bad-2"),
        ]);
        until("the other receiver has its alert", || others.lock().unwrap().len() == 1);
        until("the reason is named", || {
            let status = world.status("bad");
            let named = status.reason.is_some_and(|it| it.starts_with(reason));
            named && status.next_try_ms.is_some() && status.failing_since_ms.is_some()
        });
        broken.store(false, Ordering::SeqCst);
        world.wait_until_empty();
        let kept = kept.lock().unwrap().clone();
        let keys: Vec<&str> = kept.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, ["bad-1", "bad-2"], "a receiver that {what}");
        let status = world.status("bad");
        assert_eq!((status.delivered, status.reason), (2, None), "a receiver that {what}");
    }
}

/// Statuses that are heard, whatever comes after them.
#[test]
fn a_status_of_success_is_enough() {
    let answers: [Spoil; 3] = [
        // The body ends too early.
        |it| {
            it.body();
            it.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":");
            it.close();
        },
        // It never ends.
        |it| {
            it.body();
            it.send("HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            it.hang();
        },
        |it| it.respond(200, "", b"{\"status\":\"error\",\"channels\":null"),
    ];
    for answer in answers {
        let upstream = Upstream::by(answer);
        let world = World::new(MemoryLedger::new(), &[("hook", upstream.url())]);
        world.put(vec![parcel("hook", "a", Phase::Opened, "k")]);
        world.wait_until_empty();
        assert_eq!((upstream.requests(), world.status("hook").delivered), (1, 1));
    }
}

#[test]
fn a_refusal_is_for_good_and_no_other_host_hears_of_it() {
    let (elsewhere, stolen) = receiver();
    let location = format!("Location: {}/x\r\n", elsewhere.url());
    for (status, fields) in [(422, String::new()), (307, location.clone()), (302, location)] {
        let upstream = Upstream::by(move |it| it.respond(status, &fields, b"{\"detail\":\"no\"}"));
        let world = World::new(MemoryLedger::new(), &[("hook", upstream.url())]);
        world.put(vec![parcel("hook", "a", Phase::Opened, "k")]);
        world.put(vec![parcel("hook", "a", Phase::Resolved, "l")]);
        until("both are dead", || world.status("hook").dead == 2);
        let reasons: Vec<String> = world.outbox.list().into_iter().map(|it| reason(&it)).collect();
        assert!(reasons[0].starts_with(&format!("it answered {status}")), "{reasons:?}");
        assert_eq!(reasons[1], "its alert was not delivered: 1");
        assert_eq!((upstream.requests(), stolen.lock().unwrap().len()), (1, 0));
    }
    assert_eq!(elsewhere.connections(), 0);
}

fn reason(parcel: &Parcel) -> String {
    match &parcel.state {
        State::Dead { reason, .. } => reason.clone(),
        State::Waiting { .. } => String::from("waits"),
    }
}

#[test]
fn a_person_sends_again_or_drops() {
    let refusing = Arc::new(AtomicBool::new(true));
    let (for_upstream, kept) = (Arc::clone(&refusing), Kept::default());
    let keeps = Arc::clone(&kept);
    let upstream = Upstream::by(move |exchange| {
        if for_upstream.load(Ordering::SeqCst) {
            return exchange.respond(404, "", b"");
        }
        let delivery = delivery(exchange);
        keeps.lock().expect("no panic under this lock").push(delivery);
        exchange.respond(200, "", b"");
    });
    let dir = TempDir::new();
    let world = World::new(RedbLedger::open(&dir.0), &[("hook", upstream.url())]);
    for (incident, key) in [("a", "1"), ("b", "2"), ("c", "3")] {
        world.put(vec![parcel("hook", incident, Phase::Opened, key)]);
    }
    world.put(vec![parcel("hook", "a", Phase::Resolved, "4")]);
    until("all are dead", || world.status("hook").dead == 4);
    let b = Chosen::One(String::from("hook"), 2);
    assert_eq!(world.wait(world.outbox.drop_chosen(&b)), 1);
    // The dead outlive the process, and what was dropped does not.
    drop(world);
    let world = World::new(RedbLedger::open(&dir.0), &[("hook", upstream.url())]);
    assert_eq!(world.status("hook").dead, 3);
    refusing.store(false, Ordering::SeqCst);
    assert_eq!(world.wait(world.outbox.retry(&Chosen::AllDead(None))), 3);
    world.wait_until_empty();
    let kept = kept.lock().unwrap().clone();
    let keys: BTreeSet<&str> = kept.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["1", "3", "4"]));
    check(&kept);
}

#[test]
fn rows_of_a_sink_that_is_gone_wait_for_it() {
    let (upstream, kept) = receiver();
    let world = World::new(MemoryLedger::new(), &[]);
    world.put(vec![parcel("hook", "a", Phase::Opened, "k")]);
    let status = world.status("hook");
    assert_eq!((status.kind, status.waiting), ("gone", 1));
    world.serve(&[("hook", upstream.url())], Duration::from_secs(5));
    world.wait_until_empty();
    assert_eq!((kept.lock().unwrap().len(), world.status("hook").kind), (1, "webhook"));
}

#[test]
fn blocks_that_slack_does_not_take_are_left_away_and_the_text_goes_at_once() {
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let keeps = Arc::clone(&bodies);
    let upstream = Upstream::by(move |exchange| {
        let body: Value = serde_json::from_slice(&exchange.body()).expect("JSON");
        let has_blocks = body.get("blocks").is_some();
        keeps.lock().expect("no panic under this lock").push(body);
        match has_blocks {
            true => exchange.respond(400, "", b"invalid_blocks"),
            false => exchange.respond(200, "", b"ok"),
        }
    });
    let world = World::new(MemoryLedger::new(), &[]);
    let url = Arc::new(Secret::new(format!("{}/services/T0/B0/x", upstream.url()).into_bytes()));
    world.serve_live(vec![LiveSink {
        name: String::from("slack"),
        timeout: Duration::from_secs(5),
        kind: LiveKind::Slack { url },
    }]);
    let mut parcel = parcel("slack", "a", Phase::Opened, "k");
    let blocks = String::from(r#"[{"type":"nonsense"}]"#);
    parcel.message.extra = vec![(String::from("slack-blocks"), blocks)];
    world.put(vec![parcel]);
    world.wait_until_empty();
    let bodies = bodies.lock().unwrap().clone();
    assert_eq!((bodies.len(), world.status("slack").delivered), (2, 1));
    assert_eq!(bodies[0]["text"], bodies[1]["text"]);
    assert_eq!(upstream.last().target, "/services/T0/B0/x");
}

/// The dispatcher is down while ten thousand alerts are made, then comes back, slow and breaking off at first.
#[test]
fn ten_thousand_alerts_wait_for_their_receiver_and_arrive_in_order() {
    const INCIDENTS: usize = 5000;
    let (upstream, kept) = receiver();
    let proxy = ToxicProxy::before(upstream.address);
    proxy.set(Toxics { reset_after: Some(0), ..Toxics::default() });
    let dir = TempDir::new();
    let world = World::new(RedbLedger::open(&dir.0), &[("hook", proxy.url())]);
    for phase in [Phase::Opened, Phase::Resolved] {
        let made = (0..INCIDENTS)
            .map(|it| parcel("hook", &format!("i{it}"), phase, &format!("{phase:?}-{it}")));
        world.put(made.collect());
    }
    until("it is known to be down", || world.status("hook").failing_since_ms.is_some());
    assert_eq!(world.status("hook").waiting, 2 * INCIDENTS);
    // Ten thousand parcels, but one knocks at a time.
    assert!(proxy.connections() < 20, "{}", proxy.connections());
    proxy.set(Toxics { latency: Duration::from_millis(2), slice: Some(7), ..Toxics::default() });
    until("it is back", || kept.lock().unwrap().len() > 10);
    proxy.reset_all();
    proxy.heal();
    for _ in 0..10 {
        let before = kept.lock().unwrap().len();
        until("it goes on", || {
            kept.lock().unwrap().len() >= 2 * INCIDENTS || kept.lock().unwrap().len() > before + 500
        });
    }
    world.wait_until_empty();
    let kept = kept.lock().unwrap().clone();
    let keys: BTreeSet<&str> = kept.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys.len(), 2 * INCIDENTS);
    assert!(kept.len() < 2 * INCIDENTS + 50, "{} deliveries", kept.len());
    check(&kept);
}
