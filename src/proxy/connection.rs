//! One downstream connection: exchanges one after the other, nothing but a small future while it idles.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;

use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::{After, Downstream};
use crate::proxy::forward;
use crate::proxy::own;
use crate::proxy::plan::{Peer, Plan, plan, refuse_unread};
use crate::proxy::reject::Reject;
use crate::wire::clock::after;
use crate::wire::h1::read::{HeadReader, NoHead};
use crate::wire::transport::Transport;

/// How long a connection that was accepted while the process drains may take to send its request.
const FIRST: Duration = Duration::from_secs(1);
/// How long the future of an exchange is kept for a next request, before only the small one stays, and how many on one core.
const WARM: Duration = Duration::from_millis(200);
const WARM_MAX: usize = 256;
/// How long a client may take to read the last answer before the connection is gone.
const LINGER: Duration = Duration::from_secs(2);
/// What it may send meanwhile.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Serves a connection to its end.
pub async fn serve<D: Transport>(core: Rc<Core>, connection: D, peer: Peer) {
    let alarm = core.clock.alarm();
    let mut down = Downstream { connection, kept: Vec::new(), alarm, peer };
    let mut grace = FIRST;
    loop {
        let idle = core.gate().generation.config.timeouts.idle;
        if !is_readable_within(&core, &down, idle, grace).await {
            return;
        }
        grace = Duration::ZERO;
        // Boxed at the first byte, dropped when the connection idles: the box is large, an idle connection is not.
        let after = Box::pin(converse(&core, &mut down)).await;
        match after {
            After::Keep => down.kept = Vec::new(),
            After::Linger => return Box::pin(linger(&core, &mut down)).await,
            After::Close | After::Abort => return,
        }
    }
}

/// Exchanges, as long as they follow each other closely. `Keep`: the connection idles.
async fn converse<D: Transport>(core: &Rc<Core>, down: &mut Downstream<D>) -> After {
    loop {
        let mut plan = match read_plan(core, down).await {
            Ok(plan) => plan,
            Err(after) => return after,
        };
        let after = exchange(core, down, &mut plan).await;
        if after != After::Keep {
            return after;
        }
    }
}

/// One request and its answer. What is rare is boxed, so that the usual way stays small.
async fn exchange<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    plan: &mut Plan,
) -> After {
    match plan {
        Plan::Forward(forwarding) => forward::forward(core, down, forwarding).await,
        Plan::Answer(answering) => Box::pin(own::answer(core, down, answering)).await,
        Plan::Admin(asked) => Box::pin(own::admin(core, down, asked)).await,
    }
}

/// Reads one head within the head's time and plans. `Keep`: none has begun for a while.
async fn read_plan<D: Transport>(core: &Rc<Core>, down: &mut Downstream<D>) -> Result<Plan, After> {
    let mut reader = HeadReader::default();
    let Downstream { connection, kept, alarm, peer } = down;
    let since = core.clock.now_ms();
    let warm = Warm::enter(core);
    let read = poll_fn(|cx| {
        let mut step = |_: &mut Context<'_>, bytes: &[u8]| plan(core, peer, bytes);
        let polled = reader.poll(cx, &core.buffers, (connection, kept), &mut step);
        if polled.is_ready() {
            return polled.map(Some);
        }
        let patience = match kept.is_empty() {
            true => warm.patience(),
            false => core.gate().generation.config.timeouts.head,
        };
        let due = after(since, patience);
        if kept.is_empty() && core.phase() == Phase::Draining {
            return Poll::Ready(None);
        }
        alarm.poll_due(cx, due).map(|()| None)
    })
    .await;
    match read {
        Some(Ok(plan)) => Ok(plan),
        Some(Err(NoHead::Closed | NoHead::Truncated | NoHead::Io(_))) => Err(After::Abort),
        None if kept.is_empty() => Err(After::Keep),
        None => {
            kept.clear();
            Ok(Plan::Answer(refuse_unread(core, &core.gate(), peer, &Reject::ClientTooSlow)))
        }
    }
}

/// A connection that waits for its next request with its large future; beyond [`WARM_MAX`] it does not wait at all.
struct Warm<'a>(&'a Core);

impl<'a> Warm<'a> {
    fn enter(core: &'a Core) -> Self {
        core.warm.set(core.warm.get() + 1);
        Self(core)
    }

    fn patience(&self) -> Duration {
        if self.0.warm.get() > WARM_MAX { Duration::ZERO } else { WARM }
    }
}

impl Drop for Warm<'_> {
    fn drop(&mut self) {
        self.0.warm.set(self.0.warm.get() - 1);
    }
}

/// Waits for the next request without a buffer. False: the time is over, or the process drains and nothing came within `grace`.
async fn is_readable_within<D: Transport>(
    core: &Core,
    down: &Downstream<D>,
    patience: Duration,
    grace: Duration,
) -> bool {
    let since = core.clock.now_ms();
    poll_fn(|cx| {
        if down.connection.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        let drains = core.phase() == Phase::Draining;
        let due = after(since, if drains { patience.min(grace) } else { patience });
        down.alarm.poll_due(cx, due).map(|()| false)
    })
    .await
}

/// Closes in two steps, so that the kernel does not answer late bytes with a reset that takes the answer with it.
pub async fn linger<D: Transport>(core: &Core, down: &mut Downstream<D>) {
    let due = down.alarm.at(LINGER);
    let (mut shut, mut dropped) = (false, 0);
    poll_fn(|cx| {
        if down.alarm.poll_due(cx, due).is_ready() || dropped > LINGER_BYTES_MAX {
            return Poll::Ready(());
        }
        if !shut {
            if ready!(Pin::new(&mut down.connection).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            shut = true;
        }
        loop {
            let mut scratch = core.buffers.scratch.borrow_mut();
            let mut fresh = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut down.connection).poll_read(cx, &mut fresh)) {
                Ok(()) if !fresh.filled().is_empty() => dropped += fresh.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
    })
    .await;
}
