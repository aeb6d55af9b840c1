//! One connection of the load generator: sends a request, reads a response, knows whether it was right.

use std::io::{self, Read as _};
use std::net::TcpStream;

use memchr::memmem;

use crate::upstream::write_some;

/// What is asked, and what must come back.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) request: Vec<u8>,
    /// Size of a right response's body.
    pub(crate) body_bytes: usize,
}

/// Where a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, or not all of it yet.
    Waiting,
    /// Complete and right; the connection may be used again.
    Done,
    /// Complete and right; the server closes the connection.
    DoneAndClosed,
    /// The connection ended (or broke) before the first byte of a response.
    Closed,
    /// A wrong status, or a response that broke off.
    Wrong,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: TcpStream,
    /// Unfinished head of a response.
    kept: Vec<u8>,
    /// Bytes of the request that are out.
    sent: usize,
    /// Bytes of the body still to come; `None` before the head.
    left: Option<usize>,
    closes: bool,
    /// Responses so far.
    pub(crate) served: u64,
    /// When the exchange under way was due, in ns; `None` while idle.
    pub(crate) due_ns: Option<u64>,
}

impl Client {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            kept: Vec::new(),
            sent: 0,
            left: None,
            closes: false,
            served: 0,
            due_ns: None,
        }
    }

    /// Begins an exchange that was due at `due_ns`.
    pub(crate) fn begin(&mut self, ask: &Ask, due_ns: u64) -> io::Result<()> {
        self.due_ns = Some(due_ns);
        (self.sent, self.left, self.closes) = (0, None, false);
        self.kept.clear();
        self.write(ask)
    }

    fn write(&mut self, ask: &Ask) -> io::Result<()> {
        let rest = ask.request.get(self.sent..).unwrap_or_default();
        if !rest.is_empty() {
            self.sent += write_some(&mut self.socket, rest)?;
        }
        Ok(())
    }

    /// Goes on with what the socket has; `closing`: the kernel has told its end.
    pub(crate) fn step(&mut self, ask: &Ask, scratch: &mut [u8], closing: bool) -> Seen {
        if self.due_ns.is_some() {
            let _ = self.write(ask); // a failure shows as the connection's end in the read below
        }
        loop {
            let got = match self.socket.read(scratch) {
                Ok(0) => return self.ended(),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Seen::Waiting,
                Err(_) => return self.ended(),
            };
            let seen = self.take(ask, scratch.get(..got).unwrap_or_default());
            if seen != Seen::Waiting || (got < scratch.len() && !closing) {
                return seen;
            }
        }
    }

    fn ended(&self) -> Seen {
        if self.left.is_none() && self.kept.is_empty() { Seen::Closed } else { Seen::Wrong }
    }

    fn take(&mut self, ask: &Ask, fresh: &[u8]) -> Seen {
        if self.due_ns.is_none() {
            return Seen::Wrong; // bytes that nobody asked for
        }
        if let Some(left) = self.left {
            return self.body(left, fresh.len());
        }
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(fresh);
            let joined = std::mem::take(&mut self.kept);
            return self.head(ask, &joined);
        }
        self.head(ask, fresh)
    }

    fn head(&mut self, ask: &Ask, bytes: &[u8]) -> Seen {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n").map(|it| it + 4) else {
            self.kept.extend_from_slice(bytes);
            return Seen::Waiting;
        };
        let (head, body) = bytes.split_at_checked(end).unwrap_or_default();
        if head.get(9..12) != Some(b"200") {
            return Seen::Wrong;
        }
        self.closes = memmem::find(head, b"onnection: close").is_some();
        self.body(ask.body_bytes, body.len())
    }

    fn body(&mut self, left: usize, got: usize) -> Seen {
        if got < left {
            self.left = Some(left - got);
            return Seen::Waiting;
        }
        self.served += 1;
        match (got > left, self.closes) {
            (true, _) => Seen::Wrong,
            (false, true) => Seen::DoneAndClosed,
            (false, false) => Seen::Done,
        }
    }
}
