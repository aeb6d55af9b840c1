//! Snapshots of what fails: asked for once, judged by what Kubesnap says, told with the alert or after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::alerting::{Inbox, Note, Patient, happened, incident, watching};
use crate::support::{Exchange, Gateway, RawUpstream, Signal, Upstream};

const KEY: &str = "kubesnap-key-0123456789abcdef";
const TAKEN: &str = r#"{"snapshot_status":"success","file_name":"kubesnap_2026-11-24T10:00:00.zip","timestamp":"x","upload_status":"success"}"#;
const FILE: &str = "kubesnap_2026-11-24T10:00:00.zip";

/// A gate that watches one service and has this Kubesnap.
fn gate(patient: &Patient, inbox: &Inbox, url: &str, more: &str) -> Gateway {
    watching(&[(patient, "fall: 2, namespace: dev")])
        .with(&format!("alerts: {{ formatter: native, sinks: [{}] }}", inbox.sink("hook")))
        .with(&format!("kubesnap: {{ url: \"{url}\", key: env:KUBESNAP_KEY, {more} }}"))
        .env("KUBESNAP_KEY", KEY)
        .start()
}

/// Breaks a service in front of such a Kubesnap; the first note, and the incident when the outcome is known.
fn told(kubesnap: &RawUpstream, more: &str) -> (Note, Value) {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let gate = gate(&patient, &inbox, &kubesnap.url(), more);
    patient.breaks();
    let note = inbox.wait_for(1);
    let known = incident(&gate, "api", |it| it["snapshot"]["state"] != "pending");
    (note, known["snapshot"].clone())
}

type Answer = fn(&mut Exchange);

/// What Kubesnap does, what that means, and words of the reason.
const ANSWERS: [(&str, Answer, &str, &str); 8] = [
    ("taken", |it| it.respond(200, "", TAKEN.as_bytes()), "taken", FILE),
    (
        "upload failed",
        |it| {
            it.respond(
                200,
                "",
                br#"{"snapshot_status":"success","file_name":"a.zip","upload_status":"failed"}"#,
            )
        },
        "failed",
        "upload_status=failed",
    ),
    (
        "wrong key",
        |it| it.respond(401, "", br#"{"detail":"Invalid or missing API Key"}"#),
        "failed",
        "401",
    ),
    (
        "unknown namespace",
        |it| it.respond(500, "", br#"{"status":"error","detail":"namespaces \"dev\" not found"}"#),
        "failed",
        "namespaces \"dev\" not found",
    ),
    ("nonsense", |it| it.respond(200, "", b"<html>"), "failed", "nothing that could be understood"),
    (
        "half an answer",
        |it| {
            it.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"snapshot_status\":");
            it.close();
        },
        "unknown",
        "broke off",
    ),
    ("cut off", |it| it.reset(), "unknown", "Kubesnap was asked, then"),
    ("silent", |it| it.hang(), "unknown", "no answer in time"),
];

#[test]
fn the_alert_names_the_file_or_says_why_there_is_none() {
    for (name, answer, state, words) in ANSWERS {
        let kubesnap = Upstream::by(answer);
        let (note, snapshot) = told(&kubesnap, "timeout: 1s, wait: 1s");
        assert_eq!(snapshot["state"], state, "{name}: {snapshot}");
        assert!(snapshot.to_string().replace("\\\"", "\"").contains(words), "{name}: {snapshot}");
        if state == "taken" {
            assert_eq!(note.event["snapshot-id"], FILE);
        } else if name != "silent" {
            let error = note.extra("snapshot-error").expect("a reason");
            assert!(error.starts_with(state) && error.contains(words), "{name}: {error}");
        }
        let asked = kubesnap.received();
        assert_eq!(asked.len(), 1, "{name}: asked once");
        assert_eq!(
            (asked[0].method.as_str(), asked[0].target.as_str()),
            ("GET", "/api/kubesnap/dev")
        );
        assert_eq!(asked[0].header("x-api-key"), Some(KEY));
    }
}

#[test]
fn a_redirect_takes_neither_the_call_nor_the_key_elsewhere() {
    let elsewhere = Upstream::named("here");
    let to = format!("Location: {}/api/kubesnap/dev\r\n", elsewhere.url());
    let kubesnap = Upstream::by(move |it| it.respond(307, &to, b""));
    let (_, snapshot) = told(&kubesnap, "");
    assert_eq!(snapshot["state"], "failed");
    assert!(snapshot["reason"].as_str().is_some_and(|it| it.contains("redirects")), "{snapshot}");
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
fn nobody_there_is_told_and_costs_neither_budget_nor_time() {
    let gone = Upstream::named("x");
    let url = gone.url();
    drop(gone);
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let gate = gate(&patient, &inbox, &url, "budget: 1");
    for count in [1, 3] {
        patient.breaks();
        let note = inbox.wait_for(count);
        let error = note.extra("snapshot-error").expect("a reason");
        assert!(error.starts_with("failed: Kubesnap cannot be asked"), "{error}");
        patient.heals();
        inbox.wait_for(count + 1);
    }
    drop(gate);
}

#[test]
fn a_slow_snapshot_does_not_hold_the_alert_and_its_outcome_follows_once() {
    let (patient, inbox, go) = (Patient::start("api"), Inbox::start(), Signal::new());
    let kubesnap = Upstream::http1().slow("/api/kubesnap/dev", TAKEN, &go).start();
    let gate = gate(&patient, &inbox, &kubesnap.url(), "wait: 200ms");
    patient.breaks();
    let alert = inbox.wait_for(1);
    let error = alert.extra("snapshot-error").expect("a reason");
    assert!(error.contains("the outcome follows"), "{error}");
    go.set();
    let follow_up = inbox.wait_for(2);
    assert_eq!(
        (follow_up.says().as_str(), follow_up.extra("why").as_deref()),
        ("updated api", Some("snapshot"))
    );
    assert_eq!(follow_up.event["snapshot-id"], FILE);
    patient.probed(10);
    patient.heals();
    inbox.wait_for(3);
    assert_eq!(inbox.says(), "opened api; updated api; resolved api");
    drop(gate);
}

#[test]
fn a_cool_down_names_the_last_file_and_outlives_the_process() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let kubesnap = Upstream::by(move |it| {
        asked.fetch_add(1, Ordering::SeqCst);
        it.respond(200, "", TAKEN.as_bytes());
    });
    let gate = gate(&patient, &inbox, &kubesnap.url(), "wait: 10s");
    patient.breaks();
    assert_eq!(inbox.wait_for(1).event["snapshot-id"], FILE);
    patient.heals();
    inbox.wait_for(2);
    patient.breaks();
    let error = inbox.wait_for(3).extra("snapshot-error").expect("a reason");
    assert!(error.contains(&format!("the last one is {FILE}")), "{error}");
    patient.heals();
    // Else the last one would come again: its acceptance is not on the disk yet.
    incident(&gate, "api", |it| happened(it, "delivered") == 2);
    let _gate = gate.restart();
    patient.breaks();
    let error = inbox.wait_for(5).extra("snapshot-error").expect("a reason");
    assert!(error.contains(&format!("the last one is {FILE}")), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_restart_while_kubesnap_works_makes_it_unknown_and_asks_nothing_again() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let kubesnap = Upstream::by(|it| it.hang());
    let gate = gate(&patient, &inbox, &kubesnap.url(), "wait: 0s");
    patient.breaks();
    inbox.wait_for(1);
    kubesnap.wait_for("/api/kubesnap/dev");
    let gate = gate.restart();
    let known = incident(&gate, "api", |it| it["snapshot"]["state"] == "unknown");
    assert!(known["snapshot"].to_string().contains("restarted"), "{known}");
    inbox.wait_for(2);
    patient.probed(10);
    assert_eq!(kubesnap.requests(), 1);
}

#[test]
fn in_maintenance_no_snapshot_is_taken() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let kubesnap = Upstream::named(TAKEN);
    let gate = gate(&patient, &inbox, &kubesnap.url(), "");
    gate.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    patient.breaks();
    incident(&gate, "api", |it| it["muted"] == true);
    patient.probed(10);
    assert_eq!((kubesnap.requests(), inbox.says().as_str()), (0, ""));
}
