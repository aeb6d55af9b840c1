//! Heads are written once, into a recycled buffer.

use crate::semantics::class::{Class, Field};
use crate::semantics::forwarded::Client;
use crate::semantics::head::{Framing, RequestHead, Version};
use crate::semantics::response::ResponseHead;
use crate::semantics::trace::continues;
use crate::wire::answer::Answer;
use crate::wire::h1::date;
use crate::wire::h1::text::{put_field, put_field_text, put_ip, put_number};

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

/// Room for the fields that the gate adds to a request.
const ADDED_BYTES: usize = 512;

/// Writes the request head for the upstream, HTTP/1.1, keep-alive.
///
/// `Host` goes out unchanged, empty when an HTTP/1.0 client sent none (RFC 9112 §3.2 wants the field). Hop-by-hop
/// fields, those that `Connection` names, `Forwarded`, `X-Headgate-*` and the key (unless `forward_key`) are dropped;
/// `X-Forwarded-*` of an untrusted peer are replaced, of a trusted one extended; framing is written anew.
pub fn request(out: &mut Vec<u8>, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) {
    out.reserve(head_bytes(head.fields) + rewrite.path.len() + ADDED_BYTES);
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(rewrite.path.as_bytes());
    if let Some(query) = head.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put_field(out, b"Host", head.authority.as_bytes());
    let mut has_te = false;
    for (field, class) in head.fields.iter().zip(head.classes) {
        has_te |= *class == Class::Te;
        if passes_request(*class, head, rewrite) {
            put_field(out, field.name.as_bytes(), field.value);
        }
    }
    put_forwarded(out, head, rewrite);
    put_identity(out, head, rewrite);
    put_hop(out, head, has_te && head.takes_trailers());
    out.extend_from_slice(b"\r\n");
}

/// Whether a field goes to the upstream as it is; what the gate writes itself does not.
#[inline]
fn passes_request(class: Class, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) -> bool {
    match class {
        Class::Other
        | Class::Origin
        | Class::Accept
        | Class::ContentType
        | Class::CorsMethod
        | Class::CorsHeaders
        | Class::FetchContext
        | Class::SetCookie => true,
        Class::ApiKey => rewrite.forward_key,
        Class::XForwardedOther | Class::XForwardedPort => rewrite.client.trusted_peer,
        Class::Trailer => head.framing == Framing::Chunked,
        Class::TraceState => continues(rewrite.traceparent, head.first(Class::TraceParent)),
        _ => false,
    }
}

fn put_forwarded(out: &mut Vec<u8>, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) {
    let client = rewrite.client;
    out.extend_from_slice(b"X-Forwarded-For: ");
    if client.trusted_peer {
        put_joined(out, head, Class::XForwardedFor);
    }
    put_ip(out, client.peer);
    out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
    out.extend_from_slice(client.proto.as_str().as_bytes());
    out.extend_from_slice(b"\r\nX-Real-IP: ");
    put_ip(out, client.ip);
    out.extend_from_slice(b"\r\n");
    let said = head.first(Class::XForwardedHost).filter(|_| client.trusted_peer);
    let host = said.unwrap_or(head.authority.as_bytes());
    if !host.is_empty() {
        put_field(out, b"X-Forwarded-Host", host);
    }
    if !client.trusted_peer {
        out.extend_from_slice(b"X-Forwarded-Port: ");
        put_number(out, u64::from(rewrite.local_port));
        out.extend_from_slice(b"\r\n");
    }
}

/// The values of a class with a comma after each.
fn put_joined(out: &mut Vec<u8>, head: &RequestHead<'_>, class: Class) {
    for value in head.all(class).filter(|it| !it.is_empty()) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

fn put_identity(out: &mut Vec<u8>, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) {
    out.extend_from_slice(b"Via: ");
    put_joined(out, head, Class::Via);
    out.extend_from_slice(match head.version {
        Version::Http10 => b"1.0 headgate\r\n",
        Version::Http11 => b"1.1 headgate\r\n",
        Version::Http2 => b"2 headgate\r\n",
    });
    put_field(out, b"X-Request-ID", rewrite.request_id.as_bytes());
    put_field(out, b"traceparent", rewrite.traceparent.as_bytes());
    if let Some(name) = rewrite.key_name {
        put_field_text(out, "X-Headgate-Client", name);
    }
}

/// Framing, and what is of this hop only.
fn put_hop(out: &mut Vec<u8>, head: &RequestHead<'_>, trailers: bool) {
    put_framing(out, head.framing);
    if head.expect_continue {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if let Some(protocol) = head.upgrade {
        put_field(out, b"Upgrade", protocol.as_bytes());
    }
    match (head.upgrade, trailers) {
        (Some(_), true) => out.extend_from_slice(b"Connection: Upgrade, TE\r\n"),
        (Some(_), false) => out.extend_from_slice(b"Connection: Upgrade\r\n"),
        (None, true) => out.extend_from_slice(b"Connection: TE\r\n"),
        (None, false) => {}
    }
}

fn put_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            put_number(out, bytes);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
}

#[inline]
fn head_bytes(fields: &[Field<'_>]) -> usize {
    fields.iter().map(|it| it.name.len() + it.value.len() + 4).sum()
}

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
///
/// A head without body (HEAD, 304) keeps the upstream's `Content-Length` as information; a 101 keeps its protocol; a
/// 426 keeps `Upgrade`, which says what to switch to.
pub fn response(out: &mut Vec<u8>, head: &ResponseHead<'_>, rewrite: &ResponseRewrite<'_>) {
    out.reserve(head_bytes(head.fields) + head.reason.len() + ADDED_BYTES);
    put_status(out, head.status, head.reason);
    let keeps_length = rewrite.framing == Framing::None && head.status >= 200 && head.status != 204;
    for (field, class) in head.fields.iter().zip(head.classes) {
        let passes = match class {
            Class::ContentLength => keeps_length,
            Class::Trailer => rewrite.framing == Framing::Chunked,
            Class::Upgrade => head.status == 426,
            class => passes_response(*class),
        };
        if passes {
            put_field(out, field.name.as_bytes(), field.value);
        }
    }
    put_framing(out, rewrite.framing);
    put_field(out, b"X-Request-ID", rewrite.request_id.as_bytes());
    if rewrite.bypassed {
        out.extend_from_slice(b"X-Headgate-Maintenance: bypassed\r\n");
    }
    match head.upgrade {
        Some(protocol) if head.status == 101 => {
            put_field(out, b"Upgrade", protocol.as_bytes());
            out.extend_from_slice(b"Connection: Upgrade\r\n");
        }
        _ => put_connection(out, rewrite.version, rewrite.keep_alive),
    }
    out.extend_from_slice(b"\r\n");
}

fn put_status(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    put_number(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether a field of a response goes to the client whatever the framing.
#[inline]
fn passes_response(class: Class) -> bool {
    !matches!(
        class,
        Class::Nominated
            | Class::ContentLength
            | Class::TransferEncoding
            | Class::Connection
            | Class::HopByHop
            | Class::Te
            | Class::Trailer
            | Class::Upgrade
            | Class::Expect
            | Class::RequestId
            | Class::Headgate
            | Class::Shadow
    )
}

fn put_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

/// Writes a 1xx head (100, 103) for the client.
pub fn interim(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    put_status(out, head.status, head.reason);
    for (field, class) in head.fields.iter().zip(head.classes) {
        if passes_response(*class) {
            put_field(out, field.name.as_bytes(), field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a whole answer of our own; `head_only` for HEAD (same headers, no body). Adds `Date`, `Content-Length` and `Connection`.
pub fn answer(
    out: &mut Vec<u8>,
    answer: &Answer,
    version: Version,
    keep_alive: bool,
    head_only: bool,
) {
    put_status(out, answer.status, reason(answer.status));
    date::put(out);
    for (name, value) in &answer.headers {
        put_field_text(out, name, value);
    }
    let has_body = !matches!(answer.status, 204 | 304);
    if has_body {
        put_framing(out, Framing::Length(answer.body.len() as u64));
    }
    put_connection(out, version, keep_alive);
    out.extend_from_slice(b"\r\n");
    if has_body && !head_only {
        out.extend_from_slice(&answer.body);
    }
}

/// Reason phrases of the statuses that the gate answers with; empty is allowed (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
