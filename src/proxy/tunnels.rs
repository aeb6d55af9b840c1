//! The tunnels of one core: what each keeps, and who may close it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::config::OnRevoke;
use crate::generation::{Gate, LiveService};
use crate::model::{Coverage, UnixMs};
use crate::wire::clock::Clock;

/// What a tunnel lives by.
#[derive(Debug)]
pub struct Terms {
    pub service: Arc<LiveService>,
    /// Digest of the key that opened it.
    pub key: Option<[u8; 32]>,
    /// What that key opened then.
    pub scopes: Vec<String>,
    pub on_revoke: OnRevoke,
    pub idle: Duration,
}

/// The tunnels of one core.
#[derive(Debug, Default)]
pub struct Tunnels {
    open: RefCell<HashMap<u64, Rc<Open>>>,
    next: Cell<u64>,
}

/// What a tunnel keeps of its route and key: never the generation.
#[derive(Debug)]
pub struct Open {
    service: Arc<LiveService>,
    key: Option<[u8; 32]>,
    /// What the key opened when it was admitted.
    scopes: Vec<String>,
    on_revoke: OnRevoke,
    /// When the key ends by itself; no reload tells of that.
    key_ends: Cell<Option<UnixMs>>,
    told_to_close: Cell<bool>,
    waker: Option<Waker>,
}

impl Open {
    /// A tunnel on these terms; `waker` is its task's.
    pub fn new(terms: Terms, waker: Option<Waker>) -> Self {
        let Terms { service, key, scopes, on_revoke, .. } = terms;
        let key_ends = Cell::new(None);
        Self { service, key, scopes, on_revoke, key_ends, told_to_close: Cell::new(false), waker }
    }

    /// Whether it must end.
    pub fn is_told_to_close(&self) -> bool {
        self.told_to_close.get()
    }

    fn close(&self) {
        self.told_to_close.set(true);
        self.wake();
    }

    /// Closes if the gate no longer holds the key, or it has lost a scope.
    pub fn check_key(&self, gate: &Gate, now: UnixMs) {
        let Some(key) = self.key.as_ref().filter(|_| self.on_revoke == OnRevoke::Close) else {
            return;
        };
        match gate.generation.keyring.holder(key, now) {
            Some(it) if self.scopes.iter().all(|scope| it.has(scope)) => {
                if self.key_ends.replace(it.expires_at) != it.expires_at {
                    self.wake();
                }
            }
            _ => self.close(),
        }
    }

    /// When its key ends, by the core's clock.
    pub fn key_due_ms(&self, clock: &Clock) -> u64 {
        self.key_ends.get().map_or(u64::MAX, |end| {
            clock.now_ms().saturating_add(end.0.saturating_sub(clock.unix().0))
        })
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Tunnels {
    /// Closes those whose key the gate no longer holds, or holds with fewer scopes (unless their route keeps them).
    pub fn close_revoked(&self, gate: &Gate, now: UnixMs) {
        self.open.borrow().values().for_each(|it| it.check_key(gate, now));
    }

    /// Closes those of one service, or of all covered ones; gives how many.
    pub fn close_covered(&self, service: Option<&str>) -> usize {
        let open = self.open.borrow();
        let covered = open.values().filter(|it| match service {
            Some(name) => it.service.service.name == name,
            None => it.service.service.coverage == Coverage::Covered,
        });
        covered.inspect(|it| it.close()).count()
    }

    /// Takes a tunnel in; gives the number by which it is removed.
    pub fn add(&self, tunnel: Rc<Open>) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        self.open.borrow_mut().insert(id, tunnel);
        id
    }

    /// Forgets a tunnel.
    pub fn remove(&self, id: u64) {
        self.open.borrow_mut().remove(&id);
    }
}
