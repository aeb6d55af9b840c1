//! What ends by itself: `until=healthy`, and the coverage of services that follow the mode.

use super::*;
use crate::config::defaults;
use crate::config::health::{Probe, ProbeKind};
use crate::health::board::{Board, ServiceHealth};
use crate::maintenance::Modes;
use crate::maintenance::store::tests::Folder;
use crate::model::health::{Health, Verdict};

const ENGINE: &str = "signal-engine";

/// Both covered services are probed; `follows` names those that follow the mode.
fn watched(follows: &[&str]) -> Config {
    let mut config = config(None);
    for service in &mut config.services {
        service.watching.follows_maintenance = follows.contains(&service.name.as_str());
        service.watching.probe = Some(Probe {
            kind: ProbeKind::Tcp,
            interval: defaults::PROBE_INTERVAL,
            unhealthy_interval: defaults::PROBE_UNHEALTHY_INTERVAL,
            timeout: defaults::PROBE_TIMEOUT,
        });
    }
    config
}

/// A gate with the task that ends things, and the health board that it looks at.
struct Bench {
    rig: Rig,
    board: Arc<Board>,
    running: tokio::task::JoinHandle<()>,
    probed: u64,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Bench {
    fn new(follows: &[&str]) -> Self {
        Self::over(Switch::in_memory(), follows)
    }

    fn over(switch: Arc<Switch>, follows: &[&str]) -> Self {
        let rig = Rig::with(switch, None, watched(follows), 2);
        let board = Arc::clone(&rig.admin.parts.watched.board);
        let (live, switch) = (Arc::clone(&rig.live), Arc::clone(&rig.switch));
        let running = tokio::spawn(recovery::run(live, switch, Arc::clone(&board)));
        Self { rig, board, running, probed: 0 }
    }

    /// A probe has ended with this verdict, and the task has looked.
    async fn says(&mut self, service: &str, status: Health) {
        self.probed += 1;
        let verdict = Verdict {
            status,
            code: String::from("code"),
            detail: String::new(),
            actions: Vec::new(),
            next_check_ms: None,
            state: None,
            extra: Vec::new(),
        };
        self.board.post(ServiceHealth {
            service: service.to_owned(),
            health: Health::Unknown,
            since_ms: 0,
            verdict: Some(verdict),
            by: None,
            reason: None,
            flapping: false,
            muted: true,
            incident: None,
            endpoints: Vec::new(),
            last_probe_ms: Some(self.probed),
            next_probe_ms: None,
        });
        self.rest().await;
    }

    /// Time (which stands still otherwise) for the task to look, more than once.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(350)).await;
    }

    async fn ask(&self, target: &str) -> Value {
        let answer = self.rig.ask("POST", target).await;
        self.rest().await;
        json(&answer)
    }
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_until_healthy_ends_with_enough_good_verdicts_after_a_bad_one() {
    let mut bench = Bench::new(&[]);
    bench.says(ENGINE, Health::Ok).await;
    let on = bench.ask("maintenance/on?service=signal-engine&until=healthy&reason=disk").await;
    assert_eq!((&on["until_healthy"], &on["until"]), (&Value::from(true), &Value::Null));
    bench.says(ENGINE, Health::Ok).await;
    assert!(bench.rig.covered(ENGINE), "one verdict is too few");
    for verdict in [Health::Failing, Health::Ok, Health::Degraded, Health::Ok] {
        bench.says(ENGINE, verdict).await;
        assert!(bench.rig.covered(ENGINE), "{verdict:?}");
    }
    bench.says(ENGINE, Health::Ok).await;
    assert!(!bench.rig.covered(ENGINE));
    let entry = bench.rig.switch.audit(1).await.unwrap().remove(0);
    assert_eq!((entry.by.as_str(), entry.reason.as_deref()), ("headgate", Some("healthy")));
    assert_eq!(entry.services, [ENGINE]);
}

#[tokio::test(start_paused = true)]
async fn all_services_must_be_well_before_the_window_of_all_ends() {
    let mut bench = Bench::new(&[]);
    bench.ask("maintenance/on?until=healthy").await;
    for _ in 0..3 {
        bench.says(ENGINE, Health::Ok).await;
        bench.says("controller", Health::Ok).await;
    }
    assert!(bench.rig.covered(ENGINE));
    bench.says("market-intel", Health::Ok).await;
    bench.says(ENGINE, Health::Failing).await;
    bench.says("market-intel", Health::Ok).await;
    assert!(bench.rig.covered(ENGINE), "the first is not well any more");
    bench.says(ENGINE, Health::Ok).await;
    bench.says(ENGINE, Health::Ok).await;
    assert_eq!(*bench.rig.switch.current(), Modes::default());
}

#[tokio::test(start_paused = true)]
async fn on_again_without_it_means_until_off_and_a_ttl_ends_it_too() {
    let mut bench = Bench::new(&[]);
    bench.ask("maintenance/on?service=signal-engine&until=healthy").await;
    bench.ask("maintenance/on?service=signal-engine").await;
    for _ in 0..3 {
        bench.says(ENGINE, Health::Ok).await;
    }
    assert!(bench.rig.covered(ENGINE));
    let on = bench.ask("maintenance/on?service=signal-engine&until=healthy&ttl=1h").await;
    assert_eq!((&on["until_healthy"], on["until"].is_string()), (&Value::from(true), true));
    for _ in 0..2 {
        bench.says(ENGINE, Health::Ok).await;
    }
    assert!(!bench.rig.covered(ENGINE));
}

#[tokio::test(start_paused = true)]
async fn a_window_until_healthy_goes_on_after_a_restart() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let bench = Bench::over(switch, &[]);
    bench.ask("maintenance/on?service=signal-engine&until=healthy").await;
    drop(bench);
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let mut bench = Bench::over(switch, &[]);
    bench.rest().await;
    bench.says(ENGINE, Health::Ok).await;
    assert!(bench.rig.covered(ENGINE));
    bench.says(ENGINE, Health::Ok).await;
    let mut follow = bench.rig.switch.follow();
    let ended = async {
        while !follow.borrow_and_update().services.is_empty() {
            follow.changed().await.unwrap();
        }
    };
    // The disk takes its time, which does not pass here.
    tokio::time::timeout(Duration::from_hours(1), ended).await.unwrap();
}

#[tokio::test]
async fn it_is_refused_where_it_could_never_be_seen() {
    let mut half = watched(&["market-intel"]);
    half.services[0].watching.probe = None;
    let rig = Rig::with(Switch::in_memory(), None, half, 2);
    for (target, kind, names) in [
        ("?until=healthy", "follows-maintenance", "market-intel"),
        ("?service=market-intel&until=healthy", "follows-maintenance", "market-intel"),
        ("?service=signal-engine&until=healthy", "not-probed", "signal-engine"),
    ] {
        let answer = rig.ask("POST", &format!("maintenance/on{target}")).await;
        assert_eq!(answer.status, 409, "{target}");
        let body = json(&answer);
        assert_eq!(body["type"], format!("urn:headgate:{kind}"), "{target}");
        assert_eq!(body["services"], serde_json::json!([names]), "{target}");
        assert!(body["detail"].as_str().unwrap().contains(names), "{body}");
    }
    assert_eq!(*rig.switch.current(), Modes::default());
}

#[tokio::test(start_paused = true)]
async fn who_follows_the_mode_is_covered_until_it_says_something_else() {
    let mut bench = Bench::new(&[ENGINE]);
    bench.says(ENGINE, Health::Ok).await;
    bench.ask("maintenance/on").await;
    bench.says(ENGINE, Health::Maintenance).await;
    let off = bench.ask("maintenance/off").await;
    assert_eq!(off["status"], "off");
    assert_eq!(off["ending"], serde_json::json!([ENGINE]));
    let status = json(&bench.rig.ask("GET", "maintenance/status").await);
    assert_eq!((&status["status"], &status["ending"]), (&off["status"], &off["ending"]));
    assert_eq!(status["all"], Value::Null);
    assert_eq!(status["services"][0]["maintenance"], "ending");
    assert_eq!(status["services"][1]["maintenance"], "off");
    assert!(bench.rig.covered(ENGINE) && !bench.rig.covered("market-intel"));
    for verdict in [Health::Maintenance, Health::Unknown, Health::Maintenance] {
        bench.says(ENGINE, verdict).await;
        assert!(bench.rig.covered(ENGINE), "{verdict:?}");
    }
    bench.says(ENGINE, Health::Ok).await;
    assert!(!bench.rig.covered(ENGINE));
    let status = json(&bench.rig.ask("GET", "maintenance/status").await);
    assert_eq!(status["ending"], Value::Null);
    assert_eq!(status["services"][0]["maintenance"], "off");
}

#[tokio::test(start_paused = true)]
async fn on_takes_an_ending_away_and_off_begins_a_new_one() {
    let mut bench = Bench::new(&[ENGINE]);
    bench.ask("maintenance/on").await;
    bench.ask("maintenance/off").await;
    let again = bench.ask("maintenance/on").await;
    assert_eq!(again["changed"], true);
    // What was said before the second `off` says nothing about it.
    bench.says(ENGINE, Health::Ok).await;
    assert!(bench.rig.covered(ENGINE));
    bench.ask("maintenance/off").await;
    assert!(bench.rig.covered(ENGINE));
    let repeated = bench.ask("maintenance/off").await;
    assert_eq!(repeated["changed"], false);
    assert_eq!(repeated["ending"], serde_json::json!([ENGINE]));
    bench.says(ENGINE, Health::Failing).await;
    assert!(!bench.rig.covered(ENGINE));
}

#[tokio::test(start_paused = true)]
async fn without_maintenance_the_task_asks_for_nothing() {
    let mut bench = Bench::new(&[ENGINE]);
    bench.says(ENGINE, Health::Failing).await;
    bench.says(ENGINE, Health::Ok).await;
    assert_eq!(*bench.rig.switch.current(), Modes::default());
    assert!(bench.rig.switch.audit(9).await.unwrap().is_empty());
}
