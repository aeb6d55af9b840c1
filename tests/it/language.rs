//! The test language itself: what the raw client and the raw upstream say and see.

use crate::support::wire::WireError;
use crate::support::{RawClient, RawUpstream, Upstream};

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
