//! Snapshots and the alert that waits a little for them, with time stopped.

use std::time::Duration;

use tokio::time::sleep;

use super::{Desk, extra, mail, taken};
use crate::alert::fixture::{self, change, facts, report};
use crate::alert::snapshot_call::{Ask, Asked, Heard};
use crate::config::alerts::Alerts;
use crate::config::health::Flap;
use crate::health::tracker::{Rules, Seen, Track};
use crate::health::{Report, Reporter as _};
use crate::model::UnixMs;
use crate::model::alert::Phase;
use crate::model::health::{Health, Severity};
use crate::model::incident::Happened::Opened;
use crate::model::incident::{Change, Snapshot, incident_id};
use crate::store::BoxFuture;
use crate::store::memory::MemoryLedger;

fn with_kubesnap() -> Alerts {
    Alerts { kubesnap: Some(fixture::kubesnap("http://k/")), ..mail() }
}

fn opens(service: &str, at_ms: u64) -> Report {
    let mut facts = facts(service);
    facts.namespace = Some(String::from("dev"));
    let incident = incident_id(service, at_ms);
    let opened = change(service, Opened, at_ms);
    report(false, vec![Change { snapshot: true, service: facts, incident, ..opened }])
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_quick_stands_in_the_alert() {
    let asks = taken(Duration::from_secs(1));
    let desk = Desk::open(&MemoryLedger::new(), with_kubesnap(), asks.clone());
    desk.book.report(opens("a", 1)).await;
    sleep(Duration::from_millis(500)).await;
    // While one is under way, the others of the namespace share it.
    desk.book.report(opens("b", 2)).await;
    assert!(desk.wait_for(1).await <= 1005);
    assert_eq!(desk.parcels(), "opened a,b > mail");
    assert_eq!(desk.outbox.list()[0].event.snapshot_id.as_deref(), Some("k.zip"));
    assert_eq!(*asks.asked.lock().unwrap(), ["http://k/api/kubesnap/dev"]);
    // In its cool-down the last file is named.
    desk.book.report(opens("c", 3)).await;
    desk.wait_for(2).await;
    let error = extra(&desk.outbox.list()[1], "snapshot-error").unwrap();
    assert!(error.starts_with("not asked for: the last one is k.zip of "), "{error}");
}

/// A way to Kubesnap with a bug.
#[derive(Debug)]
struct Broken;

impl Ask for Broken {
    fn ask(&self, _: Asked) -> BoxFuture<'_, Heard> {
        Box::pin(async { panic!("a bug") })
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_breaks_down_is_unknown_and_not_under_way_for_ever() {
    let desk = Desk::open(&MemoryLedger::new(), with_kubesnap(), Broken);
    desk.book.report(opens("a", 1)).await;
    desk.wait_for(1).await;
    let snapshot = || desk.book.get(&incident_id("a", 1)).and_then(|it| it.snapshot);
    assert!(matches!(snapshot(), Some(Snapshot::Unknown { .. })), "{:?}", snapshot());
    sleep(Duration::from_mins(2)).await;
    desk.book.report(opens("b", 2)).await;
    desk.wait_for(2).await;
    let error = extra(&desk.outbox.list()[1], "snapshot-error").unwrap();
    assert!(error.contains("broke down"), "asked again after the cool-down: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_slow_follows_once() {
    let asks = taken(Duration::from_secs(20));
    let desk = Desk::open(&MemoryLedger::new(), with_kubesnap(), asks.clone());
    desk.book.report(opens("a", 1)).await;
    let took = desk.wait_for(1).await;
    assert!((2000..2100).contains(&took), "{took}");
    let error = extra(&desk.outbox.list()[0], "snapshot-error").unwrap();
    assert!(error.contains("the outcome follows"), "{error}");
    let took = desk.wait_for(2).await;
    assert!((20_000..20_100).contains(&took), "{took}");
    sleep(Duration::from_mins(5)).await;
    assert_eq!(desk.parcels(), "opened a > mail; updated a > mail");
    let follow_up = &desk.outbox.list()[1];
    assert_eq!(follow_up.event.snapshot_id.as_deref(), Some("k.zip"));
    assert_eq!(extra(follow_up, "why").as_deref(), Some("snapshot"));
    assert_eq!(asks.asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_budget_outlives_the_process_and_nothing_is_asked_twice() {
    let ledger = MemoryLedger::new();
    let asks = taken(Duration::from_secs(20));
    let desk = Desk::open(&ledger, with_kubesnap(), asks.clone());
    desk.book.report(opens("a", 1)).await;
    sleep(Duration::from_secs(1)).await;
    desk.task.abort();
    let desk = Desk::open(&ledger, with_kubesnap(), asks.clone());
    desk.book.report(opens("b", 2)).await;
    desk.wait_for(1).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(asks.asked.lock().unwrap().len(), 1);
    let of = |service, at| desk.book.get(&incident_id(service, at)).unwrap().snapshot.unwrap();
    assert!(matches!(of("a", 1), Snapshot::Unknown { .. }));
    assert!(matches!(of("b", 2), Snapshot::Skipped { .. }));
}

/// N4: a service that changes ten times a second for ten minutes, and is well afterwards.
#[tokio::test(start_paused = true)]
async fn a_service_that_flaps_is_neither_silent_nor_a_nuisance() {
    let asks = taken(Duration::from_secs(5));
    let desk = Desk::open(&MemoryLedger::new(), with_kubesnap(), asks.clone());
    let rules = Rules {
        rise: 2,
        fall: 3,
        flap: Flap { window: 20, high: 50, low: 25 },
        severity: Severity::Critical,
        stale_maintenance_ms: 300_000,
    };
    let mut service = facts("a");
    service.namespace = Some(String::from("dev"));
    let mut track = Track::default();
    let start = UnixMs::now().0;
    for tick in 0..6200_u64 {
        let status = if tick < 6000 && tick % 2 == 0 { Health::Failing } else { Health::Ok };
        let verdict = super::verdict(status);
        let at_ms = start + tick * 100;
        let seen = Seen { at_ms, service: &service, verdict: &verdict, by: None, covered: false };
        let changes = track.step(&seen, &rules);
        if !changes.is_empty() {
            let (service, track, evidence) = (String::from("a"), track.clone(), Vec::new());
            desk.book.report(Report { service, track, changes, evidence, muted: false }).await;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let phases: Vec<_> = desk.outbox.list().iter().map(|it| it.phase).collect();
    let told = phases.iter().filter(|it| **it != Phase::Updated).count();
    assert_eq!(told, 2, "{}", desk.parcels());
    // The outcome of the snapshot may follow; nothing else.
    assert!(phases.len() <= 3 && phases.last() == Some(&Phase::Resolved), "{}", desk.parcels());
    assert_eq!(asks.asked.lock().unwrap().len(), 1);
}
