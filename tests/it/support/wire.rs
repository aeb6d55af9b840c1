//! A socket with a buffer, and strict reading of HTTP/1.1 messages from it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::wait::PATIENCE;

/// Bytes that are kept of what a connection received; a test of large bodies looks at counts instead.
const LOG_MAX: usize = 1 << 20;

/// A header field as it came.
pub(crate) type Field = (String, String);

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// The other side closed before the first byte.
    Closed,
    /// The other side closed within the message.
    Truncated,
    /// The connection was reset.
    Reset,
    /// Nothing came in time.
    TimedOut,
    /// What came is not HTTP/1.1 to the letter.
    Malformed(String),
}

/// Start line and fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Vec<Field>,
}

impl Head {
    /// Values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let wanted = |it: &&Field| it.0.eq_ignore_ascii_case(name);
        self.fields.iter().filter(wanted).map(|it| it.1.as_str()).collect()
    }

    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Whether a comma-separated field names `token`.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let has = |it: &&str| it.split(',').any(|part| part.trim().eq_ignore_ascii_case(token));
        self.all(name).iter().any(has)
    }

    /// The framing that the fields declare, if exactly one or none is declared.
    pub(crate) fn framing(&self) -> Result<Framing, WireError> {
        let (codings, lengths) = (self.all("transfer-encoding"), self.all("content-length"));
        match (codings.as_slice(), lengths.as_slice()) {
            ([], []) => Ok(Framing::None),
            (["chunked"], []) => Ok(Framing::Chunked),
            ([], [length]) if length.bytes().all(|it| it.is_ascii_digit()) => {
                length.parse().map(Framing::Length).map_err(|_| malformed("length", length))
            }
            _ => Err(malformed("framing", &format!("TE {codings:?}, CL {lengths:?}"))),
        }
    }
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A buffered socket.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    /// Everything that was received, up to [`LOG_MAX`].
    pub(crate) log: Vec<u8>,
    /// How much was received.
    pub(crate) received: u64,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        Self { stream, buffer: Vec::new(), log: Vec::new(), received: 0 }
    }

    pub(crate) fn patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("not zero");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).map_err(|it| wire_error(it.kind()))
    }

    pub(crate) fn half_close(&self) {
        // The other side may be gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes so that the other side sees a reset.
    pub(crate) fn reset(self) {
        let socket = socket2::Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// Bytes that have been read and not been used.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads once; 0 at the end.
    pub(crate) fn fill(&mut self) -> Result<usize, WireError> {
        let mut scratch = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut scratch) {
                Ok(count) => {
                    let room = LOG_MAX.saturating_sub(self.log.len()).min(count);
                    self.log.extend_from_slice(&scratch[..room]);
                    self.received += count as u64;
                    self.buffer.extend_from_slice(&scratch[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(wire_error(error.kind())),
            }
        }
    }

    fn fill_more(&mut self) -> Result<(), WireError> {
        match self.fill()? {
            0 if self.buffer.is_empty() => Err(WireError::Closed),
            0 => Err(WireError::Truncated),
            _ => Ok(()),
        }
    }

    /// One line without its CRLF; a bare LF or CR is malformed.
    pub(crate) fn line(&mut self) -> Result<String, WireError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let Some(line) = line.strip_suffix(b"\r\n") else {
                    return Err(malformed("line", &String::from_utf8_lossy(&line)));
                };
                if line.contains(&b'\r') {
                    return Err(malformed("line", &String::from_utf8_lossy(line)));
                }
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            self.fill_more()?;
        }
    }

    /// Start line and fields up to the empty line.
    pub(crate) fn head(&mut self) -> Result<Head, WireError> {
        let start = self.line()?;
        let fields = self.fields()?;
        Ok(Head { start, fields })
    }

    fn fields(&mut self) -> Result<Vec<Field>, WireError> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().map_err(within)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("field", &line))?;
            let token = |it: u8| it.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&it);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(malformed("field name", &line));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// A body; its pieces go to `sink`. Gives the trailers.
    pub(crate) fn body(
        &mut self,
        framing: Framing,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<Vec<Field>, WireError> {
        match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => self.exactly(length, sink).map(|()| Vec::new()),
            Framing::Chunked => self.chunked(sink),
            Framing::UntilClose => self.read_to_end(sink).map(|()| Vec::new()),
        }
    }

    fn exactly(&mut self, length: u64, sink: &mut dyn FnMut(&[u8])) -> Result<(), WireError> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill_more().map_err(within)?;
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            sink(&self.buffer[..count]);
            self.buffer.drain(..count);
            left -= count as u64;
        }
        Ok(())
    }

    fn chunked(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<Vec<Field>, WireError> {
        loop {
            let line = self.line().map_err(within)?;
            let digits = line.bytes().all(|it| it.is_ascii_hexdigit());
            let size = u64::from_str_radix(&line, 16).ok().filter(|_| digits);
            match size.ok_or_else(|| malformed("chunk size", &line))? {
                0 => return self.fields(),
                size => self.exactly(size, sink)?,
            }
            let end = self.line().map_err(within)?;
            if !end.is_empty() {
                return Err(malformed("end of chunk", &end));
            }
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) fn read_to_end(&mut self, sink: &mut dyn FnMut(&[u8])) -> Result<(), WireError> {
        loop {
            sink(&self.buffer);
            self.buffer.clear();
            if self.fill()? == 0 {
                return Ok(());
            }
        }
    }

    /// Exactly `count` bytes, for tunnels.
    pub(crate) fn take(&mut self, count: u64) -> Result<Vec<u8>, WireError> {
        let mut taken = Vec::new();
        self.exactly(count, &mut |it| taken.extend_from_slice(it))?;
        Ok(taken)
    }
}

/// An end within a message is a truncation.
fn within(error: WireError) -> WireError {
    match error {
        WireError::Closed => WireError::Truncated,
        other => other,
    }
}

fn malformed(what: &str, text: &str) -> WireError {
    WireError::Malformed(format!("{what}: {text:?}"))
}

fn wire_error(kind: ErrorKind) -> WireError {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => WireError::TimedOut,
        _ => WireError::Reset,
    }
}
