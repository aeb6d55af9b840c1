//! When a request is sent a second time, and when never.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Gateway, OPERATOR, RawUpstream, Setup, Upstream};

/// Takes the first request of a path and dies without a byte; serves the second.
fn dies_once() -> RawUpstream {
    let count = AtomicUsize::new(0);
    Upstream::by(move |it| {
        let warm = it.path() == "/warm";
        if warm || count.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            it.respond(200, "", b"second");
        } else {
            it.body();
            it.close();
        }
    })
}

/// Requests that the upstream saw for a path.
fn seen(upstream: &RawUpstream, path: &str) -> usize {
    upstream.received().iter().filter(|it| it.target == path).count()
}

fn idempotent(upstream: &RawUpstream) -> Setup {
    Setup::default()
        .service_with("a", upstream, "forwardKey: true")
        .with("admin: { service: a }")
        .route("path: /, service: a, access: public, retry: idempotent")
        .key(OPERATOR)
}

#[test]
fn a_request_that_the_upstream_may_have_seen_is_not_sent_twice() {
    for (method, warm) in [("GET", false), ("GET", true), ("POST", false), ("POST", true)] {
        let upstream = dies_once();
        let gateway = Gateway::in_front_of("a", &upstream).start();
        if warm {
            gateway.get("/warm").send().expect_status(200);
        }
        gateway.request(method, "/once").send().expect_status(502);
        assert_eq!(seen(&upstream, "/once"), 1, "{method}, reused connection: {warm}");
    }
}

#[test]
fn a_route_may_ask_for_more_but_only_where_a_repeat_is_harmless() {
    let ask = |method: &str, body: Option<&str>| {
        let upstream = dies_once();
        let gateway = idempotent(&upstream).start();
        // The usual death is that of a connection that has idled.
        gateway.get("/warm").send().expect_status(200);
        let ask = gateway.request(method, "/once");
        let answer = body.map_or(ask.clone(), |body| ask.body(body)).send();
        (answer.status, seen(&upstream, "/once"))
    };
    assert_eq!(ask("GET", None), (200, 2));
    assert_eq!(ask("HEAD", None), (200, 2));
    assert_eq!(ask("POST", Some("x")), (502, 1));
    assert_eq!(ask("DELETE", None), (502, 1));
    assert_eq!(ask("GET", Some("x")), (502, 1));
}

#[test]
fn a_repeat_goes_to_another_endpoint_and_only_once() {
    let dead = || Upstream::by(|it| it.close());
    let (one, two, three) = (dead(), dead(), Upstream::named("alive"));
    let gateway = Setup::default()
        .service_at_all("a", &[one.url(), two.url()], "maintenance: covered")
        .route("path: /, service: a, access: public, retry: idempotent")
        .start();
    gateway.get("/once").send().expect_status(502);
    assert_eq!(seen(&one, "/once") + seen(&two, "/once"), 2);
    let gateway = Setup::default()
        .service_at_all("a", &[one.url(), three.url()], "maintenance: covered")
        .route("path: /, service: a, access: public, retry: idempotent")
        .start();
    for _ in 0..4 {
        gateway.get("/again").send().expect_text("alive");
    }
}

#[test]
fn nothing_under_the_admin_prefix_is_ever_sent_twice() {
    let upstream = dies_once();
    let gateway = idempotent(&upstream).start();
    gateway.get("/warm").send().expect_status(200);
    gateway.get("/api/admin/trigger-cron").key(OPERATOR).send().expect_status(502);
    assert_eq!(seen(&upstream, "/api/admin/trigger-cron"), 1);
}

#[test]
fn nor_is_it_where_the_config_names_no_admin_service() {
    for path in ["/api/admin/trigger-cron", "/api/admin", "/api/x/..%2Fadmin/trigger-cron"] {
        let upstream = dies_once();
        let gateway = Setup::default()
            .service_with("a", &upstream, "forwardKey: true")
            .route("path: /, service: a, access: \"key:admin\", retry: idempotent")
            .key(OPERATOR)
            .start();
        gateway.get("/warm").key(OPERATOR).send().expect_status(200);
        gateway.get(path).key(OPERATOR).send().expect_status(502);
        assert_eq!(seen(&upstream, path), 1, "{path}");
    }
}

#[test]
fn a_response_that_has_begun_is_not_begun_again() {
    let upstream = Upstream::by(|it| {
        it.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").close();
    });
    let gateway = idempotent(&upstream).start();
    gateway.get("/half").try_send().expect_err("a truncated body is not whole");
    assert_eq!(seen(&upstream, "/half"), 1);
}

#[test]
fn an_upstream_that_comes_back_is_used_again() {
    let first = Upstream::named("first");
    let address = first.address;
    let gateway = Gateway::in_front_of("a", &first).start();
    gateway.get("/x").send().expect_text("first");
    drop(first);
    let gone = gateway.get("/x").send().status;
    assert!([502, 503].contains(&gone), "{gone}");
    // The port may be taken by another test meanwhile; then there is nothing to see.
    let Some(_second) = Upstream::http1().otherwise("second").start_at(address) else { return };
    crate::support::until("the upstream is used again", || {
        gateway.get("/x").send().text() == "second"
    });
}
