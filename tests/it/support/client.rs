//! A client that writes exact bytes and reads responses to the letter.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wait::PATIENCE;
use super::wire::{Field, Framing, Head, Wire, WireError};

/// A connection that sends what the test says, byte by byte.
#[derive(Debug)]
pub(crate) struct RawClient {
    pub(crate) wire: Wire,
}

/// A response that came whole.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    pub(crate) framing: Framing,
    /// Heads of the 1xx responses before it.
    pub(crate) interim: Vec<Head>,
}

/// A response that broke off: what there was of it, and how it ended.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) head: Option<Head>,
    pub(crate) body: Vec<u8>,
    pub(crate) why: WireError,
}

impl RawClient {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("a listening gate");
        Self { wire: Wire::new(stream) }
    }

    /// Sends; a failure is what the next read will show.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.wire.send(bytes.as_ref());
        self
    }

    /// Sends a GET with these further field lines, each with its CRLF.
    pub(crate) fn get(&mut self, path: &str, fields: &str) -> &mut Self {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n"))
    }

    /// The next response, whole, as an answer to `method`.
    pub(crate) fn try_response(&mut self, method: &str) -> Result<Response, Broken> {
        let mut interim = Vec::new();
        let broken = |why| Broken { head: None, body: Vec::new(), why };
        let (head, status) = loop {
            let head = self.wire.head().map_err(broken)?;
            let status = status(&head).map_err(broken)?;
            if status >= 200 || status == 101 {
                break (head, status);
            }
            interim.push(head);
        };
        let mut body = Vec::new();
        let outcome = framing(&head, status, method).and_then(|framing| {
            let mut keep = |it: &[u8]| body.extend_from_slice(it);
            self.wire.body(framing, &mut keep).map(|trailers| (framing, trailers))
        });
        match outcome {
            Ok((framing, trailers)) => {
                Ok(Response { status, head, body, trailers, framing, interim })
            }
            Err(why) => Err(Broken { head: Some(head), body, why }),
        }
    }

    /// The next response; the test fails when none comes whole.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response(method) {
            Ok(response) => response,
            Err(broken) => panic!("no whole response: {broken:?}"),
        }
    }

    /// The next head alone, 1xx included.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        self.wire.head().expect("a response head")
    }

    /// A body that is only counted, for those that are too large to keep.
    #[track_caller]
    pub(crate) fn count_body(&mut self, head: &Head) -> u64 {
        let mut count = 0;
        let framing = framing(head, status(head).expect("a status line"), "GET").expect("framed");
        self.wire.body(framing, &mut |it| count += it.len() as u64).expect("a whole body");
        count
    }

    /// Everything until the gate closes.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.wire.read_to_end(&mut |it| all.extend_from_slice(it));
        all
    }

    /// Fails unless the gate closes, without one more byte.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        assert!(
            self.is_closed(),
            "open, or more bytes: {:?}",
            String::from_utf8_lossy(self.wire.rest())
        );
    }

    /// Whether the gate closes without one more byte; waits for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.wire.rest().is_empty() && matches!(self.wire.fill(), Ok(0) | Err(WireError::Reset))
    }

    /// Whether nothing at all comes for `span`.
    pub(crate) fn is_silent_for(&mut self, span: Duration) -> bool {
        self.wire.patience(span);
        let silent = self.wire.rest().is_empty() && self.wire.fill() == Err(WireError::TimedOut);
        self.wire.patience(PATIENCE);
        silent
    }

    pub(crate) fn half_close(&mut self) -> &mut Self {
        self.wire.half_close();
        self
    }

    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

impl Response {
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.head, self.text());
        self
    }

    /// The value at a dotted path of the JSON body is this text (or prints so).
    #[track_caller]
    pub(crate) fn expect_field(self, path: &str, expected: &str) -> Self {
        let found = self.field(path);
        let shown = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(shown, expected, "field {path} of {}", self.text());
        self
    }

    #[track_caller]
    pub(crate) fn expect_text(self, expected: &str) -> Self {
        assert_eq!(self.text(), expected, "{:?}", self.head);
        self
    }

    #[track_caller]
    pub(crate) fn expect_header(self, name: &str, expected: &str) -> Self {
        assert_eq!(self.header(name), Some(expected), "{name} in {:?}", self.head);
        self
    }

    /// The value at a dotted path of the JSON body; null when there is none.
    #[track_caller]
    pub(crate) fn field(&self, path: &str) -> Value {
        let step = |it: Value, name: &str| match name.parse::<usize>() {
            Ok(index) => it.get(index).cloned().unwrap_or(Value::Null),
            Err(_) => it.get(name).cloned().unwrap_or(Value::Null),
        };
        path.split('.').fold(self.json(), step)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {:?} {}", self.head, self.text()),
        }
    }

    /// Slug of a refusal: `urn:headgate:CODE` in a problem's `type`.
    pub(crate) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let kind = body.get("type")?.as_str()?;
        kind.rsplit(':').next().map(str::to_owned)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn status(head: &Head) -> Result<u16, WireError> {
    let mut words = head.start.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().unwrap_or_default();
    let wrong = || WireError::Malformed(format!("status line {:?}", head.start));
    if version != "HTTP/1.1" || status.len() != 3 || words.next().is_none() {
        return Err(wrong());
    }
    status.parse().ok().filter(|it| (100..600).contains(it)).ok_or_else(wrong)
}

fn framing(head: &Head, status: u16, method: &str) -> Result<Framing, WireError> {
    let declared = head.framing()?;
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::None);
    }
    match declared {
        Framing::None => Ok(Framing::UntilClose),
        other => Ok(other),
    }
}
