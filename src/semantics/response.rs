//! One response head of an upstream is unambiguous, or the exchange fails with 502.

use crate::semantics::class::{Class, Field};
use crate::semantics::head::{Framing, Version};

/// A response head as a borrowed view.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    pub version: Version,
    /// 100..=599.
    pub status: u16,
    pub reason: &'a str,
    pub fields: &'a [Field<'a>],
    /// One class for each field.
    pub classes: &'a [Class],
    /// Body as this request's method and the status allow it.
    pub framing: Framing,
    /// Whether the upstream keeps the connection.
    pub keep_alive: bool,
    /// Protocol of `Upgrade` on a 101.
    pub upgrade: Option<&'a str>,
}

use crate::semantics::head::{HeadError, Parsed, Storage};

/// Reads one response head from the start of `bytes`, as an answer to a request of `method`.
///
/// # Errors
/// A [`HeadError`] (status 502) when the framing is ambiguous or the head is malformed or larger than `head_bytes`.
pub fn parse_response<'a>(
    _bytes: &'a [u8],
    _storage: &'a mut Storage<'a>,
    _method: &str,
    _head_bytes: usize,
) -> Result<Parsed<ResponseHead<'a>>, HeadError> {
    Ok(Parsed::Partial)
}
