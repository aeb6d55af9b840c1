//! One request head is unambiguous, or it is refused with the reason.

use crate::semantics::class::{Class, Field};

/// Most header fields of any head; a config may ask for fewer.
pub const FIELDS_MAX: usize = 100;

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked` (or HTTP/2 DATA without length).
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// A request head as a borrowed view: what the proxy decides on, whatever the protocol.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub version: Version,
    /// Case-sensitive token.
    pub method: &'a str,
    /// As sent; begins with `/`, or is `*` (OPTIONS only).
    pub raw_path: &'a str,
    /// As sent, without `?`.
    pub query: Option<&'a str>,
    /// Host and port as sent (from `Host`, or from an absolute-form target that agrees with it).
    pub authority: &'a str,
    pub fields: &'a [Field<'a>],
    /// One class for each field.
    pub classes: &'a [Class],
    pub framing: Framing,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
    /// Protocol of `Upgrade` when `Connection` names it; never `h2c` (that is dropped).
    pub upgrade: Option<&'a str>,
    /// The one `X-API-KEY` as sent.
    pub api_key: Option<&'a [u8]>,
}

impl<'a> RequestHead<'a> {
    /// The first value of a class.
    pub fn first(&self, class: Class) -> Option<&'a [u8]> {
        self.all(class).next()
    }

    /// All values of a class, in order.
    pub fn all(&self, class: Class) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().zip(self.classes).filter(move |it| *it.1 == class).map(|it| it.0.value)
    }
}

/// Room for a parsed head; lives on the stack of the step that parses.
#[derive(Debug)]
pub struct Storage<'a> {
    pub(crate) fields: [Field<'a>; FIELDS_MAX],
    pub(crate) classes: [Class; FIELDS_MAX],
}

impl Default for Storage<'_> {
    fn default() -> Self {
        Self { fields: [httparse::EMPTY_HEADER; FIELDS_MAX], classes: [Class::Other; FIELDS_MAX] }
    }
}

/// Limits of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    pub head_bytes: usize,
    pub fields: usize,
    pub target_bytes: usize,
}

/// What the bytes are so far.
#[derive(Debug)]
pub enum Parsed<T> {
    /// Not whole yet, and nothing wrong so far.
    Partial,
    /// A head, and how many bytes it took.
    Whole(T, usize),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HeadError {
    /// 400, 405, 414, 417, 431, 501 or 505.
    pub status: u16,
    /// Stable slug, for example `cl-with-te`.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: &'static str,
}

/// Reads one request head from the start of `bytes`; every rule of RFC 9112 that two servers could read differently is a refusal.
///
/// # Errors
/// A [`HeadError`] as soon as the bytes cannot become an unambiguous head, even when they are not whole yet.
pub fn parse_request<'a>(
    _bytes: &'a [u8],
    _storage: &'a mut Storage<'a>,
    _limits: &HeadLimits,
) -> Result<Parsed<RequestHead<'a>>, HeadError> {
    Ok(Parsed::Partial)
}
