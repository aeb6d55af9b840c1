//! One pass over the header lines of a head: classes, framing, what the connection is to do.

use crate::semantics::class::{Class, Field, classify, is_protected};
use crate::semantics::head::{Framing, HeadError, Version};
use crate::semantics::refusal::{
    AMBIGUOUS_TE, BAD_CONNECTION, BAD_LENGTH, BAD_NAME, BAD_VALUE, CL_WITH_TE,
    CONNECTION_NAMES_PROTECTED, SEVERAL_HOSTS, SEVERAL_KEYS, SEVERAL_LENGTHS, SHADOW_NAME,
    TE_IN_10, UNKNOWN_CODING,
};

/// Most options over all `Connection` lines; each nominated one is compared with every field.
const OPTIONS_MAX: u32 = 64;

/// What the pass saw, not yet judged.
#[derive(Debug, Default)]
pub(crate) struct Traits<'a> {
    pub(crate) host: Option<&'a [u8]>,
    length: Option<u64>,
    coding: Option<Coding>,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// `Connection` names `upgrade`.
    upgrade_named: bool,
    upgrade: Option<&'a [u8]>,
    several_upgrades: bool,
    pub(crate) expect: Option<&'a [u8]>,
    pub(crate) several_expects: bool,
    pub(crate) api_key: Option<&'a [u8]>,
    options: u32,
    nominates: bool,
}

/// What `Transfer-Encoding` says, over all lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Plain tokens, not just one `chunked`.
    Unknown,
    Ambiguous,
}

/// Which side's head it is: a request's is refused where a response's fields are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// Classes each field and gathers what decides on framing and connection. `classes` is as long as `fields`.
pub(crate) fn sort<'a>(
    fields: &[Field<'a>],
    classes: &mut [Class],
    side: Side,
) -> Result<Traits<'a>, HeadError> {
    let mut seen = Traits::default();
    for (field, slot) in fields.iter().zip(classes.iter_mut()) {
        let class = classify(field.name.as_bytes());
        *slot = class;
        if class != Class::Other {
            seen.take(class, field.value, side)?;
        }
    }
    if seen.nominates {
        drop_nominated(fields, classes);
    }
    Ok(seen)
}

impl<'a> Traits<'a> {
    #[inline]
    fn take(&mut self, class: Class, value: &'a [u8], side: Side) -> Result<(), HeadError> {
        match class {
            Class::Host => once(&mut self.host, value, SEVERAL_HOSTS),
            Class::ContentLength => once(&mut self.length, length(value)?, SEVERAL_LENGTHS),
            Class::TransferEncoding => {
                let coding = coding(value);
                self.coding = Some(self.coding.map_or(coding, |it| it.and(coding)));
                Ok(())
            }
            Class::Connection => self.take_options(value),
            Class::Upgrade => {
                self.several_upgrades = self.upgrade.replace(value).is_some();
                Ok(())
            }
            Class::Expect => {
                self.several_expects = self.expect.replace(value).is_some();
                Ok(())
            }
            Class::ApiKey if side == Side::Request => once(&mut self.api_key, value, SEVERAL_KEYS),
            Class::Shadow if side == Side::Request => Err(SHADOW_NAME),
            _ => Ok(()),
        }
    }

    /// One `Connection` line.
    fn take_options(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in list(value) {
            self.options += 1;
            if self.options > OPTIONS_MAX || !is_token(option) {
                return Err(BAD_CONNECTION);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_named = true;
            } else if is_protected(option) {
                return Err(CONNECTION_NAMES_PROTECTED);
            } else {
                self.nominates = true;
            }
        }
        Ok(())
    }

    /// How long the message says it is, before method and status have their say.
    pub(crate) fn framing(&self, version: Version) -> Result<Option<Framing>, HeadError> {
        match (self.coding, self.length) {
            (None, length) => Ok(length.map(Framing::Length)),
            (Some(_), _) if version == Version::Http10 => Err(TE_IN_10),
            (Some(_), Some(_)) => Err(CL_WITH_TE),
            (Some(Coding::Chunked), None) => Ok(Some(Framing::Chunked)),
            (Some(Coding::Unknown), None) => Err(UNKNOWN_CODING),
            (Some(Coding::Ambiguous), None) => Err(AMBIGUOUS_TE),
        }
    }

    /// Whether the sender keeps its connection open after this message.
    pub(crate) fn persists(&self, version: Version) -> bool {
        !self.close && (version != Version::Http10 || self.keep_alive)
    }

    /// The one protocol to switch to. A list is ignored, as RFC 9110 §7.8 allows; so is a protocol that carries HTTP:
    /// through such a tunnel requests would pass that no one has checked.
    pub(crate) fn upgrade(&self) -> Option<&'a str> {
        let value = self.upgrade.filter(|_| self.upgrade_named && !self.several_upgrades)?;
        let (name, version) = match value.iter().position(|it| *it == b'/') {
            Some(at) => (&value[..at], Some(&value[at + 1..])),
            None => (value, None),
        };
        let is_protocol = is_token(name) && version.is_none_or(is_token);
        (is_protocol && !carries_http(name)).then(|| str::from_utf8(value).ok()).flatten()
    }

    pub(crate) fn has_coding(&self) -> bool {
        self.coding.is_some()
    }
}

impl Coding {
    /// Two lines are one list.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ambiguous, _) | (_, Self::Ambiguous) => Self::Ambiguous,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Chunked, Self::Chunked) => Self::Ambiguous,
        }
    }
}

/// `h2c`, `h2`, `HTTP/x` and `TLS/x`.
fn carries_http(protocol: &[u8]) -> bool {
    [&b"h2c"[..], b"h2", b"h3", b"http", b"https", b"tls"]
        .iter()
        .any(|it| protocol.eq_ignore_ascii_case(it))
}

fn once<T>(slot: &mut Option<T>, value: T, several: HeadError) -> Result<(), HeadError> {
    if slot.replace(value).is_some() { Err(several) } else { Ok(()) }
}

/// RFC 9110 §8.6, bounded by `i64::MAX` since many servers hold a length signed.
fn length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 19 {
        return Err(BAD_LENGTH);
    }
    let mut sum: u64 = 0;
    for byte in value {
        if !byte.is_ascii_digit() {
            return Err(BAD_LENGTH);
        }
        sum = sum * 10 + u64::from(byte - b'0'); // 19 digits fit
    }
    if i64::try_from(sum).is_err() { Err(BAD_LENGTH) } else { Ok(sum) }
}

fn coding(value: &[u8]) -> Coding {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Coding::Chunked;
    }
    let mut sum: Option<Coding> = None;
    for item in value.split(|it| *it == b',') {
        let item = item.trim_ascii();
        let one = if item.eq_ignore_ascii_case(b"chunked") {
            Coding::Chunked
        } else if is_token(item) {
            Coding::Unknown
        } else {
            Coding::Ambiguous
        };
        sum = Some(sum.map_or(one, |it| it.and(one)));
    }
    match sum {
        Some(Coding::Unknown) => Coding::Unknown,
        _ => Coding::Ambiguous,
    }
}

#[cold]
fn drop_nominated(fields: &[Field<'_>], classes: &mut [Class]) {
    for at in 0..fields.len().min(classes.len()) {
        if classes[at] != Class::Connection {
            continue;
        }
        for option in list(fields[at].value) {
            for (field, class) in fields.iter().zip(classes.iter_mut()) {
                if *class == Class::Other && field.name.as_bytes().eq_ignore_ascii_case(option) {
                    *class = Class::Nominated;
                }
            }
        }
    }
}

/// The elements of a comma list, trimmed, empty ones left out (RFC 9110 §5.6.1.2).
pub(crate) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|it| *it == b',').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|it| TOKEN[usize::from(*it)])
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 128 {
        let byte = at as u8;
        table[at] = byte.is_ascii_alphanumeric();
        at += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// The checks that httparse makes on bytes, for fields that come already split (HTTP/2, `explain`, trailers).
pub(crate) fn check(field: &Field<'_>) -> Result<(), HeadError> {
    if !is_token(field.name.as_bytes()) {
        return Err(BAD_NAME);
    }
    let is_clean = field.value.iter().all(|it| *it == b'\t' || (*it >= b' ' && *it != 0x7f));
    let is_trimmed = field.value.trim_ascii().len() == field.value.len();
    if is_clean && is_trimmed { Ok(()) } else { Err(BAD_VALUE) }
}

/// Whether many a server takes both for one name: in any case, `_` for `-` (CGI, WSGI, PHP). A client must not be able to
/// put an `X_Tenant` beside the `X-Tenant` that a filter sets.
pub(crate) fn is_one_name(one: &str, other: &str) -> bool {
    let plain = |it: u8| if it == b'_' { b'-' } else { it.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(|(a, b)| plain(a) == plain(b))
}
