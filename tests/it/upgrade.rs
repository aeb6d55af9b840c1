//! Tunnels: opened by the upstream's 101 alone, closed when what allowed them is gone.

use std::time::Duration;

use jiff::Timestamp;

use crate::support::wire::WireError;
use crate::support::{
    Exchange, Gateway, OPERATOR, READER, RawClient, RawUpstream, Setup, Signal, Upstream,
};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers `/ws` with 101 and then sends back what it gets; refuses an upgrade anywhere else.
fn echo() -> RawUpstream {
    Upstream::http1()
        .handle("/ws", echo_tunnel)
        .handle("/vault/ws", echo_tunnel)
        .otherwise("no tunnel here")
        .start()
}

fn echo_tunnel(exchange: &mut Exchange) {
    exchange.send(SWITCHED);
    while let Ok(bytes) = exchange.wire.take(1) {
        exchange.send(bytes);
    }
    exchange.send("bye").close();
}

fn tunnel(gateway: &Gateway, path: &str, fields: &str) -> RawClient {
    let mut client = gateway.connect();
    client.get(path, &format!("{HANDSHAKE}{fields}"));
    assert_eq!(client.head().start, "HTTP/1.1 101 Switching Protocols");
    expect_echo(&mut client, "hello");
    client
}

#[track_caller]
fn expect_echo(client: &mut RawClient, text: &str) {
    let seen = client.send(text).wire.take(text.len() as u64);
    assert_eq!(seen.as_deref(), Ok(text.as_bytes()));
}

/// Fails unless the tunnel ends (in order or not), whatever bytes come first.
#[track_caller]
fn expect_end(client: &mut RawClient) {
    let end = client.wire.read_to_end(&mut |_| ());
    assert!(matches!(end, Ok(()) | Err(WireError::Reset)), "the tunnel is still open: {end:?}");
}

fn with_vault(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream)
        .route("path: /vault/, service: a, access: \"key:vault\"")
        .key(OPERATOR)
}

#[test]
fn a_tunnel_carries_bytes_both_ways_after_the_upstreams_101() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/ws", HANDSHAKE);
    let head = client.head();
    assert_eq!(head.start, "HTTP/1.1 101 Switching Protocols");
    assert!(head.lists("Connection", "upgrade") && head.lists("Upgrade", "websocket"));
    assert_eq!(head.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    expect_echo(&mut client, "\u{0}\u{1}binary\r\n\r\n");
    expect_echo(&mut client, &"long".repeat(100_000));
    let seen = upstream.last();
    assert!(seen.head.lists("Connection", "upgrade") && seen.head.lists("Upgrade", "websocket"));
    assert_eq!(seen.header("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn a_half_closed_tunnel_still_delivers_the_other_half() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = tunnel(&gateway, "/ws", "");
    client.half_close();
    assert_eq!(client.read_to_end(), b"bye");
}

#[test]
fn a_refused_handshake_is_an_ordinary_answer() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/no", HANDSHAKE).response().expect_status(200).expect_text("no tunnel here");
    client.get("/no", "").response().expect_text("no tunnel here");
}

#[test]
fn nothing_is_tunnelled_before_the_101() {
    let upstream = echo();
    let gateway = with_vault(&upstream).start();
    let mut client = gateway.connect();
    // A client that takes the tunnel for granted: what follows is a request of its own, and needs its own key.
    client.get("/no", HANDSHAKE).get("/vault/x", "");
    client.response().expect_text("no tunnel here");
    client.response().expect_status(401);
    assert_eq!(upstream.requests(), 1);
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn bytes_beside_the_101_are_part_of_the_tunnel() {
    let upstream = Upstream::by(|it| {
        it.send(format!("{SWITCHED}greeting"));
        let seen = it.wire.take(5).unwrap_or_default();
        it.send(seen).close();
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/ws", HANDSHAKE);
    client.head();
    assert_eq!(client.wire.take(8).as_deref(), Ok(b"greeting".as_slice()));
    assert_eq!(client.send("hello").read_to_end(), b"hello");
}

#[test]
fn bytes_that_a_client_sends_before_the_101_wait_for_it() {
    let go = Signal::new();
    let for_upstream = go.clone();
    let upstream = Upstream::by(move |it| {
        it.wire.patience(Duration::from_millis(300));
        let early = it.wire.fill();
        it.wire.patience(Duration::from_secs(20));
        it.wait(&for_upstream);
        it.send(SWITCHED);
        let seen = it.wire.take(5).unwrap_or_default();
        it.send(format!("{}|{}", early.is_ok(), String::from_utf8_lossy(&seen))).close();
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/ws", HANDSHAKE).send("early");
    go.set();
    let head = client.head();
    assert!(head.start.starts_with("HTTP/1.1 101 "), "{head:?}");
    assert_eq!(client.read_to_end(), b"false|early");
}

#[test]
fn a_101_that_nobody_asked_for_is_502() {
    let upstream = Upstream::by(|it| _ = it.send(SWITCHED).send("smuggled"));
    let gateway = Gateway::in_front_of("a", &upstream).start();
    gateway.get("/x").send().expect_status(502);
}

#[test]
fn an_upgrade_with_a_body_is_refused() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let head =
        format!("POST /ws HTTP/1.1\r\nHost: gate.test\r\n{HANDSHAKE}Content-Length: 4\r\n\r\nbody");
    gateway.connect().send(head).response().expect_status(400);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn maintenance_refuses_a_handshake_before_its_101() {
    let upstream = echo();
    let gateway = with_vault(&upstream).start();
    gateway.get("/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
    gateway.connect().get("/ws", HANDSHAKE).response().expect_status(503);
    assert_eq!(upstream.requests(), 0);
}

#[test]
fn a_tunnel_lives_over_on_and_ends_with_a_drain() {
    let upstream = echo();
    let gateway = with_vault(&upstream).start();
    let mut client = tunnel(&gateway, "/ws", "");
    gateway.get("/api/admin/maintenance/on").key(OPERATOR).send().expect_status(200);
    expect_echo(&mut client, "still here");
    let drained = gateway.get("/api/admin/maintenance/on?drain=300ms").key(OPERATOR).send();
    drained.expect_status(200);
    expect_end(&mut client);
}

#[test]
fn a_tunnel_ends_when_its_key_is_revoked_and_others_live_on() {
    let upstream = echo();
    let keys = |setup: Setup| {
        setup.route("path: /kept/, service: a, access: \"key:vault\", onRevoke: keep")
    };
    let setup = || keys(with_vault(&upstream)).env("READER", READER);
    let reader = "name: reader, key: \"env:READER\", scopes: [vault]";
    let gateway = setup().key_line(reader).start();
    let mut open = tunnel(&gateway, "/ws", "");
    let mut keyed = tunnel(&gateway, "/vault/ws", &format!("X-API-KEY: {READER}\r\n"));

    gateway.reload_with(&setup().yaml()).expect_status(200);

    expect_end(&mut keyed);
    expect_echo(&mut open, "still here");
    gateway.get("/vault/x").key(READER).send().expect_status(401);
}

#[test]
fn a_tunnel_whose_route_says_keep_outlives_its_key() {
    let upstream = echo();
    let base = || {
        Gateway::in_front_of("a", &upstream)
            .route("path: /vault/, service: a, access: \"key:vault\", onRevoke: keep")
            .key(OPERATOR)
            .env("READER", READER)
    };
    let gateway = base().key_line("name: reader, key: \"env:READER\", scopes: [vault]").start();
    let mut keyed = tunnel(&gateway, "/vault/ws", &format!("X-API-KEY: {READER}\r\n"));
    gateway.reload_with(&base().yaml()).expect_status(200);
    expect_echo(&mut keyed, "still here");
}

#[test]
fn a_tunnel_ends_when_its_key_loses_the_scope() {
    let upstream = echo();
    let setup = || with_vault(&upstream).env("READER", READER);
    let gateway =
        setup().key_line("name: reader, key: \"env:READER\", scopes: [vault, more]").start();
    let mut keyed = tunnel(&gateway, "/vault/ws", &format!("X-API-KEY: {READER}\r\n"));
    let lesser = setup().key_line("name: reader, key: \"env:READER\", scopes: [more]");
    gateway.reload_with(&lesser.yaml()).expect_status(200);
    expect_end(&mut keyed);
}

#[test]
fn a_tunnel_ends_with_its_key_without_a_reload() {
    let upstream = echo();
    let setup = |end: Timestamp| {
        let key =
            format!("name: reader, key: \"env:READER\", scopes: [vault], expiresAt: \"{end}\"");
        with_vault(&upstream).env("READER", READER).key_line(&key)
    };
    let gateway = setup(Timestamp::now() + Duration::from_secs(600)).start();
    let mut keyed = tunnel(&gateway, "/vault/ws", &format!("X-API-KEY: {READER}\r\n"));
    // Shortened, so that the tunnel is there before its key ends.
    let sooner = setup(Timestamp::now() + Duration::from_secs(2));
    gateway.reload_with(&sooner.yaml()).expect_status(200);
    expect_end(&mut keyed);
}

#[test]
fn a_tunnel_survives_reloads_that_do_not_concern_it() {
    let upstream = echo();
    let gateway = with_vault(&upstream).start();
    let mut client = tunnel(&gateway, "/ws", "");
    for round in 0..5 {
        let more =
            with_vault(&upstream).route(&format!("path: /r{round}/, service: a, access: public"));
        gateway.reload_with(&more.yaml()).expect_status(200);
        expect_echo(&mut client, &format!("round {round}"));
    }
}

#[test]
fn an_idle_tunnel_ends_at_its_time_out() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream)
        .only_service("a", &upstream, "timeouts: { tunnelIdle: 500ms }")
        .start();
    let mut client = tunnel(&gateway, "/ws", "");
    expect_end(&mut client);
}

#[test]
fn the_ends_of_a_tunnel_end_together() {
    let upstream = echo();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = tunnel(&gateway, "/ws", "");
    upstream.drop_connections();
    expect_end(&mut client);
    tunnel(&gateway, "/ws", "").reset();
    tunnel(&gateway, "/ws", "");
}
