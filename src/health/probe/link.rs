//! A connection of one check: plain or TLS, with a bound on all the bytes that it takes in.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::health::probe::fault::{Fault, TooMuch};
use crate::health::probe::seen::{Phase, Seen};
use crate::health::probe::tls::Tls;

/// Bytes taken from one connection, all layers together: a body of 64 KiB in small chunks, certificates, a head. What
/// floods (informational responses, HTTP/2 pings, TLS tickets) ends here.
const BYTES_MAX: usize = 256 << 10;

/// An open connection.
#[derive(Debug)]
pub(super) enum Link {
    Plain(Metered),
    Tls(Box<TlsStream<Metered>>),
}

impl Link {
    /// Connects, and shakes hands where TLS is asked for. The caller has the deadline.
    pub(super) async fn open(
        to: SocketAddr,
        tls: Option<&Tls>,
        seen: &mut Seen,
    ) -> Result<Self, Fault> {
        seen.phase = Phase::Connect;
        let socket = TcpStream::connect(to).await.map_err(|it| Fault::of(&it))?;
        let metered = Metered { socket, left: BYTES_MAX };
        let Some(tls) = tls else { return Ok(Self::Plain(metered)) };
        seen.phase = Phase::Tls;
        let shaken = tls.shake(metered).await.map_err(|it| Fault::of_handshake(&it))?;
        Ok(Self::Tls(Box::new(shaken)))
    }

    /// The protocol that both agreed on; `None` without TLS or agreement.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(it) => it.get_ref().1.alpn_protocol(),
        }
    }
}

/// A socket that ends with an error when too much has come.
#[derive(Debug)]
pub(super) struct Metered {
    socket: TcpStream,
    left: usize,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.socket).poll_read(cx, buffer);
        let came = buffer.filled().len().saturating_sub(before);
        match this.left.checked_sub(came) {
            Some(left) => this.left = left,
            None => return Poll::Ready(Err(io::Error::other(TooMuch))),
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_read(cx, buffer),
            Self::Tls(it) => Pin::new(it).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_write(cx, bytes),
            Self::Tls(it) => Pin::new(it).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_flush(cx),
            Self::Tls(it) => Pin::new(it).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(it) => Pin::new(it).poll_shutdown(cx),
            Self::Tls(it) => Pin::new(it).poll_shutdown(cx),
        }
    }
}
