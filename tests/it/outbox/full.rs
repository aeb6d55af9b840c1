//! A disk that fills: alerts go out all the same, the gate says so, and what was kept back is durable once there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::scene::Scene;
use super::world::check;
use crate::support::alerting::{Inbox, Patient, watching};
use crate::support::{Gateway, until};

#[test]
fn a_full_disk_keeps_no_alert_back_and_loses_none() {
    let scene = Scene::new(1);
    let setup = scene.setup().on_a_small_disk();
    let mut gate = Gateway::start_in(setup, Arc::clone(&scene.dir));
    until("all is watched and the ledger is good", || {
        gate.metric("headgate_store_condition", "store=\"ledger\",condition=\"good\"") > 0.5
            && store(&gate)["state"] == json!("good")
    });
    gate.disk_ends(Some(0));
    scene.sick[0].store(true, Ordering::SeqCst);
    until("the alert goes out", || said(&scene, "opened") == 1);
    until("the store is said to fail", || store(&gate)["state"] == json!("failing"));
    let store_now = store(&gate);
    assert!(store_now["pending"].as_u64() > Some(0), "{store_now}");
    assert!(store_now["reason"].as_str().is_some_and(|it| !it.is_empty()), "{store_now}");
    assert!(store_now["next_try"].is_string(), "{store_now}");
    assert!(
        gate.metric("headgate_store_condition", "store=\"ledger\",condition=\"failing\"") > 0.5
    );
    gate.disk_ends(None);
    until("it is durable after all", || store(&gate)["state"] == json!("good"));
    // The next process knows of the incident: it is not told again, and its end is.
    gate.kill9();
    drop(gate);
    scene.finish(1, 0);
}

#[test]
fn a_sink_that_is_down_takes_no_room_from_the_others() {
    let patients = ["a", "b", "c", "d", "e", "f"].map(Patient::start);
    let (inbox, fall) = (Inbox::start(), "fall: 1");
    let down = "{ name: down, webhook: \"http://127.0.0.1:1/\", secret: \"env:HOOK_SECRET\" }";
    let sinks = format!("[{down}, {}]", inbox.sink("hook"));
    let alerts = format!("alerts: {{ formatter: native, outboxRows: 8, sinks: {sinks} }}");
    let gate = watching(&patients.each_ref().map(|it| (it, fall))).with(&alerts).start();
    let mut expected = Vec::new();
    for patient in &patients {
        for what in ["opened", "resolved"] {
            if what == "opened" {
                patient.breaks()
            } else {
                patient.heals()
            }
            expected.push(format!("{what} {}", patient.name));
            inbox.wait_for(expected.len());
        }
    }
    assert_eq!(inbox.says(), expected.join("; "));
    drop(gate);
}

fn store(gate: &Gateway) -> Value {
    gate.admin_get("/api/admin/headgate/outbox").send().expect_status(200).field("store")
}

fn said(scene: &Scene, what: &str) -> usize {
    let received = scene.received();
    check(&received);
    received.iter().filter(|it| it.what == what).count()
}
