//! An upstream that records what it received and answers as a test wants, also wrongly.

use std::collections::HashMap;
use std::fmt;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::wait::{Signal, until_some};
use super::wire::{Field, Framing, Head, Wire, WireError};

/// A request as the upstream received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Counts connections from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// Whether the body was read to its end.
    pub(crate) whole: bool,
}

impl Received {
    /// Whether the path is at or under `prefix`, by whole segments.
    pub(crate) fn path_is_under(&self, prefix: &str) -> bool {
        let rest = self.target.split('?').next().and_then(|it| it.strip_prefix(prefix));
        rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }
}

#[derive(Debug, Default)]
struct Record {
    requests: Vec<Received>,
    /// Counts connections.
    connections: usize,
    /// Open sockets by connection number, to end them when the upstream goes.
    sockets: HashMap<usize, TcpStream>,
    /// What was wrong with requests, to the letter.
    faults: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    record: Mutex<Record>,
    /// Set when the upstream is dropped; hanging handlers wait for it.
    gone: Signal,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no panic under this lock")
    }
}

/// Answers each request of each connection by a function.
pub(crate) struct RawUpstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl fmt::Debug for RawUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawUpstream({})", self.address)
    }
}

/// One request under way, and the connection to answer on.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) wire: Wire,
    pub(crate) request: Received,
    shared: Arc<Shared>,
    index: usize,
    body_read: bool,
    over: bool,
}

impl RawUpstream {
    /// Calls `handler` for every request whose head was read; it reads the body and answers.
    pub(crate) fn start(handler: impl Fn(&mut Exchange) + Send + Sync + 'static) -> Self {
        let handler = Arc::new(handler);
        Self::each_connection(move |wire, connection, shared| {
            serve(wire, connection, shared, &*handler);
        })
    }

    /// Calls `handler` for every connection as soon as it is accepted, with nothing read.
    pub(crate) fn raw(handler: impl Fn(&mut Wire, &Signal) + Send + Sync + 'static) -> Self {
        Self::each_connection(move |mut wire, _, shared| handler(&mut wire, &shared.gone))
    }

    fn each_connection(
        handler: impl Fn(Wire, usize, &Arc<Shared>) + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"), handler)
    }

    fn on(
        listener: TcpListener,
        handler: impl Fn(Wire, usize, &Arc<Shared>) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let (for_thread, handler) = (Arc::clone(&shared), Arc::new(handler));
        std::thread::spawn(move || accept(&listener, &for_thread, &handler));
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests arrived.
    pub(crate) fn requests(&self) -> usize {
        self.shared.record().requests.len()
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.shared.record().connections
    }

    /// Whether this side has not closed a connection yet.
    pub(crate) fn is_open(&self, connection: usize) -> bool {
        self.shared.record().sockets.contains_key(&connection)
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.record().requests.clone()
    }

    /// The newest request.
    #[track_caller]
    pub(crate) fn last(&self) -> Received {
        self.received().pop().expect("a request arrived")
    }

    /// Waits for a request with this target.
    #[track_caller]
    pub(crate) fn wait_for(&self, target: &str) -> Received {
        let what = format!("a request for {target}");
        until_some(&what, || self.received().into_iter().rev().find(|it| it.target == target))
    }

    /// The gate must send requests to the letter; what was wrong with them.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.shared.record().faults.clone()
    }

    /// Resets every open connection, as a crash would.
    pub(crate) fn drop_connections(&self) {
        for socket in self.shared.record().sockets.values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.gone.set();
        self.drop_connections();
        // Wakes the accept loop.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn accept<F>(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<F>)
where
    F: Fn(Wire, usize, &Arc<Shared>) + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let connection = {
            let mut record = shared.record();
            let number = record.connections;
            record.connections += 1;
            record.sockets.insert(number, stream.try_clone().expect("a socket"));
            number
        };
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        std::thread::spawn(move || {
            handler(Wire::new(stream), connection, &shared);
            shared.record().sockets.remove(&connection);
        });
    }
}

fn serve(mut wire: Wire, connection: usize, shared: &Arc<Shared>, handler: &dyn Fn(&mut Exchange)) {
    loop {
        let request = match wire.head().and_then(|head| received(connection, head)) {
            Ok(request) => request,
            Err(WireError::Malformed(fault)) => return shared.record().faults.push(fault),
            Err(_) => return,
        };
        let index = {
            let mut record = shared.record();
            record.requests.push(request.clone());
            record.requests.len() - 1
        };
        let shared = Arc::clone(shared);
        let mut exchange = Exchange { wire, request, shared, index, body_read: false, over: false };
        handler(&mut exchange);
        if exchange.over || exchange.try_body().is_err() {
            return;
        }
        wire = exchange.wire;
    }
}

fn received(connection: usize, head: Head) -> Result<Received, WireError> {
    let words: Vec<&str> = head.start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words.as_slice() else {
        return Err(WireError::Malformed(format!("request line {:?}", head.start)));
    };
    let (method, target) = ((*method).to_owned(), (*target).to_owned());
    let framing = head.framing()?;
    let (body, trailers) = (Vec::new(), Vec::new());
    Ok(Received { connection, head, method, target, framing, body, trailers, whole: false })
}

impl Exchange {
    /// Path without the query.
    pub(crate) fn path(&self) -> String {
        self.request.target.split('?').next().unwrap_or_default().to_owned()
    }

    /// Reads the body and keeps it.
    pub(crate) fn body(&mut self) -> Vec<u8> {
        let _ = self.try_body();
        self.request.body.clone()
    }

    fn try_body(&mut self) -> Result<(), WireError> {
        let mut body = Vec::new();
        let outcome = self.read_body(&mut |it| body.extend_from_slice(it));
        self.request.body.extend_from_slice(&body);
        self.keep();
        outcome
    }

    /// Reads the body and only counts it.
    pub(crate) fn count_body(&mut self) -> u64 {
        let mut count = 0;
        let _ = self.read_body(&mut |it| count += it.len() as u64);
        self.keep();
        count
    }

    fn read_body(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), WireError> {
        if std::mem::replace(&mut self.body_read, true) {
            return Ok(());
        }
        let outcome = self.wire.body(self.request.framing, sink);
        if let Err(WireError::Malformed(fault)) = &outcome {
            self.shared.record().faults.push(fault.clone());
        }
        self.request.trailers = outcome?;
        self.request.whole = true;
        Ok(())
    }

    fn keep(&self) {
        self.shared.record().requests[self.index] = self.request.clone();
    }

    /// The handler reads the body itself, from the wire.
    pub(crate) fn takes_body(&mut self) -> &mut Wire {
        self.body_read = true;
        &mut self.wire
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.wire.send(bytes.as_ref());
        self
    }

    /// Sends, and says whether the gate took it.
    pub(crate) fn sends(&mut self, bytes: &[u8]) -> bool {
        self.wire.send(bytes).is_ok()
    }

    /// Sends a plain response with a length; reads the body first.
    pub(crate) fn respond(&mut self, status: u16, fields: &str, body: &[u8]) {
        let _ = self.try_body();
        let length = body.len();
        self.send(format!("HTTP/1.1 {status} Fine\r\nContent-Length: {length}\r\n{fields}\r\n"));
        if self.request.method != "HEAD" {
            self.send(body);
        }
    }

    /// Ends the connection after this exchange.
    pub(crate) fn close(&mut self) {
        self.over = true;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(&mut self) {
        self.over = true;
        // The socket is closed when the handler has returned.
        let socket = socket2::SockRef::from(&self.wire.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// Does nothing until the gate closes the connection or the upstream is dropped.
    pub(crate) fn hang(&mut self) {
        self.over = true;
        while let Ok(count) = self.wire.fill() {
            if count == 0 {
                return;
            }
        }
    }

    /// Waits for the test, or until the upstream is dropped.
    pub(crate) fn wait(&self, signal: &Signal) {
        signal.wait();
    }
}

type Handler = Arc<dyn Fn(&mut Exchange) + Send + Sync>;

/// A well-behaved upstream: paths and what they answer.
#[derive(Default)]
pub(crate) struct Upstream {
    routes: HashMap<String, Handler>,
    fallback: Option<Handler>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Nothing but 404 so far.
    pub(crate) fn http1() -> Self {
        Self::default()
    }

    /// Answers a path with 200 and this body.
    pub(crate) fn route(self, path: &str, body: &'static str) -> Self {
        self.handle(path, move |exchange| exchange.respond(200, "", body.as_bytes()))
    }

    /// Answers a path by a function.
    pub(crate) fn handle(
        mut self,
        path: &str,
        handler: impl Fn(&mut Exchange) + Send + Sync + 'static,
    ) -> Self {
        self.routes.insert(path.to_owned(), Arc::new(handler));
        self
    }

    /// Answers a path only after the signal.
    pub(crate) fn slow(self, path: &str, body: &'static str, signal: &Signal) -> Self {
        let signal = signal.clone();
        self.handle(path, move |exchange| {
            exchange.wait(&signal);
            exchange.respond(200, "", body.as_bytes());
        })
    }

    /// Answers every other path with 200 and this body.
    pub(crate) fn otherwise(mut self, body: &'static str) -> Self {
        self.fallback = Some(Arc::new(move |it| it.respond(200, "", body.as_bytes())));
        self
    }

    pub(crate) fn start(self) -> RawUpstream {
        RawUpstream::start(move |exchange| self.answer(exchange))
    }

    /// Starts at an address that another has left; nothing if somebody took it.
    pub(crate) fn start_at(self, address: SocketAddr) -> Option<RawUpstream> {
        let listener = TcpListener::bind(address).ok()?;
        Some(RawUpstream::on(listener, move |wire, connection, shared| {
            serve(wire, connection, shared, &|exchange| self.answer(exchange));
        }))
    }

    fn answer(&self, exchange: &mut Exchange) {
        match self.routes.get(&exchange.path()).or(self.fallback.as_ref()) {
            Some(handler) => handler(exchange),
            None => exchange.respond(404, "", b"no such path here"),
        }
    }

    /// Answers every path with 200 and nothing, by a function where one is given.
    pub(crate) fn by(handler: impl Fn(&mut Exchange) + Send + Sync + 'static) -> RawUpstream {
        RawUpstream::start(handler)
    }

    /// Answers everything with its own name.
    pub(crate) fn named(name: &'static str) -> RawUpstream {
        Self::http1().otherwise(name).start()
    }
}
