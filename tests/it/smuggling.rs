//! What stands in a body never becomes a request, whatever became of the request around it.

use std::fmt::Write as _;

use crate::support::wire::WireError;
use crate::support::{Gateway, OPERATOR, RawClient, RawUpstream, Setup, Signal, Upstream};

const EVIL: &str = "GET /smuggled HTTP/1.1\r\nHost: gate.test\r\n\r\n";

fn gate(upstream: &RawUpstream) -> Setup {
    Gateway::in_front_of("a", upstream)
        .with("cors: { origins: [\"*\"] }")
        .with("trustedProxies: [127.0.0.1]")
        .only_service("a", upstream, "maxBody: 1KiB")
        .route("path: /vault/, service: a, access: \"key:vault\"")
        .route("path: /get/, methods: [GET], service: a, access: public")
        .key(OPERATOR)
}

/// Everything that the client gets until the gate closes or has answered twice.
fn statuses(client: &mut RawClient, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    while statuses.len() < count {
        match client.try_response("POST") {
            Ok(answer) => statuses.push(answer.status),
            Err(_) => break,
        }
    }
    statuses
}

#[test]
fn the_body_of_a_request_that_the_gate_answers_itself_is_no_request() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    gateway.get("/warm").send().expect_status(200);
    let key = format!("X-API-KEY: {OPERATOR}\r\n");
    let origin = "Origin: https://a.test\r\nAccess-Control-Request-Method: GET\r\n";
    let rows: &[(&str, &str)] = &[
        ("POST /vault/x", ""),
        ("POST /vault/x", &key),
        ("POST /get/x", ""),
        ("POST /api/admin/maintenance/off", &key),
        ("POST /api/admin/maintenance/off", ""),
        ("POST /api/admin/maintenance/status", ""),
        ("PUT /api/admin/maintenance/off", &key),
        ("POST /api/admin/headgate/nothing", &key),
        ("POST /api/admin/other", &key),
        ("POST /forward-auth", ""),
        (
            "GET /forward-auth",
            "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Host: a\r\n",
        ),
        ("OPTIONS *", ""),
        ("OPTIONS /api/admin/maintenance/on", origin),
        ("POST /api/%zz", ""),
        ("POST /x", "Expect: nothing\r\n"),
        ("POST /x", "Connection: Host\r\n"),
    ];
    let mut report = String::new();
    for (line, fields) in rows {
        for chunked in [false, true] {
            let (framing, body) = match chunked {
                true => (
                    "Transfer-Encoding: chunked".to_owned(),
                    format!("{:x}\r\n{EVIL}\r\n0\r\n\r\n", EVIL.len()),
                ),
                false => (format!("Content-Length: {}", EVIL.len()), EVIL.to_owned()),
            };
            let head = format!("{line} HTTP/1.1\r\nHost: gate.test\r\n{fields}{framing}\r\n\r\n");
            let mut client = gateway.connect();
            client.send(&head).send(&body).send("GET /after HTTP/1.1\r\nHost: gate.test\r\n\r\n");
            let seen = statuses(&mut client, 2);
            // Either the connection ends with the answer, or the next request is the one that was sent next.
            if seen.is_empty() || seen.len() == 2 && seen[1] != 200 {
                let _ = writeln!(report, "{line} (chunked: {chunked}): {seen:?}");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
    let smuggled = upstream.received().iter().filter(|it| it.target == "/smuggled").count();
    assert_eq!(smuggled, 0);
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

#[test]
fn the_body_of_a_request_in_maintenance_is_no_request() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    let mut client = gateway.connect();
    let length = EVIL.len();
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {length}\r\n\r\n{EVIL}"
    ));
    client.response().expect_status(503);
    gateway.admin_post("/api/admin/maintenance/off").send().expect_status(200);
    client.get("/after", "");
    if let Ok(answer) = client.try_response("GET") {
        answer.expect_text("x");
    }
    assert!(upstream.received().iter().all(|it| it.target != "/smuggled"));
}

#[test]
fn the_rest_of_a_body_after_an_early_answer_is_no_request() {
    let upstream = Upstream::by(|it| {
        it.takes_body();
        it.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        it.hang();
    });
    let gateway = gate(&upstream).only_service("a", &upstream, "maxBody: none").start();
    let mut client = gateway.connect();
    client.send("POST /x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 100000\r\n\r\npart");
    client.response().expect_text("early");
    client.send(EVIL).send(EVIL);
    let seen = statuses(&mut client, 1);
    assert!(seen.is_empty(), "{seen:?}");
    assert!(upstream.received().iter().all(|it| it.target != "/smuggled"));
}

#[test]
fn an_upstream_that_answers_before_it_has_the_whole_request_gets_no_other_on_that_connection() {
    let (rest, sent) = (Signal::new(), Signal::new());
    let (asked, done) = (rest.clone(), sent.clone());
    let upstream = Upstream::http1()
        .handle("/early", move |it| {
            it.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nearly");
            it.wait(&asked);
            // A server that never looks at bodies would take it for its next request.
            let body = it.body();
            it.send(body);
            done.set();
        })
        .otherwise("x")
        .start();
    let gateway = gate(&upstream).start();
    let mut client = gateway.connect();
    client.send("POST /early HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 5\r\n\r\n");
    let head = client.head();
    assert_eq!(client.wire.take(5).as_deref(), Ok(b"early".as_slice()));
    rest.set();
    client.send("-late");
    assert_eq!(client.wire.take(5).as_deref(), Ok(b"-late".as_slice()), "{head:?}");
    assert!(sent.wait());
    client.expect_closed();
    // Enough to come to every core.
    for _ in 0..8 {
        gateway.get("/next").send().expect_text("x");
    }
    let early = upstream.wait_for("/early").connection;
    assert_eq!(upstream.received().iter().filter(|it| it.connection == early).count(), 1);
}

#[test]
fn a_body_beyond_its_limit_is_no_request() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let body = EVIL.repeat(100);
    for head in [
        format!("Content-Length: {}\r\n\r\n", body.len()),
        "Transfer-Encoding: chunked\r\n\r\n1000\r\n".to_owned(),
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /x HTTP/1.1\r\nHost: gate.test\r\n{head}{body}"));
        let seen = statuses(&mut client, 2);
        assert!(seen.is_empty() || seen == [413], "{seen:?}");
    }
    assert!(upstream.received().iter().all(|it| it.target != "/smuggled" && !it.whole));
}

/// Bodies in chunks that two servers could read differently: refused, and never whole at the upstream.
#[rustfmt::skip]
const BROKEN_CHUNKS: &[(&str, &str)] = &[
    ("letters for a size", "zz\r\nab\r\n0\r\n\r\n"),
    ("no size", "\r\nab\r\n0\r\n\r\n"),
    ("a size with 0x", "0x2\r\nab\r\n0\r\n\r\n"),
    ("a negative size", "-2\r\nab\r\n0\r\n\r\n"),
    ("a signed size", "+2\r\nab\r\n0\r\n\r\n"),
    ("a space before a size", " 2\r\nab\r\n0\r\n\r\n"),
    ("a size with an underscore", "1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "10000000000000002\r\nab\r\n0\r\n\r\n"),
    ("a size of all bits", "ffffffffffffffff\r\nab\r\n0\r\n\r\n"),
    ("a size line that ends in LF", "2\nab\r\n0\r\n\r\n"),
    ("a size line that ends in CR", "2\rab\r\n0\r\n\r\n"),
    ("a size line with CR inside", "2\r;\r\nab\r\n0\r\n\r\n"),
    ("data that ends in LF", "2\r\nab\n0\r\n\r\n"),
    ("data longer than its size", "2\r\nabc\r\n0\r\n\r\n"),
    ("data shorter than its size", "3\r\nab\r\n0\r\n\r\n"),
    ("an extension with a bare LF", "2;a\nab\r\n0\r\n\r\n"),
    ("an extension with a NUL", "2;a=\0\r\nab\r\n0\r\n\r\n"),
    ("a trailer that ends in LF", "2\r\nab\r\n0\r\nX-A: 1\n\r\n"),
    ("an end that ends in LF", "2\r\nab\r\n0\r\n\n"),
    ("a trailer without a colon", "2\r\nab\r\n0\r\nnonsense\r\n\r\n"),
    ("a trailer with a space before its colon", "2\r\nab\r\n0\r\nX-A : 1\r\n\r\n"),
    ("a folded trailer", "2\r\nab\r\n0\r\nX-A: 1\r\n 2\r\n\r\n"),
    ("a trailer with a NUL", "2\r\nab\r\n0\r\nX-A: \0\r\n\r\n"),
];

#[test]
fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let mut report = String::new();
    for (name, body) in BROKEN_CHUNKS {
        for apart in [false, true] {
            gateway.get("/warm").send().expect_status(200);
            let mut client = gateway.connect();
            let path = format!("/broken/{}/{apart}", name.replace(' ', "-"));
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            if apart {
                upstream.wait_for(&path);
            }
            client.send(body).send(EVIL);
            match client.try_response("POST") {
                Ok(answer) if answer.status == 400 && answer.code().is_some() => {}
                other => _ = writeln!(report, "{name} ({apart}): {other:?}"),
            }
            if !client.is_closed() {
                let _ = writeln!(report, "{name} ({apart}): the connection stays open");
            }
            if upstream.received().iter().any(|it| it.target == path && it.whole) {
                let _ = writeln!(report, "{name} ({apart}): whole at the upstream");
            }
        }
    }
    assert!(report.is_empty(), "{report}");
    assert!(upstream.received().iter().all(|it| it.target != "/smuggled"));
    gateway.get("/after").send().expect_text("x");
}

#[test]
fn trailers_never_become_what_a_server_might_trust() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let names = [
        "X-API-KEY",
        "X-Forwarded-For",
        "X-Real-IP",
        "Host",
        "Authorization",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Cookie",
        "X-Headgate-Client",
        "Forwarded",
        "Content-Type",
        "Expect",
        "TE",
        "Trailer",
        "Upgrade",
    ];
    let lines: String = names.iter().map(|it| format!("{it}: evil\r\n")).collect();
    let mut client = gateway.connect();
    client.send(
        "POST /x HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
    );
    client.send(format!("{lines}X-Sum: 1\r\n\r\n"));
    client.response().expect_text("x");
    let seen = upstream.last();
    assert_eq!(seen.trailers, [("X-Sum".to_owned(), "1".to_owned())]);
}

#[test]
fn a_refused_head_request_has_no_body_and_the_connection_stays_in_step() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).start();
    let mut client = gateway.connect();
    for path in ["/vault/x", "/api/admin/headgate/config", "/api/admin/maintenance/on"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: gate.test\r\n\r\n"));
        let answer = client.response_to("HEAD");
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.status);
        client.get("/x", "").response().expect_text("x");
    }
}

#[test]
fn a_client_that_never_reads_its_answers_cannot_fill_the_memory() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("timeouts: { writeStall: 1s }").start();
    gateway.get("/warm").send().expect_status(200);
    let before = gateway.memory();
    let mut client = gateway.connect();
    let many = "GET /x HTTP/1.1\r\nHost: gate.test\r\n\r\n".repeat(1000);
    let mut sent = 0;
    while sent < 2000 && client.wire.send(many.as_bytes()) != Err(WireError::Reset) {
        sent += 1;
    }
    assert!(sent < 2000, "the gate goes on reading from a client that takes nothing");
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
    gateway.get("/after").send().expect_text("x");
}

#[test]
fn a_second_request_has_the_same_deadline_for_its_head() {
    let upstream = Upstream::named("x");
    let gateway = gate(&upstream).with("timeouts: { head: 500ms }").start();
    let mut client = gateway.connect();
    client.get("/x", "").response().expect_text("x");
    client.send("GET /slow HTTP/1.1\r\nHost: ga").response().expect_status(408);
    client.expect_closed();
}

#[test]
fn requests_of_many_clients_are_never_mixed_up() {
    let upstream = Upstream::by(|it| {
        let body = [it.path().into_bytes(), it.body()].concat();
        it.respond(200, "", &body);
    });
    let gateway = gate(&upstream).with("cores: 2").start();
    let go = Signal::new();
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (gateway, go) = (&gateway, &go);
            scope.spawn(move || {
                let mut client = gateway.connect();
                go.wait();
                for round in 0..200 {
                    let body = format!("{worker}-{round}-").repeat(round % 40 + 1);
                    let path = format!("/{worker}/{round}");
                    let framed = match round % 2 {
                        0 => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                        _ => format!(
                            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                            body.len()
                        ),
                    };
                    client.send(format!("POST {path} HTTP/1.1\r\nHost: gate.test\r\n{framed}"));
                    client.response().expect_text(&format!("{path}{body}"));
                }
            });
        }
        go.set();
    });
    assert_eq!(upstream.faults(), Vec::<String>::new());
}

/// Requests that are right; damage makes others of them.
const TEMPLATES: &[&str] = &[
    "GET /open/x?y=1 HTTP/1.1\r\nHost: gate.test\r\nAccept: */*\r\n\r\n",
    "GET /vault/x HTTP/1.1\r\nHost: gate.test\r\nX-Request-ID: 1\r\n\r\n",
    "POST /open/x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 11\r\n\r\nhello worldGET /vault/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /open/x HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: 1\r\n\r\nGET /vault/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /vault/x HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 41\r\n\r\nGET /vault/x HTTP/1.1\r\nHost: gate.test\r\n\r\n",
    "GET /open/ws HTTP/1.1\r\nHost: gate.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /vault/x HTTP/1.1\r\n\r\n",
];

/// Pieces that matter to framing.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    "%2f",
    "/../",
    "//",
    "\\",
    "0",
    "1",
    ",",
    "chunked",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 0\r\n\r\n",
    "Host: b\r\n",
    "\r\n\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "0\r\n\r\n",
    " HTTP/1.0",
    "GET /vault/y HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % sides
    }
}

fn damaged(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = TEMPLATES[dice.roll(TEMPLATES.len())].as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(4) {
            0 => bytes[at] = u8::try_from(dice.roll(256)).unwrap_or(0),
            1 => _ = bytes.remove(at),
            2 => {
                let end = (at + 1 + dice.roll(30)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let piece = PIECES[dice.roll(PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

#[test]
fn no_damage_to_a_request_opens_what_is_shut_or_upsets_the_next() {
    let upstream = Upstream::by(|it| {
        let path = it.path();
        it.respond(200, "", path.as_bytes());
    });
    let gateway = gate(&upstream).with("log: { access: false }").start();
    let mut dice = Dice(0x5eed);
    let mut looked = 0;
    for round in 0..2000 {
        let bytes = damaged(&mut dice);
        let mut client = gateway.connect();
        client.send(&bytes);
        // A first answer if one comes at once; what waits for more bytes is let go.
        client.wire.patience(std::time::Duration::from_millis(3));
        let _ = client.wire.fill();
        drop(client);
        if round % 20 == 19 {
            gateway.get("/open/after").send().expect_text("/open/after");
            let received = upstream.received();
            let shown = || String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(
                upstream.faults(),
                Vec::<String>::new(),
                "round {round}, last {:?}",
                shown()
            );
            let shut = received[looked..].iter().find(|it| it.path_is_under("/vault"));
            assert!(shut.is_none(), "round {round}: {shut:?}, last {:?}", shown());
            looked = received.len();
        }
    }
    assert!(looked > 500, "only {looked} requests were whole enough to pass");
}
