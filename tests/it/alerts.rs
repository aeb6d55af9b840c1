//! Who is told of what: once, in order, together, and not in maintenance.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::alerting::{Inbox, Patient, happened, incident, incidents, watching};
use crate::support::{Gateway, Upstream, until};

fn to(sinks: &[String], more: &str) -> String {
    format!("alerts: {{ formatter: native, sinks: [{}], {more} }}", sinks.join(", "))
}

#[track_caller]
fn maintenance(gate: &Gateway, word: &str) {
    gate.admin_post(&format!("/api/admin/maintenance/{word}")).send().expect_status(200);
}

#[test]
fn the_event_dispatcher_is_told_by_its_contract_and_once() {
    let patient = Patient::start("signal-engine");
    let dispatcher = Upstream::http1()
        .handle("/api/v1/health-alert", |it| {
            it.respond(200, "", br#"{"status":"Health alert process initiated","channels":[]}"#);
        })
        .start();
    let sink = format!(
        "{{ name: dispatcher, eventDispatcher: \"{}\", channels: [email, slack], channel: stockflow }}",
        dispatcher.url()
    );
    let gate = watching(&[(&patient, "fall: 2")]).with(&to(&[sink], "")).start();
    patient.breaks();
    incident(&gate, "signal-engine", |it| happened(it, "delivered") == 1);
    patient.heals();
    let over = incident(&gate, "signal-engine", |it| happened(it, "delivered") == 2);
    patient.probed(10);
    let calls = dispatcher.received();
    let bodies: Vec<Value> =
        calls.iter().map(|it| serde_json::from_slice(&it.body).expect("JSON")).collect();
    let body = |issue: &str| json!({ "issues": [issue], "channels": ["email", "slack"], "channel": "stockflow" });
    assert_eq!(bodies, [body("signal-engine"), body("signal-engine: resolved")]);
    let keys: BTreeSet<_> = calls.iter().filter_map(|it| it.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 2);
    let what: Vec<_> =
        over["timeline"].as_array().expect("a list").iter().map(|it| &it["what"]).collect();
    assert_eq!(what, ["opened", "noticed", "delivered", "resolved", "noticed", "delivered"]);
    assert!(!over["evidence"].as_array().expect("a list").is_empty());
}

#[test]
fn services_that_fail_together_are_one_notice() {
    let (quick, slow) = (Patient::start("quick"), Patient::start("slow"));
    let inbox = Inbox::start();
    let gate = watching(&[(&quick, "fall: 2"), (&slow, "fall: 30")])
        .with(&to(&[inbox.sink("hook")], "groupWait: 15s"))
        .start();
    // It looks bad, and is no incident yet.
    slow.breaks();
    slow.probed(3);
    quick.breaks();
    let note = inbox.wait_for(1);
    assert_eq!(note.says(), "opened quick,slow");
    assert_eq!(note.extra("services").as_deref(), Some("quick,slow"));
    assert_eq!(note.incidents.as_array().map(Vec::len), Some(2));
    quick.heals();
    slow.heals();
    // In one notice or in two: that depends on how quick the machine is.
    let healed = || {
        let notes = inbox.notes();
        let resolved = notes.iter().filter(|it| it.phase == "resolved");
        resolved.map(|it| it.incidents.as_array().map_or(0, Vec::len)).sum::<usize>()
    };
    until("both are resolved", || healed() == 2);
    drop(gate);
}

#[test]
fn in_maintenance_nobody_is_told_and_what_outlives_it_is_told_at_its_end() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let gate = watching(&[(&patient, "fall: 2")]).with(&to(&[inbox.sink("hook")], "")).start();
    maintenance(&gate, "on");
    patient.breaks();
    incident(&gate, "api", |it| it["muted"] == true);
    patient.probed(10);
    assert_eq!(inbox.says(), "");
    maintenance(&gate, "off");
    let note = inbox.wait_for(1);
    assert_eq!(
        (note.says().as_str(), note.extra("why").as_deref()),
        ("opened api", Some("outlived-maintenance"))
    );
    patient.heals();
    inbox.wait_for(2);
    assert_eq!(inbox.says(), "opened api; resolved api");
    // What begins and ends in a maintenance is nobody's business.
    maintenance(&gate, "on");
    patient.breaks();
    until("a second incident", || incidents(&gate).len() == 2);
    patient.heals();
    until("its end", || incidents(&gate).iter().all(|it| !it["resolved-ms"].is_null()));
    maintenance(&gate, "off");
    patient.probed(10);
    assert_eq!(inbox.says(), "opened api; resolved api");
}

#[test]
fn an_end_in_maintenance_is_told_to_those_who_heard_of_the_beginning() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let gate = watching(&[(&patient, "fall: 2")]).with(&to(&[inbox.sink("hook")], "")).start();
    patient.breaks();
    inbox.wait_for(1);
    maintenance(&gate, "on");
    incident(&gate, "api", |it| it["muted"] == true);
    patient.heals();
    inbox.wait_for(2);
    assert_eq!(inbox.says(), "opened api; resolved api");
}

#[test]
fn what_stays_open_is_told_again() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let alerts = to(&[inbox.sink("hook")], "remindAfter: 1s");
    let _gate = watching(&[(&patient, "fall: 2")]).with(&alerts).start();
    patient.breaks();
    let third = inbox.wait_for(3);
    assert_eq!(third.extra("why").as_deref(), Some("reminder"));
    let keys: BTreeSet<_> = inbox.notes().into_iter().map(|it| it.key).collect();
    assert!(keys.len() >= 3, "{keys:?}");
    patient.heals();
    until("its end", || inbox.says().ends_with("resolved api"));
}

#[test]
fn in_quiet_hours_only_what_is_loud_goes_out_and_the_rest_at_their_end() {
    let (loud, soft) = (Patient::start("loud"), Patient::start("soft"));
    let inbox = Inbox::start();
    // All day but one minute, which is not now.
    let minute = |ahead: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(ahead);
        at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M").to_string()
    };
    let quiet =
        format!("quietHours: {{ from: \"{}\", to: \"{}\", zone: UTC }}", minute(-60), minute(-61));
    let setup = watching(&[(&loud, "fall: 2"), (&soft, "fall: 2, severity: warning")]);
    let gate = setup.with(&to(&[inbox.sink("hook")], &quiet)).start();
    soft.breaks();
    incident(&gate, "soft", |it| it["told"] == true);
    loud.breaks();
    inbox.wait_for(1);
    soft.probed(10);
    assert_eq!(inbox.says(), "opened loud");
    // Their end comes with a new config.
    let awake = std::fs::read_to_string(gate.config_file()).expect("a config").replace(&quiet, "");
    gate.reload_with(&awake).expect_status(200);
    inbox.wait_for(2);
    assert_eq!(inbox.says(), "opened loud; opened soft");
}

#[test]
fn routes_decide_who_hears_of_what() {
    let (one, other, third) =
        (Patient::start("one"), Patient::start("other"), Patient::start("third"));
    let (day, night) = (Inbox::start(), Inbox::start());
    let routes = "groupWait: 0s, routes: [{ services: one, sinks: [] }, { severity: critical, sinks: [day, night] }, { sinks: day }]";
    let gate =
        watching(&[(&one, "fall: 2"), (&other, "fall: 2"), (&third, "fall: 2, severity: warning")])
            .with(&to(&[day.sink("day"), night.sink("night")], routes))
            .start();
    one.breaks();
    incident(&gate, "one", |it| happened(it, "noticed") == 1);
    third.breaks();
    day.wait_for(1);
    other.breaks();
    day.wait_for(2);
    night.wait_for(1);
    third.heals();
    one.heals();
    day.wait_for(3);
    incident(&gate, "one", |it| happened(it, "noticed") == 2);
    assert_eq!(day.says(), "opened third; opened other; resolved third");
    assert_eq!(night.says(), "opened other");
}

#[test]
fn a_crash_loses_nothing_and_repeats_only_with_the_same_key() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let mut gate = watching(&[(&patient, "fall: 2")]).with(&to(&[inbox.sink("hook")], "")).start();
    patient.breaks();
    incident(&gate, "api", |_| true);
    gate.kill9();
    let gate = gate.restart();
    incident(&gate, "api", |it| happened(it, "delivered") >= 1);
    patient.heals();
    until("its end", || inbox.says().ends_with("resolved api"));
    patient.probed(5);
    let notes = inbox.notes();
    let keys: BTreeSet<_> = notes.iter().map(|it| (&it.key, it.says())).collect();
    let said: Vec<_> = keys.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(said.len(), 2, "{notes:?}");
    assert_eq!(incidents(&gate).len(), 1);
}

#[test]
fn a_service_that_alternates_is_told_twice_at_most() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let flap = "fall: 3, flap: { window: 12, high: 50, low: 20 }";
    let gate = watching(&[(&patient, flap)]).with(&to(&[inbox.sink("hook")], "")).start();
    patient.alternates();
    let note = inbox.wait_for(1);
    assert_eq!(note.extra("flapping").as_deref(), Some("true"));
    patient.probed(40);
    assert_eq!(inbox.says(), "opened api", "neither silent nor a storm");
    patient.heals();
    inbox.wait_for(2);
    assert_eq!(inbox.says(), "opened api; resolved api");
    drop(gate);
}

#[test]
fn a_service_that_is_not_watched_any_more_is_no_incident() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let gate = watching(&[(&patient, "fall: 2")]).with(&to(&[inbox.sink("hook")], "")).start();
    patient.breaks();
    inbox.wait_for(1);
    let yaml = std::fs::read_to_string(gate.config_file()).expect("a config");
    let (from, to) = (yaml.find("probe: {").expect("a probe"), yaml.find("rise:").expect("a rise"));
    let without = format!("{}{}", &yaml[..from], &yaml[to..]);
    gate.reload_with(&without).expect_status(200);
    let note = inbox.wait_for(2);
    assert_eq!(note.says(), "resolved api");
    incident(&gate, "api", |it| !it["resolved-ms"].is_null());
}

#[test]
fn a_test_alert_says_what_each_receiver_answered() {
    let (patient, inbox) = (Patient::start("api"), Inbox::start());
    let refusing = Upstream::by(|it| it.respond(422, "", b"no"));
    let refuses = format!(
        "{{ name: refusing, webhook: \"{}/\", secret: \"env:HOOK_SECRET\" }}",
        refusing.url()
    );
    let gate =
        watching(&[(&patient, "fall: 2")]).with(&to(&[inbox.sink("hook"), refuses], "")).start();
    let tested = gate.admin_post("/api/admin/headgate/alerts/test").send().expect_status(200);
    let tested = tested.field("tested");
    let of = |sink: &str| {
        let all = tested.as_array().expect("a list").iter();
        all.clone().find(|it| it["sink"] == sink).expect("the sink is there").clone()
    };
    assert_eq!(of("hook")["accepted"], true);
    assert_eq!(of("refusing")["accepted"], false);
    assert!(of("refusing")["detail"].as_str().is_some_and(|it| it.contains("422")), "{tested}");
    assert_eq!(inbox.wait_for(1).phase, "test");
    let left = gate.admin_get("/api/admin/headgate/outbox").send().expect_status(200);
    assert_eq!(left.field("parcels").as_array().map(Vec::len), Some(0), "{}", left.text());
}
