//! One canonical path is matched, authorised and forwarded.

use std::borrow::Cow;

use crate::semantics::head::HeadError;
use crate::semantics::refusal::{
    BACKSLASH, BAD_TARGET, BROKEN_ESCAPE, ESCAPED_CONTROL, FRAGMENT, TARGET_BYTES,
};

/// The one form of a path: unreserved characters decoded, `%XX` in upper case, dot segments removed, slashes merged.
/// Borrowed when the path already has it. `*` stays as it is.
///
/// Escapes of other characters survive (`M%26M.NS`, `a%2Fb`): what they mean is the service's to say.
///
/// # Errors
/// 400 for what no two servers read alike (escaped or raw control bytes, raw non-ASCII, `\`, `#`, a broken `%`).
pub fn canonical(raw: &str) -> Result<Cow<'_, str>, HeadError> {
    if raw == "*" || is_canonical(raw.as_bytes())? {
        return Ok(Cow::Borrowed(raw));
    }
    let path = without_dots(&decode_unreserved(raw));
    Ok(if path == raw { Cow::Borrowed(raw) } else { Cow::Owned(path) })
}

/// Checks all bytes, and whether the path may stay as it is.
fn is_canonical(raw: &[u8]) -> Result<bool, HeadError> {
    if raw.first() != Some(&b'/') {
        return Err(BAD_TARGET);
    }
    let mut same = true;
    let mut after_slash = false;
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            // `/.x` is canonical too, but too rare to be told from `/./` here.
            b'/' | b'.' if after_slash => same = false,
            b'%' => {
                let code = raw.get(at + 1..at + 3).and_then(hex_byte).ok_or(BROKEN_ESCAPE)?;
                if code < b' ' || code == 0x7f {
                    return Err(ESCAPED_CONTROL);
                }
                same &= !is_unreserved(code) && is_upper(raw.get(at + 1..at + 3));
                at += 2;
            }
            b'\\' => return Err(BACKSLASH),
            b'#' => return Err(FRAGMENT),
            b'!'..=b'~' => {}
            _ => return Err(TARGET_BYTES),
        }
        after_slash = *byte == b'/';
        at += 1;
    }
    Ok(same)
}

/// Text whose escapes are upper case and never of an unreserved character (RFC 3986 §6.2.2).
fn decode_unreserved(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (escape, after) = (rest.get(at..at + 3), rest.get(at + 3..));
        let code = escape.and_then(|it| hex_byte(&it.as_bytes()[1..]));
        match (escape, code) {
            (_, Some(code)) if is_unreserved(code) => out.push(char::from(code)),
            (Some(escape), _) => out.extend(escape.chars().map(|it| it.to_ascii_uppercase())),
            (None, _) => {}
        }
        rest = after.unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// RFC 3986 §5.2.4 on merged slashes; a trailing slash stays.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if ends_open || out.is_empty() {
        out.push('/');
    }
    out
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_upper(escape: Option<&[u8]>) -> bool {
    escape.is_some_and(|it| !it.iter().any(u8::is_ascii_lowercase))
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok())
}

/// Times that a chain of servers may decode one path. Three are known in the wild; one more costs nothing.
const DECODINGS_MAX: u32 = 4;

/// Whether any decoding of `canonical` by a common server (encoded slash, dot segments, double encoding, `;params`,
/// backslash, case, trailing dots) would land at or under `prefix` (whole segments).
///
/// Errs towards yes: a `..` that only a decoding brings to light is taken to remove any segments before it.
pub fn could_reach(canonical: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    if is_under(canonical, prefix) {
        return true;
    }
    needs_decoding(canonical.as_bytes())
        && reaches(&Form { bytes: canonical.as_bytes().to_vec(), decodings: 0 }, prefix.as_bytes())
}

fn is_under(path: &str, prefix: &str) -> bool {
    let (path, prefix) = (path.as_bytes(), prefix.as_bytes());
    path.len() >= prefix.len()
        && path[..prefix.len()].eq_ignore_ascii_case(prefix)
        && matches!(path.get(prefix.len()), None | Some(b'/'))
}

/// Whether the path has something that servers read differently; ordinary escapes (`%26`, `%20`, UTF-8) are not.
fn needs_decoding(path: &[u8]) -> bool {
    memchr::memchr3_iter(b'%', b';', b'.', path).any(|at| match path.get(at) {
        Some(b'%') => match path.get(at + 1..at + 3).and_then(hex_byte) {
            // A slash in any spelling, an escape or parameters to come, what may end a path, blanks that Windows
            // trims, and the first bytes of overlong UTF-8.
            Some(code) => matches!(
                code,
                b'/' | b'\\' | b'%' | b'.' | b';' | b'?' | b'#' | b' ' | 0xc0 | 0xc1 | 0xe0 | 0xf0
            ),
            None => true,
        },
        Some(b'.') => matches!(path.get(at + 1), None | Some(b'/' | b'.' | b';' | b'%')),
        _ => true,
    })
}

/// A path as some server sees it on its way.
struct Form {
    bytes: Vec<u8>,
    decodings: u32,
}

/// Looks at the form as it is, and at what becomes of it when it is decoded, with its parameters and without: a server
/// that drops `;…` before it decodes sees other slashes than one that does so afterwards.
fn reaches(form: &Form, prefix: &[u8]) -> bool {
    if segments_reach(&form.bytes, prefix) {
        return true;
    }
    let bare = without_params(&form.bytes);
    if bare.as_ref().is_some_and(|it| segments_reach(it, prefix)) {
        return true;
    }
    if form.decodings == DECODINGS_MAX {
        return false;
    }
    [Some(&form.bytes), bare.as_ref()].into_iter().flatten().any(|bytes| {
        let decoded = decode(bytes);
        decoded != *bytes
            && reaches(&Form { bytes: decoded, decodings: form.decodings + 1 }, prefix)
    })
}

/// Without `;…` of each segment, as Java's servers do; `None` when there is none.
fn without_params(path: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b';', path)?;
    let mut out = Vec::with_capacity(path.len());
    let mut dropping = false;
    for byte in path {
        match byte {
            b'/' => dropping = false,
            b';' => dropping = true,
            _ => {}
        }
        if !dropping {
            out.push(*byte);
        }
    }
    Some(out)
}

/// Whether the segments are those of `prefix` at the start, or in order anywhere when there is a `..`.
fn segments_reach(path: &[u8], prefix: &[u8]) -> bool {
    let wanted: Vec<&[u8]> = prefix.split(|it| *it == b'/').filter(|it| !it.is_empty()).collect();
    let (mut straight, mut scattered) = (0, 0);
    let (mut is_straight, mut goes_up) = (true, false);
    for segment in path.split(|it| *it == b'/' || *it == b'\\') {
        let name = trimmed(segment);
        if name.is_empty() {
            // Only dots and blanks: `.`, `..`, or what Windows makes of `. .`.
            goes_up |= segment.starts_with(b"..") || segment.len() > 1 && segment[0] == b'.';
            continue;
        }
        if is_straight && straight < wanted.len() {
            is_straight = name.eq_ignore_ascii_case(wanted[straight]);
            straight += 1;
        }
        if wanted.get(scattered).is_some_and(|it| name.eq_ignore_ascii_case(it)) {
            scattered += 1;
        }
    }
    (is_straight && straight == wanted.len()) || (goes_up && scattered == wanted.len())
}

/// A segment without parameters, without what may end a path (`?`, `#`, control bytes), without trailing dots and blanks.
fn trimmed(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|it| matches!(it, b';' | b'?' | b'#' | 0..=0x1f | 0x7f));
    let mut name = &segment[..end.unwrap_or(segment.len())];
    while let [rest @ .., b'.' | b' '] = name {
        name = rest;
    }
    name
}

/// One decoding: `%XX`, `%uXXXX` (IIS) and overlong UTF-8 of ASCII.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let (byte, next) = match (first, after) {
            (b'%', [b'u' | b'U', digits @ ..]) => match digits.get(..4).and_then(wide) {
                Some(code) => (code, &digits[4..]),
                None => (b'%', after),
            },
            (b'%', digits) => match digits.get(..2).and_then(hex_byte) {
                Some(code) => (code, &digits[2..]),
                None => (b'%', after),
            },
            (byte, after) => (*byte, after),
        };
        out.push(byte);
        rest = next;
    }
    without_overlong(out)
}

/// `00XX` of `%u00XX`.
fn wide(digits: &[u8]) -> Option<u8> {
    let (high, low) = digits.split_at_checked(2)?;
    (hex_byte(high)? == 0).then(|| hex_byte(low)).flatten()
}

/// Two, three or four bytes that lax decoders take for one ASCII byte (`C0 AF` for `/`).
fn without_overlong(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.iter().any(|it| matches!(it, 0xc0 | 0xc1 | 0xe0 | 0xf0)) {
        return bytes;
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let [first, after @ ..] = rest {
        let (byte, next) = match rest {
            [0xc0 | 0xc1, second, next @ ..] => ((first & 1) << 6 | (second & 0x3f), next),
            [0xe0, 0x80 | 0x81, third, next @ ..] | [0xf0, 0x80, 0x80 | 0x81, third, next @ ..] => {
                let high = rest[rest.len() - next.len() - 2] & 1;
                (high << 6 | (third & 0x3f), next)
            }
            _ => (*first, after),
        };
        out.push(byte);
        rest = next;
    }
    out
}
