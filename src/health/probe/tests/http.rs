//! HTTP checks: what is sent, what is late, and what is not taken in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

use super::{PATIENT, SHORT, Then, end, extra, head, http, of_http, says, serve};
use crate::config::health::{Expect, HttpProbe};
use crate::model::health::Outcome;

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}";
const WORD: &str = r#"{"status":"Maintenance mode is enabled"}"#;

pub(super) fn whole(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Fine\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn whoever_does_not_go_on_is_late_in_the_phase_where_he_stopped() {
    for (bytes, status, phase, body) in [
        ("", None, "head", None),
        ("HTTP/1.1 200 OK\r\nContent-", None, "head", None),
        ("HTTP/1.1 100 Continue\r\n\r\n", None, "head", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"sta", Some(200), "body", Some("{\"sta")),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", Some(200), "body", None),
    ] {
        let address = says(bytes, Then::Hold).await;
        let sample = of_http(http(), SHORT).check(address).await;
        assert_eq!(sample.outcome, Outcome::Timeout, "{bytes:?}");
        assert_eq!((sample.status, extra(&sample, "phase")), (status, phase), "{bytes:?}");
        assert_eq!(sample.body.as_deref(), body);
        assert_eq!(extra(&sample, "error"), "not done within 700 ms");
    }
}

#[tokio::test]
async fn a_slow_trickle_ends_at_the_deadline() {
    let address = serve(|mut socket| async move {
        head(&mut socket).await;
        for byte in OK.bytes().cycle() {
            if socket.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    })
    .await;
    let sample = of_http(http(), SHORT).check(address).await;
    assert_eq!((sample.outcome, extra(&sample, "phase")), (Outcome::Timeout, "head"));
}

#[tokio::test]
async fn nobody_who_accepts_is_told_from_one_who_is_silent() {
    // A full backlog lets no further connection through.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> =
        (0..4).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    for _ in 0..10 {
        let sample = of_http(http(), SHORT).check(address).await;
        if extra(&sample, "phase") == "connect" {
            assert_eq!(sample.outcome, Outcome::Timeout);
            return;
        }
    }
    panic!("the backlog never filled");
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_not_taken_in() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let address = serve(move |mut socket| {
        let counted = Arc::clone(&counted);
        async move {
            head(&mut socket).await;
            let fields = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
            socket.write_all(fields.as_bytes()).await.unwrap();
            while socket.write_all(&[b'a'; 16_384]).await.is_ok() {
                counted.fetch_add(16_384, Ordering::Relaxed);
            }
        }
    })
    .await;
    let expect = Expect { json: None, ..http().expect };
    let sample = of_http(HttpProbe { expect, ..http() }, PATIENT).check(address).await;
    assert_eq!((sample.outcome, sample.status), (Outcome::Ok, Some(200)));
    assert_eq!(sample.body.map(|it| it.len()), Some(2048));
    // What lies in the buffers of both sockets is the kernel's.
    assert!(sent.load(Ordering::Relaxed) < 32 << 20);
}

#[tokio::test]
async fn the_maintenance_word_stays_visible_whatever_else_is_wrong() {
    for (status, outcome) in [(200, Outcome::Other), (503, Outcome::BadStatus)] {
        let address = says(whole(status, WORD), Then::Close).await;
        let sample = of_http(http(), PATIENT).check(address).await;
        assert_eq!((sample.outcome, sample.body.as_deref()), (outcome, Some(WORD)));
    }
}

#[tokio::test]
async fn the_request_is_as_configured_and_nothing_else() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let address = serve(move |mut socket| {
        let heard = heard.clone();
        async move {
            heard.send(head(&mut socket).await).unwrap();
            let _ = socket.write_all(OK.as_bytes()).await;
            end(socket, Then::Close).await;
        }
    })
    .await;
    let agent = format!("user-agent: headgate/{}\r\n", env!("CARGO_PKG_VERSION"));
    of_http(http(), PATIENT).check(address).await;
    assert_eq!(
        hears.recv().await.unwrap(),
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{agent}connection: close\r\n\r\n")
    );
    let own = HttpProbe {
        method: "POST".to_owned(),
        path: "/a?b=%2F&c".to_owned(),
        host: Some("shop.example".to_owned()),
        headers: vec![
            ("X-Key".to_owned(), "one".to_owned()),
            ("X-Key".to_owned(), "two".to_owned()),
            ("User-Agent".to_owned(), "mine".to_owned()),
        ],
        ..http()
    };
    of_http(own, PATIENT).check(address).await;
    assert_eq!(
        hears.recv().await.unwrap(),
        "POST /a?b=%2F&c HTTP/1.1\r\nhost: shop.example\r\nuser-agent: mine\r\nconnection: close\r\n\
         content-length: 0\r\nx-key: one\r\nx-key: two\r\n\r\n"
    );
}

#[tokio::test]
async fn a_head_request_has_no_body_to_judge() {
    let address = says("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n", Then::Close).await;
    let expect = Expect { json: None, ..http().expect };
    let probe = HttpProbe { method: "HEAD".to_owned(), expect, ..http() };
    let sample = of_http(probe, PATIENT).check(address).await;
    assert_eq!((sample.outcome, sample.body), (Outcome::Ok, None));
}

#[tokio::test]
async fn an_answer_that_takes_longer_than_it_may_is_no_success() {
    let address = says(OK, Then::Close).await;
    let expect = Expect { latency: Some(Duration::ZERO), ..http().expect };
    let sample = of_http(HttpProbe { expect, ..http() }, PATIENT).check(address).await;
    assert_eq!(sample.outcome, Outcome::Other);
    assert!(extra(&sample, "expect").ends_with("ms, more than 0 ms"), "{sample:?}");
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is() {
    let authority = || ("localhost".to_owned(), 80);
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let json = |path: &str| Expect {
        json: Some((path.to_owned(), serde_json::Value::Null)),
        ..http().expect
    };
    for (probe, words) in [
        (HttpProbe { method: "GET IT".to_owned(), ..http() }, "no HTTP method"),
        (HttpProbe { path: "a b".to_owned(), ..http() }, "no path"),
        (HttpProbe { path: "http://other/".to_owned(), ..http() }, "no path"),
        (HttpProbe { host: Some("a\r\nb".to_owned()), ..http() }, "no Host"),
        (HttpProbe { headers: header("a b", "c"), ..http() }, "no header name"),
        (HttpProbe { headers: header("a", "b\r\nc: d"), ..http() }, "the value of header a"),
        (HttpProbe { headers: header("Transfer-Encoding", "chunked"), ..http() }, "cannot send"),
        (HttpProbe { headers: header("content-length", "7"), ..http() }, "cannot send"),
        (HttpProbe { expect: json("status"), ..http() }, "no query"),
    ] {
        let error = super::Prober::new(
            &super::probe(crate::config::health::ProbeKind::Http(Box::new(probe)), PATIENT),
            authority(),
        );
        let error = error.unwrap_err();
        assert!(error.contains(words) && !error.contains("c: d"), "{error}");
    }
}
