//! Outgoing calls: deadlines, no redirects, bodies with a limit, one TLS provider, errors without URLs.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Url, redirect, retry};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Name look-up, TCP and TLS together; less when the whole call has less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// uvicorn closes a connection that idled for 5 s: the gate closes first.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one host.
const POOL_MAX: usize = 4;

/// One call.
pub struct Outgoing {
    pub method: Method,
    /// `http` or `https`. It may hold a secret (Slack), and is never part of an error.
    pub url: SecretString,
    /// Values may be keys: they are marked as such for whatever prints headers.
    pub headers: Vec<(&'static str, SecretString)>,
    pub body: Vec<u8>,
    /// For everything, the answer's body included.
    pub timeout: Duration,
    /// Bytes of the answer's body that are kept; what is beyond is not read.
    pub body_max: usize,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What came back. A 3xx is an answer like any other: nobody follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub status: u16,
    /// `Retry-After` as it was sent.
    pub retry_after: Option<String>,
    /// At most `body_max` bytes.
    pub body: Vec<u8>,
    /// Whether that is all of the body: it was neither cut at `body_max`, nor broken off, nor too slow. The status stands all
    /// the same.
    pub complete: bool,
}

/// Why there is no answer. None of them names the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("the URL cannot be used: {0}")]
    Url(String),
    #[error("a header cannot be sent: {0}")]
    Header(&'static str),
    #[error("the name could not be looked up: {0}")]
    Dns(String),
    #[error("the connection was refused")]
    Refused,
    #[error("no connection: {0}")]
    Connect(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    /// `sent`: whether the receiver may have got the request.
    #[error("{}", if *sent { "no answer in time" } else { "no connection in time" })]
    Timeout { sent: bool },
    #[error("the connection was closed before the answer")]
    Reset,
    /// The receiver speaks something else.
    #[error("the answer is not HTTP: {0}")]
    Protocol(String),
    /// The client itself could not be made.
    #[error("no client for outgoing calls: {0}")]
    Build(String),
}

/// Makes outgoing calls. Cheap to clone; a pool of connections is shared by the clones.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

impl Client {
    /// Reads the system's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others): some milliseconds. Without any,
    /// `https` fails and `http` works.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn new() -> Result<Self, ClientError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!("headgate/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // Alerts and keys go where the config says, and nowhere else.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // Whoever calls decides what is sent twice.
            .retry(retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_MAX)
            .dns_resolver(SystemNames)
            .build()
            .map_err(|error| ClientError::Build(innermost(&error.without_url())))?;
        Ok(Self(client))
    }

    /// Sends once.
    ///
    /// # Errors
    /// When no head of an answer came. A body that breaks off is no error: see [`Received::complete`].
    pub async fn send(&self, outgoing: Outgoing) -> Result<Received, ClientError> {
        let deadline = Instant::now() + outgoing.timeout;
        let body_max = outgoing.body_max;
        let request = request(outgoing)?;
        let sent = timeout_at(deadline, self.0.execute(request)).await;
        let response = sent.map_err(|_| ClientError::Timeout { sent: true })?;
        let mut response = response.map_err(|error| classify(&error.without_url()))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|it| it.to_str().ok());
        let retry_after = retry_after.map(str::to_owned);
        let mut body = Vec::new();
        let complete = timeout_at(deadline, read(&mut response, &mut body, body_max)).await;
        Ok(Received { status, retry_after, body, complete: complete.unwrap_or(false) })
    }
}

/// A client that is made when it is needed first, off the runtime: it reads the machine's root certificates. Tried again
/// each time until it can be made.
#[derive(Debug, Default)]
pub struct LazyClient(OnceCell<Client>);

impl LazyClient {
    /// # Errors
    /// When it cannot be made.
    pub async fn get(&self) -> Result<&Client, ClientError> {
        let make = || async {
            let made = spawn_blocking(Client::new).await;
            made.unwrap_or_else(|error| Err(ClientError::Build(error.to_string())))
        };
        self.0.get_or_try_init(make).await
    }
}

/// `rustls` on `aws-lc-rs`, said explicitly: another crate's features decide nothing.
fn tls() -> Result<rustls::ClientConfig, ClientError> {
    let failed = |error: rustls::Error| ClientError::Build(error.to_string());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(failed)
    };
    match builder()?.with_platform_verifier() {
        Ok(it) => Ok(it.with_no_client_auth()),
        Err(error) => {
            tracing::warn!(%error, "no root certificates: calls to https will fail");
            let none = rustls::RootCertStore::empty();
            Ok(builder()?.with_root_certificates(none).with_no_client_auth())
        }
    }
}

fn request(outgoing: Outgoing) -> Result<reqwest::Request, ClientError> {
    let url = Url::parse(outgoing.url.expose_secret());
    let url = url.map_err(|error| ClientError::Url(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ClientError::Url(String::from("it is neither http nor https")));
    }
    let mut request = reqwest::Request::new(outgoing.method, url);
    for (name, value) in outgoing.headers {
        let bad = |_| ClientError::Header(name);
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(bad)?;
        value.set_sensitive(true);
        let name = HeaderName::try_from(name).map_err(|_| ClientError::Header(name))?;
        request.headers_mut().insert(name, value);
    }
    *request.body_mut() = Some(outgoing.body.into());
    Ok(request)
}

/// Whether all of the body came and fitted.
async fn read(response: &mut reqwest::Response, body: &mut Vec<u8>, most: usize) -> bool {
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = most.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn classify(error: &reqwest::Error) -> ClientError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(it) = cause {
        if let Some(NotFound(text)) = it.downcast_ref() {
            return ClientError::Dns(text.clone());
        }
        if let Some(tls) = it.downcast_ref::<rustls::Error>() {
            return ClientError::Tls(tls.to_string());
        }
        let io = it.downcast_ref::<io::Error>();
        if let Some(known) = io.and_then(|it| of_kind(it.kind(), error.is_connect())) {
            return known;
        }
        // What an `io::Error` holds is not its source, and it may be another `io::Error`.
        let held = io.and_then(io::Error::get_ref);
        cause = held.map(|it| it as &(dyn Error + 'static)).or_else(|| it.source());
    }
    if error.is_timeout() {
        return ClientError::Timeout { sent: !error.is_connect() };
    }
    let text = innermost(error);
    match error.is_connect() {
        true => ClientError::Connect(text),
        // hyper's words for a peer that went away between two messages.
        false if text.contains("connection closed") => ClientError::Reset,
        false => ClientError::Protocol(text),
    }
}

fn of_kind(kind: io::ErrorKind, connecting: bool) -> Option<ClientError> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::ConnectionRefused => Some(ClientError::Refused),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof
        | Kind::NotConnected => Some(ClientError::Reset),
        Kind::TimedOut => Some(ClientError::Timeout { sent: !connecting }),
        _ => None,
    }
}

/// The words of the first cause, which says most and repeats nothing.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// `getaddrinfo`, on threads that may block; its failures can be told from others.
struct SystemNames;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotFound(String);

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map_err(|error| NotFound(error.to_string()))?;
            let addresses: Vec<_> = found.collect();
            if addresses.is_empty() {
                return Err(NotFound(String::from("it has no address")).into());
            }
            Ok::<Addrs, _>(Box::new(addresses.into_iter()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, ClientError, Outgoing};
    use reqwest::Method;
    use secrecy::SecretString;
    use std::net::SocketAddr;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const TOKEN: &str = "T0KEN/hunter2";

    fn to(url: &str) -> Outgoing {
        Outgoing {
            method: Method::POST,
            url: SecretString::from(url),
            headers: vec![("x-api-key", SecretString::from("hunter2"))],
            body: b"{}".to_vec(),
            timeout: Duration::from_secs(20),
            body_max: 8,
        }
    }

    /// Answers once with these bytes, then closes; gives what it was sent.
    async fn answering(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 1024];
            // A TLS client is answered at once: it will never send HTTP.
            while !seen.starts_with(b"\x16") && !seen.ends_with(b"\r\n\r\n{}") {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => seen.extend_from_slice(&buffer[..count]),
                }
            }
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&seen).into_owned()
        });
        (address, served)
    }

    #[tokio::test]
    async fn answers_are_read_up_to_their_limit_and_redirects_are_not_followed() {
        let client = Client::new().unwrap();
        for (answer, status, retry_after, body, complete) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..], 200, None, &b"ok"[..], true),
            (
                b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n123456789",
                429,
                Some("7"),
                b"12345678",
                false,
            ),
            // Closed in the middle of its body: the status is known all the same.
            (b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nok", 200, None, b"ok", false),
            (
                b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.2:1/\r\nContent-Length: 0\r\n\r\n",
                307,
                None,
                b"",
                true,
            ),
        ] {
            let (address, served) = answering(answer).await;
            let received = client.send(to(&format!("http://{address}/{TOKEN}"))).await.unwrap();
            assert_eq!(received.status, status);
            assert_eq!(received.retry_after.as_deref(), retry_after);
            assert_eq!((received.body.as_slice(), received.complete), (body, complete));
            let seen = served.await.unwrap();
            assert!(seen.starts_with(&format!("POST /{TOKEN} HTTP/1.1\r\n")), "{seen}");
            assert!(seen.contains("x-api-key: hunter2\r\n"), "{seen}");
        }
    }

    #[tokio::test]
    async fn causes_are_told_apart_and_none_shows_the_url() {
        let client = Client::new().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (nothing, _served) = answering(b"").await;
        let (nonsense, _served) = answering(b"220 smtp ready\r\n\r\n").await;
        let (not_tls, _served) = answering(b"HTTP/1.1 400 Bad\r\n\r\n").await;
        let cases = [
            (format!("http://{closed}/{TOKEN}"), "Refused"),
            (format!("http://nonexistent.invalid/{TOKEN}"), "Dns"),
            (format!("http://{nothing}/{TOKEN}"), "Reset"),
            (format!("http://{nonsense}/{TOKEN}"), "Protocol"),
            (format!("https://{not_tls}/{TOKEN}"), "Tls"),
            (format!("ftp://{closed}/{TOKEN}"), "Url"),
            (format!("http://[{TOKEN}"), "Url"),
        ];
        for (url, expected) in cases {
            let error = client.send(to(&url)).await.unwrap_err();
            let shown = format!("{error:?} {error}");
            assert!(shown.starts_with(expected), "{expected}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_receiver_that_is_silent_costs_no_more_than_the_deadline() {
        let client = Client::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let call = Outgoing { timeout: Duration::from_millis(50), ..to(&url) };
        let error = client.send(call).await.unwrap_err();
        assert_eq!(error, ClientError::Timeout { sent: true });
    }

    #[test]
    fn a_call_does_not_print_its_secrets() {
        let shown = format!("{:?}", to("http://h/hunter2"));
        assert!(!shown.contains("hunter2") && shown.contains("x-api-key"), "{shown}");
    }
}
