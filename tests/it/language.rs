//! The test language itself: what the raw client and the raw upstream say and see.

use std::time::Duration;

use crate::support::wire::WireError;
use crate::support::{RawClient, RawUpstream, ToxicProxy, Toxics, Upstream, until};

#[test]
fn the_raw_client_reads_what_an_upstream_says() {
    let upstream = Upstream::http1().route("/a", "first").start();
    let mut client = RawClient::connect(upstream.address);
    client.get("/a", "").response().expect_status(200).expect_text("first");
    client.get("/b", "").response().expect_status(404);
    assert_eq!(upstream.requests(), 2);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_body_that_breaks_off_is_not_a_response() {
    let upstream = RawUpstream::start(|it| {
        it.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").close();
    });
    let broken = RawClient::connect(upstream.address).get("/", "").try_response("GET").unwrap_err();
    assert_eq!((broken.why, broken.body.as_slice()), (WireError::Truncated, b"half".as_slice()));
}

#[test]
fn chunks_and_trailers_are_read_to_the_letter() {
    let upstream = RawUpstream::start(|it| {
        it.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
    });
    let response = RawClient::connect(upstream.address).get("/", "").response();
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers, [("X-End".to_owned(), "1".to_owned())]);
}

#[test]
fn a_reset_is_seen_as_one() {
    let upstream = RawUpstream::start(|it| it.reset());
    let broken = RawClient::connect(upstream.address).get("/", "").try_response("GET").unwrap_err();
    assert_eq!(broken.why, WireError::Reset);
}

#[test]
fn an_upstream_names_requests_that_are_not_to_the_letter() {
    let upstream = Upstream::named("x");
    let mut client = RawClient::connect(upstream.address);
    client.send("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n").read_to_end();
    assert_eq!(upstream.faults().len(), 1);
}

#[test]
fn a_toxic_proxy_spoils_answers_and_is_switched_while_it_runs() {
    let upstream = Upstream::named("0123456789");
    let proxy = ToxicProxy::before(upstream.address);
    let get = || {
        let mut client = RawClient::connect(proxy.address);
        client.get("/", "").try_response("GET").map(|it| it.text().len()).map_err(|it| it.why)
    };
    let (slice, latency) = (Some(1), Duration::from_millis(1));
    for (toxics, seen) in [
        (Toxics::default(), Ok(10)),
        (Toxics { slice, latency, ..Toxics::default() }, Ok(10)),
        (Toxics { bandwidth: Some(10_000), ..Toxics::default() }, Ok(10)),
        (Toxics { reset_after: Some(1), ..Toxics::default() }, Err(WireError::Reset)),
        (Toxics { reset_after: Some(40), ..Toxics::default() }, Err(WireError::Reset)),
        (Toxics { half_close_after: Some(40), ..Toxics::default() }, Err(WireError::Truncated)),
        (Toxics::default(), Ok(10)),
    ] {
        proxy.set(toxics);
        assert_eq!(get(), seen, "{toxics:?}");
    }
    assert_eq!(proxy.connections(), 7);
}

#[test]
fn a_black_hole_holds_what_was_sent_until_it_ends() {
    let upstream = Upstream::named("late");
    let proxy = ToxicProxy::before(upstream.address);
    proxy.set(Toxics { blackhole: true, ..Toxics::default() });
    let mut client = RawClient::connect(proxy.address);
    client.get("/", "");
    until("the proxy has accepted", || proxy.connections() == 1);
    assert_eq!(upstream.connections(), 0);
    proxy.heal();
    client.response().expect_text("late");
    // Open connections are spoiled as well.
    proxy.reset_all();
    assert_eq!(client.try_response("GET").unwrap_err().why, WireError::Reset);
}
