//! What upstreams do wrong, and what the client must see of each.

use Expect::{Broken, Passes, Refused};
use Reuse::{Dropped, Kept};
use Step::{Await, Close, Hang, Repeat, Reset, Say};

/// One thing that an upstream does after it has read the head of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Sends these bytes.
    Say(&'static [u8]),
    /// Sends these bytes so many times.
    Repeat(&'static [u8], usize),
    /// Waits until the client has what was said: only then is it certain that the gate has passed it on.
    Await,
    /// Closes in order.
    Close,
    /// Closes by a reset.
    Reset,
    /// Says nothing more and keeps the connection.
    Hang,
}

/// What the client must see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// The gate's own answer, with this code.
    Refused(u16, &'static str),
    /// A whole response.
    Passes(u16, &'static str),
    /// A head, this much of a body, and then an end that nobody can take for a whole response.
    Broken(u16, &'static str),
}

/// Whether the upstream's connection may serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    Kept,
    Dropped,
}

/// One misbehaviour (or oddity that must pass).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Misbehaviour {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) steps: &'static [Step],
    pub(crate) expect: Expect,
    pub(crate) reuse: Reuse,
}

const fn get(
    name: &'static str,
    steps: &'static [Step],
    expect: Expect,
    reuse: Reuse,
) -> Misbehaviour {
    Misbehaviour { name, method: "GET", steps, expect, reuse }
}

const fn head(
    name: &'static str,
    steps: &'static [Step],
    expect: Expect,
    reuse: Reuse,
) -> Misbehaviour {
    Misbehaviour { name, method: "HEAD", steps, expect, reuse }
}

/// The table, by the stage at which it goes wrong.
pub(crate) const TABLES: &[&[Misbehaviour]] =
    &[NO_HEAD, STATUS_LINE, FIELDS, FRAMING, INTERIM, LENGTH_BODY, CHUNKS, UNTIL_CLOSE];

/// No whole head comes.
#[rustfmt::skip]
const NO_HEAD: &[Misbehaviour] = &[
    get("closes-at-once", &[Close], Refused(502, "closed-before-response"), Dropped),
    get("resets-at-once", &[Reset], Refused(502, "reset-before-response"), Dropped),
    get("says-nothing", &[Hang], Refused(504, "upstream-timeout"), Dropped),
    get("closes-in-the-status-line", &[Say(b"HTTP/1.1 20"), Close], Refused(502, "closed-inside-head"), Dropped),
    get("resets-in-the-status-line", &[Say(b"HTTP/1.1 20"), Reset], Refused(502, "reset-before-response"), Dropped),
    get("stops-in-the-status-line", &[Say(b"HTTP/1.1 20"), Hang], Refused(504, "upstream-timeout"), Dropped),
    get("closes-in-a-field", &[Say(b"HTTP/1.1 200 OK\r\nContent-Le"), Close], Refused(502, "closed-inside-head"), Dropped),
    get("stops-in-a-field", &[Say(b"HTTP/1.1 200 OK\r\nContent-Le"), Hang], Refused(504, "upstream-timeout"), Dropped),
    get("closes-before-the-empty-line", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"), Close], Refused(502, "closed-inside-head"), Dropped),
    get("stops-before-the-empty-line", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"), Hang], Refused(504, "upstream-timeout"), Dropped),
    get("head-without-end", &[Say(b"HTTP/1.1 200 OK\r\n"), Repeat(b"X-Filler: 0123456789abcdef0123456789abcdef\r\n", 4000), Hang], Refused(502, "too-many-fields"), Dropped),
    get("one-field-without-end", &[Say(b"HTTP/1.1 200 OK\r\nX-Long: "), Repeat(b"0123456789abcdef", 8000), Hang], Refused(502, "head-too-large"), Dropped),
];

/// The first line is not one of HTTP/1.1.
#[rustfmt::skip]
const STATUS_LINE: &[Misbehaviour] = &[
    get("http-0.9", &[Say(b"<html>hello</html>"), Close], Refused(502, "not-http"), Dropped),
    get("garbage", &[Say(b"\x00\x01\x02\x03\xff\xfe\r\n\r\n"), Close], Refused(502, "not-http"), Dropped),
    get("a-tls-alert", &[Say(b"\x15\x03\x01\x00\x02\x02\x46"), Close], Refused(502, "not-http"), Dropped),
    get("an-smtp-greeting", &[Say(b"220 mail.test ESMTP\r\n"), Hang], Refused(502, "not-http"), Dropped),
    get("an-http2-preface", &[Say(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"), Hang], Refused(502, "not-http"), Dropped),
    get("version-2", &[Say(b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "not-http"), Dropped),
    get("version-1.2", &[Say(b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "not-http"), Dropped),
    get("version-in-lower-case", &[Say(b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "not-http"), Dropped),
    get("status-of-two-digits", &[Say(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("status-of-four-digits", &[Say(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("status-099", &[Say(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("status-600", &[Say(b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("status-with-a-letter", &[Say(b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("no-status", &[Say(b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n")], Refused(502, "not-http"), Dropped),
    get("reason-with-a-bell", &[Say(b"HTTP/1.1 200 O\x07K\r\nContent-Length: 0\r\n\r\n")], Refused(502, "bad-status-line"), Dropped),
    get("no-reason", &[Say(b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("a-reason-of-words", &[Say(b"HTTP/1.1 200 Very Well Indeed\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("an-unknown-status", &[Say(b"HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")], Passes(299, "ok"), Kept),
];

/// A field that two readers would read differently.
#[rustfmt::skip]
const FIELDS: &[Misbehaviour] = &[
    get("lines-end-in-lf", &[Say(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok")], Refused(502, "bare-lf"), Dropped),
    get("one-line-ends-in-lf", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 2\r\n\r\nok")], Refused(502, "bare-lf"), Dropped),
    get("cr-in-a-value", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\r2\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bare-cr"), Dropped),
    get("nul-in-a-value", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bad-header-value"), Dropped),
    get("control-byte-in-a-name", &[Say(b"HTTP/1.1 200 OK\r\nX-\x01A: 1\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bad-header-name"), Dropped),
    get("space-before-the-colon", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok")], Refused(502, "space-before-colon"), Dropped),
    get("space-in-a-name", &[Say(b"HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bad-header-name"), Dropped),
    get("folded-field", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "obs-fold"), Dropped),
    get("folded-by-a-tab", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\t2\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "obs-fold"), Dropped),
    get("folded-length", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok")], Refused(502, "obs-fold"), Dropped),
    get("first-field-is-indented", &[Say(b"HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "obs-fold"), Dropped),
    get("a-line-without-a-colon", &[Say(b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bad-header-name"), Dropped),
    get("a-field-without-a-name", &[Say(b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "bad-header-name"), Dropped),
    get("too-many-fields", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), Repeat(b"X-A: 1\r\n", 150), Say(b"\r\nok")], Refused(502, "too-many-fields"), Dropped),
    get("high-bytes-in-a-value", &[Say(b"HTTP/1.1 200 OK\r\nX-A: caf\xc3\xa9\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("an-empty-value", &[Say(b"HTTP/1.1 200 OK\r\nX-A:\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("names-in-odd-case", &[Say(b"HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("connection-close", &[Say(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), Close], Passes(200, "ok"), Dropped),
    get("says-close-and-stays", &[Say(b"HTTP/1.1 200 OK\r\nConnection: CLOSE\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Dropped),
];

/// Fields that disagree about where the body ends.
#[rustfmt::skip]
const FRAMING: &[Misbehaviour] = &[
    get("two-lengths-that-differ", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok")], Refused(502, "several-lengths"), Dropped),
    get("two-lengths-that-agree", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "several-lengths"), Dropped),
    get("a-list-of-lengths", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("a-negative-length", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("a-signed-length", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("an-empty-length", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("a-length-in-hex", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("a-length-with-a-space", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0 2\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("a-length-beyond-64-bits", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok")], Refused(502, "bad-length"), Dropped),
    get("length-and-chunked", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "cl-with-te"), Dropped),
    get("chunked-and-length", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "cl-with-te"), Dropped),
    get("chunked-twice-in-a-line", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "ambiguous-te"), Dropped),
    get("chunked-in-two-lines", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "ambiguous-te"), Dropped),
    get("gzip-as-a-transfer-coding", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"), Close], Refused(502, "unknown-coding"), Dropped),
    get("gzip-then-chunked", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "unknown-coding"), Dropped),
    get("identity-as-a-transfer-coding", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok"), Close], Refused(502, "unknown-coding"), Dropped),
    get("nearly-chunked", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "unknown-coding"), Dropped),
    get("chunked-with-a-parameter", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "ambiguous-te"), Dropped),
    get("chunked-in-1.0", &[Say(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), Close], Refused(502, "te-in-10"), Dropped),
    get("chunked-204", &[Say(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Refused(502, "framed-bodyless"), Dropped),
    get("204-with-a-body", &[Say(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")], Passes(204, ""), Dropped),
    get("304-with-a-length", &[Say(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"1\"\r\n\r\n")], Passes(304, ""), Kept),
    get("304-with-a-body", &[Say(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil")], Passes(304, ""), Dropped),
    head("head-with-a-length", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")], Passes(200, ""), Kept),
    head("head-without-framing", &[Say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n")], Passes(200, ""), Kept),
    head("head-with-a-body", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")], Passes(200, ""), Dropped),
    head("head-chunked", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")], Passes(200, ""), Kept),
];

/// Responses before the response.
#[rustfmt::skip]
const INTERIM: &[Misbehaviour] = &[
    get("100-unasked", &[Say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("103-with-a-link", &[Say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("a-few-1xx", &[Repeat(b"HTTP/1.1 102 Processing\r\n\r\n", 5), Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("a-storm-of-1xx", &[Repeat(b"HTTP/1.1 102 Processing\r\n\r\n", 500), Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")], Refused(502, "too-many-interim-responses"), Dropped),
    get("1xx-and-then-nothing", &[Say(b"HTTP/1.1 102 Processing\r\n\r\n"), Hang], Refused(504, "upstream-timeout"), Dropped),
    get("1xx-and-then-the-end", &[Say(b"HTTP/1.1 102 Processing\r\n\r\n"), Close], Refused(502, "closed-before-response"), Dropped),
    get("101-unasked", &[Say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nevil")], Refused(502, "unasked-101"), Dropped),
    get("1xx-chunked", &[Say(b"HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], Refused(502, "framed-bodyless"), Dropped),
];

/// Bodies with a length.
#[rustfmt::skip]
const LENGTH_BODY: &[Misbehaviour] = &[
    get("no-byte-of-the-body", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"), Close], Broken(200, ""), Dropped),
    get("half-a-body-and-the-end", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"), Close], Broken(200, "ha"), Dropped),
    get("half-a-body-and-a-reset", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"), Reset], Broken(200, "ha"), Dropped),
    get("half-a-body-and-nothing", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha"), Hang], Broken(200, "ha"), Dropped),
    get("all-but-a-byte-of-a-large-body", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 200001\r\n\r\n"), Repeat(b"0123456789", 20_000), Close], Broken(200, "0123456789"), Dropped),
    get("a-byte-too-much", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!")], Passes(200, "ok"), Dropped),
    get("a-whole-response-too-much", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")], Passes(200, "ok"), Dropped),
    get("a-line-end-too-much", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n")], Passes(200, "ok"), Dropped),
    get("a-body-where-none-is-declared", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nevil")], Passes(200, ""), Dropped),
    get("whole-and-then-the-end", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), Close], Passes(200, "ok"), Dropped),
    get("keep-alive-of-1.0", &[Say(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")], Passes(200, "ok"), Kept),
    get("1.0-with-a-length", &[Say(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), Close], Passes(200, "ok"), Dropped),
    get("a-length-with-zeros", &[Say(b"HTTP/1.1 200 OK\r\nContent-Length: 0002\r\n\r\nok")], Passes(200, "ok"), Kept),
];

/// Chunked bodies.
#[rustfmt::skip]
const CHUNKS: &[Misbehaviour] = &[
    get("closes-before-the-first-chunk", &[Say(CHUNKED), Close], Broken(200, ""), Dropped),
    get("closes-in-a-chunk-size", &[Say(CHUNKED), Say(b"2"), Close], Broken(200, ""), Dropped),
    get("closes-in-a-chunk", &[Say(CHUNKED), Say(b"4\r\nha"), Close], Broken(200, "ha"), Dropped),
    get("resets-in-a-chunk", &[Say(CHUNKED), Say(b"4\r\nha"), Reset], Broken(200, "ha"), Dropped),
    get("stops-in-a-chunk", &[Say(CHUNKED), Say(b"4\r\nha"), Hang], Broken(200, "ha"), Dropped),
    get("closes-between-chunks", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Close], Broken(200, "ha"), Dropped),
    get("stops-between-chunks", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Hang], Broken(200, "ha"), Dropped),
    get("closes-after-the-last-chunk", &[Say(CHUNKED), Say(b"2\r\nha\r\n0\r\n"), Close], Broken(200, "ha"), Dropped),
    get("closes-in-a-trailer", &[Say(CHUNKED), Say(b"2\r\nha\r\n0\r\nX-Sum: 1"), Close], Broken(200, "ha"), Dropped),
    get("a-size-of-letters", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"zz\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-negative-size", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"-2\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-size-with-0x", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"0x2\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("an-empty-size", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-space-before-a-size", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b" 2\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-size-beyond-64-bits", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"10000000000000002\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-size-ends-in-lf", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"2\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-chunk-longer-than-its-size", &[Say(CHUNKED), Say(b"2\r\nha"), Await, Say(b"ha\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-chunk-ends-in-lf", &[Say(CHUNKED), Say(b"2\r\nha"), Await, Say(b"\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-chunk-extension-without-end", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"2;"), Repeat(b"a=0123456789;", 20_000), Hang], Broken(200, "ha"), Dropped),
    get("a-control-byte-in-an-extension", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"2;a=\x01\r\nhi\r\n0\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("trailers-without-end", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"0\r\n"), Repeat(b"X-Filler: 0123456789abcdef\r\n", 10_000), Hang], Broken(200, "ha"), Dropped),
    get("a-trailer-without-a-colon", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"0\r\nnonsense\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-folded-trailer", &[Say(CHUNKED), Say(b"2\r\nha\r\n"), Await, Say(b"0\r\nX-A: 1\r\n 2\r\n\r\n")], Broken(200, "ha"), Dropped),
    get("a-bad-size-with-the-head", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n")], Refused(502, "bad-chunk-size"), Dropped),
    get("a-long-chunk-with-the-head", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhaha\r\n0\r\n\r\n")], Refused(502, "chunk-data-overrun"), Dropped),
    get("a-bad-trailer-with-the-head", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nha\r\n0\r\nnonsense\r\n\r\n")], Refused(502, "bad-trailer"), Dropped),
    get("a-byte-after-the-last-chunk", &[Say(CHUNKED), Say(b"2\r\nok\r\n0\r\n\r\n!")], Passes(200, "ok"), Dropped),
    get("a-response-after-the-last-chunk", &[Say(CHUNKED), Say(b"2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")], Passes(200, "ok"), Dropped),
    get("an-empty-chunked-body", &[Say(CHUNKED), Say(b"0\r\n\r\n")], Passes(200, ""), Kept),
    get("a-chunk-extension", &[Say(CHUNKED), Say(b"2;name=value\r\nok\r\n0;last\r\n\r\n")], Passes(200, "ok"), Kept),
    get("sizes-with-zeros-and-capitals", &[Say(CHUNKED), Say(b"000A\r\n0123456789\r\n00\r\n\r\n")], Passes(200, "0123456789"), Kept),
    get("chunks-of-one-byte", &[Say(CHUNKED), Repeat(b"1\r\nx\r\n", 9), Say(b"0\r\n\r\n")], Passes(200, "xxxxxxxxx"), Kept),
    get("chunked-in-capitals", &[Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n")], Passes(200, "ok"), Kept),
    get("a-trailer", &[Say(CHUNKED), Say(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")], Passes(200, "ok"), Kept),
    get("a-trailer-that-frames", &[Say(CHUNKED), Say(b"2\r\nok\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n")], Passes(200, "ok"), Kept),
];

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Bodies that end with the connection.
#[rustfmt::skip]
const UNTIL_CLOSE: &[Misbehaviour] = &[
    get("until-close", &[Say(b"HTTP/1.1 200 OK\r\n\r\nok"), Close], Passes(200, "ok"), Dropped),
    get("until-close-of-1.0", &[Say(b"HTTP/1.0 200 OK\r\n\r\nok"), Close], Passes(200, "ok"), Dropped),
    get("until-close-and-empty", &[Say(b"HTTP/1.1 200 OK\r\n\r\n"), Close], Passes(200, ""), Dropped),
    get("until-close-and-a-reset", &[Say(b"HTTP/1.1 200 OK\r\n\r\nha"), Reset], Broken(200, "ha"), Dropped),
    get("until-close-and-nothing", &[Say(b"HTTP/1.1 200 OK\r\n\r\nha"), Hang], Broken(200, "ha"), Dropped),
];
