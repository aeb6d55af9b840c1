//! What the gate adds to, takes from and passes in heads.

use crate::support::{Gateway, OPERATOR, Upstream};

#[test]
fn what_a_stranger_says_about_its_client_is_replaced() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let ask = gateway.get("/x").host("public.test:81").header("X-Forwarded-For", "10.0.0.1");
    let ask = ask.header("X-Real-IP", "10.0.0.1").header("X-Forwarded-Proto", "https");
    let ask = ask.header("X-Forwarded-Host", "evil.test").header("X-Forwarded-Port", "443");
    let ask = ask.header("X-Forwarded-Prefix", "/evil").header("Forwarded", "for=10.0.0.1");
    ask.header("X-Forwarded-User", "root").send().expect_status(200);
    let seen = upstream.last();
    let port = gateway.data.port().to_string();
    for (name, expected) in [
        ("X-Forwarded-For", Some("127.0.0.1")),
        ("X-Real-IP", Some("127.0.0.1")),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Forwarded-Host", Some("public.test:81")),
        ("X-Forwarded-Port", Some(port.as_str())),
        ("X-Forwarded-Prefix", None),
        ("X-Forwarded-User", None),
        ("Forwarded", None),
        ("Host", Some("public.test:81")),
    ] {
        assert_eq!(seen.head.all(name), Vec::from_iter(expected), "{name}");
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept_and_extended() {
    let upstream = Upstream::named("x");
    let gateway =
        Gateway::in_front_of("a", &upstream).with("trustedProxies: [127.0.0.0/8]").start();
    let ask = gateway.get("/x").header("X-Forwarded-For", "10.9.9.9, 203.0.113.7");
    let ask = ask.header("X-Forwarded-Proto", "wss").header("X-Forwarded-Host", "public.test");
    ask.header("X-Forwarded-Port", "443").send().expect_status(200);
    let seen = upstream.last();
    assert_eq!(seen.header("X-Forwarded-For"), Some("10.9.9.9, 203.0.113.7, 127.0.0.1"));
    assert_eq!(seen.header("X-Real-IP"), Some("203.0.113.7"));
    assert!(["https", "wss"].contains(&seen.header("X-Forwarded-Proto").unwrap_or_default()));
    assert_eq!(seen.header("X-Forwarded-Host"), Some("public.test"));
    assert_eq!(seen.header("X-Forwarded-Port"), Some("443"));
}

#[test]
fn via_is_extended_not_replaced() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    gateway.get("/x").send().expect_status(200);
    assert_eq!(upstream.last().head.all("Via").join(", "), "1.1 headgate");
    gateway.get("/x").header("Via", "1.0 first").send().expect_status(200);
    assert_eq!(upstream.last().head.all("Via").join(", "), "1.0 first, 1.1 headgate");
}

#[test]
fn a_request_id_is_kept_if_it_is_well_formed_and_made_if_not() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let good = gateway.get("/x").header("X-Request-ID", "abc-123_~.:@=+/").send();
    good.expect_header("X-Request-ID", "abc-123_~.:@=+/");
    assert_eq!(upstream.last().header("X-Request-ID"), Some("abc-123_~.:@=+/"));
    for bad in
        [None, Some("two words"), Some("semi;colon"), Some("\"quoted\""), Some(&*"x".repeat(129))]
    {
        let ask = gateway.get("/x");
        let answer = bad.map_or(ask.clone(), |it| ask.header("X-Request-ID", it)).send();
        let seen = upstream.last();
        let made = seen.header("X-Request-ID").unwrap_or_default();
        assert!(made.len() == 32 && made.bytes().all(|it| it.is_ascii_hexdigit()), "{made}");
        assert_eq!(answer.header("X-Request-ID"), Some(made), "for {bad:?}");
    }
}

#[test]
fn a_trace_goes_on_with_a_span_of_ours() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    gateway.get("/x").header("traceparent", sent).header("tracestate", "a=1").send();
    let seen = upstream.last();
    let parent = seen.header("traceparent").unwrap_or_default();
    assert_eq!((&parent[..36], &parent[52..]), (&sent[..36], &sent[52..]));
    assert_ne!(&parent[36..52], &sent[36..52]);
    assert_eq!(seen.header("tracestate"), Some("a=1"));

    gateway.get("/x").header("traceparent", "00-0-0-01").header("tracestate", "a=1").send();
    let seen = upstream.last();
    assert_eq!(seen.header("traceparent").map(str::len), Some(55));
    assert_eq!(seen.header("tracestate"), None);
}

#[test]
fn what_is_of_one_hop_stays_on_it_in_both_directions() {
    let upstream = Upstream::by(|it| {
        let fields = "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                      Proxy-Authenticate: Basic\r\nX-Stay: 1\r\n";
        it.respond(200, fields, b"x");
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let ask = gateway.get("/x").header("Connection", "keep-alive, X-Hop").header("X-Hop", "1");
    let ask = ask.header("Keep-Alive", "timeout=5").header("Proxy-Connection", "keep-alive");
    let ask = ask.header("Proxy-Authorization", "Basic x").header("TE", "gzip, trailers");
    let answer = ask.header("X-Stay", "1").send().expect_status(200);
    let seen = upstream.last();
    for name in ["X-Hop", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("X-Stay"), Some("1"));
    for name in ["X-Hop", "Keep-Alive", "Proxy-Authenticate"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    answer.expect_header("X-Stay", "1");
}

#[test]
fn fields_pass_as_they_are_in_order_and_in_number() {
    let upstream = Upstream::by(|it| {
        let fields =
            "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nserver: mine\r\nX-Caf\u{e9}: n\r\n";
        it.respond(200, fields.replace("X-Caf\u{e9}", "X-Cafe").as_str(), b"x");
    });
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let ask = gateway.get("/x").header("Cookie", "a=1; b=2").header("X-Many", "1");
    let ask = ask.header("X-Many", "2").header("x-odd_name", "caf\u{e9}");
    let answer = ask.header("Accept", "text/plain").send();
    let seen = upstream.last();
    assert_eq!(seen.head.all("Cookie"), ["a=1; b=2"]);
    assert_eq!(seen.head.all("X-Many"), ["1", "2"]);
    assert_eq!(seen.header("x-odd_name"), Some("caf\u{e9}"));
    assert_eq!(answer.head.all("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(answer.head.all("Server"), ["mine"]);
}

#[test]
fn an_offer_of_h2c_is_dropped_and_the_request_served() {
    let upstream = Upstream::named("served");
    let gateway = Gateway::in_front_of("a", &upstream).start();
    let ask = gateway.post("/chat", "{}").header("Connection", "Upgrade, HTTP2-Settings");
    let ask = ask.header("Upgrade", "h2c").header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA");
    ask.send().expect_status(200).expect_text("served");
    let seen = upstream.last();
    assert_eq!((seen.header("Upgrade"), seen.header("HTTP2-Settings")), (None, None));
    assert_eq!(seen.body, b"{}");
}

#[test]
fn gate_made_answers_have_cors_headers_for_the_origins_of_the_config() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .with("cors: { origins: [\"https://app.test\"] }")
        .route("path: /vault/, service: a, access: \"key:admin\"")
        .key(OPERATOR)
        .start();
    let from = |origin: &str| gateway.get("/vault/x").header("Origin", origin).send();
    let answer = from("https://app.test").expect_status(401);
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://app.test"));
    assert!(answer.head.lists("Vary", "Origin"));
    let answer = from("https://evil.test").expect_status(401);
    assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
}

#[test]
fn an_answer_of_the_gate_has_no_field_twice() {
    let upstream = Upstream::named("x");
    let gateway = Gateway::in_front_of("a", &upstream)
        .with("cors: { origins: [\"https://page.test\"] }")
        .key(OPERATOR)
        .start();
    for path in [
        "/api/admin/maintenance/status",
        "/api/admin/maintenance/on",
        "/api/admin/maintenance/nonsense",
        "/x",
        "/api/admin/maintenance/off",
        "/api/admin/headgate/config",
        "/forward-auth",
    ] {
        let asked = [gateway.get(path), gateway.get(path).key(OPERATOR), gateway.admin_get(path)];
        for ask in asked {
            let answer = ask.header("Origin", "https://page.test").send();
            let mut names: Vec<String> =
                answer.head.fields.iter().map(|it| it.0.to_ascii_lowercase()).collect();
            assert!(names.iter().any(|it| it == "x-request-id"), "{path}: {}", answer.head.raw);
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{path}: {}", answer.head.raw);
        }
    }
}
