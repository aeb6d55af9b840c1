//! Request filters on real connections: what they refuse, edit and read, and that they stand behind everything that guards.

use std::fs;
use std::sync::Arc;

use crate::support::gateway::TempDir;
use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream, until};

/// `/t/` asks for `X-Tenant`, and tells the upstream that it was there.
const TENANT: &str = "filters: { plugin: require-header, settings: { header: x-tenant, status: 403, \
                      message: \"say for whom\", set: { x-tenant-checked: \"yes\" } } }";

fn asking(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("app", upstream)
        .route(&format!("path: /t/, service: app, access: public, {TENANT}"))
        .with("alerts: { formatter: native }")
        .key(OPERATOR)
}

#[test]
fn a_request_without_the_header_gets_the_filters_answer() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).start();
    let refused = gate.get("/t/x").header("X-Request-ID", "r-1").send().expect_status(403);
    assert!(refused.text().contains("say for whom"), "{}", refused.text());
    let refused = refused
        .expect_header("X-Request-ID", "r-1")
        .expect_header("Content-Type", "application/problem+json")
        .expect_header("Cache-Control", "no-store");
    assert!(refused.header("Date").is_some());
    assert_eq!(upstream.requests(), 0);
    assert!(gate.metric("headgate_refusals_total", "filtered") >= 1.0, "{}", gate.metrics());
    until("the access log has it", || {
        gate.access_lines().iter().any(|it| {
            it["path"] == "/t/x"
                && it["refusal"] == "filtered"
                && it["filter"] == "require-header"
                && it["filter_did"] == "replied"
        })
    });
}

#[test]
fn a_header_that_a_server_may_take_for_the_one_that_was_asked_for_is_refused() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).start();
    let twice = gate.get("/t/x").header("X-Tenant", "acme").header("X_Tenant", "evil");
    assert!(twice.send().expect_status(400).text().contains("twin-name"));
    gate.get("/t/x").header("X_Tenant", "acme").send().expect_status(403);
    assert_eq!(upstream.requests(), 0);
    gate.get("/t/x").header("X-Tenant", "acme").header("a_b", "c").send().expect_text("app");
}

#[test]
fn a_request_with_the_header_passes_with_what_the_filter_sets() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).start();
    for spelling in ["x-tenant-checked", "X_Tenant_Checked"] {
        let forged = gate.get("/t/x").header(spelling, "forged");
        forged.header("X-TENANT", "acme").send().expect_text("app");
        let last = upstream.last();
        assert_eq!(last.head.all("x-tenant-checked"), ["yes"]);
        assert_eq!(last.head.all("X_Tenant_Checked"), [""; 0]);
        assert_eq!(last.header("X-Tenant"), Some("acme"));
    }
    gate.get("/other").header("X-Tenant", "acme").send().expect_text("app");
    assert_eq!(upstream.last().header("x-tenant-checked"), None);
    until("the access log has it", || {
        gate.access_lines().iter().any(|it| it["filter_did"] == "edited" && it["refusal"].is_null())
    });
}

#[test]
fn another_spelling_of_the_path_passes_the_filter_too() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).with("trustedProxies: [127.0.0.1]").start();
    for path in ["/t%2Fx", "/t;v=1/x", "/T/x", "/x/..%2Ft/x", "/%2Ft/x", "/t%252Fx"] {
        gate.get(path).send().expect_status(403);
        let question = gate.get("/forward-auth").header("X-Forwarded-Method", "GET");
        question.header("X-Forwarded-Uri", path).send().expect_status(403);
        assert_eq!(upstream.requests(), 0, "{path}");
    }
    gate.get("/t%2Fx").header("X-Tenant", "a").send().expect_text("app");
    assert_eq!(upstream.last().head.all("x-tenant-checked"), ["yes"]);
    gate.get("/other%2Fx").send().expect_text("app");
}

#[test]
fn key_and_maintenance_come_before_the_filter() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream)
        .route(&format!("path: /k/, service: app, access: \"key:admin\", {TENANT}"))
        .start();
    gate.get("/k/x").send().expect_status(401);
    gate.get("/k/x").key(OPERATOR).send().expect_status(403);
    gate.get("/k/x").key(OPERATOR).header("X-Tenant", "a").send().expect_text("app");
    gate.post("/api/admin/maintenance/on", "").key(OPERATOR).send().expect_status(200);
    gate.get("/t/x").send().expect_status(503).expect_field("service", "app");
    // The gate's own endpoints know no filter, even where a filtered route has everything.
    gate.post("/api/admin/maintenance/off", "").key(OPERATOR).send().expect_status(200);
    gate.get("/t/x").send().expect_status(403);
}

#[test]
fn a_filter_over_everything_leaves_the_gates_own_endpoints_and_preflights_alone() {
    let upstream = Upstream::named("app");
    let gate = Setup::default()
        .service("app", &upstream)
        .route(&format!("path: /, service: app, access: public, {TENANT}"))
        .with("alerts: { formatter: native }")
        .key(OPERATOR)
        .start();
    gate.get("/x").send().expect_status(403);
    gate.get("/api/admin/maintenance/status").send().expect_status(200);
    gate.get("/api/admin/headgate/config").key(OPERATOR).send().expect_status(200);
    let preflight = gate
        .request("OPTIONS", "/x")
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "GET");
    preflight.send().expect_text("app");
    gate.request("OPTIONS", "/x").send().expect_status(403);
}

#[test]
fn the_connection_stays_in_step_after_a_filters_answer() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).start();
    let mut client = gate.connect();
    client.send("POST /t/a HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\nhello");
    client.response().expect_status(403);
    client.send("POST /t/b HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    client.response().expect_status(403);
    client.send("HEAD /t/c HTTP/1.1\r\nHost: g\r\n\r\n");
    let head = client.response_to("HEAD").expect_status(403);
    assert!(head.text().is_empty());
    assert_ne!(head.header("Content-Length"), Some("0"));
    // Three at once, the body of the first unread.
    client.send(
        "POST /t/d HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabcGET /t/e HTTP/1.1\r\nHost: g\r\nX-Tenant: a\r\n\r\n\
         GET /t/f HTTP/1.1\r\nHost: g\r\n\r\n",
    );
    client.response().expect_status(403);
    client.response().expect_text("app");
    client.response().expect_status(403);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_long_body_behind_a_filters_answer_closes_the_connection() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).start();
    let mut client = gate.connect();
    client.send("POST /t/a HTTP/1.1\r\nHost: g\r\nContent-Length: 9000000\r\n\r\nhello");
    client.response().expect_status(403).expect_header("Connection", "close");
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_body_follows_its_filtered_head() {
    let upstream = Upstream::by(|exchange| {
        let body = exchange.body();
        exchange.respond(200, "", &body);
    });
    let gate = asking(&upstream).start();
    let body = "x".repeat(300_000);
    gate.post("/t/x", body.as_str()).header("X-Tenant", "a").send().expect_text(&body);
    let mut client = gate.connect();
    client.send("POST /t/x HTTP/1.1\r\nHost: g\r\nX-Tenant: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    client.response().expect_text("abc");
}

#[test]
fn a_filter_that_is_no_component_refuses_or_lets_pass() {
    let upstream = Upstream::named("app");
    let dir = Arc::new(TempDir::new());
    fs::write(dir.0.join("bad.wasm"), b"no component").expect("a temp folder");
    let setup = Gateway::in_front_of("app", &upstream)
        .route("path: /closed/, service: app, access: public, filters: bad")
        .route(
            "path: /open/, service: app, access: public, filters: { plugin: bad, onFailure: open }",
        )
        .with("plugins: { bad: { file: \"{dir}/bad.wasm\" } }")
        .with("alerts: { formatter: native }");
    let gate = Gateway::start_in(setup, dir);
    let refused = gate.get("/closed/x").send().expect_status(503);
    assert_eq!(refused.code().as_deref(), Some("filter-failed"));
    assert!(refused.header("Retry-After").is_some());
    let grpc = gate.post("/closed/x", "").header("Content-Type", "application/grpc").send();
    grpc.expect_status(200).expect_header("Grpc-Status", "14");
    gate.get("/open/x").send().expect_text("app");
    until("the access log has both", || {
        let lines = gate.access_lines();
        ["failed-closed", "failed-open"].iter().all(|did| {
            lines.iter().any(|it| it["filter_did"] == *did && it["filter_fault"] == "unproven")
        })
    });
}

#[test]
fn an_edge_hears_the_filters_answer() {
    let upstream = Upstream::named("app");
    let gate = asking(&upstream).with("trustedProxies: [127.0.0.1]").start();
    let ask = |uri: &str| {
        let question = gate.get("/forward-auth").header("X-Forwarded-Method", "GET");
        question.header("X-Forwarded-Uri", uri).header("X-Forwarded-Host", "a.example")
    };
    ask("/t/x").send().expect_status(403);
    let yes = ask("/t/x").header("X-Tenant", "a").send().expect_status(200);
    assert_eq!(yes.header("x-tenant-checked"), Some("yes"));
    assert_eq!(ask("/x").send().expect_status(200).header("x-tenant-checked"), None);
}

#[test]
fn another_setting_acts_without_a_restart() {
    let upstream = Upstream::named("app");
    let setup = asking(&upstream);
    let yaml = setup.yaml();
    let gate = setup.start();
    gate.get("/t/x").header("X-Other", "a").send().expect_status(403);
    gate.reload_with(&yaml.replace("header: x-tenant", "header: x-other")).expect_status(200);
    gate.get("/t/x").header("X-Other", "a").send().expect_text("app");
    gate.get("/t/x").header("X-Tenant", "a").send().expect_status(403);
}
