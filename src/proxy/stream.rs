//! Answers of our own that come bit by bit, until they end, the client goes or the process drains.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;

use crate::proxy::core::{Core, Phase};
use crate::proxy::downstream::{After, Downstream};
use crate::proxy::own::send;
use crate::proxy::plan::AdminExchange;
use crate::semantics::head::{Framing, Version};
use crate::wire::answer::Streamed;
use crate::wire::h1::{chunk, encode};
use crate::wire::transport::Transport;

/// How long the task sleeps at most; the alarm must be set so that a drain can ring it.
const LOOK: Duration = Duration::from_secs(60);

/// What comes next.
enum Next {
    Piece(Bytes),
    End,
    /// Nobody is there to read more.
    Gone,
}

/// Sends head and pieces. The connection closes afterwards: in chunks for those who know them, so that an end can be told
/// from a break.
pub(super) async fn streamed<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    asked: &mut AdminExchange,
    mut stream: Streamed,
) -> After {
    asked.keep = false;
    stream.head.headers.append(&mut asked.dressing);
    let is_chunked = asked.version != Version::Http10;
    let framing = if is_chunked { Framing::Chunked } else { Framing::UntilClose };
    let mut out = core.buffers.take();
    encode::streamed(&mut out, &stream.head, framing);
    let mut bytes = 0;
    let after = loop {
        bytes += out.len() as u64;
        if !send(core, down, out).await {
            break After::Abort;
        }
        match poll_fn(|cx| next(core, down, &mut stream, cx)).await {
            Next::Piece(piece) if piece.is_empty() => out = Vec::new(),
            Next::Piece(piece) => {
                out = core.buffers.take();
                put(&mut out, &piece, is_chunked);
            }
            Next::End => break last(core, down, is_chunked, &mut bytes).await,
            Next::Gone => break After::Abort,
        }
    };
    asked.record.answered(stream.head.status, bytes);
    let what = (asked.call.method.as_bytes(), asked.path.as_bytes(), asked.authority.as_bytes());
    asked.record.log(core, Some(&core.gate()), None, what);
    after
}

fn put(out: &mut Vec<u8>, piece: &[u8], is_chunked: bool) {
    if !is_chunked {
        out.extend_from_slice(piece);
        return;
    }
    chunk::put_size(out, piece.len());
    out.extend_from_slice(piece);
    out.extend_from_slice(chunk::CHUNK_END);
}

async fn last<D: Transport>(
    core: &Rc<Core>,
    down: &mut Downstream<D>,
    is_chunked: bool,
    bytes: &mut u64,
) -> After {
    if is_chunked {
        let mut out = core.buffers.take();
        chunk::put_last(&mut out, &[]);
        *bytes += out.len() as u64;
        if !send(core, down, out).await {
            return After::Abort;
        }
    }
    After::Linger
}

fn next<D: Transport>(
    core: &Core,
    down: &mut Downstream<D>,
    stream: &mut Streamed,
    cx: &mut Context<'_>,
) -> Poll<Next> {
    if core.phase() == Phase::Draining {
        return Poll::Ready(Next::End);
    }
    if is_gone(core, down, cx) {
        return Poll::Ready(Next::Gone);
    }
    if let Poll::Ready(piece) = stream.body.poll_recv(cx) {
        return Poll::Ready(piece.map_or(Next::End, Next::Piece));
    }
    // Never due, as it is set anew each time.
    let due = down.alarm.at(LOOK);
    down.alarm.poll_due(cx, due).map(|()| Next::End)
}

/// Whether the client has closed. What it sends meanwhile is dropped: nothing follows on this connection.
fn is_gone<D: Transport>(core: &Core, down: &mut Downstream<D>, cx: &mut Context<'_>) -> bool {
    loop {
        let mut scratch = core.buffers.scratch.borrow_mut();
        let mut fresh = ReadBuf::new(&mut scratch);
        match Pin::new(&mut down.connection).poll_read(cx, &mut fresh) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !fresh.filled().is_empty() => {}
            Poll::Ready(_) => return true,
        }
    }
}
