//! Listening sockets for every core, inherited or bound, and the spreading of connections over the cores.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

/// Connections that may wait in a listener's queue (the kernel caps it by `net.core.somaxconn`).
const BACKLOG: i32 = 4096;
/// Connections on their way to another core; when the channel is full, the connection stays where it is.
pub const HAND_OVER_MAX: usize = 64;

/// Why a listener could not be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {addr}; end what holds it, or name another in `listeners.data` (or by --listen)"
)]
pub struct ListenError {
    pub addr: SocketAddr,
    #[source]
    pub source: io::Error,
}

/// Listeners by what they are for.
#[derive(Debug, Default)]
pub struct Inherited {
    pub data: Vec<StdListener>,
    pub ops: Option<StdListener>,
    pub admin: Option<StdListener>,
}

/// Takes the sockets that systemd (or the previous process) passes by `LISTEN_FDS`; `LISTEN_FDNAMES` sorts them,
/// and what has no name of ours is for data.
pub fn inherited() -> Inherited {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = ListenFd::from_env();
    let mut found = Inherited::default();
    for index in 0..sockets.len() {
        let name = names.next().unwrap_or_default();
        // What is not a TCP listener (a unix socket unit, say) is left alone.
        let Ok(Some(listener)) = sockets.take_tcp_listener(index) else { continue };
        match name {
            "ops" => found.ops = Some(listener),
            "admin" => found.admin = Some(listener),
            _ => found.data.push(listener),
        }
    }
    found
}

/// One listener for every core and address. Inherited ones are dealt out in turn, so that any number of them serves any
/// number of cores (a core without one gets its connections from the others); else each core binds its own.
///
/// # Errors
/// [`ListenError`] for the first address that cannot be bound.
pub fn per_core(
    inherited: Vec<StdListener>,
    addrs: &[SocketAddr],
    cores: usize,
) -> Result<Vec<Vec<StdListener>>, ListenError> {
    let mut dealt: Vec<Vec<StdListener>> = (0..cores).map(|_| Vec::new()).collect();
    if !inherited.is_empty() {
        for (index, listener) in inherited.into_iter().enumerate() {
            if let Some(core) = dealt.get_mut(index % cores) {
                core.push(listener);
            }
        }
        return Ok(dealt);
    }
    for addr in addrs {
        let mut bound = *addr;
        for core in &mut dealt {
            let listener =
                bind(bound, true).map_err(|source| ListenError { addr: *addr, source })?;
            // Port 0: the first core's port is the others' too.
            bound = listener.local_addr().unwrap_or(bound);
            core.push(listener);
        }
    }
    Ok(dealt)
}

/// Binds one listening socket; `shared` lets others of this user listen on the same port.
///
/// A port that the kernel chooses is one that nobody has: asked for with `SO_REUSEPORT` set, it may be a stranger's who
/// set it too.
///
/// # Errors
/// The operating system's error.
pub fn bind(addr: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    let chosen_by_kernel = addr.port() == 0;
    socket.set_reuse_port(shared && !chosen_by_kernel)?;
    socket.bind(&addr.into())?;
    socket.set_reuse_port(shared)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection on its way to another core.
#[derive(Debug)]
pub struct Handed {
    pub stream: StdStream,
    pub peer: SocketAddr,
    /// Port of the listener that accepted it.
    pub local_port: u16,
}

/// How many connections each core holds, and the way to each.
#[derive(Debug)]
pub struct Spread {
    loads: Box<[Load]>,
    ways: Vec<mpsc::Sender<Handed>>,
}

/// On a cache line of its own: each is written by one core and read by all.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

impl Spread {
    /// For as many cores as there are ways.
    pub fn new(ways: Vec<mpsc::Sender<Handed>>) -> Arc<Self> {
        let loads = ways.iter().map(|_| Load::default()).collect();
        Arc::new(Self { loads, ways })
    }

    /// A connection belongs to `core` from now on.
    pub fn opened(&self, core: usize) {
        if let Some(load) = self.loads.get(core) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection of `core` is gone.
    pub fn closed(&self, core: usize) {
        if let Some(load) = self.loads.get(core) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Connections of all cores.
    pub fn total(&self) -> usize {
        self.loads.iter().map(|it| it.0.load(Ordering::Relaxed)).sum()
    }

    /// Connections of each core.
    pub fn loads(&self) -> Vec<usize> {
        self.loads.iter().map(|it| it.0.load(Ordering::Relaxed)).collect()
    }

    /// The least-loaded core, if `core` holds more than one connection more than it.
    pub fn better_than(&self, core: usize) -> Option<usize> {
        let own = self.loads.get(core)?.0.load(Ordering::Relaxed);
        let least =
            self.loads.iter().enumerate().min_by_key(|it| it.1.0.load(Ordering::Relaxed))?;
        (own > least.1.0.load(Ordering::Relaxed) + 1).then_some(least.0)
    }

    /// Hands a connection over; gives it back when the other core's channel is full or closed.
    ///
    /// # Errors
    /// The connection itself: it stays.
    pub fn hand_over(&self, core: usize, connection: Handed) -> Result<(), Handed> {
        let Some(way) = self.ways.get(core) else { return Err(connection) };
        way.try_send(connection).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(it) | mpsc::error::TrySendError::Closed(it) => it,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(cores: usize) -> (Arc<Spread>, Vec<mpsc::Receiver<Handed>>) {
        let (ways, ends) = (0..cores).map(|_| mpsc::channel(1)).unzip();
        (Spread::new(ways), ends)
    }

    #[test]
    fn a_core_gives_away_only_what_it_has_more_than_one_too_many_of() {
        let (spread, _ends) = spread(3);
        assert_eq!(spread.better_than(0), None);
        spread.opened(0);
        assert_eq!(spread.better_than(0), None);
        spread.opened(0);
        assert_eq!(spread.better_than(0), Some(1));
        spread.opened(1);
        assert_eq!(spread.better_than(0), Some(2));
        spread.closed(0);
        assert_eq!(spread.better_than(0), None);
        assert_eq!(spread.total(), 2);
    }

    #[test]
    fn a_full_channel_gives_the_connection_back() {
        let (spread, _ends) = spread(2);
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).expect("a listener");
        let addr = listener.local_addr().expect("an address");
        let connect = || Handed {
            stream: StdStream::connect(addr).expect("a connection"),
            peer: addr,
            local_port: addr.port(),
        };
        assert!(spread.hand_over(1, connect()).is_ok());
        assert!(spread.hand_over(1, connect()).is_err());
        assert!(spread.hand_over(7, connect()).is_err());
    }

    #[test]
    fn a_port_that_the_kernel_chooses_is_nobody_elses() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets: Vec<StdListener> =
            (0..2000).map(|_| bind(any, true).expect("a port")).collect();
        let mut ports: Vec<u16> =
            sockets.iter().map(|it| it.local_addr().expect("an address").port()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), sockets.len());
    }

    #[test]
    fn every_core_has_its_own_socket_on_one_port() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let cores = per_core(Vec::new(), &[any], 3).expect("listeners");
        let ports: Vec<u16> =
            cores.iter().flatten().map(|it| it.local_addr().expect("an address").port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|it| *it == ports[0] && *it != 0));
        let inherited: Vec<StdListener> = cores.into_iter().flatten().take(2).collect();
        let dealt = per_core(inherited, &[any], 3).expect("dealt");
        assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0]);
    }
}
