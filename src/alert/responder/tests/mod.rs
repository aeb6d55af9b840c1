//! The way from a report to the outbox, with time stopped and nobody who delivers.

mod snapshots;
mod trials;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::{Parts, Responder};
use crate::alert::book::Book;
use crate::alert::fixture::{self, change, report};
use crate::alert::outbox::{Outbox, Parcel};
use crate::alert::sinks::Answered;
use crate::alert::snapshot_call::{Ask, Asked, Heard};
use crate::config::Config;
use crate::config::alerts::Alerts;
use crate::config::health::{Probe, ProbeKind};
use crate::config::secret::Secret;
use crate::generation::live::Live;
use crate::generation::{Gate, fixture as generations};
use crate::health::Reporter as _;
use crate::health::board::{Board, ServiceHealth};
use crate::model::health::{Health, Verdict};
use crate::model::incident::Happened::{Muted, Opened, Resolved, Unmuted, Updated};
use crate::model::incident::{Happened, incident_id};
use crate::store::memory::MemoryLedger;
use crate::store::{BoxFuture, Ledger};

/// A Kubesnap that answers after a while, always the same.
#[derive(Clone, Debug)]
struct StandIn {
    after: Duration,
    heard: Heard,
    asked: Arc<Mutex<Vec<String>>>,
}

fn taken(after: Duration) -> StandIn {
    let body = br#"{"snapshot_status":"success","upload_status":"success","file_name":"k.zip"}"#;
    let heard = Heard::Answer { status: 200, body: body.to_vec(), complete: true };
    StandIn { after, heard, asked: Arc::default() }
}

impl Ask for StandIn {
    fn ask(&self, asked: Asked) -> BoxFuture<'_, Heard> {
        self.asked.lock().unwrap().push(asked.url);
        Box::pin(async move {
            sleep(self.after).await;
            self.heard.clone()
        })
    }
}

/// A process: what it keeps is in the ledger, which another process can have afterwards.
struct Desk {
    book: Arc<Book>,
    outbox: Arc<Outbox>,
    board: Arc<Board>,
    responder: Arc<Responder>,
    task: AbortHandle,
    start: Instant,
}

fn live(alerts: Alerts) -> Arc<Live> {
    let mut config = Config { alerts, ..generations::config("") };
    for service in &mut config.services {
        // None of them is retired.
        service.watching.probe = Some(Probe {
            kind: ProbeKind::Tcp,
            interval: Duration::from_secs(10),
            unhealthy_interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
        });
    }
    for name in ["a", "b", "c"] {
        let first = config.services[0].clone();
        config.services.push(crate::config::Service { name: name.to_owned(), ..first });
    }
    let kubesnap = config.alerts.kubesnap.take();
    let mut generation = generations::generation(config);
    let alerting = Arc::get_mut(&mut generation.alerting).unwrap();
    // Nobody delivers.
    alerting.sinks.clear();
    alerting.config.kubesnap = kubesnap;
    alerting.kubesnap_key = Some(Arc::new(Secret::new(b"hunter2".to_vec())));
    let gate = Gate { generation: Arc::new(generation), modes: Arc::default() };
    Arc::new(Live::new(gate, Vec::new()))
}

impl Desk {
    fn open(ledger: &Arc<MemoryLedger>, alerts: Alerts, asks: impl Ask + 'static) -> Self {
        let ledger: Arc<dyn Ledger> = Arc::clone(ledger) as Arc<dyn Ledger>;
        let (board, bell) = (Arc::new(Board::default()), Arc::default());
        let book = Book::new(Arc::clone(&ledger), Arc::clone(&board), Arc::clone(&bell));
        let outbox = Outbox::new(Arc::clone(&ledger), Arc::clone(&book), Arc::clone(&board));
        let parts = Parts {
            live: live(alerts),
            ledger,
            book: Arc::clone(&book),
            outbox: Arc::clone(&outbox),
            board: Arc::clone(&board),
            bell,
        };
        book.restore();
        outbox.restore();
        outbox.follow(&parts.live.load().generation.alerting);
        let responder = Responder::with(parts, Box::new(asks));
        let task = tokio::spawn(Arc::clone(&responder).run()).abort_handle();
        Self { book, outbox, board, responder, task, start: Instant::now() }
    }

    fn new(alerts: Alerts) -> Self {
        Self::open(&MemoryLedger::new(), alerts, taken(Duration::ZERO))
    }

    async fn hear(&self, what: Happened, service: &str) {
        self.book.report(report(false, vec![change(service, what, 1000)])).await;
        sleep(Duration::from_millis(1)).await;
    }

    /// A service as the monitors see it.
    fn see(&self, service: &str, status: Health, incident: Option<&str>) {
        self.board.post(ServiceHealth {
            service: service.to_owned(),
            health: Health::Ok,
            since_ms: 0,
            verdict: Some(verdict(status)),
            by: None,
            reason: None,
            flapping: false,
            muted: false,
            incident: incident.map(str::to_owned),
            endpoints: Vec::new(),
            last_probe_ms: None,
            next_probe_ms: None,
        });
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// Waits for so many parcels; gives how long that took in milliseconds.
    async fn wait_for(&self, count: usize) -> u64 {
        while self.outbox.list().len() < count {
            // Hours are not walked through by the millisecond.
            let step = if self.elapsed() < 30_000 { 1 } else { 1000 };
            sleep(Duration::from_millis(step)).await;
            assert!(self.elapsed() < 100_000_000, "{}", self.parcels());
        }
        self.elapsed()
    }

    /// For example `opened a,b > mail; resolved a > mail`.
    fn parcels(&self) -> String {
        let mut all = self.outbox.list();
        all.sort_by_key(|it| it.number);
        all.iter().map(|it| say(it)).collect::<Vec<_>>().join("; ")
    }
}

fn verdict(status: Health) -> Verdict {
    Verdict {
        status,
        code: String::from("x"),
        detail: String::new(),
        actions: Vec::new(),
        next_check_ms: None,
        state: None,
        extra: Vec::new(),
    }
}

fn say(it: &Parcel) -> String {
    let phase = crate::alert::notice::phase_word(it.phase);
    format!("{phase} {} > {}", it.event.issues.join(","), it.sink)
}

fn extra(parcel: &Parcel, key: &str) -> Option<String> {
    parcel.event.extra.iter().find(|it| it.0 == key).map(|it| it.1.clone())
}

fn mail() -> Alerts {
    fixture::alerts(&["mail"])
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_alone_is_told_at_once() {
    let desk = Desk::new(mail());
    desk.hear(Opened, "a").await;
    assert!(desk.wait_for(1).await <= 2);
    desk.hear(Resolved, "a").await;
    assert!(desk.wait_for(2).await <= 4);
    assert_eq!(desk.parcels(), "opened a > mail; resolved a > mail");
    let parcels = desk.outbox.list();
    assert_eq!(parcels[0].message.issues, ["a"]);
    assert_eq!(parcels[1].message.issues, ["a: resolved"]);
    assert!(desk.book.notices().is_empty());
    let timeline = desk.book.get(&incident_id("a", 1000)).unwrap().timeline;
    assert_eq!(timeline[1].text, "opened: for mail");
}

#[tokio::test(start_paused = true)]
async fn services_that_fail_together_are_one_notice_and_heal_in_one() {
    let desk = Desk::new(mail());
    desk.see("b", Health::Failing, None);
    desk.hear(Opened, "a").await;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(desk.parcels(), "");
    desk.hear(Opened, "b").await;
    sleep(Duration::from_millis(2)).await;
    assert_eq!(desk.parcels(), "opened a,b > mail");
    assert_eq!(extra(&desk.outbox.list()[0], "count").as_deref(), Some("2"));
    desk.see("b", Health::Ok, Some("it"));
    desk.hear(Resolved, "a").await;
    sleep(Duration::from_millis(500)).await;
    desk.hear(Resolved, "b").await;
    sleep(Duration::from_millis(2)).await;
    assert_eq!(desk.parcels(), "opened a,b > mail; resolved a,b > mail");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_group_may() {
    let desk = Desk::new(mail());
    desk.see("b", Health::Failing, None);
    desk.hear(Opened, "a").await;
    let took = desk.wait_for(1).await;
    assert!((5000..5100).contains(&took), "{took}");
    desk.see("b", Health::Ok, Some("it"));
    desk.hear(Resolved, "a").await;
    assert!(desk.wait_for(2).await < took + 10, "b is no incident of the group");
}

#[tokio::test(start_paused = true)]
async fn what_the_last_process_had_decided_goes_out() {
    let ledger = MemoryLedger::new();
    let desk = Desk::open(&ledger, mail(), taken(Duration::ZERO));
    desk.task.abort();
    sleep(Duration::from_millis(1)).await;
    desk.hear(Opened, "a").await;
    desk.hear(Resolved, "a").await;
    assert_eq!(desk.parcels(), "");
    let desk = Desk::open(&ledger, mail(), taken(Duration::ZERO));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(desk.parcels(), "opened a > mail; resolved a > mail");
    let desk = Desk::open(&ledger, mail(), taken(Duration::ZERO));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(desk.outbox.list().len(), 2, "once");
}

#[tokio::test(start_paused = true)]
async fn what_stays_open_is_told_again_and_muted_it_is_not() {
    let desk = Desk::new(mail());
    desk.hear(Opened, "a").await;
    let hour = 3_600_000;
    for (count, at) in [(2, 4 * hour), (3, 8 * hour)] {
        let took = desk.wait_for(count).await;
        assert!((at..at + 2000).contains(&took), "{took}");
    }
    assert_eq!(extra(&desk.outbox.list()[2], "why").as_deref(), Some("reminder"));
    let keys: std::collections::BTreeSet<_> =
        desk.outbox.list().into_iter().map(|it| it.key.clone()).collect();
    assert_eq!(keys.len(), 3);
    desk.book.report(report(true, vec![change("a", Muted, 1001)])).await;
    sleep(Duration::from_hours(10)).await;
    assert_eq!(desk.outbox.list().len(), 3);
    desk.hear(Unmuted, "a").await;
    assert_eq!(extra(&desk.outbox.list()[3], "why").as_deref(), Some("outlived-maintenance"));
}

#[tokio::test(start_paused = true)]
async fn maintenance_takes_back_what_was_about_to_go() {
    let desk = Desk::new(mail());
    desk.see("b", Health::Failing, None);
    desk.hear(Opened, "a").await;
    desk.book.report(report(true, vec![change("a", Muted, 1001)])).await;
    sleep(Duration::from_secs(10)).await;
    desk.book.report(report(true, vec![change("a", Resolved, 1002)])).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(desk.parcels(), "");
}

#[tokio::test(start_paused = true)]
async fn without_room_notices_wait_and_go_once_to_each() {
    let alerts = Alerts { outbox_rows: 1, ..fixture::alerts(&["chat", "mail"]) };
    let desk = Desk::new(alerts);
    sleep(Duration::from_millis(1)).await;
    desk.hear(Opened, "a").await;
    desk.hear(Resolved, "a").await;
    sleep(Duration::from_secs(3)).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(desk.parcels());
        let parcel = &desk.outbox.list()[0];
        desk.outbox.settle(&parcel.sink, parcel.number, Answered::Accepted);
        sleep(Duration::from_secs(3)).await;
    }
    let expected = ["opened a > chat", "opened a > mail", "resolved a > chat", "resolved a > mail"];
    assert_eq!(seen, expected);
    assert!(desk.outbox.list().is_empty() && desk.book.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_update_after_the_alert_is_told() {
    let desk = Desk::new(mail());
    desk.hear(Opened, "a").await;
    desk.hear(Updated, "a").await;
    assert_eq!(desk.parcels(), "opened a > mail; updated a > mail");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_watched_any_more_is_over_unless_its_monitor_has_yet_to_end_it() {
    for monitored in [false, true] {
        let ledger = MemoryLedger::new();
        let before = Desk::open(&ledger, mail(), taken(Duration::ZERO));
        sleep(Duration::from_millis(1)).await;
        before.hear(Opened, "unknown").await;
        before.wait_for(1).await;
        before.task.abort();
        let after = Desk::open(&ledger, mail(), taken(Duration::ZERO));
        if monitored {
            // It may be in the config again before its monitor has looked.
            after.see("unknown", Health::Failing, Some("x"));
        }
        sleep(Duration::from_secs(6)).await;
        assert_eq!(after.book.open().len(), usize::from(monitored));
        after.task.abort();
    }
}
