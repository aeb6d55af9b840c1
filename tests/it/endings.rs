//! Maintenance that ends by itself: with the health of the service, and when its pods have noticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

const ON: &str = "/api/admin/maintenance/on";
const OFF: &str = "/api/admin/maintenance/off";
const STATUS: &str = "/api/admin/maintenance/status";
/// Soon again, patient enough for a busy machine.
const PROBE: &str = "probe: { http: /health, interval: 2s, unhealthyInterval: 40ms, timeout: 2s }";

/// What the service says of itself.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicU32>);

impl Mood {
    const WELL: u32 = 0;
    const BROKEN: u32 = 1;
    const MAINTENANCE: u32 = 2;

    fn is(&self, mood: u32) {
        self.0.store(mood, Ordering::SeqCst);
    }

    fn start(&self) -> RawUpstream {
        let mood = self.clone();
        let health = move |it: &mut crate::support::Exchange| match mood.0.load(Ordering::SeqCst) {
            Self::WELL => it.respond(200, "", br#"{"status":"OK"}"#),
            Self::BROKEN => it.respond(500, "", b"broken"),
            _ => it.respond(200, "", br#"{"status":"Maintenance mode is enabled"}"#),
        };
        Upstream::http1().handle("/health", health).otherwise("x").start()
    }
}

fn watched(upstream: &RawUpstream, more: &str) -> Setup {
    let health =
        format!("maintenance: covered, health: {{ policy: native, rise: 2, {PROBE}{more} }}");
    Setup::default()
        .service_with("app", upstream, &health)
        .route("path: /, service: app, access: public")
        .key(OPERATOR)
}

fn ask(gate: &Gateway, path: &str) -> Value {
    let answer = gate.get(path).key(OPERATOR).send();
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn until_verdict(gate: &Gateway, verdict: &str) {
    until(&format!("the service is {verdict}"), || {
        let answer = gate.admin_get("/api/admin/headgate/health").send().expect_status(200);
        answer.field("services")[0]["health"]["verdict"]["status"] == verdict
    });
}

#[test]
fn until_healthy_it_is_on_while_the_service_is_bad_and_off_when_it_is_well() {
    let mood = Mood::default();
    mood.is(Mood::BROKEN);
    let upstream = mood.start();
    let gate = watched(&upstream, "").start();
    let on = ask(&gate, &format!("{ON}?until=healthy&reason=disk"));
    assert_eq!((&on["status"], &on["until_healthy"]), (&json!("on"), &json!(true)));
    gate.get("/x").send().expect_status(503);
    until_verdict(&gate, "failing");
    assert_eq!(ask(&gate, STATUS)["status"], "on");
    let gate = gate.restart();
    assert_eq!(ask(&gate, STATUS)["all"]["until_healthy"], true);
    mood.is(Mood::WELL);
    until("maintenance is off", || ask(&gate, STATUS)["status"] == "off");
    gate.get("/x").send().expect_text("x");
    let last = ask(&gate, STATUS)["audit"][0].clone();
    assert_eq!((&last["by"], &last["reason"]), (&json!("headgate"), &json!("healthy")));
}

#[test]
fn until_healthy_is_refused_where_it_could_never_be_seen() {
    let upstream = Mood::default().start();
    let gate = watched(&upstream, ", followsMaintenance: true")
        .service("bare", &upstream)
        .route("path: /bare, service: bare, access: public")
        .start();
    for (query, kind) in [
        ("?until=healthy", "urn:headgate:follows-maintenance"),
        ("?until=healthy&service=bare", "urn:headgate:not-probed"),
    ] {
        let answer = gate.get(&format!("{ON}{query}")).key(OPERATOR).send().expect_status(409);
        answer.expect_field("type", kind);
    }
    gate.get("/x").send().expect_text("x");
}

#[test]
fn after_off_who_follows_the_mode_is_covered_until_it_has_noticed() {
    let mood = Mood::default();
    let upstream = mood.start();
    let gate = watched(&upstream, ", followsMaintenance: true").start();
    until_verdict(&gate, "ok");
    ask(&gate, ON);
    mood.is(Mood::MAINTENANCE);
    until_verdict(&gate, "maintenance");
    let off = ask(&gate, OFF);
    assert_eq!((&off["status"], &off["ending"]), (&json!("off"), &json!(["app"])));
    let status = ask(&gate, STATUS);
    assert_eq!((&status["status"], &status["ending"]), (&json!("off"), &json!(["app"])));
    let covered = gate.get("/x").send().expect_status(503);
    let wait: u32 = covered.header("Retry-After").and_then(|it| it.parse().ok()).expect("seconds");
    // A core's clock lags by a tick.
    assert!((1..=61).contains(&wait), "{wait}");
    let gate = gate.restart();
    gate.get("/x").send().expect_status(503);
    assert_eq!(ask(&gate, STATUS)["ending"], json!(["app"]));
    mood.is(Mood::WELL);
    until("it has noticed", || gate.get("/x").send().status == 200);
    assert_eq!(ask(&gate, STATUS)["ending"], Value::Null);
}

#[test]
fn a_ttl_ends_for_who_follows_the_mode_when_it_has_noticed() {
    let mood = Mood::default();
    mood.is(Mood::MAINTENANCE);
    let upstream = mood.start();
    let gate = watched(&upstream, ", followsMaintenance: true").start();
    ask(&gate, &format!("{ON}?ttl=300ms"));
    // Whoever looks when: nothing slips through between the ttl and what comes after it.
    until("the ttl is over", || {
        gate.get("/x").send().expect_status(503);
        ask(&gate, STATUS)["ending"] == json!(["app"])
    });
    gate.get("/x").send().expect_status(503);
    assert_eq!(ask(&gate, STATUS)["status"], "off");
    mood.is(Mood::BROKEN);
    until("it has noticed", || gate.get("/x").send().status == 200);
}

#[test]
fn on_again_takes_an_ending_away() {
    let mood = Mood::default();
    mood.is(Mood::MAINTENANCE);
    let upstream = mood.start();
    let gate = watched(&upstream, ", followsMaintenance: true").start();
    ask(&gate, ON);
    ask(&gate, OFF);
    ask(&gate, ON);
    assert_eq!(ask(&gate, STATUS)["ending"], Value::Null);
    mood.is(Mood::WELL);
    until_verdict(&gate, "ok");
    assert_eq!(ask(&gate, STATUS)["status"], "on");
    gate.get("/x").send().expect_status(503);
}

#[test]
fn the_health_of_a_covered_service_passes_where_the_config_says_so() {
    let upstream = Mood::default().start();
    let gate = watched(&upstream, ", passesInMaintenance: true").start();
    ask(&gate, ON);
    gate.get("/health").send().expect_field("status", "OK");
    gate.get("/%68ealth?a=b").send().expect_field("status", "OK");
    gate.request("HEAD", "/health").send().expect_status(200);
    let others = [("POST", "/health"), ("GET", "/health/"), ("GET", "/health/x"), ("GET", "/x")];
    for (method, path) in others {
        gate.request(method, path).send().expect_status(503);
    }
    let seen = upstream.received().into_iter().filter(|it| !it.target.starts_with("/health"));
    assert_eq!(seen.count(), 0);
}

#[test]
fn a_health_that_passes_needs_the_key_of_its_route() {
    let upstream = Mood::default().start();
    let more = format!(
        "maintenance: covered, health: {{ policy: native, {PROBE}, passesInMaintenance: true }}"
    );
    let gate = Setup::default()
        .service_with("app", &upstream, &more)
        .route("path: /, service: app, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    ask(&gate, ON);
    gate.get("/health").send().expect_status(401);
    gate.get("/health").key(OPERATOR).send().expect_status(200);
    gate.get("/x").send().expect_status(503);
}
