//! A thousand services, an Event Dispatcher and a Kubesnap on one thread: they answer at once and note when.
//!
//! One epoll loop that sleeps while there is nothing to do: it costs the core of the load next to nothing.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use memchr::memmem;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::machine::{self, Machine, now_ns};

/// What StockFlow's services say of their health.
const WELL: &str = "{\"status\":\"OK\",\"timestamp\":\"2026-11-23 23:24:39.76+00:00\"}";
const ACCEPTED: &str = "{\"status\":\"Health alert process initiated\",\"channels\":[\"email\"]}";

/// How long the loop sleeps at most: so long may it take to notice that it shall end.
const TURN_NS: u64 = 20_000_000;

/// A request is smaller than this, or its connection is cut.
const REQUEST_MAX: usize = 256 * 1024;

/// An alert that has come in as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) at_ns: u64,
    pub(crate) body: String,
}

/// What one connection talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Service(usize),
    Dispatcher,
    Kubesnap,
}

/// What the scenes change and read while the loop runs.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// By service.
    failing: Vec<AtomicBool>,
    /// When a failing service first said so; 0: not yet.
    failed_ns: Vec<AtomicU64>,
    /// Probes answered: of the gate (by its `User-Agent`), and of others.
    gate: AtomicU64,
    others: AtomicU64,
    /// A dispatcher that begins to listen.
    dispatcher: Mutex<Option<TcpListener>>,
}

/// The running loop; ended when dropped.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) services: Vec<SocketAddr>,
    pub(crate) dispatcher: SocketAddr,
    pub(crate) kubesnap: SocketAddr,
    pub(crate) receipts: mpsc::Receiver<Receipt>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Field {
    /// Starts it on the core of the load. The dispatcher refuses connections until [`Field::open_dispatcher`].
    pub(crate) fn start(machine: &Machine, services: usize) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = Arc::new(Shared {
            failing: (0..services).map(|_| AtomicBool::default()).collect(),
            failed_ns: (0..services).map(|_| AtomicU64::default()).collect(),
            ..Shared::default()
        });
        let (sender, receipts) = mpsc::channel();
        let mut turn = Loop::new(Arc::clone(&shared), sender)?;
        let mut addresses = Vec::with_capacity(services);
        for number in 0..services {
            addresses.push(turn.listen(TcpListener::bind(any)?, Role::Service(number))?);
        }
        let kubesnap = turn.listen(TcpListener::bind(any)?, Role::Kubesnap)?;
        // Known before it listens; nobody else is given the port so soon.
        let dispatcher = TcpListener::bind(any)?.local_addr()?;
        let core = machine.load;
        let thread = std::thread::spawn(move || {
            if machine::pin(&[core]).is_ok() {
                turn.run();
            }
        });
        let thread = Some(thread);
        Ok(Self { services: addresses, dispatcher, kubesnap, receipts, shared, thread })
    }

    /// From now on the dispatcher accepts.
    pub(crate) fn open_dispatcher(&self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.dispatcher).context("the dispatcher's port")?;
        let mut place = self.shared.dispatcher.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(listener);
        Ok(())
    }

    /// A service answers 500 from now on.
    pub(crate) fn fail(&self, number: usize) {
        if let Some((failing, at)) = self.of(number) {
            at.store(0, Ordering::SeqCst);
            failing.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) fn heal(&self, number: usize) {
        if let Some((failing, _)) = self.of(number) {
            failing.store(false, Ordering::SeqCst);
        }
    }

    /// When the service's first failing answer was sent.
    pub(crate) fn failed_ns(&self, number: usize) -> u64 {
        self.of(number).map_or(0, |it| it.1.load(Ordering::SeqCst))
    }

    fn of(&self, number: usize) -> Option<(&AtomicBool, &AtomicU64)> {
        self.shared.failing.get(number).zip(self.shared.failed_ns.get(number))
    }

    /// Probes so far: of the gate, and of others.
    pub(crate) fn answered(&self) -> (u64, u64) {
        let read = |it: &AtomicU64| it.load(Ordering::Relaxed);
        (read(&self.shared.gate), read(&self.shared.others))
    }

    /// The next alert, waited for at most so long.
    pub(crate) fn receipt(&self, within: Duration) -> anyhow::Result<Receipt> {
        self.receipts.recv_timeout(within).context("no alert came in")
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection.
#[derive(Debug)]
struct Conn {
    socket: TcpStream,
    role: Role,
    kept: Vec<u8>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alive {
    Yes,
    No,
}

/// The loop. Tokens: listeners first, then connections.
struct Loop {
    epoll: OwnedFd,
    listeners: Vec<(TcpListener, Role)>,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    /// Answers that are held back: when they are due, and on which connection.
    held: Vec<(u64, usize)>,
    /// How long Kubesnap works on a snapshot.
    shared: Arc<Shared>,
    receipts: mpsc::Sender<Receipt>,
}

/// What Kubesnap's answer takes.
const SNAPSHOT_NS: u64 = 300_000_000;

/// Tokens of connections begin here.
const CONNS: u64 = 1 << 32;

impl Loop {
    fn new(shared: Arc<Shared>, receipts: mpsc::Sender<Receipt>) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (listeners, conns) = (Vec::new(), Vec::new());
        Ok(Self { epoll, listeners, conns, free: Vec::new(), held: Vec::new(), shared, receipts })
    }

    fn listen(&mut self, listener: TcpListener, role: Role) -> io::Result<SocketAddr> {
        listener.set_nonblocking(true)?;
        let token = EventData::new_u64(self.listeners.len() as u64);
        epoll::add(&self.epoll, &listener, token, EventFlags::IN)?;
        let address = listener.local_addr()?;
        self.listeners.push((listener, role));
        Ok(address)
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(256);
        let mut scratch = vec![0; 64 * 1024];
        while !self.shared.stop.load(Ordering::Relaxed) {
            let opened = self.shared.dispatcher.lock().ok().and_then(|mut it| it.take());
            if let Some(listener) = opened {
                let _ = self.listen(listener, Role::Dispatcher);
            }
            let next = self.held.iter().map(|it| it.0).min();
            let patience = next.map_or(TURN_NS, |it| it.saturating_sub(now_ns()).min(TURN_NS));
            let patience =
                Timespec { tv_sec: 0, tv_nsec: i64::try_from(patience).unwrap_or_default() };
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(&self.epoll, spare, Some(&patience)).is_ok() {
                for event in &events {
                    self.on_event(event.data.u64(), &mut scratch);
                }
            }
            self.let_go();
        }
    }

    fn on_event(&mut self, token: u64, scratch: &mut [u8]) {
        let Some(at) = token.checked_sub(CONNS) else { return self.accept(token) };
        let Ok(at) = usize::try_from(at) else { return };
        let Some(mut conn) = self.conns.get_mut(at).and_then(Option::take) else { return };
        let alive = self.serve(&mut conn, at, scratch).unwrap_or(Alive::No);
        match (alive, self.conns.get_mut(at)) {
            (Alive::Yes, Some(place)) => *place = Some(conn),
            _ => self.free.push(at),
        }
    }

    fn accept(&mut self, token: u64) {
        let listener = usize::try_from(token).ok().and_then(|it| self.listeners.get(it));
        let Some((listener, role)) = listener else { return };
        while let Ok((socket, _)) = listener.accept() {
            if socket.set_nonblocking(true).is_err() || socket.set_nodelay(true).is_err() {
                continue;
            }
            let at = self.free.pop().unwrap_or_else(|| {
                self.conns.push(None);
                self.conns.len() - 1
            });
            let data = EventData::new_u64(CONNS + at as u64);
            let added = epoll::add(&self.epoll, &socket, data, EventFlags::IN);
            match (added, self.conns.get_mut(at)) {
                (Ok(()), Some(place)) => {
                    *place = Some(Conn { socket, role: *role, kept: Vec::new() });
                }
                _ => self.free.push(at),
            }
        }
    }

    fn serve(&mut self, conn: &mut Conn, at: usize, scratch: &mut [u8]) -> io::Result<Alive> {
        let got = match conn.socket.read(scratch) {
            Ok(0) => return Ok(Alive::No),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Alive::Yes),
            Err(error) => return Err(error),
        };
        conn.kept.extend_from_slice(scratch.get(..got).unwrap_or_default());
        while let Some((head, body)) = request(&conn.kept) {
            let (end, closes) = (head + body, says(conn.kept.get(..head), b"onnection: close"));
            match conn.role {
                Role::Service(number) => {
                    let ours = says(conn.kept.get(..head), b"headgate/");
                    self.probe(conn, (number, closes), ours)?;
                }
                Role::Dispatcher => {
                    let body = conn.kept.get(head..end).unwrap_or_default();
                    let body = String::from_utf8_lossy(body).into_owned();
                    // Nobody may be listening any more: the scene is over.
                    let _ = self.receipts.send(Receipt { at_ns: now_ns(), body });
                    answer(conn, "200 OK", ACCEPTED, closes)?;
                }
                Role::Kubesnap => self.held.push((now_ns() + SNAPSHOT_NS, at)),
            }
            conn.kept.drain(..end);
            if closes && conn.role != Role::Kubesnap {
                return Ok(Alive::No);
            }
        }
        Ok(if conn.kept.len() > REQUEST_MAX { Alive::No } else { Alive::Yes })
    }

    fn probe(
        &self,
        conn: &mut Conn,
        (number, closes): (usize, bool),
        ours: bool,
    ) -> io::Result<()> {
        let count = if ours { &self.shared.gate } else { &self.shared.others };
        count.fetch_add(1, Ordering::Relaxed);
        if !self.shared.failing.get(number).is_some_and(|it| it.load(Ordering::SeqCst)) {
            return answer(conn, "200 OK", WELL, closes);
        }
        answer(conn, "500 Internal Server Error", "{\"detail\":\"broken\"}", closes)?;
        if let Some(at) = self.shared.failed_ns.get(number) {
            let _ = at.compare_exchange(0, now_ns(), Ordering::SeqCst, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Sends held answers that are due.
    fn let_go(&mut self) {
        let now = now_ns();
        let due: Vec<usize> = self.held.iter().filter(|it| it.0 <= now).map(|it| it.1).collect();
        self.held.retain(|it| it.0 > now);
        for at in due {
            let body = format!(
                "{{\"snapshot_status\":\"success\",\"file_name\":\"kubesnap_bench_{now}.zip\",\
                 \"timestamp\":\"2026-11-23 23:24:39.76+00:00\",\"upload_status\":\"success\"}}"
            );
            if let Some(Some(conn)) = self.conns.get_mut(at) {
                let _ = answer(conn, "200 OK", &body, false);
            }
        }
    }
}

/// Lengths of head and body of a request that is there as a whole.
fn request(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = memmem::find(bytes, b"\r\n\r\n")? + 4;
    let lines = bytes.get(..head)?.split(|it| *it == b'\n');
    let mut length = lines.filter_map(|it| {
        let (name, value) = str::from_utf8(it).ok()?.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = length.next_back().unwrap_or(0);
    (bytes.len() >= head.checked_add(body)?).then_some((head, body))
}

fn says(head: Option<&[u8]>, what: &[u8]) -> bool {
    head.is_some_and(|it| memmem::find(it, what).is_some())
}

/// Answers are small enough for any socket's buffer.
fn answer(conn: &mut Conn, status: &str, body: &str, closes: bool) -> io::Result<()> {
    let close = if closes { "Connection: close\r\n" } else { "" };
    let whole = format!(
        "HTTP/1.1 {status}\r\nServer: uvicorn\r\nContent-Type: application/json\r\n{close}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    conn.socket.write_all(whole.as_bytes())
}
