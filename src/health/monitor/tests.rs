//! The loop around the tracker, with time stopped: services whose names have no address need no network.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::config::health::ProbeKind;
use crate::generation::{Gate, fixture};
use crate::health::Report;
use crate::health::monitors::{Monitors, announce};
use crate::maintenance::Modes;
use crate::model::Coverage;
use crate::model::health::Outcome;
use crate::model::incident::Happened;
use crate::store::journal::{Latest, Observation, SavedState, Wanted};
use crate::store::{BoxFuture, Condition};
use crate::telemetry::metrics::Metrics;

/// Keeps what it is told; may hang.
#[derive(Debug, Default)]
struct Listener {
    reports: Mutex<Vec<Report>>,
    hangs: AtomicBool,
}

impl Listener {
    fn told(&self) -> Vec<(Happened, String)> {
        let reports = self.reports.lock().unwrap();
        let changes = reports.iter().flat_map(|it| it.changes.clone());
        changes.map(|it| (it.what, it.code)).collect()
    }
}

impl Reporter for Listener {
    fn report(&self, report: Report) -> BoxFuture<'_, ()> {
        self.reports.lock().unwrap().push(report);
        match self.hangs.load(Ordering::Relaxed) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(())),
        }
    }
}

/// Counts what it is given; may break.
#[derive(Debug, Default)]
struct Book {
    observations: Mutex<Vec<Observation>>,
    breaks: AtomicBool,
}

impl Journal for Book {
    fn observed(&self, observation: Observation) {
        self.observations.lock().unwrap().push(observation);
        assert!(!self.breaks.swap(false, Ordering::Relaxed), "a bug that a test made");
    }
    fn latest(&self, _: &str, _: Latest) {}
    fn saved(&self, _: Vec<SavedState>) {}
    fn read(&self, _: &Wanted) -> Vec<((u64, u64), Observation)> {
        Vec::new()
    }
    fn newest(&self, _: usize) -> Vec<Observation> {
        Vec::new()
    }
    fn all_latest(&self) -> Vec<(String, Latest)> {
        Vec::new()
    }
    fn all_saved(&self) -> Vec<SavedState> {
        Vec::new()
    }
    fn condition(&self) -> Condition {
        Condition::Good
    }
    fn dropped(&self) -> u64 {
        0
    }
}

struct Rig {
    site: Site,
    listener: Arc<Listener>,
    journal: Arc<Book>,
}

fn seconds(it: u64) -> Duration {
    Duration::from_secs(it)
}

/// One service that is probed every ten seconds, every two while it is not well.
fn config(probed: bool) -> Config {
    let mut service = fixture::service("api", Coverage::Covered);
    service.watching.probe = probed.then(|| Probe {
        kind: ProbeKind::Tcp,
        interval: seconds(10),
        unhealthy_interval: seconds(2),
        timeout: seconds(1),
    });
    Config { services: vec![service], ..fixture::bare() }
}

impl Rig {
    /// Watches with this config; the services' names have no address.
    fn start(config: Config) -> Self {
        let rig = Self::new(config);
        rig.watch();
        rig
    }

    fn watch(&self) {
        tokio::spawn(Monitors::new(self.site.clone(), HashMap::new()).run());
    }

    fn new(config: Config) -> Self {
        let live = Arc::new(Live::new(fixture::gate(config, Modes::default()), Vec::new()));
        let (listener, journal) = (Arc::new(Listener::default()), Arc::new(Book::default()));
        let site = Site {
            live,
            board: Arc::new(Board::default()),
            journal: Arc::<Book>::clone(&journal),
            reporter: Arc::<Listener>::clone(&listener),
            metrics: Arc::clone(Metrics::new(1).health()),
        };
        Self { site, listener, journal }
    }

    fn publish(&self, config: Config) {
        let Gate { generation, .. } = fixture::gate(config, Modes::default());
        self.site.live.publish(&generation);
    }

    fn probes(&self) -> usize {
        self.journal.observations.lock().unwrap().len()
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let patience = timeout(seconds(3600), async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        assert!(patience.await.is_ok(), "in vain: {what}");
    }
}

fn opened(rig: &Rig) -> bool {
    !rig.listener.told().is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_looked_at_more_often_and_told_once() {
    let rig = Rig::start(config(true));
    let began = Instant::now();
    rig.until("three probes", |it| it.probes() == 3).await;
    assert!(began.elapsed() < seconds(8), "at the unhealthy interval: {:?}", began.elapsed());
    rig.until("an incident", opened).await;
    tokio::time::sleep(seconds(60)).await;
    assert!((28..=36).contains(&rig.probes()), "about every two seconds: {}", rig.probes());
    let told = rig.listener.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, Happened::Opened);
    let shown = rig.site.board.get("api").unwrap();
    assert_eq!(shown.health, Health::Failing);
    let report = rig.listener.reports.lock().unwrap()[0].clone();
    assert_eq!(shown.incident, report.track.open.map(|it| it.id));
    assert_eq!(report.evidence.len(), 3);
    assert!(report.evidence.iter().all(|it| it.outcome == Outcome::Dns));
    assert!(shown.next_probe_ms > shown.last_probe_ms);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_incident_and_a_removal_ends_it() {
    let rig = Rig::start(config(true));
    rig.until("an incident", opened).await;
    for interval in [5, 20, 1] {
        let mut next = config(true);
        let probe = next.services[0].watching.probe.as_mut().unwrap();
        (probe.interval, probe.unhealthy_interval) = (seconds(interval), seconds(interval));
        rig.publish(next);
        let before = rig.probes();
        rig.until("more probes", |it| it.probes() > before + 2).await;
    }
    assert_eq!(rig.listener.told().len(), 1, "the incident goes on");
    rig.publish(fixture::bare());
    rig.until("the end", |it| it.listener.told().len() == 2).await;
    let removed = (Happened::Resolved, crate::health::tracker::NOT_WATCHED.to_owned());
    assert_eq!(rig.listener.told()[1], removed);
    rig.until("it is forgotten", |it| it.site.board.get("api").is_none()).await;
    let before = rig.probes();
    tokio::time::sleep(seconds(60)).await;
    assert_eq!(rig.probes(), before, "nobody probes it");
    rig.publish(config(true));
    rig.until("it is watched again", |it| it.probes() > before).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_probe_says_so_and_is_probed_as_soon_as_it_has_one() {
    let rig = Rig::start(config(false));
    rig.until("it is shown", |it| it.site.board.get("api").is_some()).await;
    let reason = |rig: &Rig| rig.site.board.get("api").and_then(|it| it.reason.clone());
    let unset = Some("not probed: `services.api.health.probe` is not set".to_owned());
    assert_eq!(reason(&rig), unset);
    rig.publish(config(true));
    rig.until("an incident", opened).await;
    assert_eq!(reason(&rig), None);
    rig.publish(config(false));
    rig.until("its end", |it| it.listener.told().len() == 2).await;
    rig.until("the reason", |it| reason(it) == unset).await;
    assert_eq!(rig.site.board.get("api").unwrap().health, Health::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_hangs_stops_no_probe_and_loses_its_order_to_none() {
    let rig = Rig::start(config(true));
    rig.listener.hangs.store(true, Ordering::Relaxed);
    rig.until("a report", opened).await;
    let before = rig.probes();
    rig.until("probing goes on", |it| it.probes() > before + 10).await;
    rig.publish(fixture::bare());
    rig.until("the monitor ends", |it| it.site.board.get("api").is_none()).await;
    assert_eq!(rig.listener.told().len(), 1, "the second waits for the first");
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_fails_begins_anew_with_its_incident() {
    let rig = Rig::start(config(true));
    rig.until("an incident", opened).await;
    let incident = rig.site.board.get("api").unwrap().incident.clone();
    rig.journal.breaks.store(true, Ordering::Relaxed);
    rig.until("it broke", |it| !it.journal.breaks.load(Ordering::Relaxed)).await;
    let before = rig.probes();
    rig.until("it is watched again", |it| it.probes() > before + 5).await;
    assert_eq!(rig.site.board.get("api").unwrap().incident, incident);
    assert_eq!(rig.listener.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_announced_and_is_gone_before_anything_is_watched_is_not_shown_for_ever() {
    let rig = Rig::new(config(true));
    announce(&rig.site);
    assert!(rig.site.board.get("api").is_some());
    rig.publish(fixture::bare());
    rig.watch();
    rig.until("it is forgotten", |it| it.site.board.get("api").is_none()).await;
    assert!(rig.listener.told().is_empty());
}
