//! The request target and the authority it is for.

use std::cmp::Ordering;

use crate::semantics::head::{HeadError, Version};
use crate::semantics::refusal::{
    AUTHORITY_MISMATCH, BACKSLASH, BAD_HOST, BAD_TARGET, FRAGMENT, NO_HOST, TARGET_BYTES, USERINFO,
};

/// A target in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Begins with `/`, or is `*`.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    /// Of an absolute form.
    authority: Option<Authority<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Authority<'a> {
    text: &'a str,
    default_port: u16,
}

/// Splits a target (RFC 9112 §3.2); `target` has no white space.
pub(crate) fn split<'a>(method: &str, target: &'a str) -> Result<Target<'a>, HeadError> {
    let (at, authority) = if target.starts_with('/') {
        (target, None)
    } else if target == "*" {
        return if method == "OPTIONS" {
            Ok(Target { path: "*", query: None, authority: None })
        } else {
            Err(BAD_TARGET)
        };
    } else {
        let (rest, authority) = absolute(target)?;
        (rest, Some(authority))
    };
    let question = question(at)?;
    let (path, query) = match question {
        Some(mark) => (&at[..mark], Some(&at[mark + 1..])),
        None => (at, None),
    };
    let path = match (path, query, method) {
        // RFC 9112 §3.2.4: the last proxy sends `*`.
        ("", None, "OPTIONS") => "*",
        ("", _, _) => "/",
        (path, _, _) => path,
    };
    Ok(Target { path, query, authority })
}

/// Checks every byte of a target from its path on, and finds the `?`.
#[inline]
fn question(text: &str) -> Result<Option<usize>, HeadError> {
    let mut mark = None;
    for (at, byte) in text.bytes().enumerate() {
        match BYTES[usize::from(byte)] {
            Kind::Plain => {}
            Kind::Question => mark = mark.or(Some(at)),
            Kind::Backslash if mark.is_some() => {}
            Kind::Backslash => return Err(BACKSLASH),
            Kind::Fragment => return Err(FRAGMENT),
            Kind::Bad => return Err(TARGET_BYTES),
        }
    }
    Ok(mark)
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Question,
    Backslash,
    Fragment,
    Bad,
}

static BYTES: [Kind; 256] = {
    let mut table = [Kind::Bad; 256];
    let mut at = 0x21;
    while at < 0x7f {
        table[at] = match at as u8 {
            b'?' => Kind::Question,
            b'\\' => Kind::Backslash,
            b'#' => Kind::Fragment,
            _ => Kind::Plain,
        };
        at += 1;
    }
    table
};

/// The rest from the path on, and the authority, of `http://…` or `https://…`.
#[cold]
fn absolute(target: &str) -> Result<(&str, Authority<'_>), HeadError> {
    let schemes = [("http://", 80), ("https://", 443)];
    let found = schemes.iter().find_map(|(scheme, port)| {
        let begin = target.get(..scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some((target.get(scheme.len()..)?, *port))
    });
    let (rest, default_port) = found.ok_or(BAD_TARGET)?;
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (text, rest) = (&rest[..end], &rest[end..]);
    if text.contains('@') {
        return Err(USERINFO);
    }
    if rest.starts_with('\\') {
        return Err(BACKSLASH);
    }
    Ok((rest, Authority { text, default_port }))
}

/// The authority of a request: `Host`, which an absolute form must agree with.
pub(crate) fn authority<'a>(
    version: Version,
    target: &Target<'a>,
    host: Option<&'a [u8]>,
) -> Result<&'a str, HeadError> {
    let host = match host {
        Some(host) => Some(valid(host)?),
        None if version == Version::Http10 => None,
        None => return Err(NO_HOST),
    };
    let Some(named) = target.authority else { return Ok(host.unwrap_or_default()) };
    let same = valid(named.text.as_bytes())?;
    match host {
        Some(host) if !agree(host, same, named.default_port) => Err(AUTHORITY_MISMATCH),
        Some(host) => Ok(host),
        None => Ok(same),
    }
}

fn agree(one: &str, other: &str, default_port: u16) -> bool {
    let (one, one_port) = host_and_port(one);
    let (other, other_port) = host_and_port(other);
    one.eq_ignore_ascii_case(other)
        && one_port.unwrap_or(default_port).cmp(&other_port.unwrap_or(default_port))
            == Ordering::Equal
}

/// Host without port, and the port; of a valid authority.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// One name, IPv4 address or bracketed IPv6 address, with an optional port. Stricter than RFC 3986: no escapes and no
/// sub-delims, which no name in use has and which servers read differently.
pub(crate) fn valid(host: &[u8]) -> Result<&str, HeadError> {
    let text = str::from_utf8(host).map_err(|_| BAD_HOST)?;
    let end = match host {
        [b'[', ..] => memchr::memchr(b']', host).ok_or(BAD_HOST)? + 1,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    let (name, port) = text.split_at(end);
    let is_name = match name.strip_prefix('[') {
        Some(inner) => is_ipv6(inner),
        None => !name.is_empty() && name.bytes().all(|it| NAME[usize::from(it)]),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|it| it.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    if is_name && is_port && host.len() <= 261 { Ok(text) } else { Err(BAD_HOST) }
}

/// Letters, digits, `-._~`.
static NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 128 {
        let byte = at as u8;
        table[at] = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        at += 1;
    }
    table
};

/// The inside of the brackets, with the closing one.
fn is_ipv6(inner: &str) -> bool {
    inner.strip_suffix(']').is_some_and(|it| it.parse::<std::net::Ipv6Addr>().is_ok())
}
