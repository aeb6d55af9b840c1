//! Reads one head: the core's scratch is lent to a synchronous step; nothing is held while waiting.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use crate::wire::io::Buffers;
use crate::wire::transport::Transport;

/// New bytes without a line end that are looked at all the same, so that limits are seen.
const LOOK_BYTES: usize = 4096;

/// What a step made of the bytes that it was lent.
#[derive(Debug)]
pub enum Step<T> {
    /// Not a whole unit yet: keep them and come back with more.
    More,
    /// A unit was made of the first `used` bytes.
    Done { value: T, used: usize },
}

/// Why no head came.
#[derive(Debug, thiserror::Error)]
pub enum NoHead {
    /// The peer closed between two messages.
    #[error("closed")]
    Closed,
    /// The peer closed inside a head.
    #[error("closed inside a head")]
    Truncated,
    /// The socket failed.
    #[error("connection failed")]
    Io(#[source] io::Error),
}

/// Reads heads; remembers how much of the kept bytes was looked at, so that slow heads are not parsed again at every byte.
#[derive(Debug, Default)]
pub struct HeadReader {
    looked_at: usize,
}

impl HeadReader {
    /// Polls until `step` has made a unit of what `from` sends. `kept` holds the unparsed rest: usually nothing, without heap.
    /// The step runs inside the poll, while the scratch is borrowed.
    pub fn poll<S: Transport, T>(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &Buffers,
        (from, kept): (&mut S, &mut Vec<u8>),
        step: &mut dyn FnMut(&mut Context<'_>, &[u8]) -> Step<T>,
    ) -> Poll<Result<T, NoHead>> {
        loop {
            if self.is_worth_a_look(kept) {
                match step(cx, kept) {
                    Step::Done { value, used } => {
                        self.looked_at = 0;
                        kept.drain(..used.min(kept.len()));
                        return Poll::Ready(Ok(value));
                    }
                    Step::More => self.looked_at = kept.len(),
                }
            }
            let mut scratch = buffers.scratch.borrow_mut();
            let mut fresh = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *from).poll_read(cx, &mut fresh) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(NoHead::Io(error))),
                Poll::Ready(Ok(())) => {}
            }
            let fresh = fresh.filled();
            if fresh.is_empty() {
                return Poll::Ready(Err(if kept.is_empty() {
                    NoHead::Closed
                } else {
                    NoHead::Truncated
                }));
            }
            if !kept.is_empty() {
                kept.extend_from_slice(fresh);
                continue;
            }
            // The usual case: the head lies in the scratch as a whole.
            match step(cx, fresh) {
                Step::Done { value, used } => {
                    kept.extend_from_slice(fresh.get(used..).unwrap_or_default());
                    return Poll::Ready(Ok(value));
                }
                Step::More => {
                    kept.extend_from_slice(fresh);
                    self.looked_at = kept.len();
                }
            }
        }
    }

    fn is_worth_a_look(&self, kept: &[u8]) -> bool {
        let new = kept.get(self.looked_at..).unwrap_or_default();
        !new.is_empty()
            && (self.looked_at == 0
                || new.len() >= LOOK_BYTES
                || memchr::memchr(b'\n', new).is_some())
    }
}
