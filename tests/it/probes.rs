//! Probes through a proxy that spoils answers: what is said of the service, who gets its requests, and what others notice.

use serde_json::Value;

use crate::support::{Exchange, Gateway, OPERATOR, Setup, ToxicProxy, Toxics, Upstream, until};

const OK: &str = r#"{"status":"OK"}"#;
const PROBE: &str = "maintenance: covered, health: { policy: native, \
    probe: { http: /health, interval: 500ms, unhealthyInterval: 50ms, timeout: 500ms } }";

/// One service on the admin API's health page.
fn shown(gate: &Gateway, service: &str) -> Value {
    let answer = gate.admin_get("/api/admin/headgate/health").send().expect_status(200);
    let services = answer.field("services");
    let found = services.as_array().and_then(|all| all.iter().find(|it| it["name"] == service));
    found.map_or(Value::Null, |it| it["health"].clone())
}

#[track_caller]
fn until_code(gate: &Gateway, service: &str, codes: &[&str]) {
    let mut last = Value::Null;
    until(&format!("{service} is one of {codes:?}"), || {
        last = shown(gate, service);
        codes.iter().any(|it| last["verdict"]["code"] == **it)
    });
}

#[track_caller]
fn until_metric(gate: &Gateway, line: &str) {
    until(line, || gate.metrics().lines().any(|it| it == line));
}

#[test]
fn each_way_of_failing_has_its_code_and_others_are_probed_all_the_same() {
    let upstream = Upstream::http1().route("/health", OK).start();
    let (spoilt, well) =
        (ToxicProxy::before(upstream.address), ToxicProxy::before(upstream.address));
    let gate = Setup::default()
        .service_at("spoilt", &spoilt.url(), PROBE)
        .service_at("well", &well.url(), PROBE)
        .route("path: /, service: spoilt, access: public")
        .key(OPERATOR)
        .start();
    let nothing = Toxics::default();
    for (toxics, codes) in [
        (nothing, &["ok"][..]),
        (Toxics { reset_after: Some(20), ..nothing }, &["reset"]),
        (Toxics { slice: Some(1), ..nothing }, &["ok"]),
        (Toxics { half_close_after: Some(20), ..nothing }, &["protocol"]),
        (Toxics { bandwidth: Some(20), ..nothing }, &["late", "timeout"]),
        (Toxics { blackhole: true, ..nothing }, &["timeout"]),
        (nothing, &["ok"]),
    ] {
        spoilt.set(toxics);
        let before = well.connections();
        until_code(&gate, "spoilt", codes);
        until("the other is probed on", || well.connections() > before);
        until_code(&gate, "well", &["ok"]);
    }
}

#[test]
fn an_endpoint_that_its_probes_find_dead_gets_no_request_until_they_find_it_well() {
    let backend = |name| Upstream::http1().route("/health", OK).otherwise(name).start();
    let (first, second) = (backend("first"), backend("second"));
    let proxy = ToxicProxy::before(second.address);
    let gate = Setup::default()
        .service_at_all("two", &[first.url(), proxy.url()], PROBE)
        .route("path: /, service: two, access: public")
        .key(OPERATOR)
        .start();
    let get = || gate.get("/").send().expect_status(200).text();
    let state = |state: &str, count: u32| {
        format!("headgate_upstream_endpoints{{service=\"two\",state=\"{state}\"}} {count}")
    };
    until("both answer", || get() == "second" && get() == "first");
    proxy.set(Toxics { reset_after: Some(1), ..Toxics::default() });
    until_metric(&gate, &state("down", 1));
    for _ in 0..20 {
        assert_eq!(get(), "first");
    }
    proxy.heal();
    until_metric(&gate, &state("up", 2));
    until("both answer again", || get() == "second");
}

#[test]
fn the_last_endpoint_stays_in_the_balance_however_its_probes_end() {
    let sick = |it: &mut Exchange| it.respond(500, "", b"");
    let upstream = Upstream::http1().handle("/health", sick).otherwise("alive").start();
    let gate = Setup::default()
        .service_at_all("sick", &[upstream.url(), "http://127.0.0.1:1".to_owned()], PROBE)
        .route("path: /, service: sick, access: public")
        .key(OPERATOR)
        .start();
    // One answers 500 to its probes, the other refuses: both are down, and so both are used.
    until("five rounds", || {
        upstream.received().iter().filter(|it| it.target == "/health").count() > 5
    });
    for _ in 0..4 {
        gate.get("/").send().expect_status(200).expect_text("alive");
    }
    assert!(
        gate.metrics().contains("headgate_upstream_endpoints{service=\"sick\",state=\"down\"} 0\n")
    );
}

#[test]
fn connections_that_fail_are_counted_for_their_service() {
    let gate = Setup::default()
        .service_at("gone", "http://127.0.0.1:1", "maintenance: covered")
        .route("path: /, service: gone, access: public")
        .start();
    gate.get("/").send().expect_status(502);
    until_metric(&gate, "headgate_upstream_connect_errors_total{service=\"gone\"} 1");
}
