//! What one core owns: buffers, clock, pool, tunnels, and its view of the gate.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::admin::Admin;
use crate::auth::bad_keys::BadKeys;
use crate::generation::Gate;
use crate::generation::live::Live;
use crate::proxy::filter::Filters;
use crate::proxy::tunnels::Tunnels;
use crate::semantics::trace::Fresh;
use crate::telemetry::access_log::CoreLog;
use crate::telemetry::metrics::{CoreMetrics, ServiceMetrics};
use crate::wire::clock::Clock;
use crate::wire::io::Buffers;
use crate::wire::listener::Spread;
use crate::wire::pool::Pool;

/// The gate as it was when a request was decided; cheap to hold on to, because it never leaves the core.
pub type Pinned = Rc<Arc<Gate>>;

/// What all cores share. Nothing here is written on the request path but plain atomics.
#[derive(Debug)]
pub struct Shared {
    pub live: Arc<Live>,
    pub spread: Arc<Spread>,
    pub bad_keys: Arc<BadKeys>,
    pub admin: Arc<Admin>,
    /// Where admin calls run.
    pub control: Handle,
    /// Counts what belongs to no service.
    pub no_service: Arc<ServiceMetrics>,
}

/// How far the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Still accepting; every response says `Connection: close`.
    Closing,
    /// Not accepting; idle connections are closed, running exchanges finish.
    Draining,
}

/// One core of the data path. Lives on its thread.
#[derive(Debug)]
pub struct Core {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub clock: Rc<Clock>,
    pub buffers: Buffers,
    pub pool: Pool<TcpStream>,
    pub metrics: Arc<CoreMetrics>,
    pub log: Option<RefCell<CoreLog>>,
    pub tunnels: Tunnels,
    /// Borrowed inside one step, never across a wait.
    pub filters: RefCell<Filters>,
    /// Connections that wait for a request with their large future.
    pub warm: Cell<usize>,
    seen: RefCell<Seen>,
    phase: Cell<Phase>,
    random: Cell<[u64; 2]>,
}

#[derive(Debug)]
struct Seen {
    cache: Cache<Swap, Arc<Gate>>,
    pinned: Pinned,
}

#[derive(Debug)]
struct Swap(Arc<Live>);

impl Deref for Swap {
    type Target = ArcSwap<Gate>;

    fn deref(&self) -> &ArcSwap<Gate> {
        self.0.swap()
    }
}

impl Core {
    /// A core that has served nothing yet. `seed` is random.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        metrics: Arc<CoreMetrics>,
        log: Option<CoreLog>,
        seed: [u64; 2],
    ) -> Self {
        let clock = Clock::new();
        let pinned = Rc::new(shared.live.load());
        Self {
            index,
            seen: RefCell::new(Seen { cache: Cache::new(Swap(Arc::clone(&shared.live))), pinned }),
            shared,
            pool: Pool::new(Rc::clone(&clock)),
            clock,
            buffers: Buffers::default(),
            metrics,
            log: log.map(RefCell::new),
            tunnels: Tunnels::default(),
            filters: RefCell::default(),
            warm: Cell::new(0),
            phase: Cell::new(Phase::Serving),
            random: Cell::new([seed[0] | 1, seed[1]]),
        }
    }

    /// The gate as it is now: one load of a shared pointer.
    pub fn gate(&self) -> Pinned {
        let mut seen = self.seen.borrow_mut();
        let seen = &mut *seen;
        let now = seen.cache.load();
        if !Arc::ptr_eq(now, &seen.pinned) {
            seen.pinned = Rc::new(Arc::clone(now));
        }
        Rc::clone(&seen.pinned)
    }

    /// How far the process is in its life.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Moves on; wakes nobody.
    pub fn enter(&self, phase: Phase) {
        self.phase.set(phase.max(self.phase.get()));
    }

    /// Numbers for the ids of one exchange. Unpredictable enough for correlation, not for secrets (xoroshiro128+).
    pub fn fresh(&self) -> Fresh {
        let wide = || u128::from(self.next_random()) << 64 | u128::from(self.next_random());
        Fresh { request: wide(), trace: wide(), span: self.next_random() | 1 }
    }

    fn next_random(&self) -> u64 {
        let [one, two] = self.random.get();
        let mixed = one ^ two;
        self.random.set([one.rotate_left(24) ^ mixed ^ (mixed << 16), mixed.rotate_left(37)]);
        one.wrapping_add(two)
    }

    /// Everything that happens at a tick of the core's clock.
    pub fn tick(&self) {
        self.clock.tick();
        self.pool.sweep();
        self.filters.borrow_mut().follow(&self.gate().generation);
        if let Some(log) = &self.log {
            log.borrow_mut().flush();
        }
    }
}
