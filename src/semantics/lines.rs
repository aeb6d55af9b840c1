//! Checks on the raw lines of a head that a tokeniser lets pass, and names what it refused.

use crate::semantics::class::{Class, Field};
use crate::semantics::fields::is_token;
use crate::semantics::head::HeadError;
use crate::semantics::refusal::{
    BAD_METHOD, BAD_NAME, BAD_REQUEST_LINE, BAD_STATUS_LINE, BAD_VALUE, BARE_CR, BARE_LF,
    H2_PREFACE, HTTP_09, LEADING_LINES, NOT_HTTP, OBS_FOLD, SPACE_BEFORE_COLON, TARGET_BYTES,
    TLS_ON_PLAIN_PORT, TOO_MANY_FIELDS, VERSION, of_upstream,
};

/// Whether every line of a whole head ends in CRLF. Looks only where httparse has found line ends: before each name
/// and at the end; there is no other LF, since names, values, targets and reasons have none.
#[inline]
pub(crate) fn end_in_crlf(head: &[u8], fields: &[Field<'_>]) -> bool {
    head.ends_with(b"\r\n\r\n")
        && fields.iter().all(|field| {
            let at = offset(head, field.name.as_bytes());
            head.get(at.wrapping_sub(2)..at) == Some(b"\r\n")
        })
}

/// Where `part`, a slice of `whole`, begins.
#[inline]
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

/// Whether a tab stands beside the value of a `Transfer-Encoding`: some servers take it for a part of the value.
#[cold]
pub(crate) fn coding_has_tab(head: &[u8], fields: &[Field<'_>], classes: &[Class]) -> bool {
    fields.iter().zip(classes).filter(|it| *it.1 == Class::TransferEncoding).any(|(field, _)| {
        let rest = head.get(offset(head, field.name.as_bytes())..).unwrap_or_default();
        let line = memchr::memchr(b'\n', rest).map_or(rest, |end| &rest[..end]);
        line.contains(&b'\t')
    })
}

/// Whether an LF has no CR before it.
pub(crate) fn has_bare_lf(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| at == 0 || bytes.get(at - 1) != Some(&b'\r'))
}

/// Why httparse refused what should be a request.
#[cold]
pub(crate) fn request_fault(bytes: &[u8], error: httparse::Error) -> HeadError {
    if bytes.first() == Some(&0x16) {
        return TLS_ON_PLAIN_PORT; // record type "handshake" (RFC 8446 §5.1)
    }
    if bytes.starts_with(b"PRI * HTTP/2.0") {
        return H2_PREFACE;
    }
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY_FIELDS,
        httparse::Error::Token | httparse::Error::Version => request_line_fault(first_line(bytes)),
        _ => field_fault(bytes).unwrap_or(BAD_REQUEST_LINE),
    }
}

/// Why httparse refused what should be a response.
#[cold]
pub(crate) fn response_fault(bytes: &[u8], error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => of_upstream(TOO_MANY_FIELDS),
        httparse::Error::Version => NOT_HTTP,
        httparse::Error::Status | httparse::Error::Token => BAD_STATUS_LINE,
        _ => of_upstream(field_fault(bytes).unwrap_or(BAD_STATUS_LINE)),
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = memchr::memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..end]);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn request_line_fault(line: &[u8]) -> HeadError {
    if line.is_empty() {
        return LEADING_LINES;
    }
    if line.contains(&b'\r') {
        return BARE_CR;
    }
    let parts: Vec<&[u8]> = line.splitn(4, |it| *it == b' ').collect();
    match parts[..] {
        [method, ..] if !is_token(method) => BAD_METHOD,
        [_, target, ..] if target.iter().any(|it| !it.is_ascii_graphic()) => TARGET_BYTES,
        [_, target] if !target.is_empty() => HTTP_09,
        [_, _, version] if is_version(version) => VERSION,
        _ => BAD_REQUEST_LINE,
    }
}

/// `HTTP/` and a number, whichever.
fn is_version(text: &[u8]) -> bool {
    text.strip_prefix(b"HTTP/").is_some_and(|it| {
        it.first().is_some_and(u8::is_ascii_digit)
            && it.iter().all(|it| it.is_ascii_digit() || *it == b'.')
    })
}

/// The first header line that is not `name: value`.
fn field_fault(bytes: &[u8]) -> Option<HeadError> {
    let first = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    if memchr::memchr(b'\r', &bytes[..first]).is_some_and(|at| at + 1 != first) {
        return Some(BARE_CR);
    }
    let mut rest = bytes.get(first + 1..)?;
    loop {
        let end = memchr::memchr(b'\n', rest);
        let line = end.map_or(rest, |end| &rest[..end]);
        if let Some(fault) = line_fault(line, end.is_some()) {
            return Some(fault);
        }
        rest = rest.get(end? + 1..)?;
    }
}

fn line_fault(line: &[u8], is_whole: bool) -> Option<HeadError> {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    if matches!(text, [b' ' | b'\t', ..]) {
        return Some(OBS_FOLD);
    }
    if text.contains(&b'\r') {
        return Some(BARE_CR);
    }
    if is_whole && text.len() == line.len() {
        return Some(BARE_LF);
    }
    if text.is_empty() {
        return None;
    }
    let Some(colon) = text.iter().position(|it| *it == b':') else {
        return (is_whole || !is_token(text)).then_some(BAD_NAME);
    };
    let (name, value) = (&text[..colon], &text[colon + 1..]);
    if matches!(name, [.., b' ' | b'\t']) {
        return Some(SPACE_BEFORE_COLON);
    }
    if !is_token(name) {
        return Some(BAD_NAME);
    }
    value.iter().any(|it| (*it < b' ' && *it != b'\t') || *it == 0x7f).then_some(BAD_VALUE)
}
