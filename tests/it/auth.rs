//! Who may pass with which key, and what the others learn.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;

use crate::support::{Gateway, OPERATOR, READER, RawUpstream, Response, Setup, Upstream, until};

fn protected(upstream: &RawUpstream) -> Setup {
    Setup::default()
        .service("vault", upstream)
        .route("path: /vault/, service: vault, access: \"key:vault\"")
        .route("path: /open/, service: vault, access: public")
}

/// Everything of a response but the time.
fn bytes(response: &Response) -> String {
    let fields = response.head.fields.iter().filter(|it| it.0 != "Date");
    format!("{} {:?} {}", response.head.start, fields.collect::<Vec<_>>(), response.text())
}

#[test]
fn missing_malformed_unknown_and_expired_keys_get_the_same_bytes() {
    let upstream = Upstream::named("secret");
    let past = "scopes: [vault], expiresAt: 2020-01-01T00:00:00Z";
    let future = "scopes: [vault], notBefore: 2099-01-01T00:00:00Z";
    let gateway = protected(&upstream)
        .with("limits: { badKeysPerMinute: 1000 }")
        .key_with(OPERATOR, "scopes: [vault]")
        .key_with("expired-key-0123456789", past)
        .key_with("future-key-0123456789a", future)
        .start();
    let ask = || gateway.get("/vault/x").header("X-Request-ID", "same");
    let missing = ask().send().expect_status(401);
    for key in [
        "unknown-key-0123456789",
        "x",
        "expired-key-0123456789",
        "future-key-0123456789a",
        "operator-key-0123456789abcdeg",
        "operator-key-0123456789abcdef0",
        "OPERATOR-KEY-0123456789ABCDEF",
        "with space in the key",
        "",
        &"long".repeat(1000),
    ] {
        let answer = ask().key(key).send();
        if key.is_empty() && answer.status == 400 {
            continue;
        }
        assert_eq!(bytes(&answer), bytes(&missing), "for {key:?}");
    }
    ask().key(OPERATOR).send().expect_text("secret");
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_401_speaks_as_stockflow_does_and_says_how_to_ask() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream).key_with(OPERATOR, "scopes: [vault]").start();
    let answer = gateway.get("/vault/x").send().expect_status(401);
    let answer = answer.expect_field("detail", "Invalid or missing API Key");
    let challenge = answer.header("WWW-Authenticate").unwrap_or_default();
    assert!(challenge.contains("X-API-KEY"), "{challenge}");
    answer.expect_header("Cache-Control", "no-store");
}

#[test]
fn a_known_key_without_the_scope_is_403() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream)
        .key_with(OPERATOR, "scopes: [vault]")
        .key_with(READER, "scopes: [other]")
        .start();
    gateway.get("/vault/x").key(READER).send().expect_status(403);
    gateway.get("/api/admin/headgate/config").key(READER).send().expect_status(403);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn too_many_bad_keys_of_one_client_are_429_but_a_valid_key_is_never_locked_out() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream)
        .with("trustedProxies: [127.0.0.1]")
        .with("limits: { badKeysPerMinute: 5 }")
        .key_with(OPERATOR, "scopes: [vault]")
        .start();
    let ask = |client: &str| gateway.get("/vault/x").header("X-Forwarded-For", client);
    let statuses: Vec<u16> =
        (0..12).map(|_| ask("203.0.113.1").key("bad-key-0123456789").send().status).collect();
    assert!(statuses.starts_with(&[401; 5]) && statuses.ends_with(&[429; 5]), "{statuses:?}");
    let limited = ask("203.0.113.1").key("bad-key-0123456789").send();
    assert!(limited.header("Retry-After").is_some_and(|it| it.parse::<u32>().is_ok()));
    ask("203.0.113.1").key(OPERATOR).send().expect_text("secret");
    ask("203.0.113.2").key("bad-key-0123456789").send().expect_status(401);
}

#[test]
fn the_key_is_forwarded_only_to_services_that_ask_for_it() {
    let (plain, wants) = (Upstream::named("plain"), Upstream::named("wants"));
    let gateway = Gateway::in_front_of("plain", &plain)
        .service_with("wants", &wants, "forwardKey: true")
        .route("path: /wants/, service: wants, access: \"key:admin\"")
        .route("path: /plain/, service: plain, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    for path in ["/plain/x", "/open"] {
        gateway.get(path).key(OPERATOR).send().expect_status(200);
        assert_eq!(plain.last().header("X-API-KEY"), None, "{path}");
    }
    gateway.get("/wants/x").key(OPERATOR).send().expect_status(200);
    assert_eq!(wants.last().header("X-API-KEY"), Some(OPERATOR));
}

#[test]
fn the_upstream_learns_the_name_of_the_key_from_the_gate_alone() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream).key_with(OPERATOR, "scopes: [vault]").start();
    let forged = |path: &str| gateway.get(path).header("X-Headgate-Client", "forged");
    forged("/vault/x").key(OPERATOR).send().expect_status(200);
    assert_eq!(upstream.last().head.all("X-Headgate-Client"), ["key-0"]);
    forged("/open/x").send().expect_status(200);
    assert_eq!(upstream.last().header("X-Headgate-Client"), None);
}

#[test]
fn every_key_of_several_opens_at_the_same_time() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream)
        .env("OLD", "old-key-0123456789abcd")
        .env("NEW", "new-key-0123456789abcd")
        .key_line("name: rotating-old, key: \"env:OLD\", scopes: [vault]")
        .key_line("name: rotating-new, key: \"env:NEW\", scopes: [vault]")
        .key_with(OPERATOR, "scopes: [vault]")
        .start();
    for key in ["old-key-0123456789abcd", "new-key-0123456789abcd", OPERATOR] {
        gateway.get("/vault/x").key(key).send().expect_text("secret");
    }
}

#[test]
fn a_key_ends_at_its_time_without_a_reload() {
    let upstream = Upstream::named("secret");
    let end = Timestamp::now() + Duration::from_secs(3);
    let gateway = protected(&upstream)
        .with("limits: { badKeysPerMinute: 100000 }")
        .key_with(OPERATOR, &format!("scopes: [vault], expiresAt: \"{end:.0}\""))
        .start();
    // The binary may take a second to start on a busy machine: the key may be over already.
    let before = gateway.get("/vault/x").key(OPERATOR).send().status;
    assert!(before == 200 || Timestamp::now() >= end, "{before}");
    until("the key ends", || gateway.get("/vault/x").key(OPERATOR).send().status == 401);
}

#[test]
fn a_key_file_that_changes_changes_the_key() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream)
        .with("limits: { badKeysPerMinute: 100000 }")
        .key_line("name: f, key: \"file:key.txt\", scopes: [vault]");
    let dir = std::sync::Arc::new(crate::support::gateway::TempDir::new());
    fs::create_dir_all(dir.0.join("config")).expect("a temp folder");
    fs::write(dir.0.join("config/key.txt"), "first-key-0123456789\n").expect("a temp folder");
    let gateway = Gateway::start_in(gateway, std::sync::Arc::clone(&dir));
    gateway.get("/vault/x").key("first-key-0123456789").send().expect_text("secret");

    let new = dir.0.join("config/key.new");
    fs::write(&new, "second-key-0123456789\n").expect("a temp folder");
    fs::rename(new, dir.0.join("config/key.txt")).expect("a temp folder");

    until("the new key opens", || {
        gateway.get("/vault/x").key("second-key-0123456789").send().status == 200
    });
    gateway.get("/vault/x").key("first-key-0123456789").send().expect_status(401);
}

#[test]
fn a_key_is_read_from_its_header_alone_and_only_from_one() {
    let upstream = Upstream::named("secret");
    let gateway = protected(&upstream).key_with(OPERATOR, "scopes: [vault]").start();
    let path = format!("/vault/x?api_key={OPERATOR}&X-API-KEY={OPERATOR}");
    gateway.get(&path).send().expect_status(401);
    gateway
        .get("/vault/x")
        .header("Cookie", &format!("X-API-KEY={OPERATOR}"))
        .send()
        .expect_status(401);
    let bearer = format!("Bearer {OPERATOR}");
    gateway.get("/vault/x").header("Authorization", &bearer).send().expect_status(401);
    gateway.get("/vault/x").key(OPERATOR).key(OPERATOR).send().expect_status(400);
    gateway.get("/vault/x").key("bad").key(OPERATOR).send().expect_status(400);
    gateway.get("/vault/x").header("X_API_KEY", OPERATOR).send().expect_status(400);
    let nominated = gateway.get("/vault/x").key(OPERATOR).header("Connection", "X-API-KEY");
    nominated.send().expect_status(400);
    let chunked = format!(
        "POST /vault/x HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n\
         1\r\nx\r\n0\r\nX-API-KEY: {OPERATOR}\r\n\r\n"
    );
    gateway.connect().send(chunked).response().expect_status(401);
    assert_eq!(upstream.requests(), 0);
    gateway.get("/vault/x").header("x-aPi-kEy", OPERATOR).send().expect_status(200);
}
