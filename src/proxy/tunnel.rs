//! Two connections become one after a 101, until one side ends, idles or is told to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::OnRevoke;
use crate::generation::{Gate, LiveService};
use crate::model::{Coverage, UnixMs};
use crate::proxy::core::Core;
use crate::semantics::head::Framing;
use crate::wire::clock::{Alarm, Clock};
use crate::wire::h1::relay::{Broken, Relay};
use crate::wire::transport::Transport;

/// The tunnels of one core.
#[derive(Debug, Default)]
pub struct Tunnels {
    open: RefCell<HashMap<u64, Rc<Open>>>,
    next: Cell<u64>,
}

/// What a tunnel keeps of its route and key: never the generation.
#[derive(Debug)]
struct Open {
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
    fn close(&self) {
        self.told_to_close.set(true);
        self.wake();
    }

    /// Closes if the gate no longer holds the key, or it has lost a scope.
    fn check_key(&self, gate: &Gate, now: UnixMs) {
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

    fn key_due_ms(&self, clock: &Clock) -> u64 {
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
    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

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

    fn add(&self, tunnel: Rc<Open>) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        self.open.borrow_mut().insert(id, tunnel);
        id
    }
}

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

/// Removes a tunnel from its core's list however it ends.
struct Listed<'a> {
    core: &'a Core,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.core.tunnels.open.borrow_mut().remove(&self.id);
        self.core.metrics.tunnel_closed();
    }
}

/// Bytes that went through a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    pub up: u64,
    pub down: u64,
}

/// One side of a tunnel.
#[derive(Debug)]
pub struct End<'a, T> {
    pub connection: &'a mut T,
    /// Read from it before.
    pub kept: Vec<u8>,
    /// What it gets before anything of the tunnel.
    pub unsent: Vec<u8>,
}

/// Tunnels until both sides have ended, nothing passes for the idle time, or it is told to close.
pub async fn run<D: Transport, U: Transport>(
    core: &Core,
    alarm: &Alarm,
    terms: Terms,
    down: End<'_, D>,
    up: End<'_, U>,
) -> Passed {
    let Terms { service, key, scopes, on_revoke, idle } = terms;
    let open = Rc::new(Open {
        service,
        key,
        scopes,
        on_revoke,
        key_ends: Cell::new(None),
        told_to_close: Cell::new(false),
        waker: alarm.waker(),
    });
    let _listed = Listed { core, id: core.tunnels.add(Rc::clone(&open)) };
    core.metrics.tunnel_opened();
    // The gate may have changed between the decision and the listing.
    core.tunnels.close_revoked(&core.gate(), core.clock.unix());
    let (mut down, mut up) = (down, up);
    let now = core.clock.now_ms();
    let relay =
        |unsent: &mut Vec<u8>| Relay::new(std::mem::take(unsent), Framing::UntilClose, false, now);
    let mut both = Both {
        upwards: relay(&mut up.unsent),
        downwards: relay(&mut down.unsent),
        up_ended: false,
        down_ended: false,
    };
    std::future::poll_fn(|cx| {
        let ended = both.poll(cx, core, (&mut down, &mut up));
        if open.key_due_ms(&core.clock) <= core.clock.now_ms() {
            open.check_key(&core.gate(), core.clock.unix());
        }
        if ended.is_ready() || open.told_to_close.get() {
            return Poll::Ready(());
        }
        let due = both.due_ms(idle).min(open.key_due_ms(&core.clock));
        if due <= core.clock.now_ms() {
            return Poll::Ready(());
        }
        alarm.set_at(due);
        Poll::Pending
    })
    .await;
    let passed = Passed { up: both.upwards.received, down: both.downwards.received };
    core.buffers.give(both.upwards.into_buffer());
    core.buffers.give(both.downwards.into_buffer());
    passed
}

struct Both {
    upwards: Relay,
    downwards: Relay,
    up_ended: bool,
    down_ended: bool,
}

impl Both {
    fn poll<D: Transport, U: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        core: &Core,
        (down, up): (&mut End<'_, D>, &mut End<'_, U>),
    ) -> Poll<()> {
        let io = (&core.buffers, core.clock.now_ms());
        if !self.up_ended {
            let moved = self.upwards.poll(cx, io, (down.connection, &mut down.kept), up.connection);
            match half_closed(cx, moved, up.connection) {
                Poll::Ready(Ok(())) => self.up_ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if !self.down_ended {
            let moved = self.downwards.poll(cx, io, (up.connection, &mut up.kept), down.connection);
            match half_closed(cx, moved, down.connection) {
                Poll::Ready(Ok(())) => self.down_ended = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if self.up_ended && self.down_ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The later of the two directions counts: a tunnel idles only when nothing passes at all.
    fn due_ms(&self, idle: Duration) -> u64 {
        self.upwards.due_ms(idle, idle).max(self.downwards.due_ms(idle, idle))
    }
}

/// The end of one side is passed on to the other, which may still send.
fn half_closed<T: Transport>(
    cx: &mut Context<'_>,
    moved: Poll<Result<(), Broken>>,
    to: &mut T,
) -> Poll<Result<(), Broken>> {
    match moved {
        Poll::Ready(Ok(())) => Pin::new(to).poll_shutdown(cx).map_err(Broken::Sink),
        other => other,
    }
}
