//! Serves small answers, and a few that go on and on, over hyper: ops, admin and stand-ins; never the data path.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::semantics::trace::{Fresh, request_id};
use crate::wire::answer::{Answer, Reply, Streamed};
use crate::wire::flow::Flow;
use crate::wire::seats::{Guest, Seat, Seats};
use crate::wire::socket::{Accepted, Socket};

const REQUEST_ID: &str = "X-Request-ID";

/// A whole body, or one that comes bit by bit.
type Sent = Either<Full<Bytes>, Flow>;

/// How long the loop rests after an accept that failed (no descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A small request, read whole (body at most 64 KiB, else 413, but where there is an [`Allowance`]).
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
    /// `None` on a unix socket.
    pub peer: Option<SocketAddr>,
    /// The sent one if it is well-formed, else a new one; the answer carries it.
    pub request_id: String,
    /// Held for as long as a large body is in memory.
    pub place: Option<OwnedSemaphorePermit>,
}

/// A body that may be larger than the server's others.
#[derive(Debug)]
pub struct Allowance {
    pub bytes: usize,
    /// For the whole body.
    pub time: Duration,
    /// One of the few places for such bodies.
    pub place: OwnedSemaphorePermit,
}

/// Looks at a request without its body: an allowance for it, or a refusal before a byte of it is read.
pub type LookAhead = dyn Fn(&Asked) -> Result<Option<Allowance>, Answer> + Send + Sync;

/// What one server allows.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// Open connections; for a further one the quietest goes, or it waits in the kernel's queue.
    pub connections: usize,
    /// Bytes of a request head; beyond: 431.
    pub head_bytes: usize,
    /// For a whole head, also while idle between two requests.
    pub head: Duration,
    /// Bytes of a body; beyond: 413.
    pub body_bytes: usize,
    /// For a whole body; beyond: 408.
    pub body: Duration,
    /// For the handler; beyond: 503.
    pub handler: Duration,
    /// Age at which a connection is closed after its current answer.
    pub age: Duration,
    /// How long running answers may take after the stop.
    pub drain: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 16 * 1024,
            head: Duration::from_secs(10),
            body_bytes: 64 * 1024,
            body: Duration::from_secs(10),
            handler: Duration::from_secs(60),
            age: Duration::from_secs(300),
            drain: Duration::from_secs(5),
        }
    }
}

/// An RFC 9457 problem. `code` is a stable slug; `request_id` is left out when it is empty.
pub fn problem(status: u16, code: &str, detail: &str, request_id: &str) -> Answer {
    let title = StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason());
    let mut members = serde_json::json!({
        "type": format!("urn:headgate:{code}"),
        "title": title.unwrap_or("Refused"),
        "status": status,
        "detail": detail,
    });
    if !request_id.is_empty() {
        members["request_id"] = request_id.into();
    }
    let mut answer = Answer::json(status, &members);
    answer.headers = vec![("Content-Type", "application/problem+json".to_owned())];
    answer.with("Cache-Control", "no-store")
}

/// Serves until `stop` says so (or its sender is gone); then running answers have `limits.drain` to end.
/// A unix socket's file is removed at the end.
pub async fn serve<H, F, R>(
    socket: Socket,
    limits: ServeLimits,
    handler: H,
    stop: watch::Receiver<bool>,
) where
    H: Fn(Asked) -> F + Clone + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + 'static,
{
    serve_some_large(socket, limits, Arc::new(|_: &Asked| Ok(None)), handler, stop).await;
}

/// [`serve`], where some bodies may be larger.
pub async fn serve_some_large<H, F, R>(
    socket: Socket,
    limits: ServeLimits,
    look_ahead: Arc<LookAhead>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Asked) -> F + Clone + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + 'static,
{
    let mut seats = Seats::new(limits.connections);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|it| *it) => break,
            Some(_) = connections.join_next() => continue,
            accepted = socket.accept() => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let seat = tokio::select! {
            _ = stop.wait_for(|it| *it) => break,
            seat = seats.take() => seat,
        };
        let (handler, stop) = (handler.clone(), stop.clone());
        let look_ahead = Arc::clone(&look_ahead);
        match accepted {
            Accepted::Tcp(stream, peer) => {
                let exchange = Exchanges { limits, look_ahead, handler, peer: Some(peer) };
                connections.spawn(exchange.run(TokioIo::new(stream), seat, stop));
            }
            Accepted::Unix(stream) => {
                let exchange = Exchanges { limits, look_ahead, handler, peer: None };
                connections.spawn(exchange.run(TokioIo::new(stream), seat, stop));
            }
        }
    }
    drop(socket);
    let deadline = Instant::now() + limits.drain;
    while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
    connections.shutdown().await;
}

/// The exchanges of one connection.
#[derive(Clone)]
struct Exchanges<H> {
    limits: ServeLimits,
    look_ahead: Arc<LookAhead>,
    handler: H,
    peer: Option<SocketAddr>,
}

impl<H, F, R> Exchanges<H>
where
    H: Fn(Asked) -> F + Clone + Send + 'static,
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + 'static,
{
    async fn run<I>(self, io: I, seat: Seat, mut stop: watch::Receiver<bool>)
    where
        I: Read + Write + Unpin,
    {
        let limits = self.limits;
        let guest = Arc::clone(&seat.guest);
        let (asker, stopping) = (Arc::clone(&guest), stop.clone());
        let service = service_fn(move |request| {
            let (exchanges, asking) = (self.clone(), Guest::asks(&asker));
            let (guest, stop) = (Arc::clone(&asker), stopping.clone());
            async move {
                let reply = exchanges.exchange(request).await;
                if let Reply::Streamed(it) = &reply {
                    guest.streams(it.sender.clone());
                }
                drop(asking);
                Ok::<_, Infallible>(respond(reply, stop))
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes.max(8192));
        let mut connection = pin!(builder.serve_connection(io, service));
        let patience = tokio::select! {
            // An error is the client's: it went away, was too slow or spoke no HTTP; hyper has answered what it could.
            _ = connection.as_mut() => return,
            () = seat.guest.told_to_leave() => return,
            _ = stop.wait_for(|it| *it) => limits.drain,
            () = tokio::time::sleep(limits.age) => limits.handler + limits.body,
        };
        connection.as_mut().graceful_shutdown();
        // What goes on and on is no answer that hangs; the stop ends it.
        while timeout(patience, connection.as_mut()).await.is_err() && guest.is_streaming() {}
    }

    async fn exchange(self, request: Request<Incoming>) -> Reply {
        let (head, body) = request.into_parts();
        let id = id_of(&head.headers);
        let mut asked = Asked {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: head.headers,
            body: Bytes::new(),
            peer: self.peer,
            request_id: id.clone(),
            place: None,
        };
        let body = match self.room(&mut asked) {
            Ok(room) => read(body, room, &id).await,
            Err(refusal) => Err(refusal),
        };
        match body {
            Ok(body) => asked.body = body,
            Err(refusal) => {
                // What is left of the body is not read, so the connection cannot go on.
                return identified(refusal.with("Connection", "close").into(), &id);
            }
        }
        let limits = self.limits;
        let answered = timeout(limits.handler, (self.handler)(asked)).await;
        let reply = answered.map(Into::into).unwrap_or_else(|_| {
            problem(503, "handler-timeout", "the answer took too long; try again", &id)
                .with("Retry-After", "1")
                .into()
        });
        identified(reply, &id)
    }

    /// Bytes and time for the body.
    fn room(&self, asked: &mut Asked) -> Result<(usize, Duration), Answer> {
        let Some(Allowance { bytes, time, place }) = (self.look_ahead)(asked)? else {
            return Ok((self.limits.body_bytes, self.limits.body));
        };
        asked.place = Some(place);
        Ok((bytes, time))
    }
}

fn id_of(headers: &hyper::HeaderMap) -> String {
    let mut bytes = [0; 16];
    // Ids only tell requests apart; without random numbers they are zero, and the gate works on.
    let _ = getrandom::fill(&mut bytes);
    let fresh = Fresh { request: u128::from_le_bytes(bytes), trace: 0, span: 0 };
    let sent = headers.get(REQUEST_ID).map(|it| it.as_bytes());
    request_id(sent, fresh).as_str().to_owned()
}

/// With the request's id, which some refusals have already.
fn identified(reply: Reply, id: &str) -> Reply {
    let has_one = reply.head().headers.iter().any(|it| it.0.eq_ignore_ascii_case(REQUEST_ID));
    if has_one { reply } else { reply.with(REQUEST_ID, id) }
}

async fn read(body: Incoming, room: (usize, Duration), id: &str) -> Result<Bytes, Answer> {
    let (most, time) = room;
    let too_large = || problem(413, "body-too-large", "the body is larger than allowed here", id);
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(time, Limited::new(body, most).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(problem(400, "bad-body", "the body's framing is broken", id)),
        Err(_) => Err(problem(408, "client-too-slow", "the body did not arrive in time", id)),
    }
}

fn respond(reply: Reply, stop: watch::Receiver<bool>) -> Response<Sent> {
    let (answer, body) = match reply {
        Reply::Whole(mut answer) => {
            let body = Full::new(Bytes::from(std::mem::take(&mut answer.body)));
            (answer, Either::Left(body))
        }
        Reply::Streamed(Streamed { head, body, sender: _ }) => {
            (head, Either::Right(Flow::new(body, stop)))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        // A value that cannot be a header (a line break, say) must not become two.
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            (Ok(name), Ok(value)) => drop(response.headers_mut().append(name, value)),
            _ => tracing::warn!(name, "left out a header that is not valid"),
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Semaphore;

    use super::*;

    /// A server that echoes; `/slow` says that it runs and waits to be released.
    struct Echo {
        address: SocketAddr,
        running: Arc<Semaphore>,
        release: Arc<Semaphore>,
        stop: watch::Sender<bool>,
        ended: tokio::task::JoinHandle<()>,
    }

    async fn echo(limits: ServeLimits) -> Echo {
        let socket = Socket::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = socket.tcp_address().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (running, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let slow = (Arc::clone(&running), Arc::clone(&release));
        let handler = move |asked: Asked| answer(asked, slow.clone());
        let ended = tokio::spawn(serve(socket, limits, handler, stopped));
        Echo { address, running, release, stop, ended }
    }

    async fn answer(asked: Asked, slow: (Arc<Semaphore>, Arc<Semaphore>)) -> Answer {
        match asked.path.as_str() {
            "/slow" => {
                slow.0.add_permits(1);
                slow.1.acquire().await.unwrap().forget();
            }
            "/bad-header" => {
                return Answer::json(200, &"x").with("X-Odd", "a\r\nX-Forged: 1");
            }
            _ => {}
        }
        let line = format!("{} {} {:?} ", asked.method, asked.path, asked.query);
        let body = [line.as_bytes(), &asked.body].concat();
        Answer { status: 200, headers: vec![("Content-Type", "text/plain".to_owned())], body }
    }

    impl Echo {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Everything that comes back on a connection of its own.
        async fn ask(&self, bytes: &[u8]) -> String {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            String::from_utf8(all).unwrap()
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_with_its_body() {
        let text = echo(ServeLimits::default())
            .await
            .ask(b"POST /a?b=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            .await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nPOST /a Some(\"b=1\") hi"), "{text}");
        assert!(text.contains("content-type: text/plain\r\n"), "{text}");
    }

    #[tokio::test]
    async fn head_gets_the_length_and_no_body() {
        let text = echo(ServeLimits::default())
            .await
            .ask(b"HEAD /abc HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(text.contains("content-length: 15\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }

    #[tokio::test]
    async fn a_large_body_is_refused_with_or_without_a_length() {
        let limits = ServeLimits { body_bytes: 10, ..ServeLimits::default() };
        let server = echo(limits).await;
        for request in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
        ] {
            let text = server.ask(request.as_bytes()).await;
            assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
            assert!(text.contains("connection: close\r\n"), "{text}");
            assert!(text.contains("\"type\":\"urn:headgate:body-too-large\""), "{text}");
        }
        let fits = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";
        assert!(server.ask(fits.as_bytes()).await.ends_with("0123456789"));
    }

    #[tokio::test]
    async fn a_header_value_cannot_become_two_headers() {
        let text = echo(ServeLimits::default())
            .await
            .ask(b"GET /bad-header HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(!text.to_lowercase().contains("forged"), "{text}");
    }

    #[tokio::test]
    async fn slow_handlers_heads_and_bodies_are_cut() {
        let short = Duration::from_millis(50);
        let limits = ServeLimits { handler: short, body: short, head: short, ..Default::default() };
        let server = echo(limits).await;
        let slow = server.ask(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(slow.starts_with("HTTP/1.1 503 ") && slow.contains("handler-timeout"), "{slow}");
        let body = server.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na").await;
        assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("client-too-slow"), "{body}");
        assert!(!server.ask(b"GET / HT").await.contains("200 OK"));
        assert_eq!(server.ask(b"").await, "");
    }

    #[tokio::test]
    async fn a_stop_lets_running_answers_end_and_idle_connections_close() {
        let server =
            echo(ServeLimits { drain: Duration::from_secs(90), ..Default::default() }).await;
        let mut idle = server.connect().await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        server.running.acquire().await.unwrap().forget();
        server.stop.send(true).unwrap();
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        server.release.add_permits(1);
        busy.read_to_end(&mut rest).await.unwrap();
        let text = String::from_utf8(rest).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("connection: close"), "{text}");
        server.ended.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn a_stop_waits_no_longer_than_it_may() {
        let server =
            echo(ServeLimits { drain: Duration::from_millis(50), ..Default::default() }).await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        server.running.acquire().await.unwrap().forget();
        server.stop.send(true).unwrap();
        timeout(Duration::from_secs(10), server.ended).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn connections_that_ask_nothing_keep_nobody_out() {
        let patient = Duration::from_hours(1);
        let limits =
            ServeLimits { connections: 3, head: patient, age: patient, ..Default::default() };
        let server = echo(limits).await;
        let mut busy = server.connect().await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        server.running.acquire().await.unwrap().forget();
        let mut silent = Vec::new();
        for _ in 0..9 {
            silent.push(server.connect().await);
        }
        let text = server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        server.release.add_permits(1);
        let mut rest = Vec::new();
        busy.read_to_end(&mut rest).await.unwrap();
        assert!(rest.starts_with(b"HTTP/1.1 200 "), "who is being answered stays");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_their_turn() {
        let server = Arc::new(echo(ServeLimits { connections: 2, ..Default::default() }).await);
        let answered = Arc::new(AtomicUsize::new(0));
        let mut asks = JoinSet::new();
        for _ in 0..20 {
            let (server, answered) = (Arc::clone(&server), Arc::clone(&answered));
            asks.spawn(async move {
                let text =
                    server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
                answered.fetch_add(usize::from(text.starts_with("HTTP/1.1 200 ")), SeqCst);
            });
        }
        asks.join_all().await;
        assert_eq!(answered.load(SeqCst), 20);
    }

    /// A server whose every answer streams; the senders are the test's.
    async fn streams(
        limits: ServeLimits,
    ) -> (
        SocketAddr,
        tokio::sync::mpsc::Receiver<tokio::sync::mpsc::Sender<Bytes>>,
        watch::Sender<bool>,
    ) {
        let socket = Socket::tcp(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = socket.tcp_address().unwrap();
        let (stop, stopped) = watch::channel(false);
        let (give, given) = tokio::sync::mpsc::channel(8);
        let handler = move |_: Asked| {
            let give = give.clone();
            async move {
                let head = Answer { status: 200, headers: Vec::new(), body: Vec::new() };
                let (streamed, sender) = Streamed::new(head);
                give.send(sender).await.unwrap();
                Reply::Streamed(streamed)
            }
        };
        tokio::spawn(serve(socket, limits, handler, stopped));
        (address, given, stop)
    }

    async fn read_until(stream: &mut TcpStream, words: &str) -> String {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(words) {
            let mut piece = [0; 1024];
            let count = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
            assert!(count > 0, "{all:?}");
            all.extend_from_slice(&piece[..count]);
        }
        String::from_utf8(all).unwrap()
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_stream_outlives_every_deadline_and_ends_in_order_with_the_listener() {
        let short = Duration::from_millis(20);
        let limits = ServeLimits {
            age: short,
            handler: short,
            body: short,
            head: short,
            drain: PATIENCE,
            ..ServeLimits::default()
        };
        let (address, mut given, stop) = streams(limits).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let sender = given.recv().await.unwrap();
        read_until(&mut stream, "\r\n\r\n").await;
        // All of the short times pass many times over.
        tokio::time::sleep(short * 20).await;
        sender.send(Bytes::from_static(b"late")).await.unwrap();
        read_until(&mut stream, "4\r\nlate\r\n").await;
        stop.send(true).unwrap();
        read_until(&mut stream, "0\r\n\r\n").await;
        timeout(PATIENCE, sender.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_goes_is_told_to_the_sender() {
        let (address, mut given, _stop) = streams(ServeLimits::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let sender = given.recv().await.unwrap();
        drop(stream);
        timeout(PATIENCE, sender.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn followers_keep_their_places_until_their_sender_is_gone() {
        let limits = ServeLimits { connections: 1, ..ServeLimits::default() };
        let (address, mut given, _stop) = streams(limits).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let sender = given.recv().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(timeout(Duration::from_millis(600), given.recv()).await.is_err());
        drop(sender);
        assert!(timeout(PATIENCE, given.recv()).await.is_ok());
    }
}
