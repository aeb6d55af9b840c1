//! An HTTP/1.1 check: one request on a connection of its own, redirects not followed, everything bounded.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT,
};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;

use crate::config::defaults::PROBE_BODY_MAX;
use crate::config::health::HttpProbe;
use crate::health::probe::expect::Expectations;
use crate::health::probe::fault::Fault;
use crate::health::probe::link::Link;
use crate::health::probe::seen::{Phase, Seen};
use crate::health::probe::tls::Tls;
use crate::model::health::Outcome;

/// What every probe calls itself.
pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("headgate/", env!("CARGO_PKG_VERSION")));

/// Bytes and fields of one response's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_FIELDS_MAX: usize = 100;

/// A request and what is expected of its answer.
#[derive(Debug)]
pub(super) struct HttpCheck {
    method: Method,
    target: Uri,
    fields: HeaderMap,
    tls: Option<Tls>,
    expect: Expectations,
}

impl HttpCheck {
    /// # Errors
    /// What cannot be sent as configured.
    pub(super) fn new(probe: &HttpProbe, authority: &(String, u16)) -> Result<Self, String> {
        let method = Method::from_bytes(probe.method.as_bytes())
            .map_err(|_| format!("{:?} is no HTTP method", probe.method))?;
        let target = probe.path.parse::<Uri>().ok().filter(|it| it.authority().is_none());
        let target = target.ok_or_else(|| format!("{:?} is no path", probe.path))?;
        let tls = probe.tls.as_ref().map(|it| Tls::new(it, &authority.0, b"http/1.1"));
        Ok(Self {
            method,
            target,
            fields: fields(probe, authority)?,
            tls: tls.transpose()?,
            expect: Expectations::new(&probe.expect)?,
        })
    }

    pub(super) async fn ask(&self, to: SocketAddr, seen: &mut Seen) -> Result<(), Fault> {
        let link = Link::open(to, self.tls.as_ref(), seen).await?;
        seen.phase = Phase::Head;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEAD_FIELDS_MAX)
            .handshake(TokioIo::new(link))
            .await
            .map_err(|it| Fault::of(&it))?;
        let answer = async {
            let response =
                sender.send_request(self.request()).await.map_err(|it| Fault::of(&it))?;
            seen.status = Some(response.status().as_u16());
            seen.phase = Phase::Body;
            read(response.into_body(), seen).await
        };
        driven(connection, answer).await
    }

    /// The status comes first; the body is kept for the policy whatever is wrong.
    pub(super) fn judge(&self, seen: &mut Seen, took: Duration) {
        if let Some(sentence) = seen.status.and_then(|it| self.expect.status(it)) {
            seen.unexpected(Outcome::BadStatus, &sentence);
        } else if let Some(sentence) = self.expect.rest(&seen.body, seen.cut, took) {
            seen.unexpected(Outcome::Other, &sentence);
        }
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.fields.clone();
        request
    }
}

/// The body as far as a probe reads it; what comes behind that is not taken from the socket.
async fn read(mut body: Incoming, seen: &mut Seen) -> Result<(), Fault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|it| Fault::of(&it))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = PROBE_BODY_MAX.saturating_sub(seen.body.len());
        seen.body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            seen.cut = true;
            break;
        }
    }
    Ok(())
}

/// Runs a connection until its answer is there: no task, so nothing of a check outlives it.
pub(super) async fn driven<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let (mut connection, mut answer) = (pin!(connection), pin!(answer));
    let mut over = false;
    poll_fn(|cx| {
        // How the connection ends is told to the answer as well.
        over = over || connection.as_mut().poll(cx).is_ready();
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Ours first, then the configured ones, which may replace `User-Agent` and `Host` but not what frames the message.
fn fields(probe: &HttpProbe, authority: &(String, u16)) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    let own = || host(authority, probe.port, probe.tls.is_some());
    let host = probe.host.clone().unwrap_or_else(own);
    let host = HeaderValue::try_from(&host).map_err(|_| format!("{host:?} is no Host"))?;
    fields.insert(HOST, host);
    fields.insert(USER_AGENT, AGENT);
    fields.insert(CONNECTION, HeaderValue::from_static("close"));
    if ["POST", "PUT", "PATCH"].contains(&probe.method.as_str()) {
        // RFC 9110 §8.6: a method that means a body says that there is none.
        fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    for (name, value) in &probe.headers {
        let parsed =
            HeaderName::try_from(name).map_err(|_| format!("{name:?} is no header name"))?;
        if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&parsed) {
            return Err(format!("a probe cannot send the header {name}"));
        }
        // Not shown: it may be a key.
        let value = HeaderValue::try_from(value)
            .map_err(|_| format!("the value of header {name} cannot be sent"))?;
        if [HOST, USER_AGENT].contains(&parsed) {
            fields.insert(parsed, value);
        } else {
            fields.append(parsed, value);
        }
    }
    Ok(fields)
}

/// Host and port, the scheme's own port left out (RFC 9110 §4.2.3).
pub(super) fn host(authority: &(String, u16), port: Option<u16>, tls: bool) -> String {
    let (host, port) = (&authority.0, port.unwrap_or(authority.1));
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    if port == if tls { 443 } else { 80 } { host } else { format!("{host}:{port}") }
}
