//! The upstream of the benchmark: answers with ready-made bytes, by the size that the path names.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use memchr::memmem;

/// Bodies by size, made once.
#[derive(Debug)]
pub(crate) struct Answers {
    /// Body size in bytes → whole response.
    ready: Vec<(usize, Vec<u8>)>,
    head_end: memmem::Finder<'static>,
    length: memmem::Finder<'static>,
}

/// A JSON body of exactly `size` bytes (at least 32).
pub(crate) fn body(size: usize) -> Vec<u8> {
    let mut text = b"{\"buy\":true,\"reason\":\"".to_vec();
    while text.len() < size.saturating_sub(2) {
        text.push(b'a' + u8::try_from(text.len() % 26).unwrap_or(0));
    }
    text.extend_from_slice(b"\"}");
    text
}

impl Answers {
    pub(crate) fn new(sizes: &[usize]) -> Self {
        let ready = sizes.iter().map(|size| (*size, response(*size))).collect();
        Self {
            ready,
            head_end: memmem::Finder::new(b"\r\n\r\n"),
            length: memmem::Finder::new(b"ontent-"),
        }
    }

    /// The size stands as the last number of the path: `/any/thing/1024`.
    fn find(&self, head: &[u8]) -> usize {
        let path = head.split(|it| *it == b' ').nth(1).unwrap_or_default();
        let last = path.rsplit(|it| *it == b'/').next().unwrap_or_default();
        let size = str::from_utf8(last).ok().and_then(|it| it.parse().ok()).unwrap_or(0_usize);
        self.ready.iter().position(|it| it.0 == size).unwrap_or(0)
    }

    /// Length of the request body; the benchmark's own requests always have a `Content-Length`.
    fn body_length(&self, head: &[u8]) -> usize {
        if head.starts_with(b"GET") {
            return 0;
        }
        let lengths = self.length.find_iter(head).filter_map(|at| {
            let rest = head.get(at + 7..)?;
            let value =
                rest.get(..7)?.eq_ignore_ascii_case(b"length:").then(|| rest.get(7..))??;
            let line = value.split(|it| *it == b'\r').next()?;
            str::from_utf8(line).ok()?.trim().parse().ok()
        });
        lengths.last().unwrap_or(0)
    }
}

fn response(size: usize) -> Vec<u8> {
    let mut all = format!(
        "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 06:00:00 GMT\r\nServer: uvicorn\r\n\
         Content-Type: application/json\r\nCache-Control: no-cache\r\n\
         X-Process-Time: 0.0003\r\nContent-Length: {size}\r\n\r\n"
    )
    .into_bytes();
    all.extend_from_slice(&body(size));
    all
}

/// One connection from a proxy.
#[derive(Debug)]
pub(crate) struct Conn {
    socket: TcpStream,
    /// Unparsed rest of what came in.
    kept: Vec<u8>,
    /// Bytes of a request body still to come.
    skip: usize,
    /// Responses that the socket did not take as a whole yet: which, and how much of it is gone.
    unsent: VecDeque<(usize, usize)>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    Yes,
    No,
}

impl Conn {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, kept: Vec::new(), skip: 0, unsent: VecDeque::new() }
    }

    /// Reads and answers what can be answered now.
    pub(crate) fn step(&mut self, answers: &Answers, scratch: &mut [u8], closing: bool) -> Alive {
        self.try_step(answers, scratch, closing).unwrap_or(Alive::No)
    }

    fn try_step(
        &mut self,
        answers: &Answers,
        scratch: &mut [u8],
        closing: bool,
    ) -> io::Result<Alive> {
        self.flush(answers)?;
        loop {
            let got = match self.socket.read(scratch) {
                Ok(0) => return Ok(Alive::No),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Alive::Yes),
                Err(error) => return Err(error),
            };
            self.take(answers, scratch.get(..got).unwrap_or_default());
            self.flush(answers)?;
            // Edge-triggered: a short read has emptied the socket, unless its end is due.
            if got < scratch.len() && !closing {
                return Ok(Alive::Yes);
            }
        }
    }

    fn take(&mut self, answers: &Answers, fresh: &[u8]) {
        let skipped = self.skip.min(fresh.len());
        self.skip -= skipped;
        if self.skip == 0 && skipped > 0 {
            // A body that came in several reads: such a request is answered with the first size.
            self.unsent.push_back((0, 0));
        }
        let mut bytes = fresh.get(skipped..).unwrap_or_default();
        let joined;
        if !self.kept.is_empty() {
            self.kept.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.kept);
            bytes = &joined;
        }
        while let Some(end) = answers.head_end.find(bytes).map(|it| it + 4) {
            let (head, rest) = bytes.split_at_checked(end).unwrap_or_default();
            let body = answers.body_length(head);
            let inside = body.min(rest.len());
            bytes = rest.get(inside..).unwrap_or_default();
            self.skip = body - inside;
            if self.skip > 0 {
                return;
            }
            self.unsent.push_back((answers.find(head), 0));
        }
        self.kept.extend_from_slice(bytes);
    }

    fn flush(&mut self, answers: &Answers) -> io::Result<()> {
        while let Some((which, gone)) = self.unsent.front_mut() {
            let whole = answers.ready.get(*which).map(|it| it.1.as_slice()).unwrap_or_default();
            *gone += write_some(&mut self.socket, whole.get(*gone..).unwrap_or_default())?;
            if *gone < whole.len() {
                break;
            }
            self.unsent.pop_front();
        }
        Ok(())
    }
}

/// Writes until the socket takes no more.
pub(crate) fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|it| !it.is_empty()) {
        match socket.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
