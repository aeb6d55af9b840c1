//! Heads are written once, into a recycled buffer.

use crate::model::reason_phrase;
use crate::semantics::class::{Class, Field};
use crate::semantics::forwarded::Client;
use crate::semantics::head::{Framing, RequestHead, Version};
use crate::semantics::response::ResponseHead;
use crate::semantics::trace::continues;
use crate::wire::answer::Answer;
use crate::wire::h1::date;
use crate::wire::h1::edit::{self, Edit};
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
    pub request_id: &'a [u8],
    pub traceparent: &'a [u8],
    /// Name of the admitted key, sent as `X-Headgate-Client`; the header is removed when there is none.
    pub key_name: Option<&'a str>,
    /// What filters change, in order; see [`Edit`].
    pub edits: &'a [Edit<'a>],
}

/// Room for the fields that the gate adds to a request.
const ADDED_BYTES: usize = 512;

/// Writes the request head for the upstream, HTTP/1.1, keep-alive.
///
/// `Host` goes out unchanged, empty when an HTTP/1.0 client sent none (RFC 9112 §3.2 wants the field). Hop-by-hop
/// fields, those that `Connection` names, `Forwarded`, `X-Headgate-*` and the key (unless `forward_key`) are dropped;
/// `X-Forwarded-*` of an untrusted peer are replaced, of a trusted one extended; framing is written anew.
///
/// Edits come last: what they set or append stands behind the client's fields, and can be none of the fields above.
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
        if passes_request(*class, head, rewrite) && !edit::replaces(rewrite.edits, field.name) {
            put_field(out, field.name.as_bytes(), field.value);
        }
    }
    edit::put(out, rewrite.edits);
    put_forwarded(out, head, rewrite);
    put_identity(out, head, rewrite);
    put_hop(out, head, has_te && head.takes_trailers());
    out.extend_from_slice(b"\r\n");
}

/// Whether a field goes to the upstream as it is; what the gate writes itself does not.
#[inline]
fn passes_request(class: Class, head: &RequestHead<'_>, rewrite: &RequestRewrite<'_>) -> bool {
    match class {
        Class::ApiKey => rewrite.forward_key,
        Class::XForwardedOther | Class::XForwardedPort => rewrite.client.trusted_peer,
        Class::Trailer => head.framing == Framing::Chunked,
        Class::TraceState => continues(rewrite.traceparent, head.first(Class::TraceParent)),
        other => other.is_plain(),
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
    put_field(out, b"X-Request-ID", rewrite.request_id);
    put_field(out, b"traceparent", rewrite.traceparent);
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
    pub request_id: &'a [u8],
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
    put_field(out, b"X-Request-ID", rewrite.request_id);
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
    answer_with(out, answer, &[], &Leaving { version, keep_alive, head_only });
}

/// How an answer of our own leaves.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    pub version: Version,
    pub keep_alive: bool,
    /// For HEAD: same headers, no body.
    pub head_only: bool,
}

/// The same with fields of somebody else's, for example a filter's. Of those only what bears on nothing but the content
/// is written: no framing, no hop-by-hop field, nothing that the gate says itself, no name that the answer has already.
pub fn answer_with(
    out: &mut Vec<u8>,
    answer: &Answer,
    others: &[(&str, &[u8])],
    leaving: &Leaving,
) {
    let Leaving { version, keep_alive, head_only } = *leaving;
    put_status(out, answer.status, reason_phrase(answer.status));
    date::put(out);
    for (name, value) in others {
        let is_ours = answer.headers.iter().any(|it| it.0.eq_ignore_ascii_case(name));
        if edit::may_answer(name, value) && (!is_ours || name.eq_ignore_ascii_case("vary")) {
            put_field(out, name.as_bytes(), value);
        }
    }
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

/// Writes the head of an answer of our own whose body follows bit by bit, framed so, on a connection that closes after it.
pub fn streamed(out: &mut Vec<u8>, head: &Answer, framing: Framing) {
    put_status(out, head.status, reason_phrase(head.status));
    date::put(out);
    for (name, value) in &head.headers {
        put_field_text(out, name, value);
    }
    put_framing(out, framing);
    put_connection(out, Version::Http11, false);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{
        Edit, Leaving, RequestRewrite, ResponseRewrite, answer, answer_with, interim, request,
        response,
    };
    use crate::semantics::class::Class;
    use crate::semantics::forwarded::{self, Client};
    use crate::semantics::head::{Framing, Parsed, RequestHead, Storage, Version, parse_request};
    use crate::semantics::path::canonical;
    use crate::semantics::response::parse_response;
    use crate::semantics::tests::LIMITS;
    use crate::semantics::tests::heads::{Expect, HEADS};
    use crate::semantics::trace::{Fresh, request_id, traceparent};
    use crate::wire::answer::Answer;

    const FRESH: Fresh = Fresh { request: 1, trace: 2, span: 3 };

    /// Reads a request and writes it as the upstream gets it.
    fn rewritten(bytes: &[u8], trusted: &str, edit: impl Fn(&mut RequestRewrite<'_>)) -> String {
        let mut storage = Storage::default();
        let head = match parse_request(bytes, &mut storage, &LIMITS).expect("clean") {
            Parsed::Whole(head, _) => head,
            Parsed::Partial => panic!("partial"),
        };
        let peer: IpAddr = "192.0.2.7".parse().expect("address");
        let client = forwarded::client(peer, &[trusted.parse().expect("network")], &head);
        written(&head, &client, edit)
    }

    fn written(
        head: &RequestHead<'_>,
        client: &Client,
        edit: impl Fn(&mut RequestRewrite<'_>),
    ) -> String {
        let path = canonical(head.raw_path).expect("clean path");
        let id = request_id(head.first(Class::RequestId), FRESH);
        let trace = traceparent(head.first(Class::TraceParent), FRESH);
        let mut rewrite = RequestRewrite {
            path: &path,
            client,
            local_port: 8080,
            forward_key: false,
            request_id: id.as_bytes(),
            traceparent: trace.as_bytes(),
            key_name: None,
            edits: &[],
        };
        edit(&mut rewrite);
        let mut out = Vec::new();
        request(&mut out, head, &rewrite);
        String::from_utf8(out).expect("UTF-8 in these tests")
    }

    const NOBODY: &str = "203.0.113.0/32";
    const EDGE: &str = "192.0.2.0/24";

    #[test]
    fn the_upstream_sees_what_the_table_says() {
        let mut faults = Vec::new();
        for head in HEADS {
            let Expect::Pass { upstream_sees, upstream_lacks } = &head.expect else { continue };
            let text = rewritten(head.bytes, NOBODY, |_| {});
            for wanted in *upstream_sees {
                if !text.contains(wanted) {
                    faults.push(format!("{}: no {wanted:?} in {text:?}", head.name));
                }
            }
            for unwanted in *upstream_lacks {
                if text.to_lowercase().contains(&unwanted.to_lowercase()) {
                    faults.push(format!("{}: {unwanted:?} in {text:?}", head.name));
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_request() {
        for head in HEADS {
            let mut storage = Storage::default();
            let Ok(Parsed::Whole(sent, _)) = parse_request(head.bytes, &mut storage, &LIMITS)
            else {
                continue;
            };
            if canonical(sent.raw_path).is_err() || sent.authority.is_empty() {
                continue;
            }
            let text = rewritten(head.bytes, NOBODY, |_| {});
            let mut storage = Storage::default();
            match parse_request(text.as_bytes(), &mut storage, &LIMITS) {
                Ok(Parsed::Whole(got, used)) => {
                    assert_eq!(used, text.len(), "{}", head.name);
                    assert_eq!(got.framing, sent.framing, "{}", head.name);
                    assert_eq!(got.authority, sent.authority, "{}", head.name);
                    assert_eq!(got.upgrade, sent.upgrade, "{}", head.name);
                    assert_eq!(got.query, sent.query, "{}", head.name);
                    assert!(got.keep_alive, "{}", head.name);
                }
                other => panic!("{}: {other:?} for {text:?}", head.name),
            }
        }
    }

    #[test]
    fn a_plain_request_is_written_like_this() {
        let text = rewritten(
            b"POST /a/../v?q HTTP/1.1\r\nhost: gate.test:8080\r\nX-Api-Key: k\r\nContent-Length: 3\r\nAccept: */*\r\n\r\nabc",
            NOBODY,
            |rewrite| {
                rewrite.forward_key = true;
                rewrite.key_name = Some("ops");
            },
        );
        let expected = "POST /v?q HTTP/1.1\r\n\
             Host: gate.test:8080\r\n\
             X-Api-Key: k\r\n\
             Accept: */*\r\n\
             X-Forwarded-For: 192.0.2.7\r\n\
             X-Forwarded-Proto: http\r\n\
             X-Real-IP: 192.0.2.7\r\n\
             X-Forwarded-Host: gate.test:8080\r\n\
             X-Forwarded-Port: 8080\r\n\
             Via: 1.1 headgate\r\n\
             X-Request-ID: 00000000000000000000000000000001\r\n\
             traceparent: 00-00000000000000000000000000000002-0000000000000003-01\r\n\
             X-Headgate-Client: ops\r\n\
             Content-Length: 3\r\n\
             \r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_trusted_peers_word_is_kept_and_extended() {
        let text = rewritten(
            b"GET /v HTTP/1.1\r\nHost: gate.test\r\nX-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 198.51.100.10, 192.0.2.9\r\nX-Forwarded-Proto: wss\r\nX-Forwarded-Host: edge.test\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Server: t\r\nForwarded: for=198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\n\r\n",
            EDGE,
            |_| {},
        );
        for wanted in [
            "\r\nX-Forwarded-For: 198.51.100.9, 198.51.100.10, 192.0.2.9, 192.0.2.7\r\n",
            "\r\nX-Forwarded-Proto: https\r\n",
            "\r\nX-Forwarded-Host: edge.test\r\n",
            "\r\nX-Forwarded-Port: 443\r\n",
            "\r\nX-Forwarded-Server: t\r\n",
            "\r\nX-Real-IP: 198.51.100.10\r\n",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in {text:?}");
        }
        assert!(!text.contains("\r\nForwarded:") && !text.contains("X-Forwarded-Port: 8080"));
    }

    #[test]
    fn an_upgrade_and_an_expectation_go_on() {
        let text = rewritten(
            b"GET /ws HTTP/1.1\r\nHost: gate.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n",
            NOBODY,
            |_| {},
        );
        assert!(text.contains("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Key: a\r\n"), "{text}");
        let text = rewritten(
            b"POST /v HTTP/1.1\r\nHost: gate.test\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc",
            NOBODY,
            |_| {},
        );
        assert!(text.contains("\r\nExpect: 100-continue\r\n"), "{text}");
    }

    #[test]
    fn trailers_are_announced_only_before_chunks() {
        let chunked =
            b"POST /v HTTP/1.1\r\nHost: a\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(rewritten(chunked, NOBODY, |_| {}).contains("\r\nTrailer: X-A\r\n"));
        let plain = b"GET /v HTTP/1.1\r\nHost: a\r\nTrailer: X-A\r\n\r\n";
        assert!(!rewritten(plain, NOBODY, |_| {}).contains("Trailer"));
    }

    /// Reads an upstream's answer and writes it as the client gets it.
    fn answered(bytes: &[u8], method: &str, edit: impl Fn(&mut ResponseRewrite<'_>)) -> String {
        let mut storage = Storage::default();
        let head = match parse_response(bytes, &mut storage, method, 32 * 1024).expect("clean") {
            Parsed::Whole(head, _) => head,
            Parsed::Partial => panic!("partial"),
        };
        let mut rewrite = ResponseRewrite {
            version: Version::Http11,
            framing: head.framing,
            keep_alive: true,
            request_id: b"id",
            bypassed: false,
        };
        edit(&mut rewrite);
        let mut out = Vec::new();
        response(&mut out, &head, &rewrite);
        String::from_utf8(out).expect("UTF-8 in these tests")
    }

    fn same(_: &mut ResponseRewrite<'_>) {}

    #[test]
    fn a_plain_response_is_written_like_this() {
        let text = answered(
            b"HTTP/1.1 200 Fine\r\nserver: uvicorn\r\ncontent-length: 3\r\nConnection: X-Hop, keep-alive\r\nX-Hop: a\r\nKeep-Alive: timeout=5\r\nX-Request-ID: theirs\r\nX-Headgate-Maintenance: bypassed\r\nContent_Length: 9\r\nUpgrade: h2,h2c\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n",
            "GET",
            same,
        );
        assert_eq!(
            text,
            "HTTP/1.1 200 Fine\r\nserver: uvicorn\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\
             Content-Length: 3\r\nX-Request-ID: id\r\n\r\n"
        );
    }

    #[test]
    fn framing_follows_the_rewrite() {
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n";
        let text = answered(chunked, "GET", same);
        assert!(text.contains("\r\nTransfer-Encoding: chunked\r\n"), "{text}");
        assert!(text.contains("\r\nTrailer: grpc-status\r\n"), "{text}");
        let text = answered(chunked, "GET", |it| {
            it.version = Version::Http10;
            it.framing = Framing::UntilClose;
            it.keep_alive = false;
        });
        assert_eq!(text, "HTTP/1.1 200 OK\r\nX-Request-ID: id\r\nConnection: close\r\n\r\n");
        let text = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", |it| {
            it.version = Version::Http10;
            it.bypassed = true;
        });
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-ID: id\r\n\
             X-Headgate-Maintenance: bypassed\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn a_length_is_kept_as_information_where_no_body_follows() {
        for (bytes, method, keeps) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..], "HEAD", true),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", true),
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", false),
        ] {
            let text = answered(bytes, method, same);
            assert_eq!(text.contains("Content-Length: "), keeps, "{text}");
            assert!(!text.contains("Transfer-Encoding"), "{text}");
        }
    }

    #[test]
    fn a_switch_keeps_its_protocol() {
        let text = answered(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n",
            "GET",
            same,
        );
        assert_eq!(
            text,
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nX-Request-ID: id\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        );
        let text = answered(
            b"HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
            "GET",
            same,
        );
        assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
    }

    #[test]
    fn an_interim_head_has_no_framing() {
        let mut storage = Storage::default();
        let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: close\r\n\r\n";
        let Ok(Parsed::Whole(head, _)) = parse_response(bytes, &mut storage, "GET", 4096) else {
            panic!("whole");
        };
        let mut out = Vec::new();
        interim(&mut out, &head);
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }

    fn own(status: u16, version: Version, keep_alive: bool, head_only: bool) -> String {
        let answer_of = Answer {
            status,
            headers: vec![("Retry-After", "5\r\nX: y".to_owned())],
            body: b"{}".to_vec(),
        };
        let mut out = Vec::new();
        answer(&mut out, &answer_of, version, keep_alive, head_only);
        let text = String::from_utf8(out).expect("ASCII");
        let (begin, end) = text.split_once("Date: ").expect("dated");
        format!("{begin}{}", &end[end.find('\n').expect("line") + 1..])
    }

    #[test]
    fn own_answers_are_whole() {
        assert_eq!(
            own(503, Version::Http11, true, false),
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5X: y\r\nContent-Length: 2\r\n\r\n{}"
        );
        assert_eq!(
            own(400, Version::Http11, false, true),
            "HTTP/1.1 400 Bad Request\r\nRetry-After: 5X: y\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            own(204, Version::Http10, true, false),
            "HTTP/1.1 204 No Content\r\nRetry-After: 5X: y\r\nConnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn edits_stand_behind_the_clients_fields_and_before_the_gates() {
        let bytes = b"GET /v HTTP/1.1\r\nHost: a\r\nX-Tenant: client\r\nx_tenant: client\r\nAccept: */*\r\n\r\n";
        let plain = rewritten(bytes, NOBODY, |_| {});
        const EDITS: &[Edit<'_>] =
            &[Edit::Set("X-Tenant", b"filter"), Edit::Append("Accept", b"b"), Edit::Remove("Host")];
        let text = rewritten(bytes, NOBODY, |it| it.edits = EDITS);
        let client = "X-Tenant: client\r\nx_tenant: client\r\nAccept: */*\r\n";
        let edited = "Accept: */*\r\nX-Tenant: filter\r\nAccept: b\r\n";
        assert!(plain.contains(client), "{plain:?}");
        assert_eq!(text, plain.replace(client, edited));
    }

    #[test]
    fn fields_of_others_do_not_touch_an_answers_own() {
        let answer = Answer { status: 403, headers: Vec::new(), body: b"no".to_vec() }
            .with("X-Request-ID", "r-1")
            .with("Access-Control-Allow-Origin", "https://a")
            .with("Vary", "Origin");
        let others: [(&str, &[u8]); 9] = [
            ("content-type", b"text/plain"),
            ("Set-Cookie", b"a=b"),
            ("set-cookie", b"c=d"),
            ("Content-Length", b"100"),
            ("Transfer-Encoding", b"chunked"),
            ("access-control-allow-origin", b"*"),
            ("vary", b"Cookie"),
            ("X-Bad", b"a\r\nX-Worse: b"),
            ("X-Request-ID", b"forged"),
        ];
        for (head_only, body) in [(false, "no"), (true, "")] {
            let mut out = Vec::new();
            let leaving = Leaving { version: Version::Http11, keep_alive: true, head_only };
            answer_with(&mut out, &answer, &others, &leaving);
            let text = String::from_utf8(out).expect("text");
            let (head, rest) = text.split_once("\r\n\r\n").expect("a head");
            let lines: Vec<&str> = head.lines().filter(|it| !it.starts_with("Date: ")).collect();
            assert_eq!(
                lines,
                [
                    "HTTP/1.1 403 Forbidden",
                    "content-type: text/plain",
                    "Set-Cookie: a=b",
                    "set-cookie: c=d",
                    "vary: Cookie",
                    "X-Request-ID: r-1",
                    "Access-Control-Allow-Origin: https://a",
                    "Vary: Origin",
                    "Content-Length: 2",
                ]
            );
            assert_eq!(rest, body);
        }
    }
}
