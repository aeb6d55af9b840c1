//! Two connections become one after a 101, until one side ends, idles or is told to.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::proxy::core::Core;
use crate::proxy::tunnels::{Open, Terms};
use crate::semantics::head::Framing;
use crate::wire::clock::Alarm;
use crate::wire::h1::relay::{Broken, Relay};
use crate::wire::transport::Transport;

/// Removes a tunnel from its core's list however it ends.
struct Listed<'a> {
    core: &'a Core,
    id: u64,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.core.tunnels.remove(self.id);
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
    let idle = terms.idle;
    // Whoever closes a tunnel wakes its task.
    poll_fn(|cx| {
        alarm.listen(cx);
        Poll::Ready(())
    })
    .await;
    let open = Rc::new(Open::new(terms, alarm.waker()));
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
    poll_fn(|cx| {
        let ended = both.poll(cx, core, (&mut down, &mut up));
        if open.key_due_ms(&core.clock) <= core.clock.now_ms() {
            open.check_key(&core.gate(), core.clock.unix());
        }
        if ended.is_ready() || open.is_told_to_close() {
            return Poll::Ready(());
        }
        let due = both.due_ms(idle).min(open.key_due_ms(&core.clock));
        alarm.poll_due(cx, due)
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
