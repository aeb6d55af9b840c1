//! Services that are watched: what is thought of them, when that changes, and what of it survives reload and restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::Value;

use crate::support::{Exchange, Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

const OK: &str = r#"{"status":"OK"}"#;
const MAINTENANCE: &str = r#"{"status":"Maintenance mode is enabled"}"#;
/// Soon again while something is going on; patient enough for a busy machine.
const PROBE: &str =
    "probe: { http: /health, interval: 500ms, unhealthyInterval: 40ms, timeout: 500ms }";

/// What a service answers on its health path, as the test has it at the moment.
#[derive(Clone, Default)]
struct Switch(Arc<AtomicU32>);

impl Switch {
    const WELL: u32 = 0;
    const FAILING: u32 = 1;
    const MAINTENANCE: u32 = 2;
    const ALTERNATING: u32 = 3;
    const HANGING: u32 = 4;

    fn set(&self, state: u32) {
        self.0.store(state, Ordering::SeqCst);
    }

    fn start(&self) -> RawUpstream {
        let (state, turn) = (self.clone(), AtomicBool::new(false));
        Upstream::http1()
            .handle("/health", move |it| state.answer(&turn, it))
            .otherwise("x")
            .start()
    }

    fn answer(&self, turn: &AtomicBool, exchange: &mut Exchange) {
        let is_odd = turn.fetch_xor(true, Ordering::SeqCst);
        match self.0.load(Ordering::SeqCst) {
            Self::FAILING => exchange.respond(500, "", b"down"),
            Self::MAINTENANCE => exchange.respond(200, "", MAINTENANCE.as_bytes()),
            Self::ALTERNATING if is_odd => exchange.respond(500, "", b"down"),
            Self::HANGING => exchange.hang(),
            _ => exchange.respond(200, "", OK.as_bytes()),
        }
    }
}

fn watched(name: &str, upstream: &RawUpstream, more: &str) -> Setup {
    Setup::default()
        .service_with(name, upstream, &health(more))
        .route(&format!("path: /, service: {name}, access: public"))
        .key(OPERATOR)
}

fn health(more: &str) -> String {
    format!("maintenance: covered, health: {{ policy: native, {PROBE}, {more} }}")
}

/// One service on the admin API's health page.
fn shown(gate: &Gateway, service: &str) -> Value {
    let answer = gate.admin_get("/api/admin/headgate/health").send().expect_status(200);
    let services = answer.field("services");
    let all = services.as_array().expect("a list").iter();
    all.filter(|it| it["name"] == service)
        .map(|it| it["health"].clone())
        .next()
        .expect("the service is there")
}

#[track_caller]
fn until_health(gate: &Gateway, service: &str, health: &str) -> Value {
    let mut last = Value::Null;
    until(&format!("{service} is {health}"), || {
        last = shown(gate, service);
        last["health"] == health
    });
    last
}

fn incidents(gate: &Gateway) -> Vec<Value> {
    let answer = gate.admin_get("/api/admin/headgate/incidents").send().expect_status(200);
    answer.field("incidents").as_array().cloned().unwrap_or_default()
}

#[test]
fn a_service_that_breaks_and_heals_is_one_incident() {
    let switch = Switch::default();
    let upstream = switch.start();
    let gate = watched("api", &upstream, "rise: 2, fall: 3").start();
    let well = until_health(&gate, "api", "ok");
    assert_eq!((&well["incident"], &well["verdict"]["code"]), (&Value::Null, &"ok".into()));
    switch.set(Switch::FAILING);
    let failing = until_health(&gate, "api", "failing");
    assert!(failing["incident"].is_string(), "{failing}");
    assert_eq!(failing["endpoints"][0]["sample"]["status"], 500);
    assert!(failing["nextProbeMs"].is_number(), "{failing}");
    assert_eq!(gate.metric("headgate_service_health", "service=\"api\",state=\"failing\""), 1.0);
    assert_eq!(gate.metric("headgate_service_health", "service=\"api\""), 1.0, "one state");
    switch.set(Switch::WELL);
    let healed = until_health(&gate, "api", "ok");
    assert_eq!(healed["incident"], Value::Null);
    assert!(gate.metric("headgate_probes_total", "outcome=\"bad-status\"") >= 3.0);
    assert!(gate.metric("headgate_service_transitions_total", "service=\"api\"") >= 3.0);
    assert!(gate.metric("headgate_probe_lateness_seconds_count", "") >= 6.0);
    assert!(gate.metric("headgate_probe_duration_seconds_count", "service=\"api\"") >= 6.0);
}

#[test]
fn one_bad_answer_is_no_incident() {
    let answers = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&answers);
    let upstream = Upstream::by(move |it| match count.fetch_add(1, Ordering::SeqCst) % 10 {
        3 | 4 => it.respond(500, "", b"hiccup"),
        _ => it.respond(200, "", OK.as_bytes()),
    });
    let gate = watched("api", &upstream, "rise: 1, fall: 3").start();
    until("two hiccups", || answers.load(Ordering::SeqCst) > 16);
    assert_eq!(shown(&gate, "api")["incident"], Value::Null);
    assert_eq!(gate.metric("headgate_service_transitions_total", ""), 1.0, "from unknown to ok");
    assert!(gate.metric("headgate_probes_total", "outcome=\"bad-status\"") >= 4.0);
}

#[test]
fn a_service_that_alternates_flaps_and_settles() {
    let switch = Switch::default();
    switch.set(Switch::ALTERNATING);
    let upstream = switch.start();
    let gate =
        watched("api", &upstream, "rise: 2, fall: 3, flap: { window: 12, high: 50, low: 20 }")
            .start();
    until("it flaps", || shown(&gate, "api")["flapping"] == true);
    let flapping = shown(&gate, "api");
    let incident = flapping["incident"].clone();
    assert!(incident.is_string(), "never silent: {flapping}");
    let before = upstream.requests();
    until("a while", || upstream.requests() > before + 20);
    assert_eq!(shown(&gate, "api")["incident"], incident, "never a storm");
    assert_eq!(gate.metric("headgate_service_flapping", "service=\"api\""), 1.0);
    switch.set(Switch::WELL);
    until("it has settled", || shown(&gate, "api")["flapping"] == false);
    assert_eq!(until_health(&gate, "api", "ok")["incident"], Value::Null);
}

#[test]
fn in_maintenance_it_is_probed_and_recorded_but_muted() {
    let switch = Switch::default();
    let upstream = switch.start();
    let gate = watched("api", &upstream, "fall: 2").start();
    until_health(&gate, "api", "ok");
    gate.admin_post("/api/admin/maintenance/on?service=api").send().expect_status(200);
    switch.set(Switch::FAILING);
    let failing = until_health(&gate, "api", "failing");
    assert_eq!((&failing["muted"], failing["incident"].is_string()), (&true.into(), true));
    switch.set(Switch::MAINTENANCE);
    let away = until_health(&gate, "api", "maintenance");
    assert_eq!(away["verdict"]["code"], "maintenance");
    switch.set(Switch::FAILING);
    until_health(&gate, "api", "failing");
    gate.admin_post("/api/admin/maintenance/off?service=api").send().expect_status(200);
    until("the mute is over", || shown(&gate, "api")["muted"] == false);
    assert_eq!(shown(&gate, "api")["incident"], failing["incident"], "it outlived maintenance");
}

#[test]
fn the_maintenance_word_long_after_off_is_an_incident() {
    let switch = Switch::default();
    let upstream = switch.start();
    let gate = watched("api", &upstream, "rise: 1")
        .with("alerts: { formatter: native, staleMaintenance: 1s }")
        .start();
    switch.set(Switch::MAINTENANCE);
    let away = until_health(&gate, "api", "maintenance");
    assert_eq!(away["incident"], Value::Null, "tolerated for a while");
    until("an incident", || shown(&gate, "api")["incident"].is_string());
    gate.admin_post("/api/admin/maintenance/on?service=api").send().expect_status(200);
    until("expected again", || shown(&gate, "api")["incident"] == Value::Null);
    assert_eq!(shown(&gate, "api")["health"], "maintenance");
}

#[test]
fn a_reload_forgets_nothing() {
    let switch = Switch::default();
    let upstream = switch.start();
    let setup = watched("api", &upstream, "fall: 3");
    let yaml = setup.yaml();
    let gate = setup.start();
    switch.set(Switch::FAILING);
    let failing = until_health(&gate, "api", "failing");
    gate.reload_with(&yaml.replace(": 500ms", ": 600ms")).expect_status(200);
    let before = upstream.requests();
    until("more probes", || upstream.requests() > before + 3);
    let after = shown(&gate, "api");
    for key in ["incident", "sinceMs"] {
        assert_eq!(after[key], failing[key], "{key}");
    }
    switch.set(Switch::WELL);
    until_health(&gate, "api", "ok");
}

#[test]
fn another_policy_judges_from_the_next_probe_on() {
    let upstream = Upstream::http1().route("/health", r#"{"status":"up"}"#).start();
    let setup = watched("api", &upstream, "fall: 2, rise: 2");
    let yaml = setup.yaml();
    let gate = setup.start();
    until_health(&gate, "api", "failing");
    let with = "policy: { plugin: native, settings: { expected: up } }";
    let answer = gate.reload_with(&yaml.replace("policy: native", with));
    answer.expect_status(200);
    until_health(&gate, "api", "ok");
}

#[test]
fn a_service_that_goes_takes_its_incident_along() {
    let (switch, other) = (Switch::default(), Upstream::named("x"));
    switch.set(Switch::FAILING);
    let upstream = switch.start();
    let setup = Gateway::in_front_of("other", &other).key(OPERATOR);
    let without = setup.yaml();
    let gate = setup.service_with("api", &upstream, &health("fall: 1")).start();
    until_health(&gate, "api", "failing");
    gate.reload_with(&without).expect_status(200);
    until("nobody speaks of it", || {
        !gate.metrics().contains("headgate_service_health{service=\"api\"")
    });
    let before = upstream.requests();
    until("it ends", || incidents(&gate).iter().all(|it| it["state"] != "open"));
    assert!(upstream.requests() <= before + 1, "nobody probes it");
    let other = shown(&gate, "other");
    let reason = other["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("services.other.health.probe"), "{other}");
}

#[test]
fn kill_9_keeps_the_incident_and_since_when() {
    let switch = Switch::default();
    let upstream = switch.start();
    let mut gate = watched("api", &upstream, "fall: 3, rise: 2").start();
    switch.set(Switch::FAILING);
    let failing = until_health(&gate, "api", "failing");
    for _ in 0..3 {
        gate = gate.restart();
        until("it is probed again", || shown(&gate, "api")["lastProbeMs"].is_number());
        let after = shown(&gate, "api");
        for key in ["incident", "sinceMs", "health"] {
            assert_eq!(after[key], failing[key], "{key}: {after}");
        }
    }
    switch.set(Switch::WELL);
    assert_eq!(until_health(&gate, "api", "ok")["incident"], Value::Null);
}

#[test]
fn one_that_hangs_delays_no_other() {
    let (hanging, well) = (Switch::default(), Switch::default());
    hanging.set(Switch::HANGING);
    let (stuck, upstream) = (hanging.start(), well.start());
    let patient = health("fall: 1").replace(": 500ms", ": 60s");
    let mut setup = Setup::default()
        .service_with("stuck", &stuck, &patient)
        .route("path: /, service: stuck, access: public");
    for number in 0..20 {
        setup = setup.service_with(&format!("s{number}"), &upstream, &health("fall: 1"));
    }
    let gate = setup.start();
    until("the stuck one was asked", || stuck.requests() > 0);
    for number in 0..20 {
        until_health(&gate, &format!("s{number}"), "ok");
    }
    let before = upstream.requests();
    until("the others go on", || upstream.requests() > before + 60);
    assert_eq!(stuck.requests(), 1, "within its timeout, still the first");
    assert_eq!(shown(&gate, "stuck")["health"], "unknown");
}

#[test]
fn a_dead_endpoint_is_out_of_the_balance_but_never_the_last_one() {
    let (first, second) = (Switch::default(), Switch::default());
    let upstreams = [first.start(), second.start()];
    let [a, b] = upstreams.each_ref().map(RawUpstream::url);
    let service =
        format!("api: {{ upstreams: [\"{a}\", \"{b}\"], {} }}", health("fall: 3, rise: 2"));
    let yaml = format!(
        "listeners: {{ data: 127.0.0.1:0, ops: 127.0.0.1:0, admin: 127.0.0.1:0 }}\ncores: 1\n\
         state: \"{{dir}}/state\"\nalerts: {{ formatter: native }}\nservices:\n  {service}\n\
         routes:\n  - {{ path: /, service: api, access: public }}\n"
    );
    let gate = Gateway::config(&yaml).start();
    until_health(&gate, "api", "ok");
    first.set(Switch::FAILING);
    let down = |gate: &Gateway| {
        let shown = shown(gate, "api");
        let endpoints = shown["endpoints"].as_array().expect("a list").clone();
        endpoints.iter().filter(|it| it["up"] == false).count()
    };
    until("one is out", || down(&gate) == 1);
    assert_eq!(shown(&gate, "api")["health"], "ok", "the service is there");
    let asked = || upstreams[0].received().iter().filter(|it| it.target == "/x").count();
    let before = asked();
    for _ in 0..10 {
        gate.get("/x").send().expect_text("x");
    }
    assert_eq!(asked(), before, "all go to the other");
    second.set(Switch::FAILING);
    until_health(&gate, "api", "failing");
    gate.get("/x").send().expect_text("x");
    first.set(Switch::WELL);
    second.set(Switch::WELL);
    until("both are back", || down(&gate) == 0);
}
