//! What the codec needs of a connection: plain sockets now, TLS later.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

/// A byte stream that can tell that there is something to read without a buffer to read into.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Ready when a read would not wait (bytes, end or error).
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Makes the coming close a reset, which nobody takes for the end of a message.
    fn reset_on_close(&self);

    /// Whether an idle connection can be used again: open, and nothing came that nobody asked for.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let look = poll_fn(|cx| Pin::new(&mut *self).poll_read(cx, &mut buffer));
        // Unconstrained: a task that has used up its share of a turn would be told that nothing is there.
        pin!(unconstrained(look)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Transport for TcpStream {
    /// By looking at one byte: a socket that is new to the runtime counts as ready until somebody has tried.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut byte = [0; 1];
        self.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
    }

    fn reset_on_close(&self) {
        // A socket that refuses this is gone already.
        let _ = self.set_zero_linger();
    }
}
