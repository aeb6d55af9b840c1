//! gRPC health checks against servers that answer by the book, wrongly, or with bytes that are no HTTP/2.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::tls::Authority;
use super::{PATIENT, SHORT, Then, end, extra, prober, says, serve};
use crate::config::health::{GrpcProbe, ProbeKind, ProbeTls};
use crate::model::health::{Outcome, Sample};

/// `HealthCheckResponse { status: SERVING }` and how it is framed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const KIND: (&str, &str) = ("content-type", "application/grpc");
const FINE: (&str, &str) = ("grpc-status", "0");

type Pairs = &'static [(&'static str, &'static str)];

/// What a server answers: HTTP status, fields, body, trailers.
#[derive(Clone, Copy)]
struct Answer {
    status: u16,
    fields: Pairs,
    body: &'static [u8],
    trailers: Pairs,
}

/// By the book, but for the message.
const fn message(body: &'static [u8]) -> Answer {
    Answer { status: 200, fields: &[KIND], body, trailers: &[FINE] }
}

/// Trailers-Only.
const fn only(fields: Pairs) -> Answer {
    Answer { status: 200, fields, body: b"", trailers: &[] }
}

fn fields(pairs: Pairs) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    pairs.iter().map(pair).collect()
}

/// Frames that are all there.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

impl Answer {
    fn response(self) -> Response<Frames> {
        let mut frames = VecDeque::new();
        if !self.body.is_empty() {
            frames.push_back(Frame::data(Bytes::from_static(self.body)));
        }
        if !self.trailers.is_empty() {
            frames.push_back(Frame::trailers(fields(self.trailers)));
        }
        let mut response = Response::new(Frames(frames));
        *response.status_mut() = self.status.try_into().unwrap();
        *response.headers_mut() = fields(self.fields);
        response
    }
}

async fn converse<S>(
    socket: S,
    answer: Answer,
    heard: mpsc::UnboundedSender<(HeaderMap, String, Bytes)>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let heard = heard.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let _ = heard.send((parts.headers, parts.uri.to_string(), body));
            Ok::<_, Infallible>(answer.response())
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    let _ = connection.serve_connection(TokioIo::new(socket), service).await;
}

async fn server(answer: Answer) -> SocketAddr {
    let (heard, _) = mpsc::unbounded_channel();
    serve(move |socket| converse(socket, answer, heard.clone())).await
}

fn plain() -> GrpcProbe {
    GrpcProbe { service: String::new(), port: None, tls: None }
}

async fn check(address: SocketAddr) -> Sample {
    prober(ProbeKind::Grpc(plain()), PATIENT).check(address).await
}

/// Far more than a health check says.
static HUGE: [u8; 300_000] = [0; 300_000];

/// What is answered, the outcome, the code, and words of `error` or `expect`.
type Row = (Answer, Outcome, Option<u16>, &'static str);

fn messages() -> Vec<Row> {
    use Outcome::{BadStatus, Ok, Protocol};
    vec![
        (message(SERVING), Ok, Some(0), ""),
        (
            message(&[0, 0, 0, 0, 9, 0x12, 1, b'x', 8, 1, 0x1d, 1, 2, 3]),
            Protocol,
            Some(0),
            "no HealthCheckResponse",
        ),
        (message(&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1]), Ok, Some(0), ""),
        (message(&[0, 0, 0, 0, 4, 8, 2, 8, 1]), Ok, Some(0), ""),
        (message(&[0, 0, 0, 0, 2, 8, 2]), BadStatus, Some(0), "it says NOT_SERVING, not SERVING"),
        (message(&[0, 0, 0, 0, 2, 8, 3]), BadStatus, Some(0), "SERVICE_UNKNOWN"),
        (message(&[0, 0, 0, 0, 0]), BadStatus, Some(0), "it says UNKNOWN"),
        (message(&[0, 0, 0, 0, 2, 8, 99]), BadStatus, Some(0), "not known"),
        (message(b""), Protocol, Some(0), "no message"),
        (message(&[0, 0, 0]), Protocol, Some(0), "no message"),
        (message(&[1, 0, 0, 0, 2, 8, 1]), Protocol, Some(0), "compressed"),
        (message(&[0, 0, 0, 0, 3, 8, 1]), Protocol, Some(0), "should have 3 bytes, not 2"),
        (message(&[0, 255, 255, 255, 255, 8, 1]), Protocol, Some(0), "should have 4294967295"),
        (message(&[0, 0, 0, 0, 2, 8, 128]), Protocol, Some(0), "no HealthCheckResponse"),
        (message(&[0, 0, 0, 0, 3, 0x12, 100, 1]), Protocol, Some(0), "no HealthCheckResponse"),
        (message(&HUGE), Protocol, None, "longer than"),
    ]
}

fn codes() -> Vec<Row> {
    use Outcome::{BadStatus, Protocol};
    let http = |status, fields| Answer { status, fields, body: b"no", trailers: &[] };
    vec![
        (
            only(&[KIND, ("grpc-status", "12")]),
            BadStatus,
            Some(12),
            "gRPC status 12 (UNIMPLEMENTED)",
        ),
        (
            only(&[KIND, ("grpc-status", "5"), ("grpc-message", "unknown service")]),
            BadStatus,
            Some(5),
            "NOT_FOUND",
        ),
        (only(&[KIND, ("grpc-status", "65535")]), BadStatus, Some(65_535), "no known code"),
        (only(&[KIND, ("grpc-status", "-1")]), Protocol, None, "no number"),
        (only(&[KIND, FINE]), Protocol, Some(0), "no message"),
        (only(&[KIND]), Protocol, None, "without a gRPC status"),
        (
            Answer { trailers: &[("grpc-status", "14")], ..message(b"") },
            BadStatus,
            Some(14),
            "UNAVAILABLE",
        ),
        (
            Answer { trailers: &[("x", "y")], ..message(SERVING) },
            Protocol,
            None,
            "without a gRPC status",
        ),
        (
            Answer { trailers: &[("grpc-status", "OK")], ..message(SERVING) },
            Protocol,
            None,
            "no number",
        ),
        (http(200, &[("content-type", "text/html")]), Protocol, None, "not gRPC"),
        (http(404, &[]), BadStatus, Some(12), "UNIMPLEMENTED"),
        (http(503, &[]), BadStatus, Some(14), "UNAVAILABLE"),
        (http(418, &[]), BadStatus, Some(2), "UNKNOWN"),
    ]
}

#[tokio::test]
async fn each_answer_has_its_outcome_and_its_code() {
    for (answer, outcome, status, words) in messages().into_iter().chain(codes()) {
        let sample = check(server(answer).await).await;
        let said = [extra(&sample, "error"), extra(&sample, "expect")].concat();
        assert_eq!((sample.outcome, sample.status), (outcome, status), "{words}: {sample:?}");
        assert!(said.contains(words), "{words}: {sample:?}");
        assert_eq!((sample.kind.as_str(), sample.body), ("grpc", None));
    }
}

#[tokio::test]
async fn bytes_that_are_no_http2_and_floods_end_the_check() {
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let goaway: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];
    let reset: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    let ping: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let frame: &[u8] = &[255, 255, 255, 0, 0, 0, 0, 0, 1];
    for (name, bytes, then) in [
        (
            "HTTP/1.1",
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
            Then::Close,
        ),
        ("garbage", vec![b'x'; 100_000], Then::Hold),
        ("nothing", Vec::new(), Then::Close),
        ("GOAWAY", [settings, goaway].concat(), Then::Close),
        ("GOAWAY, left open", [settings, goaway].concat(), Then::Hold),
        ("RST_STREAM", [settings, reset].concat(), Then::Hold),
        ("a frame of 16 MB", [settings, frame].concat(), Then::Hold),
        ("pings without end", [settings, &ping.repeat(30_000)].concat(), Then::Hold),
        ("settings without end", settings.repeat(60_000), Then::Hold),
    ] {
        let bytes = Arc::new(bytes);
        let address = serve(move |mut socket| {
            let bytes = Arc::clone(&bytes);
            async move {
                // Without a look at the request: HTTP/2 may begin at once.
                let _ = socket.write_all(&bytes).await;
                end(socket, then).await;
            }
        })
        .await;
        let sample = check(address).await;
        let bad = [Outcome::Protocol, Outcome::Reset].contains(&sample.outcome);
        assert!(bad && extra(&sample, "phase") == "head", "{name}: {sample:?}");
    }
    let silent = says("", Then::Hold).await;
    let sample = prober(ProbeKind::Grpc(plain()), SHORT).check(silent).await;
    assert_eq!((sample.outcome, extra(&sample, "phase")), (Outcome::Timeout, "head"));
}

#[tokio::test]
async fn the_service_is_asked_for_by_its_name() {
    let (heard, mut hears) = mpsc::unbounded_channel();
    let address = serve(move |socket| converse(socket, message(SERVING), heard.clone())).await;
    let long = "s".repeat(200);
    for (service, body) in [
        ("", vec![0, 0, 0, 0, 0]),
        ("a.B", vec![0, 0, 0, 0, 5, 10, 3, b'a', b'.', b'B']),
        (&*long, [&[0, 0, 0, 0, 203, 10, 200, 1], long.as_bytes()].concat()),
    ] {
        let probe = GrpcProbe { service: service.to_owned(), ..plain() };
        let sample = prober(ProbeKind::Grpc(probe), PATIENT).check(address).await;
        assert_eq!(sample.outcome, Outcome::Ok);
        let (fields, target, asked) = hears.recv().await.unwrap();
        assert_eq!(asked, body);
        assert_eq!(target, "http://localhost/grpc.health.v1.Health/Check");
        for (name, value) in
            [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "30000m")]
        {
            assert_eq!(fields.get(name).map(HeaderValue::as_bytes), Some(value.as_bytes()));
        }
    }
}

#[tokio::test]
async fn http2_is_agreed_on_in_the_handshake() {
    let authority = Authority::new("grpc");
    for (protocols, outcome) in
        [(&["h2"][..], Outcome::Ok), (&[], Outcome::Tls), (&["http/1.1"], Outcome::Tls)]
    {
        let acceptor = authority.server("localhost", 2200, protocols);
        let address = serve(move |socket| {
            let acceptor = acceptor.clone();
            async move {
                let (heard, _) = mpsc::unbounded_channel();
                let Ok(socket) = acceptor.accept(socket).await else { return };
                converse(socket, message(SERVING), heard).await;
            }
        })
        .await;
        let tls = ProbeTls { ca: Some(authority.file.clone()), ..ProbeTls::default() };
        let probe = GrpcProbe { tls: Some(tls), ..plain() };
        let sample = prober(ProbeKind::Grpc(probe), PATIENT).check(address).await;
        assert_eq!(sample.outcome, outcome, "{sample:?}");
    }
}
