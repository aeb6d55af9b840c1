//! A proxy that spoils what an upstream answers: late, in slices, cut off, slow, or not at all; switched while it runs.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// What is done to every connection, also to those that are open. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toxics {
    /// Before each stretch of an answer.
    pub(crate) latency: Duration,
    /// Bytes a write; each goes out by itself.
    pub(crate) slice: Option<usize>,
    /// Bytes of answers on one connection, then it is reset. `Some(0)`: at once, before the upstream hears of it.
    pub(crate) reset_after: Option<usize>,
    /// Bytes of answers on one connection, then the proxy says that it will say no more, and goes on listening.
    pub(crate) half_close_after: Option<usize>,
    /// Bytes a second, of all answers of one connection.
    pub(crate) bandwidth: Option<usize>,
    /// Connections are accepted, and nothing passes in either direction until this ends.
    pub(crate) blackhole: bool,
}

#[derive(Debug, Default)]
struct State {
    toxics: Toxics,
    stopped: bool,
    connections: usize,
    /// Both ends of every open connection by its number, to end them with the proxy.
    sockets: HashMap<usize, Vec<TcpStream>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// What holds now, after a black hole has ended; `None`: the proxy is gone.
    fn toxics(&self) -> Option<Toxics> {
        let held = |it: &mut State| it.toxics.blackhole && !it.stopped;
        let state = self.changed.wait_while(self.state(), held).expect("no panic under this lock");
        (!state.stopped).then_some(state.toxics)
    }

    /// Waits so long; shorter only when the proxy goes.
    fn wait(&self, span: Duration) {
        let waited = self.changed.wait_timeout_while(self.state(), span, |it| !it.stopped);
        drop(waited.expect("no panic under this lock"));
    }
}

/// A proxy in front of one upstream.
#[derive(Debug)]
pub(crate) struct ToxicProxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl ToxicProxy {
    /// Passes everything as it is, until told otherwise.
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, upstream, &for_thread));
        Self { address, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this, and nothing of what was before.
    pub(crate) fn set(&self, toxics: Toxics) {
        self.shared.state().toxics = toxics;
        self.shared.changed.notify_all();
    }

    /// From now on everything passes; what a black hole has held goes on.
    pub(crate) fn heal(&self) {
        self.set(Toxics::default());
    }

    /// Resets every open connection, as a crash would.
    pub(crate) fn reset_all(&self) {
        self.shared.state().sockets.drain().flat_map(|(_, ends)| ends).for_each(|it| reset(&it));
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }
}

impl Drop for ToxicProxy {
    fn drop(&mut self) {
        let sockets = {
            let mut state = self.shared.state();
            state.stopped = true;
            std::mem::take(&mut state.sockets)
        };
        self.shared.changed.notify_all();
        for socket in sockets.into_values().flatten() {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Wakes the accept loop.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn accept(listener: &TcpListener, upstream: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let (number, toxics) = {
            let mut state = shared.state();
            if state.stopped {
                return;
            }
            state.connections += 1;
            (state.connections, state.toxics)
        };
        if toxics.reset_after == Some(0) && !toxics.blackhole {
            reset(&client);
            continue;
        }
        keep(number, &client, shared);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            if shared.toxics().is_some()
                && let Ok(server) = TcpStream::connect(upstream)
            {
                keep(number, &server, &shared);
                pass(&client, &server, &shared);
                let _ = server.shutdown(Shutdown::Both);
            } else {
                reset(&client);
            }
            shared.state().sockets.remove(&number);
        });
    }
}

/// Moves both directions until one of them ends the connection.
fn pass(client: &TcpStream, server: &TcpStream, shared: &Arc<Shared>) {
    for socket in [client, server] {
        socket.set_nodelay(true).expect("a TCP socket");
    }
    let (mut from, mut to) = (clone(client), clone(server));
    let for_thread = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if for_thread.toxics().is_none() || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    answers(clone(server), client, shared);
}

fn answers(mut server: TcpStream, client: &TcpStream, shared: &Shared) {
    let mut sent = 0;
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut buffer) {
        let latency = shared.state().toxics.latency;
        shared.wait(latency);
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let Some(toxics) = shared.toxics() else { return };
            let piece = &rest[..toxics.piece(sent).min(rest.len())];
            if piece.is_empty() {
                return end(toxics, client);
            }
            if (&mut &*client).write_all(piece).is_err() {
                return;
            }
            sent += piece.len();
            rest = &rest[piece.len()..];
            shared.wait(toxics.pause(piece.len()));
        }
    }
    // The upstream has ended its side.
    let _ = client.shutdown(Shutdown::Write);
}

/// A connection has had all the bytes that it may have.
fn end(toxics: Toxics, client: &TcpStream) {
    if toxics.reset_after.is_some() {
        return reset(client);
    }
    let _ = client.shutdown(Shutdown::Write);
    // Until the proxy goes, or the client.
    let _ = client.peek(&mut [0; 1]);
}

impl Toxics {
    /// Bytes that may go out in the next write; none: the connection's share is used up.
    fn piece(&self, sent: usize) -> usize {
        let ends = self.reset_after.into_iter().chain(self.half_close_after).min();
        let left = ends.map_or(usize::MAX, |it| it.saturating_sub(sent));
        // A tenth of a second at a time.
        let share = self.bandwidth.map_or(usize::MAX, |it| (it / 10).max(1));
        left.min(share).min(self.slice.map_or(usize::MAX, |it| it.max(1)))
    }

    /// After a write of so many bytes.
    fn pause(&self, bytes: usize) -> Duration {
        let bandwidth = self.bandwidth.map_or(0.0, |it| bytes as f64 / it.max(1) as f64);
        // Slices that follow each other at once would leave in one segment.
        let slice = if self.slice.is_some() { 0.001 } else { 0.0 };
        Duration::from_secs_f64(bandwidth.max(slice))
    }
}

fn keep(number: usize, socket: &TcpStream, shared: &Shared) {
    shared.state().sockets.entry(number).or_default().push(clone(socket));
}

fn clone(socket: &TcpStream) -> TcpStream {
    socket.try_clone().expect("a socket")
}

/// Dissolves the association, which sends a reset at once although other descriptors of the socket are open.
fn reset(socket: &TcpStream) {
    let _ = rustix::net::connect_unspec(socket);
}
