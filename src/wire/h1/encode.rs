//! Heads are written once, into a recycled buffer.

use crate::semantics::forwarded::Client;
use crate::semantics::head::{Framing, RequestHead, Version};
use crate::semantics::response::ResponseHead;
use crate::wire::answer::Answer;

/// What changes in a request on its way to the upstream.
#[derive(Clone, Copy, Debug)]
pub struct RequestRewrite<'a> {
    /// Canonical path, sent in place of the raw one.
    pub path: &'a str,
    pub client: &'a Client,
    /// Port of the listener, for `X-Forwarded-Port` of untrusted peers.
    pub local_port: u16,
    /// Whether `X-API-KEY` is forwarded.
    pub forward_key: bool,
    pub request_id: &'a str,
    pub traceparent: &'a str,
    /// Name of the admitted key, sent as `X-Headgate-Client`; the header is removed when there is none.
    pub key_name: Option<&'a str>,
}

/// Writes the request head for the upstream, HTTP/1.1, keep-alive.
pub fn request(_out: &mut Vec<u8>, _head: &RequestHead<'_>, _rewrite: &RequestRewrite<'_>) {}

/// What changes in a response on its way to the client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseRewrite<'a> {
    /// Version the client speaks (a 1.0 client gets no chunks and an HTTP/1.1 status line, RFC 9110 §2.5).
    pub version: Version,
    /// How the body leaves.
    pub framing: Framing,
    /// Whether the connection to the client is kept.
    pub keep_alive: bool,
    pub request_id: &'a str,
    /// `X-Headgate-Maintenance: bypassed`.
    pub bypassed: bool,
}

/// Writes the response head for the client.
pub fn response(_out: &mut Vec<u8>, _head: &ResponseHead<'_>, _rewrite: &ResponseRewrite<'_>) {}

/// Writes a 1xx head (100, 103) for the client.
pub fn interim(_out: &mut Vec<u8>, _head: &ResponseHead<'_>) {}

/// Writes a whole answer of our own; `head_only` for HEAD (same headers, no body). Adds `Date`, `Content-Length` and `Connection`.
pub fn answer(
    _out: &mut Vec<u8>,
    _answer: &Answer,
    _version: Version,
    _keep_alive: bool,
    _head_only: bool,
) {
}
