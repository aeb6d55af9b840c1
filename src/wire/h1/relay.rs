//! Moves one body from one connection to the other, as it arrives, never buffered whole.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;

use crate::semantics::head::Framing;
use crate::wire::clock::after;
use crate::wire::h1::chunk::{self, ChunkLimits, Decoder, Piece};
use crate::wire::io::Buffers;
use crate::wire::transport::Transport;

/// Data up to this size joins what waits already, so that head and small body leave in one write.
const JOIN_BYTES: usize = 16 * 1024;
/// Room that a relay keeps while it waits for its source; a busy one fills more again at once, an idle one may never.
const IDLE_BYTES_MAX: usize = 32 * 1024;
/// Body bytes that are taken along with a request's head before there is an upstream connection.
const ABSORB_BYTES: usize = 64 * 1024;

/// Why a relay stopped.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Reading failed or ended too early.
    #[error("source closed inside the body")]
    SourceClosed(#[source] Option<io::Error>),
    /// The body's framing is wrong; the slug says how.
    #[error("malformed body: {0}")]
    Malformed(&'static str),
    /// More than was allowed.
    #[error("body too large")]
    TooLarge,
    /// Writing failed.
    #[error("sink failed")]
    Sink(#[source] io::Error),
}

/// What a relay waits for when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Source,
    Sink,
}

/// One body on its way.
#[derive(Debug)]
pub struct Relay {
    source: Source,
    /// Whether it leaves in chunks.
    chunked: bool,
    /// Bytes that must be written before anything else: the head at first, then what a sink did not take.
    pending: Vec<u8>,
    written: usize,
    ended: bool,
    largest: u64,
    /// Body bytes read so far.
    pub received: u64,
    /// Bytes that the sink has accepted, head included.
    pub accepted: u64,
    waiting: Waiting,
    moved_ms: u64,
}

#[derive(Debug)]
enum Source {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Done,
}

impl Source {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Box::new(Decoder::new(ChunkLimits::default()))),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// A stretch of the source's bytes.
struct Stretch {
    used: usize,
    data: Range<usize>,
}

impl Relay {
    /// A relay that first writes `head`, then a body framed as `framing` (in chunks if `chunked`).
    pub fn new(head: Vec<u8>, framing: Framing, chunked: bool, now_ms: u64) -> Self {
        let source = Source::of(framing);
        let ended = matches!(source, Source::Done);
        Self {
            source,
            chunked,
            pending: head,
            written: 0,
            ended,
            largest: u64::MAX,
            received: 0,
            accepted: 0,
            waiting: Waiting::Sink,
            moved_ms: now_ms,
        }
    }

    /// Refuses a body of more than `bytes`.
    #[must_use]
    pub fn at_most(mut self, bytes: Option<u64>) -> Self {
        self.largest = bytes.unwrap_or(u64::MAX);
        self
    }

    /// Writes something before the rest, for example an interim response.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Starts a body after what was queued.
    pub fn begin(&mut self, framing: Framing, chunked: bool) {
        self.source = Source::of(framing);
        self.ended = matches!(self.source, Source::Done);
        self.chunked = chunked;
    }

    /// Whether the body has been read to its end (it may not have been written yet).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the body was to be delimited by the end of the connection.
    pub fn is_until_close(&self) -> bool {
        matches!(self.source, Source::UntilClose)
    }

    /// What is waited for, and since when (the core's clock).
    pub fn waits(&self) -> (Waiting, u64) {
        (self.waiting, self.moved_ms)
    }

    /// Starts a stall anew, for example when the peer was rightly silent until now.
    pub fn touch(&mut self, now_ms: u64) {
        self.moved_ms = now_ms;
    }

    /// When a stall is over: `source` and `sink` are how long each may make no progress.
    pub fn due_ms(&self, source: Duration, sink: Duration) -> u64 {
        let patience = if self.waiting == Waiting::Source { source } else { sink };
        after(self.moved_ms, patience)
    }

    /// The head and what was absorbed, as long as nothing was taken from it.
    pub fn head(&self) -> &[u8] {
        &self.pending
    }

    /// Goes back to the start: possible while nothing but the first buffer was written.
    pub fn rewind(&mut self) {
        self.written = 0;
        self.accepted = 0;
    }

    /// The buffer with what the sink has not taken yet.
    pub fn into_unwritten(mut self) -> Vec<u8> {
        self.pending.drain(..self.written);
        self.pending
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> Vec<u8> {
        self.pending
    }

    /// Gives the buffer back when everything is over.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Takes body bytes that came with the head, before there is a sink; gives how many.
    ///
    /// # Errors
    /// [`Broken::Malformed`] and [`Broken::TooLarge`].
    pub fn absorb(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut used = 0;
        while !self.ended && used < bytes.len() && self.pending.len() < ABSORB_BYTES {
            let rest = bytes.get(used..).unwrap_or_default();
            let rest = rest.get(..rest.len().min(ABSORB_BYTES)).unwrap_or_default();
            let stretch = self.next_stretch(rest)?;
            self.join(rest.get(stretch.data).unwrap_or_default());
            used += stretch.used;
            if stretch.used == 0 {
                break;
            }
        }
        Ok(used)
    }

    /// Moves what can be moved now. Ready when the body has been read and written to its end.
    /// `kept` holds bytes read before; what follows the body stays in it.
    pub fn poll<A: Transport, B: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        (buffers, now_ms): (&Buffers, u64),
        (from, kept): (&mut A, &mut Vec<u8>),
        to: &mut B,
    ) -> Poll<Result<(), Broken>> {
        loop {
            self.waiting = Waiting::Sink;
            ready!(self.poll_flush(cx, now_ms, to))?;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if !kept.is_empty() {
                let bytes = std::mem::take(kept);
                let used = self.push(cx, now_ms, &bytes, to)?;
                kept.extend_from_slice(bytes.get(used..).unwrap_or_default());
                continue;
            }
            self.waiting = Waiting::Source;
            let mut scratch = buffers.scratch.borrow_mut();
            let mut fresh = ReadBuf::new(&mut scratch);
            let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut fresh) else {
                self.shrink();
                return Poll::Pending;
            };
            read.map_err(|error| Broken::SourceClosed(Some(error)))?;
            let fresh = fresh.filled();
            self.moved_ms = now_ms;
            if fresh.is_empty() {
                self.end_of_source()?;
                continue;
            }
            let used = self.push(cx, now_ms, fresh, to)?;
            kept.extend_from_slice(fresh.get(used..).unwrap_or_default());
        }
    }

    /// All is written, and nothing comes: a tunnel or an event stream may stay like this for hours.
    fn shrink(&mut self) {
        if self.pending.capacity() > IDLE_BYTES_MAX && self.written == self.pending.len() {
            (self.pending, self.written) = (Vec::new(), 0);
        }
    }

    /// Passes body bytes on; what the sink does not take at once waits in `pending`. Gives how many bytes belonged to the body.
    ///
    /// # Errors
    /// [`Broken`] but for `SourceClosed`.
    pub fn push<B: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
        bytes: &[u8],
        to: &mut B,
    ) -> Result<usize, Broken> {
        let mut used = 0;
        while !self.ended && used < bytes.len() {
            let rest = bytes.get(used..).unwrap_or_default();
            let stretch = self.next_stretch(rest)?;
            used += stretch.used;
            let data = rest.get(stretch.data).unwrap_or_default();
            if self.chunked || data.len() <= JOIN_BYTES {
                self.join(data);
            } else {
                self.write_through(cx, now_ms, data, to)?;
            }
            if stretch.used == 0 {
                break;
            }
        }
        match self.poll_flush(cx, now_ms, to) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(used),
        }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// [`Broken::Sink`].
    pub fn poll_flush<B: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
        to: &mut B,
    ) -> Poll<Result<(), Broken>> {
        while self.written < self.pending.len() {
            let rest = self.pending.get(self.written..).unwrap_or_default();
            let wrote = ready!(Pin::new(&mut *to).poll_write(cx, rest)).and_then(none_is_an_error);
            self.note(wrote.map_err(Broken::Sink)?, now_ms);
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, wrote: usize, now_ms: u64) {
        self.written += wrote;
        self.accepted += wrote as u64;
        self.moved_ms = now_ms;
    }

    /// Writes waiting bytes and data in one call; the rest of the data joins what waits.
    fn write_through<B: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        now_ms: u64,
        data: &[u8],
        to: &mut B,
    ) -> Result<(), Broken> {
        let waiting = self.pending.len() - self.written;
        let slices = [
            IoSlice::new(self.pending.get(self.written..).unwrap_or_default()),
            IoSlice::new(data),
        ];
        let skip = usize::from(waiting == 0);
        let wrote =
            match Pin::new(to).poll_write_vectored(cx, slices.get(skip..).unwrap_or_default()) {
                Poll::Pending => 0,
                Poll::Ready(wrote) => wrote.and_then(none_is_an_error).map_err(Broken::Sink)?,
            };
        let of_waiting = wrote.min(waiting);
        self.note(of_waiting, now_ms);
        let of_data = wrote - of_waiting;
        self.accepted += of_data as u64;
        self.join(data.get(of_data..).unwrap_or_default());
        Ok(())
    }

    /// Queues data in the form in which it leaves.
    fn join(&mut self, data: &[u8]) {
        // All written before: start over, so that a long body does not grow the buffer. A first buffer that was
        // written is kept until then, for `rewind`.
        if self.written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
        }
        if !self.chunked {
            self.pending.extend_from_slice(data);
            return;
        }
        if !data.is_empty() {
            chunk::put_size(&mut self.pending, data.len());
            self.pending.extend_from_slice(data);
            self.pending.extend_from_slice(chunk::CHUNK_END);
        }
        if self.ended {
            let trailers = match &self.source {
                Source::Chunked(decoder) => decoder.trailers(),
                Source::Length(_) | Source::UntilClose | Source::Done => &[],
            };
            chunk::put_last(&mut self.pending, trailers);
        }
    }

    fn next_stretch(&mut self, bytes: &[u8]) -> Result<Stretch, Broken> {
        let stretch = match &mut self.source {
            Source::Done => Stretch { used: 0, data: 0..0 },
            Source::UntilClose => Stretch { used: bytes.len(), data: 0..bytes.len() },
            Source::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                self.ended = *left == 0;
                Stretch { used, data: 0..used }
            }
            Source::Chunked(decoder) => {
                match decoder.step(bytes).map_err(|error| Broken::Malformed(error.code()))? {
                    Piece::More => Stretch { used: bytes.len(), data: 0..0 },
                    Piece::Data(data) => Stretch { used: data.end, data },
                    Piece::End { used } => {
                        self.ended = true;
                        Stretch { used, data: 0..0 }
                    }
                }
            }
        };
        self.received += stretch.data.len() as u64;
        if self.received > self.largest { Err(Broken::TooLarge) } else { Ok(stretch) }
    }

    fn end_of_source(&mut self) -> Result<(), Broken> {
        if !matches!(self.source, Source::UntilClose) {
            return Err(Broken::SourceClosed(None));
        }
        self.ended = true;
        self.join(&[]);
        Ok(())
    }
}

fn none_is_an_error(wrote: usize) -> io::Result<usize> {
    if wrote == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(wrote) }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_relay_that_waits_for_more_keeps_no_large_buffer() {
        const BYTES: usize = 32 << 20;
        let (mut sender, mut from) = pair().await;
        let (mut to, mut receiver) = pair().await;
        let buffers = Buffers::default();
        let mut relay = Relay::new(Vec::new(), Framing::UntilClose, false, 0);
        let mut kept = Vec::new();
        let received = {
            let relaying =
                poll_fn(|cx| relay.poll(cx, (&buffers, 0), (&mut from, &mut kept), &mut to));
            let passing = async {
                let sending = tokio::spawn(async move {
                    sender.write_all(&vec![b'x'; BYTES]).await.unwrap();
                    sender
                });
                let (mut received, mut scratch) = (0, vec![0; 1 << 16]);
                while received < BYTES {
                    received += receiver.read(&mut scratch).await.unwrap();
                }
                // The sender stays open: the relay waits for more.
                (sending.await.unwrap(), received)
            };
            tokio::select! {
                biased;
                _ = relaying => panic!("the source is open"),
                (_open, received) = passing => received,
            }
        };
        assert_eq!(received, BYTES);
        assert!(relay.pending.capacity() <= IDLE_BYTES_MAX, "{}", relay.pending.capacity());
    }
}
