//! What a CORS preflight is: the one request that reaches a protected service without a key.

use crate::semantics::class::Class;
use crate::semantics::head::{Framing, RequestHead};

/// Fields that make some frameworks take a request for one of another method; with `-` also in place of `_`.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// The method that a CORS preflight asks about (Fetch standard: `OPTIONS` with `Origin` and
/// `Access-Control-Request-Method`); browsers send no key with it.
///
/// Nor do they send a body, an upgrade or another method with it: what has one of them could act, and is no preflight.
pub(super) fn preflight_for<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    if head.method != "OPTIONS" {
        return None;
    }
    head.first(Class::Origin)?;
    let asked = head.first(Class::CorsMethod)?;
    (!could_act(head)).then(|| str::from_utf8(asked).unwrap_or_default())
}

/// Whether it has something with which a request whose method only asks could do more than that.
pub(super) fn could_act(head: &RequestHead<'_>) -> bool {
    head.upgrade.is_some()
        || !matches!(head.framing, Framing::None | Framing::Length(0))
        || head.fields.iter().any(|it| is_override(it.name))
}

fn is_override(name: &str) -> bool {
    let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
    OVERRIDES.iter().any(|it| it.len() == name.len() && name.bytes().zip(it.bytes()).all(same))
}
