//! Bodies in both directions: streamed, framed anew, never whole in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::wait::during;
use crate::support::wire::{Framing, WireError};
use crate::support::{Gateway, Setup, Signal, Upstream, until};

const MIB: u64 = 1 << 20;
const LARGE: u64 = 64 * MIB;

fn unlimited(upstream: &crate::support::RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream).only_service("a", upstream, "maxBody: none")
}

#[test]
fn a_chunked_upload_arrives_chunked_with_its_trailers_and_without_extensions() {
    let upstream = Upstream::named("taken");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.send(
        "POST /up HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5;ext=1\r\nhello\r\n6;other=\"a b\"\r\n world\r\n0\r\nX-Sum: 11\r\nContent-Length: 3\r\n\r\n",
    );
    client.response().expect_text("taken");
    let seen = upstream.last();
    assert_eq!((seen.framing, seen.body.as_slice()), (Framing::Chunked, b"hello world".as_slice()));
    assert_eq!(seen.trailers, [("X-Sum".to_owned(), "11".to_owned())]);
    assert_eq!(upstream.faults(), Vec::<String>::new());
    client.get("/next", "").response().expect_text("taken");
}

#[test]
fn a_chunked_response_keeps_its_trailers_and_loses_its_extensions() {
    let upstream = Upstream::by(|it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
        it.send("2;a=b\r\nok\r\n0\r\nX-Sum: 2\r\nTransfer-Encoding: chunked\r\n\r\n");
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let answer = gateway.get("/").header("TE", "trailers").send();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "ok"));
    assert_eq!(answer.trailers, [("X-Sum".to_owned(), "2".to_owned())]);
}

#[test]
fn a_response_arrives_while_the_upstream_still_writes_it() {
    let seen = Signal::new();
    let for_upstream = seen.clone();
    let upstream = Upstream::by(move |it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        it.wait(&for_upstream);
        it.send("4\r\nlast\r\n0\r\n\r\n");
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/", "");
    let head = client.head();
    assert!(head.lists("Transfer-Encoding", "chunked"));
    assert_eq!(client.wire.line().as_deref(), Ok("5"));
    assert_eq!(client.wire.take(7).as_deref(), Ok(b"first\r\n".as_slice()));
    seen.set();
    assert_eq!(client.wire.line().as_deref(), Ok("4"));
}

#[test]
fn an_event_stream_passes_event_by_event() {
    let (next, upstream_side) = (Signal::new(), Signal::new());
    let for_upstream = next.clone();
    let ended = upstream_side.clone();
    let upstream = Upstream::by(move |it| {
        it.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        it.wait(&for_upstream);
        it.send("data: 2\n\n");
        it.hang();
        ended.set();
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/", "Accept: text/event-stream\r\n");
    client.head();
    let mut seen = Vec::new();
    until("the first event", || more(&mut client, &mut seen, "data: 1\n\n"));
    next.set();
    until("the second event", || more(&mut client, &mut seen, "data: 2\n\n"));
    drop(client);
    assert!(upstream_side.wait(), "the upstream's connection ends with the client's");
}

/// Reads once more; whether `wanted` has come.
fn more(client: &mut crate::support::RawClient, seen: &mut Vec<u8>, wanted: &str) -> bool {
    if !String::from_utf8_lossy(seen).contains(wanted) {
        let _ = client.wire.fill();
        *seen = client.wire.rest().to_vec();
    }
    String::from_utf8_lossy(seen).contains(wanted)
}

#[test]
fn an_upload_arrives_while_the_client_still_sends_it() {
    let arrived = Signal::new();
    let for_upstream = arrived.clone();
    let upstream = Upstream::by(move |it| {
        let first = it.takes_body().take(5);
        for_upstream.set();
        let last = it.takes_body().take(5);
        let body = [first.unwrap_or_default(), last.unwrap_or_default()].concat();
        it.respond(200, "", &body);
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 10\r\n\r\nfirst");
    assert!(arrived.wait(), "the first half arrives before the second is sent");
    client.send("final").response().expect_text("firstfinal");
}

#[test]
fn answers_without_a_body_keep_the_connection_in_step() {
    let upstream = Upstream::by(|it| match it.path().as_str() {
        "/204" => _ = it.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => {
            _ = it.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"e\"\r\n\r\n")
        }
        _ => it.respond(200, "", b"twelve bytes"),
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.send("HEAD /h HTTP/1.1\r\nHost: gate.test\r\n\r\n");
    client.response_to("HEAD").expect_header("Content-Length", "12");
    let empty = client.get("/204", "").response().expect_status(204);
    assert_eq!((empty.header("Content-Length"), empty.header("Transfer-Encoding")), (None, None));
    client.get("/304", "").response().expect_status(304).expect_header("ETag", "\"e\"");
    client.get("/x", "").response().expect_text("twelve bytes");
    assert_eq!((upstream.connections(), upstream.requests()), (1, 4));
}

#[test]
fn expect_100_continue_goes_end_to_end() {
    let upstream = Upstream::by(|it| {
        assert_eq!(it.request.header("Expect"), Some("100-continue"));
        if it.path() == "/yes" {
            it.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = it.body();
            it.respond(200, "", &body);
        } else {
            it.send("HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").close();
        }
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: gate.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    let mut client = gateway.connect();
    client.send(head("/yes"));
    assert_eq!(client.head().start, "HTTP/1.1 100 Continue");
    client.send("body").response().expect_text("body");

    let mut client = gateway.connect();
    let answer = client.send(head("/no")).response().expect_status(403).expect_text("no");
    assert!(answer.interim.is_empty());
    // The client may take the answer for the body's place or not: the gate cannot know, so the connection ends.
    client.expect_closed();
}

#[test]
fn a_body_that_comes_without_waiting_for_100_passes() {
    let upstream = Upstream::by(|it| {
        let body = it.body();
        it.respond(200, "", &body);
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: gate.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    client.response().expect_text("body");
    client.get("/next", "").response().expect_status(200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::by(|it| {
        let body = [it.path().into_bytes(), it.body()].concat();
        it.respond(200, "", &body);
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    let mut bytes = String::new();
    for index in 0..50 {
        let body = "b".repeat(index);
        bytes += &format!(
            "POST /{index} HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {index}\r\n\r\n{body}"
        );
    }
    client.send(bytes);
    for index in 0..50 {
        let body = "b".repeat(index);
        client.response().expect_status(200).expect_text(&format!("/{index}{body}"));
    }
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn a_head_in_single_bytes_is_the_same_head() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    for byte in b"POST /slow HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    client.response().expect_text("x");
    assert_eq!(upstream.last().body, b"abc");
}

#[test]
fn large_bodies_pass_both_ways_with_flat_memory() {
    let upstream = Upstream::by(|it| {
        let count = it.count_body();
        it.send(format!("HTTP/1.1 200 OK\r\nX-Count: {count}\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'd'; 1 << 16];
        for _ in 0..LARGE >> 16 {
            it.send(&piece);
        }
    });
    let gateway = unlimited(&upstream).start();
    gateway.get("/warm").send();
    let before = gateway.memory();
    let mut client = gateway.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {LARGE}\r\n\r\n"));
    let piece = vec![b'u'; 1 << 16];
    for _ in 0..LARGE >> 16 {
        client.send(&piece);
    }
    let head = client.head();
    assert_eq!(head.field("X-Count"), Some(LARGE.to_string().as_str()));
    assert_eq!(client.count_body(&head), LARGE);
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "grew by {grown} bytes");
}

#[test]
fn large_chunked_bodies_pass_byte_by_byte_alike() {
    let upstream = Upstream::by(|it| {
        let body = it.body();
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(7001) {
            it.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
        }
        it.send("0\r\n\r\n");
    });
    let gateway = unlimited(&upstream).start();
    let body: Vec<u8> =
        (0..3_000_000_u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = gateway.connect();
    let (head, mut sender) =
        ("POST / HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n", {
            crate::support::wire::Wire::new(client.wire.stream.try_clone().expect("a socket"))
        });
    let to_send = body.clone();
    let sending = std::thread::spawn(move || {
        sender.send(head.as_bytes()).expect("the gate reads");
        for piece in to_send.chunks(4099) {
            let framed = [format!("{:X}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            sender.send(&framed).expect("the gate reads");
        }
        sender.send(b"0\r\n\r\n").expect("the gate reads");
    });
    let answer = client.response().expect_status(200);
    sending.join().expect("the sender ends");
    assert!(answer.body == body, "{} bytes differ from {}", answer.body.len(), body.len());
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_client_whole() {
    let upstream = Upstream::by(|it| {
        it.takes_body();
        it.send("HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nbig");
        it.hang();
    });
    let gateway = unlimited(&upstream).start();
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1000000\r\n\r\npart of it");
    client.response().expect_status(413).expect_text("big");
    client.half_close();
    client.read_to_end();
    gateway.get("/other").send().expect_status(413);
    assert_eq!(upstream.connections(), 2, "a connection with half a request is not used again");
}

#[test]
fn a_client_that_reads_slowly_slows_the_upstream_and_costs_no_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let upstream = Upstream::by(move |it| {
        it.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let piece = vec![b'd'; 1 << 16];
        for _ in 0..LARGE >> 16 {
            if !it.sends(&piece) {
                return it.close();
            }
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let gateway = unlimited(&upstream).start();
    gateway.get("/warm").try_send().expect("the whole body");
    let before = gateway.memory();
    sent.store(0, Ordering::Relaxed);
    let mut client = gateway.connect();
    client.get("/", "");
    let head = client.head();
    let mut last = u64::MAX;
    until("the upstream is blocked", || {
        during(std::time::Duration::from_millis(200), std::thread::yield_now);
        last == std::mem::replace(&mut last, sent.load(Ordering::Relaxed))
    });
    assert!(last < LARGE / 2, "{last} bytes were taken from the upstream");
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 4 * MIB, "grew by {grown} bytes");
    assert_eq!(client.count_body(&head), LARGE);
}

#[test]
fn a_client_that_never_reads_is_cut() {
    let cut = Signal::new();
    let for_upstream = cut.clone();
    let upstream = Upstream::by(move |it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = [b"10000\r\n".as_slice(), &[b'd'; 1 << 16], b"\r\n"].concat();
        while it.sends(&piece) {}
        for_upstream.set();
        it.close();
    });
    let gateway = unlimited(&upstream).with("timeouts: { writeStall: 500ms }").start();
    let mut client = gateway.connect();
    client.get("/", "");
    assert!(cut.wait(), "the upstream is freed");
}

#[test]
fn an_upload_that_breaks_off_never_looks_whole_to_the_upstream() {
    for (framing, part) in
        [("Content-Length: 10", "half"), ("Transfer-Encoding: chunked", "a\r\nhalf")]
    {
        let ended = Signal::new();
        let for_upstream = ended.clone();
        let upstream = Upstream::by(move |it| {
            it.body();
            for_upstream.set();
        });
        let gateway = Gateway::in_front_of("a", &upstream).start();
        let mut client = gateway.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: gate.test\r\n{framing}\r\n\r\n{part}"));
        upstream.wait_for("/");
        client.reset();
        assert!(ended.wait());
        assert!(!upstream.last().whole, "{framing}");
    }
}

#[test]
fn a_client_that_goes_away_ends_the_upstreams_work() {
    let ended = Signal::new();
    let for_upstream = ended.clone();
    let upstream = Upstream::http1()
        .handle("/work", move |it| {
            it.hang();
            for_upstream.set();
        })
        .otherwise("right")
        .start();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/work", "");
    upstream.wait_for("/work");
    client.reset();
    assert!(ended.wait(), "the upstream's connection ends");
    gateway.get("/next").send().expect_text("right");
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_sees_every_truncation() {
    let upstream = Upstream::by(|it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n");
        match it.path().as_str() {
            "/whole" => _ = it.send("0\r\n\r\n"),
            _ => it.close(),
        }
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    let answer = client.send("GET /whole HTTP/1.0\r\nHost: gate.test\r\n\r\n").response();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::UntilClose, "body"));
    assert!(answer.head.lists("Connection", "close"));

    let mut client = gateway.connect();
    let broken = client.send("GET /half HTTP/1.0\r\nHost: gate.test\r\n\r\n").try_response("GET");
    let why = broken.expect_err("a truncated body is not whole").why;
    assert_eq!(why, WireError::Reset, "only a reset tells a 1.0 client that the body is not whole");
}

#[test]
fn keep_alive_of_http_1_0_is_honoured_when_the_length_is_known() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: gate.test\r\n\r\n");
        let answer = client.response().expect_text("x");
        assert!(answer.head.lists("Connection", "keep-alive"));
    }
    client.send("GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n").response().expect_text("x");
    client.expect_closed();
}

#[test]
fn a_client_that_asks_to_close_is_closed_after_its_answer() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    let answer = client.get("/", "Connection: close\r\n").response().expect_text("x");
    assert!(answer.head.lists("Connection", "close"));
    client.expect_closed();
}

#[test]
fn a_client_that_ends_its_side_while_it_waits_is_taken_as_gone() {
    let ended = Signal::new();
    let for_upstream = ended.clone();
    let upstream = Upstream::http1()
        .handle("/work", move |it| {
            it.hang();
            for_upstream.set();
        })
        .otherwise("right")
        .start();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut client = gateway.connect();
    client.get("/work", "");
    upstream.wait_for("/work");
    client.half_close();
    assert!(ended.wait(), "the upstream's work ends, as behind nginx");
    client.expect_closed();
    gateway.get("/next").send().expect_text("right");
}

#[test]
fn a_pooled_connection_that_the_upstream_closed_costs_no_request() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    for round in 0..20 {
        gateway.get("/").send().expect_status(200);
        upstream.drop_connections();
        let answer = gateway.post("/", "not to be sent twice").send();
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
    }
    assert_eq!(upstream.requests(), 40);
}

#[test]
fn bytes_that_come_while_a_connection_idles_are_nobodys_answer() {
    let (answered, poisoned) = (Signal::new(), Signal::new());
    let (go, done) = (answered.clone(), poisoned.clone());
    let upstream = Upstream::http1()
        .handle("/first", move |it| {
            it.respond(200, "", b"first");
            it.wait(&go);
            it.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            done.set();
        })
        .otherwise("right")
        .start();
    let gateway = Gateway::in_front_of("a", &upstream).start();
    gateway.get("/first").send().expect_text("first");
    answered.set();
    assert!(poisoned.wait());
    gateway.get("/second").send().expect_text("right");
}

#[test]
fn a_pooled_connection_is_looked_at_behind_a_long_pipeline_too() {
    let upstream = Upstream::named("x");
    let gateway = Setup::default()
        .service("a", &upstream)
        .route("path: /a, service: a, access: public")
        .start();
    let mut client = gateway.connect();
    // Around the number of reads and writes after which the runtime makes a task pause.
    for before in 100..140 {
        client.get("/a", "").response().expect_status(200);
        upstream.drop_connections();
        let mut burst = "GET /none HTTP/1.1\r\nHost: gate.test\r\n\r\n".repeat(before);
        burst.push_str("POST /a HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1\r\n\r\nx");
        client.send(burst);
        for _ in 0..before {
            client.response().expect_status(404);
        }
        let answer = client.response();
        assert_eq!(answer.status, 200, "after {before} others: {}", answer.text());
    }
}
