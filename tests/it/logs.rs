//! What the gate writes: one line per request, nothing secret, nothing that another program would misread.

use crate::support::{Gateway, OPERATOR, READER, Upstream, until};

#[test]
fn every_request_has_its_line_and_only_one() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .route("path: /vault/, service: a, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    let asks = [("/x", 200), ("/vault/x", 401), ("/a/../b", 200)];
    for (index, (path, status)) in asks.iter().enumerate() {
        let ask = gateway.get(path).header("X-Request-ID", &format!("id-{index}"));
        ask.send().expect_status(*status);
    }
    gateway
        .connect()
        .send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        .response()
        .expect_status(400);
    until("four lines", || gateway.access_lines().len() >= 4);
    let lines = gateway.access_lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for (index, (_, status)) in asks.iter().enumerate() {
        let id = format!("\"id-{index}\"");
        let mine: Vec<_> = lines.iter().filter(|it| it.to_string().contains(&id)).collect();
        assert_eq!(mine.len(), 1, "{lines:?}");
        assert!(mine[0].to_string().contains(&format!(":{status}")), "{}", mine[0]);
    }
}

#[test]
fn nothing_secret_is_written_anywhere() {
    let upstream = Upstream::named("x");
    let canary = "canary-in-the-query-9f8e7d";
    let gateway = Gateway::in_front_of("a", &upstream)
        .route("path: /vault/, service: a, access: \"key:admin\"")
        .service_with("forwards", &upstream, "forwardKey: true")
        .route("path: /fwd/, service: forwards, access: \"key:admin\"")
        .key(OPERATOR)
        .key_with(READER, "scopes: [other]")
        .start();
    let wrong = "wrong-key-canary-0123456789";
    for path in
        ["/vault/x", "/fwd/x", "/x", "/api/admin/headgate/config", "/api/admin/maintenance/on"]
    {
        let path = format!("{path}?token={canary}");
        for key in [OPERATOR, READER, wrong] {
            gateway
                .get(&path)
                .key(key)
                .header("Authorization", canary)
                .header("Cookie", canary)
                .send();
        }
    }
    gateway.get("/vault/x").key(OPERATOR).key(wrong).send();
    let answers: String = ["config", "health", "keys", "audit"]
        .iter()
        .map(|it| gateway.admin_get(&format!("/api/admin/headgate/{it}")).send().text())
        .collect();
    until("the lines are written", || gateway.access_lines().len() >= 16);
    let all = [gateway.output(), gateway.metrics(), answers].join("\n");
    for secret in [OPERATOR, READER, wrong, canary] {
        let place = all.lines().find(|it| it.contains(secret));
        assert_eq!(place, None, "{secret} was written");
    }
}

#[test]
fn no_byte_of_a_stranger_breaks_a_line() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let mut sent = 0;
    for byte in 0..=255_u8 {
        let place = [byte];
        let head: [&[u8]; 5] = [
            b"GET /x",
            &place,
            b"y HTTP/1.1\r\nHost: gate.test\r\nX-Request-ID: \"",
            &place,
            b"\r\n\r\n",
        ];
        let mut client = gateway.connect();
        client.send(head.concat());
        client.half_close();
        client.read_to_end();
        sent += 1;
    }
    for odd in [
        "/\u{202e}gnp.exe",
        "/%e2%80%ae",
        "/\"quote\"",
        "/{\"a\":1}",
        "/%0d%0aInjected:1",
        "/%1b[31m",
    ] {
        gateway
            .connect()
            .send(format!("GET {odd} HTTP/1.1\r\nHost: gate.test\r\n\r\n"))
            .half_close()
            .read_to_end();
        sent += 1;
    }
    until("the lines are written", || gateway.access_lines().len() >= sent / 2);
    for line in gateway.output().lines().filter(|it| !it.is_empty()) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|it| it.is_object()), "not an object: {line:?}");
        let raw = |it: char| it.is_control() || ('\u{202a}'..='\u{202e}').contains(&it);
        assert!(!line.chars().any(raw), "raw control characters: {line:?}");
    }
}

#[test]
fn the_access_log_can_be_off() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).with("log: { access: false }").start();
    gateway.get("/x").send().expect_text("x");
    gateway.sigterm();
    let mut gateway = gateway;
    gateway.wait();
    assert_eq!(gateway.access_lines().len(), 0);
}

#[test]
fn a_log_that_nobody_reads_costs_lines_but_no_request() {
    let upstream = Upstream::named("x");
    let mut gateway =
        Gateway::in_front_of("a", &upstream).with("log: { ringLines: 16 }").deaf().start();
    let mut client = gateway.connect();
    for _ in 0..3000 {
        client.get("/x", "").response().expect_text("x");
    }
    until("dropped lines are counted", || {
        client.get("/x", "").response().expect_text("x");
        gateway.metric("headgate_access_log_dropped_total", "")
            + gateway.metric("headgate_access_log_dropped_lines_total", "")
            > 0.5
    });
    gateway.sigterm();
    gateway.wait();
}

#[test]
fn a_refusal_is_counted_for_the_service_that_it_protects() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .service_with("small", &upstream, "maxBody: 1KiB, maintenance: exempt")
        .route("path: /small/, service: small, access: public")
        .route("path: /vault/, service: small, access: \"key:admin\"")
        .start();
    gateway.admin_post("/api/admin/maintenance/on").send().expect_status(200);
    gateway.get("/x").send().expect_status(503);
    gateway.post("/small/x", vec![b'x'; 2048]).send().expect_status(413);
    gateway.get("/vault/x").send().expect_status(401);
    until("three lines", || gateway.access_lines().len() >= 3);
    for (path, service) in [("/x", "a"), ("/small/x", "small"), ("/vault/x", "small")] {
        let lines = gateway.access_lines();
        let line = lines.iter().find(|it| it["path"] == path).expect("a line");
        assert_eq!(line["service"], service, "{line}");
    }
    let refused = "headgate_http_requests_total";
    assert_eq!(gateway.metric(refused, "service=\"a\",code_class=\"5xx\""), 1.0);
    assert_eq!(gateway.metric(refused, "service=\"small\",code_class=\"4xx\""), 2.0);
}
