//! Beyond every limit there is an answer, at once; nothing hangs and nobody else pays.

use std::time::Duration;

use crate::support::wait::timed;
use crate::support::{Exchange, Gateway, RawUpstream, Setup, Signal, Upstream, until};

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream)
}

fn with_service(upstream: &RawUpstream, more: &str) -> Setup {
    gate(upstream).only_service("a", upstream, more)
}

#[test]
fn a_head_beyond_its_limits_is_431_and_a_target_414() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream)
        .with("limits: { headBytes: 4KiB, headFields: 20, targetBytes: 1KiB }")
        .start();
    let large = gateway.get("/x").header("X-Large", &"x".repeat(5000));
    large.send().expect_status(431);
    let many = (0..30).fold(gateway.get("/x"), |ask, index| ask.header(&format!("X-{index}"), "1"));
    many.send().expect_status(431);
    gateway.get(&format!("/{}", "x".repeat(2000))).send().expect_status(414);
    gateway.get(&format!("/?{}", "x".repeat(2000))).send().expect_status(414);
    assert_eq!(upstream.requests(), 0);
    gateway.get("/x").header("X-Large", &"x".repeat(3000)).send().expect_status(200);
}

#[test]
fn a_head_without_end_is_cut_off_not_collected() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let before = gateway.memory();
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: gate.test\r\n");
    for _ in 0..200 {
        client.send("X-Filler: 0123456789abcdef\r\n".repeat(100));
    }
    // The refusal may be lost in the reset that follows unread bytes; the connection must end in either case.
    if let Ok(answer) = client.try_response("GET") {
        answer.expect_status(431);
    }
    client.read_to_end();
    assert!(gateway.memory() < before + (4 << 20));
    gateway.get("/x").send().expect_status(200);
}

#[test]
fn a_body_that_says_it_is_too_large_is_413_before_the_upstream_hears_of_it() {
    let upstream = Upstream::named("x");
    let gateway = with_service(&upstream, "maxBody: 1KiB").start();
    gateway.post("/x", vec![b'x'; 1024]).send().expect_status(200);
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1025\r\n\r\n");
    client.response().expect_status(413);
    assert_eq!(upstream.requests(), 1);
}

#[test]
fn a_chunked_body_that_grows_too_large_never_looks_whole_upstream() {
    let upstream = Upstream::named("x");
    let gateway = with_service(&upstream, "maxBody: 1KiB").start();
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunk.repeat(3)).send("0\r\n\r\n");
    client.response().expect_status(413);
    assert!(upstream.received().iter().all(|it| !it.whole));
    gateway.get("/next").send().expect_text("x");
}

#[test]
fn a_slow_head_is_408_at_its_deadline_however_it_drips() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("timeouts: { head: 500ms }").start();
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: ga");
    let (answer, took) = timed(|| client.response());
    answer.expect_status(408);
    assert!(took > Duration::from_millis(300), "{took:?}");
    client.expect_closed();

    let mut client = gateway.connect();
    client.send("GET / HTTP/1.1\r\nHost: gate.test\r\nX-Drip: ");
    let mut dripped = 0;
    while client.is_silent_for(Duration::from_millis(50)) {
        client.send("x");
        dripped += 1;
        assert!(dripped < 100, "drops keep a head alive");
    }
    client.response().expect_status(408);
}

#[test]
fn a_body_that_stalls_is_408_and_frees_the_upstream() {
    let freed = Signal::new();
    let for_upstream = freed.clone();
    let upstream = Upstream::by(move |it: &mut Exchange| {
        it.body();
        for_upstream.set();
        it.close();
    });
    let gateway = gate(&upstream).with("timeouts: { bodyStall: 500ms }").start();
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 10\r\n\r\nhalf");
    client.response().expect_status(408);
    assert!(freed.wait());
    assert!(!upstream.last().whole);
}

#[test]
fn a_body_that_drips_below_the_minimum_rate_is_cut() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("limits: { minBodyRate: 1000B, minRateGrace: 1s }").start();
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 100000\r\n\r\n");
    let mut dripped = 0;
    while client.is_silent_for(Duration::from_millis(50)) {
        client.send("x");
        dripped += 1;
        assert!(dripped < 200, "drops keep a body alive");
    }
    client.response().expect_status(408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("timeouts: { idle: 500ms }").start();
    let mut client = gateway.connect();
    client.get("/x", "").response().expect_text("x");
    client.expect_closed();
    gateway.connect().expect_closed();
}

#[test]
fn connections_beyond_the_limit_are_told_to_come_again() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("limits: { connections: 5 }").start();
    let mut held: Vec<_> = (0..5).map(|_| gateway.connect()).collect();
    for client in &mut held {
        client.get("/x", "").response().expect_text("x");
    }
    let answer = gateway.get("/x").send().expect_status(503);
    assert!(answer.header("Retry-After").is_some());
    gateway.ops_get("/livez").send().expect_status(200);
    gateway.admin_get("/api/admin/maintenance/status").send().expect_status(200);
    held.pop();
    until("there is room again", || gateway.get("/x").try_send().is_ok_and(|it| it.status == 200));
    held[0].get("/x", "").response().expect_text("x");
}

#[test]
fn requests_beyond_a_services_limit_are_503_over_all_cores_and_others_are_not_hurt() {
    let finish = Signal::new();
    let busy = Upstream::http1().slow("/busy/x", "done", &finish).start();
    let other = Upstream::named("other");
    let gateway = gate(&other)
        .with("cores: 2")
        .service_with("busy", &busy, "maxInFlight: 3")
        .route("path: /busy/, service: busy, access: public")
        .start();
    let mut held: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    for client in &mut held {
        client.get("/busy/x", "");
    }
    until("three are under way", || busy.requests() == 3);
    for _ in 0..6 {
        let answer = gateway.get("/busy/x").send().expect_status(503);
        assert!(answer.header("Retry-After").is_some());
        gateway.get("/x").send().expect_text("other");
    }
    // One client goes: its place is free again.
    held.pop().expect("three").reset();
    until("a place is free", || {
        let mut client = gateway.connect();
        client.get("/busy/x", "");
        // Either the upstream sees the request, or the gate answers for it.
        while busy.requests() < 4 && client.is_silent_for(Duration::from_millis(20)) {}
        let free = busy.requests() == 4;
        if free {
            held.push(client);
        }
        free
    });
    finish.set();
    for client in &mut held {
        client.response().expect_text("done");
    }
    gateway.get("/busy/x").send().expect_text("done");
}

#[test]
fn a_slow_upstream_is_504_and_the_next_request_is_served() {
    let never = Signal::new();
    let upstream = Upstream::http1().slow("/slow", "late", &never).otherwise("x").start();
    let gateway = with_service(&upstream, "timeouts: { responseHead: 400ms }").start();
    let mut client = gateway.connect();
    client.get("/slow", "").response().expect_status(504);
    client.get("/x", "").response().expect_text("x");
    never.set();
}

#[test]
fn a_whole_exchange_has_a_deadline_where_one_is_set() {
    let upstream = Upstream::by(|it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while it.sends(b"1\r\nx\r\n") && it.wire.stream.peer_addr().is_ok() {
            crate::support::wait::during(Duration::from_millis(20), std::thread::yield_now);
        }
        it.close();
    });
    let gateway = with_service(&upstream, "timeouts: { request: 700ms }").start();
    let mut client = gateway.connect();
    client.get("/", "").try_response("GET").expect_err("an endless body is cut");
}

#[test]
fn what_was_sent_quickly_buys_no_time_for_a_drip() {
    let upstream = Upstream::named("x");
    let gateway =
        gate(&upstream).with("limits: { minBodyRate: 1000B, minRateGrace: 500ms }").start();
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 100_000]);
    let mut dripped = 0;
    while client.is_silent_for(Duration::from_millis(50)) {
        client.send("x");
        dripped += 1;
        assert!(dripped < 200, "100,000 bytes pay for 100 s of drops");
    }
    client.response().expect_status(408);
}

#[test]
fn a_client_that_waits_for_100_is_not_too_slow() {
    let go = Signal::new();
    let asked = go.clone();
    let upstream = Upstream::by(move |it| {
        it.wait(&asked);
        it.send("HTTP/1.1 100 Continue\r\n\r\n");
        let body = it.body();
        it.respond(200, "", &body);
    });
    let gateway =
        gate(&upstream).with("limits: { minBodyRate: 1000B, minRateGrace: 200ms }").start();
    let mut client = gateway.connect();
    client.send(
        "POST /x HTTP/1.1\r\nHost: gate.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert!(client.is_silent_for(Duration::from_millis(600)), "an upstream may think first");
    go.set();
    assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
    client.send("body").response().expect_text("body");
}
