//! A gRPC health check: `grpc.health.v1.Health/Check` over HTTP/2, with the few bytes of protobuf written by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{Method, Request, Response, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use crate::config::health::GrpcProbe;
use crate::health::probe::fault::Fault;
use crate::health::probe::http::{AGENT, driven, host};
use crate::health::probe::link::Link;
use crate::health::probe::seen::{Phase, Seen};
use crate::health::probe::tls::Tls;
use crate::model::health::Outcome;

/// Bytes of a `HealthCheckResponse`; two are usual.
const MESSAGE_BYTES_MAX: usize = 1024;
const HEAD_BYTES_MAX: u32 = 16 << 10;
/// Flow control: what a peer may send before it is read.
const WINDOW_BYTES: u32 = 64 << 10;
const GRPC: &str = "application/grpc";

/// A call, made ready.
#[derive(Debug)]
pub(super) struct GrpcCheck {
    target: Uri,
    message: Bytes,
    tls: Option<Tls>,
}

/// What a `HealthCheckResponse` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Serving(u64);

impl GrpcCheck {
    /// # Errors
    /// What cannot be asked as configured.
    pub(super) fn new(probe: &GrpcProbe, authority: &(String, u16)) -> Result<Self, String> {
        let tls = probe.tls.as_ref().map(|it| Tls::new(it, &authority.0, b"h2")).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let host = host(authority, probe.port, tls.is_some());
        let target = format!("{scheme}://{host}/grpc.health.v1.Health/Check");
        let target = target.parse().map_err(|_| format!("{host:?} is no authority"))?;
        Ok(Self { target, message: request(&probe.service), tls })
    }

    pub(super) async fn ask(
        &self,
        to: SocketAddr,
        timeout: Duration,
        seen: &mut Seen,
    ) -> Result<(), Fault> {
        let link = Link::open(to, self.tls.as_ref(), seen).await?;
        if self.tls.is_some() && link.alpn() != Some(b"h2") {
            return Err(Fault::new(Outcome::Tls, "the server does not offer HTTP/2"));
        }
        seen.phase = Phase::Head;
        let tasks = Ends(Tasks::default());
        let (mut sender, connection) = http2::Builder::new(tasks.0.clone())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_header_list_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(link))
            .await
            .map_err(|it| Fault::of(&it))?;
        let answer = async {
            let request = self.request(timeout);
            let response = sender.send_request(request).await.map_err(|it| Fault::of(&it))?;
            take(response, seen).await
        };
        let body = driven(connection, answer).await?;
        judge(&body, seen)
    }

    fn request(&self, timeout: Duration) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.message.clone()));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.target.clone();
        let fields = request.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
        fields.insert(TE, HeaderValue::from_static("trailers"));
        fields.insert(USER_AGENT, AGENT);
        // At most eight digits.
        let ms = timeout.as_millis().min(99_999_999);
        if let Ok(value) = HeaderValue::try_from(format!("{ms}m")) {
            fields.insert(HeaderName::from_static("grpc-timeout"), value);
        }
        request
    }
}

/// Code 0 and SERVING is fine, and nothing else.
fn judge(body: &[u8], seen: &mut Seen) -> Result<(), Fault> {
    let sentence = match seen.status.unwrap_or(UNKNOWN) {
        0 => match serving(message(body)?)? {
            Serving(1) => return Ok(()),
            other => format!("it says {}, not SERVING", other.name()),
        },
        code => format!("gRPC status {code} ({}) is not expected", code_name(code)),
    };
    seen.unexpected(Outcome::BadStatus, &sentence);
    Ok(())
}

/// Takes the answer in: its code, from head or trailers, and the body as it came.
async fn take(response: Response<Incoming>, seen: &mut Seen) -> Result<Vec<u8>, Fault> {
    let status = response.status().as_u16();
    let fields = response.headers();
    let kind = fields.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    if status != 200 {
        seen.status = Some(code_of_http(status));
        seen.note("http-status", &status.to_string());
        return Ok(Vec::new());
    }
    if !kind.starts_with(GRPC) {
        return Err(Fault::protocol("the answer is not gRPC"));
    }
    if let Some(code) = code(fields)? {
        // Trailers-Only: no message follows.
        seen.status = Some(code);
        told(fields, seen);
        return Ok(Vec::new());
    }
    seen.phase = Phase::Body;
    let (mut stream, mut body) = (response.into_body(), Vec::new());
    while let Some(frame) = stream.frame().await {
        let frame = frame.map_err(|it| Fault::of(&it))?;
        if let Some(trailers) = frame.trailers_ref() {
            seen.status = code(trailers)?;
            told(trailers, seen);
        } else if let Ok(data) = frame.into_data() {
            body.extend_from_slice(&data);
        }
        if body.len() > PREFIX + MESSAGE_BYTES_MAX {
            return Err(Fault::protocol("the message is longer than a health check's"));
        }
    }
    match seen.status {
        Some(_) => Ok(body),
        None => Err(Fault::protocol("the answer ended without a gRPC status")),
    }
}

fn told(fields: &HeaderMap, seen: &mut Seen) {
    if let Some(words) = fields.get("grpc-message").and_then(|it| it.to_str().ok()) {
        seen.note("grpc-message", words);
    }
}

fn code(fields: &HeaderMap) -> Result<Option<u16>, Fault> {
    let Some(value) = fields.get("grpc-status") else { return Ok(None) };
    let code = value.to_str().ok().and_then(|it| it.parse::<u16>().ok());
    code.map(Some).ok_or_else(|| Fault::protocol("the gRPC status is no number"))
}

/// The code that stands for an HTTP status (gRPC's http-grpc-status-mapping).
const fn code_of_http(status: u16) -> u16 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    }
}

const UNKNOWN: u16 = 2;

fn code_name(code: u16) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("no known code")
}

impl Serving {
    const fn name(self) -> &'static str {
        match self.0 {
            0 => "UNKNOWN",
            1 => "SERVING",
            2 => "NOT_SERVING",
            3 => "SERVICE_UNKNOWN",
            _ => "a status that is not known",
        }
    }
}

/// Compression flag and length before a message.
const PREFIX: usize = 5;

/// `HealthCheckRequest { service = 1 }` behind its prefix; the empty name is left out.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(&message);
    framed.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// The one message of a body.
fn message(body: &[u8]) -> Result<&[u8], Fault> {
    let Some((&[flag, a, b, c, d], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(Fault::protocol("the answer has no message"));
    };
    if flag != 0 {
        return Err(Fault::protocol("the message is compressed, and nobody asked for that"));
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(length) if length == message.len() => Ok(message),
        _ => Err(Fault::protocol(format!(
            "the message should have {length} bytes, not {}",
            message.len()
        ))),
    }
}

/// `HealthCheckResponse { status = 1 }`; other fields are passed over, the last of several counts.
fn serving(message: &[u8]) -> Result<Serving, Fault> {
    let malformed = || Fault::protocol("the message is no HealthCheckResponse");
    let mut found = Serving(0);
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, behind) = varint(rest).ok_or_else(malformed)?;
        rest = match tag & 7 {
            0 => {
                let (value, behind) = varint(behind).ok_or_else(malformed)?;
                if tag >> 3 == 1 {
                    found = Serving(value);
                }
                behind
            }
            1 => behind.get(8..).ok_or_else(malformed)?,
            2 => {
                let (length, behind) = varint(behind).ok_or_else(malformed)?;
                let length = usize::try_from(length).map_err(|_| malformed())?;
                behind.get(length..).ok_or_else(malformed)?
            }
            5 => behind.get(4..).ok_or_else(malformed)?,
            _ => return Err(malformed()),
        };
    }
    Ok(found)
}

/// A number and what stands behind it; ten bytes at most.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Tasks that HTTP/2 wants run.
#[derive(Clone, Debug, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
            future.await;
        });
    }
}

/// Ends them with the check, also when its deadline drops it.
struct Ends(Tasks);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Serving, message, request, serving, varint};

    #[test]
    fn numbers_end_within_ten_bytes() {
        for (bytes, number) in [
            (&[0x00][..], Some(0)),
            (&[0x7f], Some(127)),
            (&[0xac, 0x02, 0xff], Some(300)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Some(u64::MAX)),
            (&[0xff; 11], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(varint(bytes).map(|it| it.0), number, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_nothing_more(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = message(&bytes);
            let _ = serving(&bytes);
        }

        #[test]
        fn a_status_is_found_among_fields_that_are_not_known(status in 0_u64..1000, length in 0_u8..100) {
            let mut bytes = vec![0x12, length];
            bytes.extend(std::iter::repeat_n(7, usize::from(length)));
            bytes.push(8);
            let (low, high) = ((status & 0x7f) as u8 | 0x80, (status >> 7) as u8);
            bytes.extend([low, high]);
            prop_assert_eq!(serving(&bytes).ok(), Some(Serving(status)));
        }

        #[test]
        fn a_request_is_framed_as_long_as_it_is(name in ".{0,200}") {
            let framed = request(&name);
            prop_assert!(message(&framed).is_ok_and(|it| it.ends_with(name.as_bytes())));
        }
    }
}
