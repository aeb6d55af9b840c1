//! Idle upstream connections of one core, by endpoint.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::wire::clock::Clock;
use crate::wire::transport::Transport;

/// uvicorn closes an idle connection after 5.0 s; one that is taken must still be open when the request arrives.
pub const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for one endpoint on one core.
const PER_ENDPOINT_MAX: usize = 256;

/// The pool of one core. The connection used last is used first, so that the rest can grow old and go.
#[derive(Debug)]
pub struct Pool<U> {
    idle: RefCell<BTreeMap<u64, Vec<Idle<U>>>>,
    clock: Rc<Clock>,
}

#[derive(Debug)]
struct Idle<U> {
    connection: U,
    since_ms: u64,
}

impl<U: Transport> Pool<U> {
    /// An empty pool.
    pub fn new(clock: Rc<Clock>) -> Self {
        Self { idle: RefCell::new(BTreeMap::new()), clock }
    }

    /// A connection to this endpoint that is young enough, open and silent.
    pub fn take(&self, endpoint: u64) -> Option<U> {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.get_mut(&endpoint)?;
        while let Some(mut candidate) = idle.pop() {
            if self.is_young(candidate.since_ms) && candidate.connection.is_quiet() {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps a connection whose last exchange ended cleanly.
    pub fn put(&self, endpoint: u64, connection: U) {
        let mut pool = self.idle.borrow_mut();
        let idle = pool.entry(endpoint).or_default();
        if idle.len() < PER_ENDPOINT_MAX {
            idle.push(Idle { connection, since_ms: self.clock.now_ms() });
        }
    }

    /// Closes what is too old; called at every tick.
    pub fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, idle| {
            idle.retain(|it| self.is_young(it.since_ms));
            !idle.is_empty()
        });
    }

    fn is_young(&self, since_ms: u64) -> bool {
        u128::from(self.clock.now_ms().saturating_sub(since_ms)) < IDLE_MAX.as_millis()
    }
}
