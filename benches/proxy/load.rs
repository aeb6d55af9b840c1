//! Load generator, upstream and log sink in one epoll loop on one core.
//!
//! One thread that never sleeps while it measures: no wake-up is charged to the proxy, and the two sides of the load
//! cost as little as they can, so that it is the proxy's core that saturates.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::client::{Ask, Client, Seen};
use crate::machine::now_ns;
use crate::upstream::{Alive, Answers, Conn};

const UPSTREAM: u64 = u64::MAX;
const SINK: u64 = u64::MAX - 1;
const STALLED_NS: u64 = 5_000_000_000;
const REFUSED_PAUSE_NS: u64 = 5_000_000;

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many are under way at any time.
    Closed { in_flight: usize },
    /// So many a second, whatever the answers do; latency counts from when a request was due.
    Open { per_second: u64 },
}

/// What a stretch of load saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    /// Wrong, broken off, refused or never answered.
    pub(crate) failed: u64,
    /// Sent again, as HTTP allows: the connection had served before and closed without a byte of an answer.
    pub(crate) resent: u64,
    /// In ns, one for each response.
    pub(crate) latencies: Vec<u64>,
    pub(crate) wall_ns: u64,
}

impl Tally {
    /// Responses a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 * 1e9 / self.wall_ns.max(1) as f64
    }

    /// Microseconds that `share` (0..=1) of the responses took at most.
    pub(crate) fn quantile_us(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies.get(at).map_or(0.0, |it| *it as f64 / 1000.0)
    }
}

#[derive(Debug)]
enum Slot {
    Free,
    Upstream(Conn),
    Client(Client),
    Sink(TcpStream),
}

/// The loop.
pub(crate) struct Load {
    epoll: OwnedFd,
    upstream: TcpListener,
    sink: TcpListener,
    answers: Answers,
    slots: Vec<Slot>,
    free: Vec<usize>,
    idle: VecDeque<usize>,
    /// Due times of requests that wait for a connection.
    backlog: VecDeque<u64>,
    /// Connections that have to be made again.
    lost: usize,
    /// No new connection before, after one was refused.
    retry_ns: u64,
    in_flight: usize,
    scratch: Vec<u8>,
    events: Vec<epoll::Event>,
    target: SocketAddr,
    ask: Ask,
    pace: Pace,
    next_due_ns: u64,
    tally: Tally,
    /// Bytes of log that came in over the sink.
    pub(crate) logged: u64,
}

impl Load {
    /// Listens as upstream and as log sink; `sizes` are the bodies that can be asked for.
    pub(crate) fn new(sizes: &[usize]) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (upstream, sink) = (TcpListener::bind(any)?, TcpListener::bind(any)?);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (listener, token) in [(&upstream, UPSTREAM), (&sink, SINK)] {
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(token), EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            upstream,
            sink,
            answers: Answers::new(sizes),
            slots: Vec::new(),
            free: Vec::new(),
            idle: VecDeque::new(),
            backlog: VecDeque::new(),
            lost: 0,
            retry_ns: 0,
            in_flight: 0,
            scratch: vec![0; 256 * 1024],
            events: Vec::with_capacity(256),
            target: any,
            ask: Ask { request: Vec::new(), body_bytes: 0 },
            pace: Pace::Closed { in_flight: 0 },
            next_due_ns: 0,
            tally: Tally::default(),
            logged: 0,
        })
    }

    /// Where the proxies find their upstream.
    pub(crate) fn upstream_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.upstream.local_addr()?)
    }

    /// Where a proxy may send its log over TCP.
    pub(crate) fn sink_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.sink.local_addr()?)
    }

    /// Opens `count` connections and asks nothing yet.
    pub(crate) fn connect(&mut self, target: SocketAddr, count: usize) -> anyhow::Result<()> {
        self.target = target;
        for done in 0..count {
            self.open().with_context(|| format!("connection {done} of {count}"))?;
            if done % 64 == 0 {
                self.turn(Some(1_000_000))?; // lets the proxy empty its accept queue
            }
        }
        Ok(())
    }

    /// From now on asks for `ask` at `pace`; the driving is done by [`Self::drive`].
    pub(crate) fn begin(&mut self, ask: Ask, pace: Pace) {
        (self.ask, self.pace, self.next_due_ns) = (ask, pace, now_ns());
    }

    /// Drives the load for `length`; what it saw. Requests under way stay so.
    pub(crate) fn drive(&mut self, length: Duration) -> anyhow::Result<Tally> {
        self.tally = Tally::default();
        let begin = now_ns();
        let end = begin + u64::try_from(length.as_nanos())?;
        let (mut progress, mut seen) = (begin, 0);
        let mut now = begin;
        while now < end {
            self.feed(now);
            self.turn(Some(0))?;
            now = now_ns();
            let total = self.tally.done + self.tally.failed;
            if total != seen {
                (progress, seen) = (now, total);
            }
            anyhow::ensure!(now - progress < STALLED_NS, "no response for 5 s: the proxy hangs");
        }
        self.tally.wall_ns = now - begin;
        Ok(std::mem::take(&mut self.tally))
    }

    /// Waits until what is under way has ended, at most 5 s (the rest counts as failed); what came in meanwhile.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Tally> {
        self.tally = Tally::default();
        self.pace = Pace::Closed { in_flight: 0 };
        self.backlog.clear();
        let end = now_ns() + STALLED_NS;
        while self.in_flight > 0 && now_ns() < end {
            self.turn(Some(10_000_000))?;
        }
        self.tally.failed += self.in_flight as u64;
        Ok(std::mem::take(&mut self.tally))
    }

    /// One request on every connection, `width` at a time.
    pub(crate) fn touch_all(&mut self, ask: Ask, width: usize) -> anyhow::Result<Tally> {
        let mut left = self.idle.len();
        self.begin(ask, Pace::Closed { in_flight: 0 });
        self.tally = Tally::default();
        let end = now_ns() + 4 * STALLED_NS;
        while left > 0 || self.in_flight > 0 {
            while left > 0 && self.in_flight < width {
                left -= 1;
                self.ask_one(now_ns());
            }
            self.turn(Some(10_000_000))?;
            anyhow::ensure!(now_ns() < end, "not every connection was answered in 20 s");
        }
        Ok(std::mem::take(&mut self.tally))
    }

    /// Serves upstream and sink for `length` without asking anything.
    pub(crate) fn rest(&mut self, length: Duration) -> anyhow::Result<()> {
        let end = now_ns() + u64::try_from(length.as_nanos())?;
        while now_ns() < end {
            self.turn(Some(1_000_000))?;
        }
        Ok(())
    }

    /// Closes all client connections.
    pub(crate) fn disconnect(&mut self) -> anyhow::Result<()> {
        for at in 0..self.slots.len() {
            if matches!(self.slots.get(at), Some(Slot::Client(_))) {
                self.drop_slot(at);
            }
        }
        self.idle.clear();
        self.backlog.clear();
        (self.in_flight, self.lost) = (0, 0);
        self.rest(Duration::from_millis(20))
    }

    /// Starts what is due.
    fn feed(&mut self, now: u64) {
        while self.lost > 0 && self.retry_ns <= now {
            if self.open().is_err() {
                self.tally.failed += 1;
                self.retry_ns = now + REFUSED_PAUSE_NS;
                break;
            }
            self.lost -= 1;
        }
        match self.pace {
            Pace::Closed { in_flight } => {
                while self.in_flight < in_flight && !self.idle.is_empty() {
                    self.ask_one(now);
                }
            }
            Pace::Open { per_second } => {
                while self.next_due_ns <= now {
                    self.backlog.push_back(self.next_due_ns);
                    self.next_due_ns += 1_000_000_000 / per_second.max(1);
                }
                while !self.idle.is_empty()
                    && let Some(due) = self.backlog.pop_front()
                {
                    self.ask_one(due);
                }
            }
        }
    }

    /// Asks on the connection that has idled longest.
    fn ask_one(&mut self, due_ns: u64) {
        let Some(at) = self.idle.pop_front() else { return };
        self.in_flight += 1;
        self.send(at, due_ns);
    }

    fn send(&mut self, at: usize, due_ns: u64) {
        let Some(Slot::Client(client)) = self.slots.get_mut(at) else { return };
        // A failed write shows as the end of the connection, at the latest with the next event.
        if client.begin(&self.ask, due_ns).is_err() {
            self.on_client(at, true);
        }
    }

    fn open(&mut self) -> anyhow::Result<()> {
        let socket = TcpStream::connect_timeout(&self.target, Duration::from_secs(1))?;
        let at = self.adopt(socket, |it| Slot::Client(Client::new(it)))?;
        self.idle.push_back(at);
        Ok(())
    }

    fn adopt(&mut self, socket: TcpStream, slot: fn(TcpStream) -> Slot) -> io::Result<usize> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            self.slots.len() - 1
        });
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(at as u64), flags)?;
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot(socket);
        }
        Ok(at)
    }

    fn drop_slot(&mut self, at: usize) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Slot::Free;
            self.free.push(at);
        }
    }

    /// Handles the events that are there, waiting for the first at most `patience_ns`.
    fn turn(&mut self, patience_ns: Option<u32>) -> anyhow::Result<()> {
        let patience = patience_ns.map(|it| Timespec { tv_sec: 0, tv_nsec: i64::from(it) });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let waited = epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            patience.as_ref(),
        );
        if waited.is_ok() {
            for event in &events {
                self.dispatch(event.data.u64(), event.flags)?;
            }
        }
        self.events = events;
        Ok(())
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags) -> anyhow::Result<()> {
        let closing = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if token == UPSTREAM {
            while let Ok((socket, _)) = self.upstream.accept() {
                self.adopt(socket, |it| Slot::Upstream(Conn::new(it)))?;
            }
            return Ok(());
        }
        if token == SINK {
            while let Ok((socket, _)) = self.sink.accept() {
                self.adopt(socket, Slot::Sink)?;
            }
            return Ok(());
        }
        let at = usize::try_from(token)?;
        match self.slots.get_mut(at) {
            Some(Slot::Upstream(conn)) => {
                if conn.step(&self.answers, &mut self.scratch, closing) == Alive::No {
                    self.drop_slot(at);
                }
            }
            Some(Slot::Sink(socket)) => {
                let (bytes, alive) = swallow(socket, &mut self.scratch);
                self.logged += bytes;
                if alive == Alive::No {
                    self.drop_slot(at);
                }
            }
            Some(Slot::Client(_)) => self.on_client(at, closing),
            Some(Slot::Free) | None => {}
        }
        Ok(())
    }

    fn on_client(&mut self, at: usize, closing: bool) {
        let Some(Slot::Client(client)) = self.slots.get_mut(at) else { return };
        let seen = client.step(&self.ask, &mut self.scratch, closing);
        let (due, served) = (client.due_ns, client.served);
        if seen == Seen::Waiting {
            return;
        }
        client.due_ns = None;
        if let Some(due) = due {
            self.in_flight -= 1;
            self.count(seen, due, served);
        }
        if seen == Seen::Done {
            self.idle.push_back(at);
            return;
        }
        if due.is_none() {
            self.idle.retain(|it| *it != at);
        }
        self.drop_slot(at);
        self.lost += 1;
    }

    fn count(&mut self, seen: Seen, due: u64, served: u64) {
        match seen {
            Seen::Done | Seen::DoneAndClosed => {
                self.tally.done += 1;
                self.tally.latencies.push(now_ns().saturating_sub(due));
            }
            Seen::Closed if served > 0 => {
                self.tally.resent += 1;
                if matches!(self.pace, Pace::Open { .. }) {
                    self.backlog.push_front(due);
                }
            }
            Seen::Closed | Seen::Wrong | Seen::Waiting => self.tally.failed += 1,
        }
    }
}

/// Reads and forgets what is there.
fn swallow(socket: &mut TcpStream, scratch: &mut [u8]) -> (u64, Alive) {
    let mut bytes = 0;
    loop {
        match socket.read(scratch) {
            Ok(0) => return (bytes, Alive::No),
            Ok(more) => bytes += more as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (bytes, Alive::Yes),
            Err(_) => return (bytes, Alive::No),
        }
    }
}
