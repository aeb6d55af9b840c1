//! The data path's threads: one runtime per core, its listeners, its mailbox and its clock.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::generation::live::Order;
use crate::linux::sockets::{accept_without_delay, affordable_connections, refuse_new_connections};
use crate::plugin::limits::STACK_BYTES;
use crate::proxy::connection;
use crate::proxy::core::{Core, Phase, Shared};
use crate::proxy::downstream::Downstream;
use crate::proxy::own;
use crate::proxy::plan::{Peer, refuse_unread};
use crate::proxy::reject::Reject;
use crate::telemetry::access_log::CoreLog;
use crate::telemetry::metrics::CoreMetrics;
use crate::wire::clock::TICK;
use crate::wire::listener::Handed;

/// Orders that may wait for a core.
pub const ORDERS_MAX: usize = 64;
/// Connections that are being refused at one time on one core; beyond, they are just closed.
const REFUSALS_MAX: usize = 64;
/// Handshakes under way when the listener closes.
const HANDSHAKES: Duration = Duration::from_millis(200);
/// A filter's stack is a part of its core's (four times as much is asked for), and the rest is the gate's own.
const CORE_STACK_BYTES: usize = 8 * STACK_BYTES;
/// Pause after the operating system had no descriptor or memory for a connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What one core is made of; sent to its thread.
#[derive(Debug)]
pub struct Seat {
    pub index: usize,
    pub listeners: Vec<StdListener>,
    /// Whether another process may hold the listeners too.
    pub inherited: bool,
    pub orders: mpsc::Receiver<Order>,
    pub handed: mpsc::Receiver<Handed>,
    pub phase: watch::Receiver<Phase>,
    pub shared: Arc<Shared>,
    pub metrics: Arc<CoreMetrics>,
    pub log: Option<CoreLog>,
    pub seed: [u64; 2],
}

/// Starts the thread of one core; it ends when the process drains and the last exchange is done.
///
/// # Errors
/// When there is no thread to be had.
pub fn spawn(seat: Seat) -> io::Result<JoinHandle<io::Result<()>>> {
    let builder = std::thread::Builder::new().name(format!("core-{}", seat.index));
    builder.stack_size(CORE_STACK_BYTES).spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(run(seat))
    })
}

async fn run(seat: Seat) -> io::Result<()> {
    let Seat { index, listeners, inherited, orders, handed, mut phase, shared, metrics, log, seed } =
        seat;
    let core = Rc::new(Core::new(index, shared, metrics, log, seed));
    spawn_local(keep_time(Rc::clone(&core)));
    spawn_local(obey(Rc::clone(&core), orders));
    spawn_local(take_handed(Rc::clone(&core), handed));
    let mut accepting = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        accept_without_delay(&listener)?;
        let listener = TcpListener::from_std(listener)?;
        accepting.push(spawn_local(accept(Rc::clone(&core), listener, inherited, phase.clone())));
    }
    while phase.changed().await.is_ok() {
        let now = *phase.borrow_and_update();
        core.enter(now);
        if now == Phase::Draining {
            break;
        }
    }
    core.enter(Phase::Draining);
    for listener in accepting {
        // A panic in an acceptor ends that listener only; the others drain.
        let _ = listener.await;
    }
    core.clock.ring_all();
    // The process ends the wait at the drain's deadline.
    while core.shared.spread.loads().get(index).is_some_and(|it| *it > 0) {
        tokio::time::sleep(TICK / 4).await;
    }
    core.tick();
    Ok(())
}

async fn keep_time(core: Rc<Core>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        core.tick();
    }
}

async fn obey(core: Rc<Core>, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Look(done) => {
                core.tunnels.close_revoked(&core.gate(), core.clock.unix());
                let _ = done.send(());
            }
            Order::CloseTunnels(service, done) => {
                let _ = done.send(core.tunnels.close_covered(service.as_deref()));
            }
        }
    }
}

async fn take_handed(core: Rc<Core>, mut handed: mpsc::Receiver<Handed>) {
    while let Some(Handed { stream, peer, local_port }) = handed.recv().await {
        // The giver has counted it as ours already.
        let guard = Counted { core: Rc::clone(&core) };
        if let Ok(stream) = TcpStream::from_std(stream) {
            start(guard, stream, Peer { addr: peer, local_port });
        }
    }
}

/// Accepts until the process drains, then empties the queue: closing one of several sockets on a port resets what it holds.
async fn accept(
    core: Rc<Core>,
    listener: TcpListener,
    inherited: bool,
    mut phase: watch::Receiver<Phase>,
) {
    let local_port = listener.local_addr().map_or(0, |it| it.port());
    let refusing = Rc::new(());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|it| *it == Phase::Draining) => break,
        };
        match accepted {
            Ok((stream, addr)) => welcome(&core, stream, Peer { addr, local_port }, &refusing),
            Err(error) => {
                tracing::warn!(%error, core = core.index, "accept failed");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    let mut end = Instant::now();
    if !inherited {
        end += HANDSHAKES;
        if let Err(error) = refuse_new_connections(&listener) {
            tracing::warn!(%error, core = core.index, "connections may be reset while the listener closes");
        }
    }
    while let Ok(accepted) = tokio::time::timeout_at(end, listener.accept()).await {
        if let Ok((stream, addr)) = accepted {
            welcome(&core, stream, Peer { addr, local_port }, &refusing);
        }
    }
}

/// Decides on which core a connection lives, before anything is read from it.
fn welcome(core: &Rc<Core>, stream: TcpStream, peer: Peer, refusing: &Rc<()>) {
    let spread = &core.shared.spread;
    let limit = core.gate().generation.config.limits.connections;
    if spread.total() >= limit.min(affordable_connections()) {
        if Rc::strong_count(refusing) <= REFUSALS_MAX {
            spawn_local(refuse(Rc::clone(core), stream, peer, Rc::clone(refusing)));
        }
        return;
    }
    let Some(other) = spread.better_than(core.index) else {
        spread.opened(core.index);
        return start(Counted { core: Rc::clone(core) }, stream, peer);
    };
    let Ok(stream) = stream.into_std() else { return };
    spread.opened(other);
    let handed = Handed { stream, peer: peer.addr, local_port: peer.local_port };
    let Err(back) = spread.hand_over(other, handed) else { return core.metrics.handed_over() };
    spread.closed(other);
    if let Ok(stream) = TcpStream::from_std(back.stream) {
        spread.opened(core.index);
        start(Counted { core: Rc::clone(core) }, stream, peer);
    }
}

fn start(counted: Counted, stream: TcpStream, peer: Peer) {
    counted.core.metrics.connection_opened();
    spawn_local(async move {
        let core = Rc::clone(&counted.core);
        connection::serve(core, stream, peer).await;
        drop(counted);
    });
}

async fn refuse(core: Rc<Core>, stream: TcpStream, peer: Peer, refusing: Rc<()>) {
    let mut answering = refuse_unread(&core, &core.gate(), &peer, &Reject::TooManyConnections);
    let alarm = core.clock.alarm();
    let mut down = Downstream { connection: stream, kept: Vec::new(), alarm, peer };
    let _ = own::answer(&core, &mut down, &mut answering).await;
    connection::linger(&core, &mut down).await;
    drop(refusing);
}

/// A connection that counts as one of its core's, however it ends.
struct Counted {
    core: Rc<Core>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.core.shared.spread.closed(self.core.index);
        self.core.metrics.connection_closed();
    }
}
