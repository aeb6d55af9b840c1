//! What watches the services, over the admin API: endpoints, events on both listeners, what a drain does to followers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::wait::until;
use crate::support::wire::WireError;
use crate::support::{Gateway, OPERATOR, RawClient, Setup, Upstream};

const EVENTS: &str = "/api/admin/headgate/events";

/// Follows events; past the head and the greeting.
#[track_caller]
fn follow(address: SocketAddr, fields: &str) -> RawClient {
    let mut client = RawClient::connect(address);
    client.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: {address}\r\n{fields}\r\n"));
    let head = client.head();
    assert!(head.start.contains(" 200 "), "{head:?}");
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    assert!(head.field("x-request-id").is_some(), "{head:?}");
    wait_for(&mut client, "retry: 2000");
    client
}

/// Reads until these words came; gives all that was read.
#[track_caller]
fn wait_for(client: &mut RawClient, words: &str) -> String {
    loop {
        let text = String::from_utf8_lossy(client.wire.rest()).into_owned();
        if text.contains(words) {
            return text;
        }
        assert!(client.wire.fill().is_ok_and(|it| it > 0), "no {words} in {text}");
    }
}

fn gate(upstream: &crate::support::RawUpstream) -> Gateway {
    Gateway::in_front_of("a", upstream)
        .key(OPERATOR)
        .with("timeouts: { drainAccept: 100ms, drain: 60s }")
        .start()
}

#[test]
fn events_come_on_both_listeners_and_a_reader_who_sleeps_hinders_nobody() {
    let upstream = Upstream::named("x");
    let gate = gate(&upstream);
    let key = format!("X-API-Key: {OPERATOR}\r\n");
    let _asleep = follow(gate.data, &key);
    let mut on_data = follow(gate.data, &key);
    let mut on_admin = follow(gate.admin.expect("an admin listener"), "");
    gate.admin_post("/api/admin/maintenance/on?service=a").send().expect_status(200);
    for client in [&mut on_data, &mut on_admin] {
        let text = wait_for(client, "\"services\":[\"a\"]}\n\n");
        assert!(text.contains("event: maintenance\ndata: {"), "{text}");
        assert!(text.contains("\nid: "), "{text}");
    }
    gate.get("/").send().expect_status(503);
}

#[test]
fn events_need_a_key_on_the_data_listener_and_are_no_matter_of_head_or_post() {
    let upstream = Upstream::named("x");
    let gate = gate(&upstream);
    gate.get(EVENTS).send().expect_status(401);
    gate.request("HEAD", EVENTS).key(OPERATOR).send().expect_status(405);
    gate.post(EVENTS, "").key(OPERATOR).send().expect_status(405);
    gate.get(&format!("{EVENTS}?from=1")).key(OPERATOR).send().expect_status(400);
}

#[test]
fn a_client_of_the_old_protocol_reads_until_the_end() {
    let upstream = Upstream::named("x");
    let mut gate = gate(&upstream);
    let mut client = RawClient::connect(gate.data);
    client.send(format!("GET {EVENTS} HTTP/1.0\r\nHost: g\r\nX-API-Key: {OPERATOR}\r\n\r\n"));
    let head = client.head();
    assert_eq!((head.field("transfer-encoding"), head.field("connection")), (None, Some("close")));
    wait_for(&mut client, "retry: 2000");
    gate.sigterm();
    let rest = client.read_to_end();
    assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"));
    assert!(gate.wait().success());
}

#[test]
fn a_drain_ends_followers_in_order_and_does_not_wait_for_them() {
    let upstream = Upstream::named("x");
    let mut gate = gate(&upstream);
    let mut on_data = follow(gate.data, &format!("X-API-Key: {OPERATOR}\r\n"));
    let mut on_admin = follow(gate.admin.expect("an admin listener"), "");
    gate.sigterm();
    for client in [&mut on_data, &mut on_admin] {
        let text = String::from_utf8(client.read_to_end()).expect("text");
        assert!(text.ends_with("0\r\n\r\n"), "{text}");
    }
    // Long before the drain's deadline.
    assert!(gate.wait().success());
}

#[test]
fn a_follower_who_goes_gives_his_place_back() {
    let upstream = Upstream::named("x");
    let gate = gate(&upstream);
    let admin = gate.admin.expect("an admin listener");
    let key = format!("X-API-Key: {OPERATOR}\r\n");
    let mut followers: Vec<RawClient> = (0..32)
        .map(|it| if it % 2 == 0 { follow(admin, "") } else { follow(gate.data, &key) })
        .collect();
    let full = gate.admin_get(EVENTS).send().expect_status(503);
    assert_eq!(full.code().as_deref(), Some("too-many-followers"));
    // One of each listener; one of them by a reset.
    followers.pop().expect("a follower").reset();
    drop(followers.pop());
    until("two places", || {
        let mut client = RawClient::connect(admin);
        client.send(format!("GET {EVENTS} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
        let found = client.head().start.contains(" 200 ");
        if found {
            followers.push(client);
        }
        followers.len() == 32
    });
}

#[test]
fn a_revoked_key_follows_no_more() {
    let upstream = Upstream::named("x");
    let gate = Gateway::in_front_of("a", &upstream)
        .key(OPERATOR)
        .key("another-key-of-32-characters-now")
        .start();
    let mut client = follow(gate.data, &format!("X-API-Key: {OPERATOR}\r\n"));
    let yaml = Gateway::in_front_of("a", &upstream)
        .key_line("name: key-1, key: \"env:HEADGATE_TEST_KEY_1\", scopes: [admin]")
        .yaml();
    gate.reload_with(&yaml).expect_status(200);
    // The next thing that is told finds the door shut.
    let text = String::from_utf8(client.read_to_end()).expect("text");
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    assert!(!text.contains("event: generation"), "{text}");
    assert_ne!(client.wire.fill(), Err(WireError::TimedOut));
}

#[test]
fn every_answer_has_the_members_that_the_document_demands() {
    let upstream = Upstream::named("x");
    let gate = gate(&upstream);
    let document =
        gate.admin_get("/api/admin/headgate/openapi.json").send().expect_status(200).json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 20);
    for (path, operations) in paths {
        let operation = &operations["get"];
        if operation.is_null()
            || path.contains('{')
            || path.ends_with("/on")
            || path.ends_with("/off")
        {
            continue;
        }
        if path.ends_with("/events") || path.ends_with("/logs") || path.ends_with("/windows") {
            continue;
        }
        let answer = gate.admin_get(&format!("/api/admin{path}")).send().expect_status(200).json();
        let schema =
            operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].as_str();
        let pointer = schema.expect("a schema").trim_start_matches('#');
        let schema = document.pointer(pointer).expect("the schema");
        for member in schema["required"].as_array().into_iter().flatten() {
            let member = member.as_str().expect("a name");
            assert!(answer.get(member).is_some(), "{path} has no {member}: {answer}");
        }
        // And none that it does not know.
        if let Some(properties) = schema["properties"].as_object() {
            for member in answer.as_object().expect("an object").keys() {
                assert!(properties.contains_key(member), "{path}: {member}");
            }
        }
    }
    let windows = gate.admin_get("/api/admin/headgate/plugins/windows?service=a").send();
    assert_eq!(windows.expect_status(200).field("service"), Value::from("a"));
}

#[test]
fn a_window_that_a_person_brings_leaves_no_trace() {
    let upstream = Upstream::named("x");
    let gate = gate(&upstream);
    let window = serde_json::json!({
        "now-ms": 9_000, "service": { "name": "a" }, "current": "unknown", "since-ms": 0,
        "samples": [{ "at-ms": 8_000, "source": "probe", "kind": "http", "latency-us": 5, "outcome": "refused" }],
    });
    let asked =
        gate.admin_post("/api/admin/headgate/plugins/judge?service=a").body(window.to_string());
    asked.send().expect_status(200).expect_field("verdict.code", "refused");
    let windows =
        gate.admin_get("/api/admin/headgate/plugins/windows?service=a").send().expect_status(200);
    assert_eq!(windows.field("windows"), Value::Array(Vec::new()));
}

#[test]
fn an_outage_is_told_to_followers_as_it_goes() {
    let well = Arc::new(AtomicBool::new(true));
    let upstream = {
        let well = Arc::clone(&well);
        Upstream::by(move |it| match well.load(Ordering::Relaxed) {
            true => it.respond(200, "", br#"{"status":"OK"}"#),
            false => it.respond(500, "", b"oh no"),
        })
    };
    let gate = Setup::default()
        .service_with(
            "a",
            &upstream,
            "health: { probe: { http: /health, interval: 1s }, fall: 1, rise: 1, policy: native }",
        )
        .route("path: /, service: a, access: public")
        .start();
    let mut client = follow(gate.admin.expect("an admin listener"), "");
    wait_for(&mut client, "event: health\ndata: {");
    well.store(false, Ordering::Relaxed);
    let text = wait_for(&mut client, "event: incident\ndata: {");
    assert!(!text.contains("event: lost"), "{text}");
    let open = gate.admin_get("/api/admin/headgate/incidents?open=true").send().expect_status(200);
    assert_eq!(open.field("open"), Value::from(1));
    until("the status names it", || {
        let health = gate.admin_get("/api/admin/headgate/health").send().expect_status(200);
        health.field("troubles.0.kind") == "service"
            && health.field("troubles.0.incident") == open.field("incidents.0.id")
            && health.field("troubles.0.next_try").is_string()
    });
}
