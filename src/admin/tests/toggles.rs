//! On, off, status, drain and the end by ttl.

use super::*;
use crate::maintenance::Modes;
use crate::maintenance::store::tests::Folder;

#[tokio::test]
async fn on_and_off_begin_as_the_controllers_answer_does() {
    let rig = Rig::new();
    for method in ["GET", "POST"] {
        for (word, covered) in [("on", true), ("off", false)] {
            let answer = rig.ask(method, &format!("maintenance/{word}")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(header(&answer, "Content-Type"), Some("application/json"));
            let begin = format!(r#"{{"status":"{word}","timestamp":"20"#);
            assert!(text(&answer).starts_with(&begin), "{}", text(&answer));
            let timestamp = json(&answer)["timestamp"].as_str().unwrap().to_owned();
            assert!(timestamp.ends_with("+00:00") && timestamp.len() == 28, "{timestamp}");
            assert_eq!(rig.covered("signal-engine"), covered);
            let status = rig.ask("GET", "maintenance/status").await;
            assert_eq!(json(&status)["status"], word);
        }
    }
}

#[test]
fn the_timestamp_has_stockflows_form() {
    let rows = [
        (1_795_476_279_760, "2026-11-23 23:24:39.76+00:00"),
        (1_795_476_279_009, "2026-11-23 23:24:39.00+00:00"),
        (u64::MAX, "unknown"),
    ];
    for (ms, expected) in rows {
        assert_eq!(status::timestamp(UnixMs(ms)), expected);
    }
}

#[tokio::test]
async fn every_core_has_seen_the_toggle_before_it_is_answered() {
    let rig = Rig::new();
    let answer = json(&rig.ask("POST", "maintenance/on").await);
    assert_eq!(*rig.seen.lock().unwrap(), [Seen::Looked { on: true }, Seen::Looked { on: true }]);
    assert_eq!(answer["cores"]["acknowledged"], 2);
    rig.seen.lock().unwrap().clear();
    rig.ask("POST", "maintenance/off").await;
    assert_eq!(*rig.seen.lock().unwrap(), [Seen::Looked { on: false }, Seen::Looked { on: false }]);
}

#[tokio::test(start_paused = true)]
async fn a_core_that_hangs_is_named_and_does_not_hold_the_answer() {
    let rig = Rig::with(Switch::in_memory(), None, config(None), 1);
    let before = tokio::time::Instant::now();
    let answer = json(&rig.ask("POST", "maintenance/on").await);
    assert_eq!(answer["cores"]["laggards"], serde_json::json!([1]));
    assert_eq!(answer["cores"]["acknowledged"], 1);
    assert!(before.elapsed() <= SECOND + Duration::from_millis(50));
    let health = json(&rig.ask("GET", "headgate/health").await);
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["cores"]["silent"], serde_json::json!([1]));
}

#[tokio::test]
async fn single_services_are_switched_alone_and_repeats_keep_the_start() {
    let rig = Rig::new();
    let first =
        json(&rig.ask("POST", "maintenance/on?service=signal-engine&ttl=30m&reason=move+it").await);
    assert!(rig.covered("signal-engine") && !rig.covered("market-intel"));
    assert_eq!(first["changed"], true);
    assert_eq!(first["reason"], "move it");
    assert_eq!(first["remaining_seconds"], 1800);
    let again = json(&rig.ask("POST", "maintenance/on?service=signal-engine&ttl=1h").await);
    assert_eq!(again["since"], first["since"]);
    assert_eq!(again["reason"], "move it");
    assert_eq!(again["remaining_seconds"], 3600);

    let status = json(&rig.ask("GET", "maintenance/status").await);
    assert_eq!(status["status"], "off", "not all services");
    assert_eq!(status["services"][0]["maintenance"], "on");
    assert_eq!(status["services"][0]["window"]["by"], "ci");
    assert_eq!(status["services"][1]["maintenance"], "off");
    assert_eq!(status["services"][2]["maintenance"], "exempt");
    assert_eq!(status["audit"].as_array().unwrap().len(), 2);

    rig.ask("POST", "maintenance/on").await;
    let one = rig.ask("POST", "maintenance/off?service=signal-engine").await;
    assert_eq!(
        (one.status, &json(&one)["type"]),
        (409, &Value::from("urn:headgate:covered-by-all"))
    );
    rig.ask("POST", "maintenance/off").await;
    assert!(!rig.covered("signal-engine"));
}

#[tokio::test]
async fn exempt_services_show_exempt_while_all_is_on() {
    let rig = Rig::new();
    rig.ask("POST", "maintenance/on").await;
    let status = json(&rig.ask("GET", "maintenance/status?cachebuster=1").await);
    assert_eq!(status["all"]["by"], "ci");
    assert_eq!(status["services"][2]["maintenance"], "exempt");
    assert_eq!(status["services"][2]["window"], Value::Null);
}

#[tokio::test]
async fn a_long_reason_is_cut_at_a_character() {
    let rig = Rig::new();
    let reason = "%C3%BC".repeat(700);
    let answer = json(&rig.ask("POST", &format!("maintenance/on?reason=a{reason}")).await);
    let kept = answer["reason"].as_str().unwrap();
    assert_eq!(kept.len(), 1023);
    assert!(kept.ends_with('ü'));
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_when_nothing_runs() {
    let rig = Rig::new();
    let running = rig.in_flight("signal-engine");
    running.store(3, Ordering::Relaxed);
    rig.in_flight("controller").store(9, Ordering::Relaxed);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        running.store(0, Ordering::Relaxed);
    });
    let before = tokio::time::Instant::now();
    let answer = json(&rig.ask("POST", "maintenance/on?drain=30s").await);
    assert!((Duration::from_secs(5)..Duration::from_secs(8)).contains(&before.elapsed()));
    assert_eq!(answer["drain"]["in_flight_before"], 3);
    assert_eq!(answer["drain"]["still_running"], 0);
    assert!(rig.seen.lock().unwrap().contains(&Seen::Closed(None)));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_with_the_numbers() {
    let rig = Rig::new();
    rig.in_flight("signal-engine").store(5, Ordering::Relaxed);
    rig.in_flight("market-intel").store(50, Ordering::Relaxed);
    let before = tokio::time::Instant::now();
    let answer = json(&rig.ask("POST", "maintenance/on?service=signal-engine&drain=2s").await);
    assert!(before.elapsed() < Duration::from_secs(5));
    let expected = serde_json::json!({
        "in_flight_before": 5, "finished": 0, "tunnels_closed": 2, "still_running": 3,
    });
    assert_eq!(answer["drain"], expected);
    let closed = Seen::Closed(Some("signal-engine".to_owned()));
    assert_eq!(rig.seen.lock().unwrap().iter().filter(|it| **it == closed).count(), 2);
}

#[tokio::test]
async fn a_window_ends_by_itself_in_the_file_and_on_the_cores() {
    let dir = Folder::new();
    let (switch, _) = Switch::in_dir(dir.path()).await.unwrap();
    let rig = Rig::over(switch, None);
    let running = tokio::spawn(expiry::run(Arc::clone(&rig.live), Arc::clone(&rig.switch)));
    let mut follow = rig.switch.follow();
    rig.ask("POST", "maintenance/on?ttl=50ms").await;
    let ended = async {
        while follow.borrow_and_update().all.is_some()
            || rig.switch.audit(9).await.unwrap().len() < 2
        {
            let _ = tokio::time::timeout(Duration::from_millis(20), follow.changed()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    running.abort();
    assert_eq!(rig.live.load().modes.all, None);
    let entry = rig.switch.audit(1).await.unwrap().remove(0);
    assert_eq!((entry.by.as_str(), entry.reason.as_deref()), ("headgate", Some("ttl")));
    let (again, _) = Switch::in_dir(dir.path()).await.unwrap();
    assert_eq!(*again.current(), Modes::default());
}

#[tokio::test]
async fn a_window_of_a_service_that_left_the_config_is_shown_and_can_be_ended() {
    let rig = Rig::new();
    rig.ask("POST", "maintenance/on?service=signal-engine&service=market-intel&reason=x").await;
    let mut left = config(None);
    left.services.remove(0);
    rig.live.publish(&Arc::new(generation(left)));
    let status = json(&rig.ask("GET", "maintenance/status").await);
    assert_eq!(status["services"][2]["name"], "signal-engine");
    assert_eq!(status["services"][2]["configured"], false);
    assert_eq!(rig.ask("POST", "maintenance/off?service=signal-engine").await.status, 200);
    let status = json(&rig.ask("GET", "maintenance/status").await);
    assert_eq!(status["services"].as_array().unwrap().len(), 2);
    assert_eq!(rig.ask("POST", "maintenance/off?service=signal-engine").await.status, 404);
}

#[tokio::test]
async fn several_services_are_answered_with_a_window_each() {
    let rig = Rig::new();
    rig.ask("POST", "maintenance/on?service=market-intel").await;
    let both = "maintenance/on?service=signal-engine&service=market-intel&service=signal-engine";
    let answer = json(&rig.ask("POST", both).await);
    assert_eq!(answer["services"], serde_json::json!(["signal-engine", "market-intel"]));
    let windows = answer["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 2);
    assert!(windows.iter().all(|it| it["by"] == "ci" && it["service"].is_string()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_goes_on_when_its_caller_hangs_up() {
    let rig = Rig::new();
    rig.in_flight("signal-engine").store(1, Ordering::Relaxed);
    let call = rig.ask("POST", "maintenance/on?drain=10s");
    assert!(tokio::time::timeout(SECOND, call).await.is_err());
    let closed = async {
        while !rig.seen.lock().unwrap().contains(&Seen::Closed(None)) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), closed).await.unwrap();
}

#[tokio::test]
async fn what_another_process_switches_is_followed() {
    let dir = Folder::new();
    let (old, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (new, _) = Switch::in_dir(dir.path()).await.unwrap();
    let (old, new) = (Rig::over(old, None), Rig::over(new, None));
    let running = tokio::spawn(expiry::run(Arc::clone(&new.live), Arc::clone(&new.switch)));
    old.ask("POST", "maintenance/on").await;
    let followed = async {
        while !new.covered("signal-engine") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed).await.unwrap();
    running.abort();
}
