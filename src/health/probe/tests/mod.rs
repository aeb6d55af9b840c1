//! Checks against servers on loopback that answer well, wrongly, late, half or not at all.

mod answers;
mod grpc;
mod http;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Prober;
use crate::config::health::{Expect, HttpProbe, Probe, ProbeKind};
use crate::model::health::{Outcome, Sample};

/// For checks that must end by themselves: long, because machines are busy.
const PATIENT: Duration = Duration::from_secs(30);
/// For checks that nothing but the deadline ends.
const SHORT: Duration = Duration::from_millis(700);

fn probe(kind: ProbeKind, timeout: Duration) -> Probe {
    let interval = Duration::from_secs(10);
    Probe { kind, interval, unhealthy_interval: interval, timeout }
}

fn http() -> HttpProbe {
    HttpProbe {
        method: "GET".to_owned(),
        path: "/health".to_owned(),
        host: None,
        headers: Vec::new(),
        port: None,
        tls: None,
        expect: Expect {
            statuses: vec![(200, 299)],
            json: Some(("$.status".to_owned(), json!("OK"))),
            body: None,
            latency: None,
        },
    }
}

fn prober(kind: ProbeKind, timeout: Duration) -> Arc<Prober> {
    Prober::new(&probe(kind, timeout), ("localhost".to_owned(), 80)).unwrap()
}

fn of_http(probe: HttpProbe, timeout: Duration) -> Arc<Prober> {
    prober(ProbeKind::Http(Box::new(probe)), timeout)
}

fn extra<'a>(sample: &'a Sample, name: &str) -> &'a str {
    let found = sample.extra.iter().find(|(it, _)| it == name);
    found.map_or("", |(_, value)| value.as_str())
}

/// What a server does when it has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Close,
    Reset,
    Hold,
}

/// Accepts connections until the test ends; each has its own task.
async fn serve<F, R>(each: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(each(socket));
        }
    });
    address
}

/// Reads a request's head and sends these bytes.
async fn says(bytes: impl Into<Vec<u8>>, then: Then) -> SocketAddr {
    let bytes = Arc::new(bytes.into());
    serve(move |mut socket| {
        let bytes = Arc::clone(&bytes);
        async move {
            head(&mut socket).await;
            let _ = socket.write_all(&bytes).await;
            end(socket, then).await;
        }
    })
    .await
}

async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn end(mut socket: TcpStream, then: Then) {
    match then {
        Then::Close => {}
        Then::Reset => {
            // The answer must have arrived, or the reset takes it away.
            tokio::time::sleep(Duration::from_millis(50)).await;
            socket.set_zero_linger().unwrap();
        }
        Then::Hold => {
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await;
        }
    }
}

#[tokio::test]
async fn a_connection_is_all_that_a_tcp_check_asks_for() {
    let address = says("", Then::Hold).await;
    let sample = prober(ProbeKind::Tcp, PATIENT).check(address).await;
    assert_eq!((sample.outcome, sample.kind.as_str()), (Outcome::Ok, "tcp"));
    assert_eq!((sample.status, sample.body.as_deref()), (None, None));
    assert_eq!(sample.extra, [("endpoint".to_owned(), address.to_string())]);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let sample = prober(ProbeKind::Tcp, PATIENT).check(nobody).await;
    assert_eq!((sample.outcome, extra(&sample, "phase")), (Outcome::Refused, "connect"));
}

#[tokio::test]
async fn a_check_may_go_to_another_port_than_requests() {
    let address =
        says("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}", Then::Close).await;
    let probe = HttpProbe { port: Some(address.port()), ..http() };
    let sample = of_http(probe, PATIENT).check(SocketAddr::new(address.ip(), 9)).await;
    assert_eq!((sample.outcome, extra(&sample, "endpoint")), (Outcome::Ok, &*address.to_string()));
}
