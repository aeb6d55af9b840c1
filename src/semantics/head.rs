//! One request head is unambiguous, or it is refused with the reason.

use std::mem::MaybeUninit;

use httparse::Status;

use crate::semantics::class::{Class, Field};
use crate::semantics::fields::{Side, Traits, check, is_token, list, sort};
use crate::semantics::lines;
use crate::semantics::refusal::{
    AMBIGUOUS_TE, BAD_METHOD, BARE_LF, CONNECT, EXPECTATION, H2_CONNECTION_FIELD, HEAD_TOO_LARGE,
    LEADING_LINES, TARGET_TOO_LONG, TOO_MANY_FIELDS, TRACE, UPGRADE_WITH_BODY,
};
use crate::semantics::target;

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

    /// Whether the client takes trailers (`TE: trailers`, RFC 9110 §10.1.4).
    pub fn takes_trailers(&self) -> bool {
        self.all(Class::Te).any(|value| list(value).any(|it| it.eq_ignore_ascii_case(b"trailers")))
    }
}

/// Room for a parsed head; lives on the stack of the step that parses. Making one costs no more than its classes.
#[derive(Debug)]
pub struct Storage<'a> {
    pub(crate) fields: [MaybeUninit<Field<'a>>; FIELDS_MAX],
    pub(crate) classes: [Class; FIELDS_MAX],
}

impl Default for Storage<'_> {
    #[inline]
    fn default() -> Self {
        Self {
            fields: [const { MaybeUninit::uninit() }; FIELDS_MAX],
            classes: [Class::Other; FIELDS_MAX],
        }
    }
}

/// Limits of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Of the whole head with its last empty line; more is 431.
    pub head_bytes: usize,
    /// Header lines, at most [`FIELDS_MAX`]; more is 431.
    pub fields: usize,
    /// Of the request target as sent; more is 414.
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
    /// 400, 405, 414, 417, 431, 501 or 505; 502 for what an upstream sent.
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
    bytes: &'a [u8],
    storage: &'a mut Storage<'a>,
    limits: &HeadLimits,
) -> Result<Parsed<RequestHead<'a>>, HeadError> {
    let bytes_after = after_empty_line(bytes)?;
    let room = limits.fields.min(FIELDS_MAX);
    let mut request = httparse::Request::new(&mut []);
    let used = match request.parse_with_uninit_headers(bytes_after, &mut storage.fields[..room]) {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) => {
            method_is_served(request.method.unwrap_or_default())?;
            return unfinished(bytes_after, limits);
        }
        Err(error) => return Err(lines::request_fault(bytes_after, error)),
    };
    let (fields, head): (&'a [Field<'a>], _) = (request.headers, &bytes_after[..used]);
    let parts = Parts {
        version: if request.version == Some(0) { Version::Http10 } else { Version::Http11 },
        method: request.method.unwrap_or_default(),
        target: request.path.unwrap_or_default(),
        fields,
    };
    within(&parts, used, limits)?;
    if !lines::end_in_crlf(head, fields) {
        return Err(BARE_LF);
    }
    let classes = &mut storage.classes[..fields.len()];
    let traits = sort(fields, classes, Side::Request)?;
    if traits.has_coding() && lines::coding_has_tab(head, fields, classes) {
        return Err(AMBIGUOUS_TE);
    }
    let whole = judge(&parts, &traits, classes)?;
    Ok(Parsed::Whole(whole, bytes.len() - bytes_after.len() + used))
}

/// A request in parts that were split elsewhere: by HTTP/2, by a command line, by an edge that asks.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub version: Version,
    pub method: &'a str,
    /// As in a request line: path and query, `*`, or an absolute URL.
    pub target: &'a str,
    /// With `Host`, into which HTTP/2 turns its `:authority`.
    pub fields: &'a [Field<'a>],
}

/// Judges parts by the same rules as [`parse_request`]; `classes` has room for at least as many as there are fields.
///
/// # Errors
/// A [`HeadError`] when they are no unambiguous head.
pub fn inspect<'a>(
    parts: &Parts<'a>,
    classes: &'a mut [Class],
    limits: &HeadLimits,
) -> Result<RequestHead<'a>, HeadError> {
    let fields = parts.fields;
    let lines_bytes: usize = fields.iter().map(|it| it.name.len() + it.value.len() + 4).sum();
    let line_bytes = parts.method.len() + parts.target.len() + 14;
    within(parts, line_bytes + lines_bytes, limits)?;
    let classes = classes.get_mut(..fields.len()).ok_or(TOO_MANY_FIELDS)?;
    if fields.len() > limits.fields {
        return Err(TOO_MANY_FIELDS);
    }
    if !is_token(parts.method.as_bytes()) {
        return Err(BAD_METHOD);
    }
    fields.iter().try_for_each(check)?;
    let traits = sort(fields, classes, Side::Request)?;
    if parts.version == Version::Http2 && classes.iter().any(|it| is_connection_specific(*it)) {
        return Err(H2_CONNECTION_FIELD);
    }
    judge(parts, &traits, classes)
}

/// One empty line before the request is left out (RFC 9112 §2.2), as old clients send one after a POST.
#[inline]
fn after_empty_line(bytes: &[u8]) -> Result<&[u8], HeadError> {
    let rest = match bytes {
        [b'\r', b'\n', rest @ ..] => rest,
        [b'\n', ..] => return Err(BARE_LF),
        _ => return Ok(bytes),
    };
    if matches!(rest, [b'\r' | b'\n', ..]) { Err(LEADING_LINES) } else { Ok(rest) }
}

fn method_is_served(method: &str) -> Result<(), HeadError> {
    match method {
        "CONNECT" => Err(CONNECT),
        "TRACE" => Err(TRACE),
        _ => Ok(()),
    }
}

#[inline]
fn within(parts: &Parts<'_>, head_bytes: usize, limits: &HeadLimits) -> Result<(), HeadError> {
    method_is_served(parts.method)?;
    if parts.target.len() > limits.target_bytes {
        return Err(TARGET_TOO_LONG);
    }
    if head_bytes > limits.head_bytes { Err(HEAD_TOO_LARGE) } else { Ok(()) }
}

/// What can be said for certain before the last line is there.
#[cold]
fn unfinished<T>(bytes: &[u8], limits: &HeadLimits) -> Result<Parsed<T>, HeadError> {
    let line = memchr::memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
    let target = line.split(|it| *it == b' ').nth(1).unwrap_or_default();
    if target.len() > limits.target_bytes {
        return Err(TARGET_TOO_LONG);
    }
    if bytes.len() >= limits.head_bytes {
        return Err(HEAD_TOO_LARGE);
    }
    if lines::has_bare_lf(bytes) { Err(BARE_LF) } else { Ok(Parsed::Partial) }
}

/// Puts the parts together once their lines are known to be sound.
#[inline]
fn judge<'a>(
    parts: &Parts<'a>,
    traits: &Traits<'a>,
    classes: &'a [Class],
) -> Result<RequestHead<'a>, HeadError> {
    let version = parts.version;
    let target = target::split(parts.method, parts.target)?;
    let authority = target::authority(version, &target, traits.host)?;
    let framing = traits.framing(version)?.unwrap_or(Framing::None);
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    // RFC 9110 §7.8: to be ignored in HTTP/1.0.
    let upgrade = traits.upgrade().filter(|_| version == Version::Http11);
    if upgrade.is_some() && has_body {
        return Err(UPGRADE_WITH_BODY);
    }
    Ok(RequestHead {
        version,
        method: parts.method,
        raw_path: target.path,
        query: target.query,
        authority,
        fields: parts.fields,
        classes,
        framing,
        keep_alive: traits.persists(version),
        expect_continue: expects(traits)? && has_body && version != Version::Http10,
        upgrade,
        api_key: traits.api_key,
    })
}

/// Whether there is `Expect: 100-continue`; anything else that is expected is a refusal (RFC 9110 §10.1.1).
fn expects(traits: &Traits<'_>) -> Result<bool, HeadError> {
    match traits.expect {
        None => Ok(false),
        Some(it) if !traits.several_expects && it.eq_ignore_ascii_case(b"100-continue") => Ok(true),
        Some(_) => Err(EXPECTATION),
    }
}

/// RFC 9113 §8.2.2.
fn is_connection_specific(class: Class) -> bool {
    matches!(class, Class::Connection | Class::HopByHop | Class::TransferEncoding | Class::Upgrade)
}
