//! Another proxy asks whether a request may pass; the answer is the one the data path would give.

use crate::support::gateway::Ask;
use crate::support::{Gateway, OPERATOR, READER, RawUpstream, Setup, Upstream};

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream)
        .with("trustedProxies: [127.0.0.1]")
        .route("path: /vault/, service: a, access: \"key:vault\"")
        .key(OPERATOR)
        .key_with(READER, "scopes: [vault]")
}

fn question(gateway: &Gateway, method: &str, uri: &str) -> Ask {
    let ask = gateway.get("/forward-auth").header("X-Forwarded-Method", method);
    let ask = ask.header("X-Forwarded-Uri", uri).header("X-Forwarded-Host", "gate.test");
    ask.header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "203.0.113.9")
}

#[test]
fn a_request_that_would_pass_gets_a_2xx_and_the_others_their_refusal() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    question(&gateway, "GET", "/open").send().expect_status(200);
    let answer = question(&gateway, "GET", "/vault/x?y=1").key(READER).send().expect_status(200);
    answer.expect_header("X-Headgate-Client", "key-1");
    let refused = question(&gateway, "GET", "/vault/x").send().expect_status(401);
    refused.expect_field("detail", "Invalid or missing API Key");
    question(&gateway, "POST", "/vault/x").key(OPERATOR).send().expect_status(403);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn maintenance_is_told_in_full() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    let answer = question(&gateway, "GET", "/open").send().expect_status(503);
    assert!(answer.header("Retry-After").is_some());
    answer.expect_field("message", "Maintenance mode enabled");
}

#[test]
fn a_path_that_others_would_read_otherwise_is_refused() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    for uri in [
        "/open/../vault/x",
        "/open/%2e%2e/vault/x",
        "//open",
        "/%6fpen",
        "/vault%2Fx",
        "/o\\x",
        "",
        "open",
    ] {
        let status = question(&gateway, "GET", uri).send().status;
        assert!((400..404).contains(&status), "{uri}: {status}");
    }
}

#[test]
fn only_trusted_peers_may_ask() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .route("path: /vault/, service: a, access: \"key:vault\"")
        .key_with(READER, "scopes: [vault]")
        .start();
    let answer = question(&gateway, "GET", "/vault/x").key(READER).send();
    assert!(answer.status == 404 || answer.text() == "x", "{} {}", answer.status, answer.text());
    assert_eq!(answer.header("X-Headgate-Client"), None);
}

#[test]
fn the_admin_endpoints_are_not_given_away() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    question(&gateway, "GET", "/api/admin/maintenance/on").key(OPERATOR).send().expect_status(403);
    gateway.get("/api/admin/maintenance/status").send().expect_field("status", "off");
}

#[test]
fn a_question_that_misses_its_words_is_refused() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let status = gateway.get("/forward-auth").send().status;
    assert!((400..500).contains(&status), "{status}");
    let twice =
        question(&gateway, "GET", "/open").header("X-Forwarded-Uri", "/vault/x").send().status;
    assert!((400..500).contains(&twice), "{twice}");
}
