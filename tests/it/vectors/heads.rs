//! Request heads and what the gate makes of each: the table of its strictness.
//!
//! Read by unit tests and by tests over sockets. The peer is not trusted, `X-API-KEY` is not forwarded, every path is
//! routed, limits are at most 16 KiB of target, 64 KiB of head and 100 header lines.

/// One request, head and body, and what is to happen.
pub(crate) struct Head {
    pub(crate) name: &'static str,
    pub(crate) bytes: &'static [u8],
    pub(crate) expect: Expect,
    /// Whether the client's connection serves another request afterwards.
    pub(crate) survives: bool,
}

pub(crate) enum Expect {
    /// The upstream's head holds each of `upstream_sees` and none of `upstream_lacks` (in any case of letters).
    Pass { upstream_sees: &'static [&'static str], upstream_lacks: &'static [&'static str] },
    /// The answer has this status, its problem this code, and the upstream sees nothing.
    Refuse { status: u16, code: &'static str },
}

type Texts = &'static [&'static str];

const fn pass(name: &'static str, text: &'static str, sees: Texts, lacks: Texts) -> Head {
    let expect = Expect::Pass { upstream_sees: sees, upstream_lacks: lacks };
    Head { name, bytes: text.as_bytes(), expect, survives: true }
}

/// Passes, and the connection closes after it.
const fn last(name: &'static str, text: &'static str, sees: Texts, lacks: Texts) -> Head {
    let expect = Expect::Pass { upstream_sees: sees, upstream_lacks: lacks };
    Head { name, bytes: text.as_bytes(), expect, survives: false }
}

const fn refuse(name: &'static str, text: &'static str, status: u16, code: &'static str) -> Head {
    raw(name, text.as_bytes(), status, code)
}

const fn raw(name: &'static str, bytes: &'static [u8], status: u16, code: &'static str) -> Head {
    Head { name, bytes, expect: Expect::Refuse { status, code }, survives: false }
}

/// A GET of `/v` with `Host` and these lines.
macro_rules! get {
    ($lines:literal) => {
        concat!("GET /v HTTP/1.1\r\nHost: gate.test\r\n", $lines, "\r\n")
    };
}

/// A GET of this target with `Host`.
macro_rules! target {
    ($target:literal) => {
        concat!("GET ", $target, " HTTP/1.1\r\nHost: gate.test\r\n\r\n")
    };
}

/// A POST to `/v` with `Host`, these lines and this body.
macro_rules! post {
    ($lines:literal, $body:literal) => {
        concat!("POST /v HTTP/1.1\r\nHost: gate.test\r\n", $lines, "\r\n", $body)
    };
}

/// A GET of `/v` whose `Host` line is this.
macro_rules! host {
    ($line:literal) => {
        concat!("GET /v HTTP/1.1\r\n", $line, "\r\n\r\n")
    };
}

const fn filled<const N: usize>(begin: &[u8], fill: &[u8], end: &[u8]) -> [u8; N] {
    let mut out = [b'a'; N];
    let mut at = 0;
    while at < N - end.len() {
        out[at] = if at < begin.len() { begin[at] } else { fill[(at - begin.len()) % fill.len()] };
        at += 1;
    }
    let mut from = 0;
    while from < end.len() {
        out[N - end.len() + from] = end[from];
        from += 1;
    }
    out
}

const TAIL: &[u8] = b" HTTP/1.1\r\nHost: gate.test\r\n\r\n";
const HEAD: &[u8] = b"GET /v HTTP/1.1\r\nHost: gate.test\r\n";
static LONG_PATH: [u8; 20_000] = filled(b"GET /", b"p", TAIL);
static LONG_QUERY: [u8; 20_000] = filled(b"GET /v?", b"q", TAIL);
static ENDLESS_TARGET: [u8; 20_000] = filled(b"GET /", b"p", b"");
static LONG_VALUE: [u8; 80_000] =
    filled(b"GET /v HTTP/1.1\r\nHost: gate.test\r\nX: ", b"v", b"\r\n\r\n");
static LONG_NAME: [u8; 80_000] = filled(HEAD, b"n", b": v\r\n\r\n");
static MANY_FIELDS: [u8; HEAD.len() + 6 * 120 + 2] = filled(HEAD, b"X: y\r\n", b"\r\n");
static ENDLESS_HEAD: [u8; HEAD.len() + 6 * 13_000] = filled(HEAD, b"X: y\r\n", b"");

const NOTHING: Texts = &[];

#[rustfmt::skip] // one line per request
pub(crate) const HEADS: &[Head] = &[
    // Ordinary requests.
    pass("plain get", get!(""), &["GET /v HTTP/1.1\r\n", "\r\nHost: gate.test\r\n", "\r\nVia: 1.1 headgate\r\n", "\r\nX-Forwarded-Proto: http\r\n", "\r\nX-Forwarded-Host: gate.test\r\n"], &["content-length", "transfer-encoding", "connection:"]),
    pass("get with query", target!("/v?a=1&b=2"), &["GET /v?a=1&b=2 HTTP/1.1\r\n"], NOTHING),
    pass("empty query", target!("/v?"), &["GET /v? HTTP/1.1\r\n"], NOTHING),
    pass("root", target!("/"), &["GET / HTTP/1.1\r\n"], NOTHING),
    pass("head", "HEAD /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", &["HEAD /v HTTP/1.1\r\n"], NOTHING),
    pass("post with length", post!("Content-Length: 3\r\n", "abc"), &["POST /v HTTP/1.1\r\n", "\r\nContent-Length: 3\r\n"], &["transfer-encoding"]),
    pass("post of nothing", post!("Content-Length: 0\r\n", ""), &["\r\nContent-Length: 0\r\n"], NOTHING),
    pass("post without length", post!("", ""), &["POST /v HTTP/1.1\r\n"], &["content-length", "transfer-encoding"]),
    pass("post in chunks", post!("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), &["\r\nTransfer-Encoding: chunked\r\n"], &["content-length"]),
    pass("chunked in capitals", post!("TRANSFER-ENCODING: CHUNKED\r\n", "0\r\n\r\n"), &["\r\nTransfer-Encoding: chunked\r\n"], NOTHING),
    pass("get with body", "GET /v HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 3\r\n\r\nabc", &["\r\nContent-Length: 3\r\n"], NOTHING),
    pass("delete with chunks", "DELETE /v HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", &["DELETE /v HTTP/1.1\r\n", "\r\nTransfer-Encoding: chunked\r\n"], NOTHING),
    pass("put", "PUT /v HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1\r\n\r\na", &["PUT /v HTTP/1.1\r\n"], NOTHING),
    pass("patch", "PATCH /v HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 1\r\n\r\na", &["PATCH /v HTTP/1.1\r\n"], NOTHING),
    pass("options of a path", "OPTIONS /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", &["OPTIONS /v HTTP/1.1\r\n"], NOTHING),
    pass("lower-case method is another method", "get /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", &["get /v HTTP/1.1\r\n"], NOTHING),
    pass("unknown method", "PURGE /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", &["PURGE /v HTTP/1.1\r\n"], NOTHING),
    pass("method of odd token characters", "G|T /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", &["G|T /v HTTP/1.1\r\n"], NOTHING),
    pass("one empty line before", concat!("\r\n", "GET /v HTTP/1.1\r\nHost: gate.test\r\n\r\n"), &["GET /v HTTP/1.1\r\n"], NOTHING),
    pass("many ordinary fields", get!("User-Agent: curl/8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nCookie: a=b; c=d\r\nAuthorization: Bearer t\r\nIf-None-Match: \"x\"\r\n"), &["\r\nUser-Agent: curl/8\r\n", "\r\nAccept: */*\r\n", "\r\nAccept-Encoding: gzip\r\n", "\r\nCookie: a=b; c=d\r\n", "\r\nAuthorization: Bearer t\r\n", "\r\nIf-None-Match: \"x\"\r\n"], NOTHING),
    pass("the same field twice", get!("X-A: 1\r\nX-A: 2\r\n"), &["\r\nX-A: 1\r\nX-A: 2\r\n"], NOTHING),
    pass("empty value", get!("X-A:\r\n"), &["\r\nX-A: \r\n"], NOTHING),
    pass("value with tabs inside", get!("X-A: a\tb\r\n"), &["\r\nX-A: a\tb\r\n"], NOTHING),
    pass("white space around a value", get!("X-A: \t a \t\r\n"), &["\r\nX-A: a\r\n"], NOTHING),
    pass("no space after the colon", get!("X-A:a\r\n"), &["\r\nX-A: a\r\n"], NOTHING),
    pass("non-ASCII value", get!("X-A: \u{e4}\r\n"), &["\r\nX-A: \u{e4}\r\n"], NOTHING),
    pass("name of odd token characters", get!("!#$%&'*+-.^`|~: a\r\n"), &["\r\n!#$%&'*+-.^`|~: a\r\n"], NOTHING),
    // Lines.
    refuse("bare LF after the request line", "GET /v HTTP/1.1\nHost: gate.test\r\n\r\n", 400, "bare-lf"),
    refuse("bare LF after a field", get!("X-A: a\nX-B: b\r\n"), 400, "bare-lf"),
    refuse("bare LF at the end", "GET /v HTTP/1.1\r\nHost: gate.test\r\n\n", 400, "bare-lf"),
    refuse("bare LF before the last line", "GET /v HTTP/1.1\r\nHost: gate.test\n\r\n", 400, "bare-lf"),
    refuse("bare LF everywhere", "GET /v HTTP/1.1\nHost: gate.test\n\n", 400, "bare-lf"),
    refuse("bare LF before the request line", "\nGET /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bare-lf"),
    refuse("TE behind a bare LF", post!("Content-Length: 3\r\nX: y\nTransfer-Encoding: chunked\r\n", "abc"), 400, "bare-lf"),
    refuse("bare CR in a value", get!("X-A: a\rb\r\n"), 400, "bare-cr"),
    refuse("bare CR in a name", get!("X-\rA: a\r\n"), 400, "bare-cr"),
    refuse("bare CR in the target", "GET /v\r HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bare-cr"),
    refuse("bare CR after the version", "GET /v HTTP/1.1\rHost: gate.test\r\n\r\n", 400, "bare-cr"),
    refuse("CR CR LF", "GET /v HTTP/1.1\r\r\nHost: gate.test\r\n\r\n", 400, "bare-cr"),
    refuse("CR CR LF after a field", get!("X-A: a\r\r\n"), 400, "bare-cr"),
    refuse("two empty lines before", "\r\n\r\nGET /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "leading-lines"),
    refuse("folded value", get!("X-A: a\r\n b\r\n"), 400, "obs-fold"),
    refuse("folded value with a tab", get!("X-A: a\r\n\tb\r\n"), 400, "obs-fold"),
    refuse("folded transfer-encoding", post!("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400, "obs-fold"),
    refuse("fold before the first field", "GET /v HTTP/1.1\r\n Host: gate.test\r\n\r\n", 400, "obs-fold"),
    refuse("space before the colon", get!("X-A : a\r\n"), 400, "space-before-colon"),
    refuse("tab before the colon", get!("X-A\t: a\r\n"), 400, "space-before-colon"),
    refuse("space before the colon of content-length", post!("Content-Length : 3\r\n", "abc"), 400, "space-before-colon"),
    refuse("space before the colon of host", "GET /v HTTP/1.1\r\nHost : gate.test\r\n\r\n", 400, "space-before-colon"),
    refuse("empty name", get!(": a\r\n"), 400, "bad-header-name"),
    refuse("no colon", get!("X-A\r\n"), 400, "bad-header-name"),
    refuse("space in a name", get!("X A: a\r\n"), 400, "bad-header-name"),
    refuse("brackets in a name", get!("X(A): a\r\n"), 400, "bad-header-name"),
    refuse("non-ASCII name", get!("X-\u{e4}: a\r\n"), 400, "bad-header-name"),
    refuse("NUL in a name", get!("X-\x00: a\r\n"), 400, "bad-header-name"),
    refuse("NUL in a value", get!("X-A: a\x00b\r\n"), 400, "bad-header-value"),
    refuse("escape byte in a value", get!("X-A: \x1b[31m\r\n"), 400, "bad-header-value"),
    refuse("DEL in a value", get!("X-A: \x7f\r\n"), 400, "bad-header-value"),
    refuse("vertical tab before chunked", post!("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400, "bad-header-value"),
    // Request line.
    refuse("HTTP/0.9", "GET /v\r\n\r\n", 400, "http-09"),
    refuse("HTTP/1.2", "GET /v HTTP/1.2\r\nHost: gate.test\r\n\r\n", 505, "version"),
    refuse("HTTP/2.0", "GET /v HTTP/2.0\r\nHost: gate.test\r\n\r\n", 505, "version"),
    refuse("HTTP/0.9 by name", "GET /v HTTP/0.9\r\nHost: gate.test\r\n\r\n", 505, "version"),
    refuse("HTTP/3", "GET /v HTTP/3\r\nHost: gate.test\r\n\r\n", 505, "version"),
    refuse("HTTP/1.10", "GET /v HTTP/1.10\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("version in lower case", "GET /v http/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("version of another protocol", "GET /v ICAP/1.0\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "h2-preface"),
    refuse("two spaces after the method", "GET  /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("two spaces before the version", "GET /v  HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("space after the version", "GET /v HTTP/1.1 \r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("space in the target", "GET /v v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-request-line"),
    refuse("space before the method", " GET /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-method"),
    refuse("tab after the method", "GET\t/v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-method"),
    refuse("method with a bad byte", "G@T /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-method"),
    refuse("method with a colon", "GET: /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-method"),
    refuse("no target", "GET HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "http-09"),
    raw("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls-on-plain-port"),
    raw("binary", b"\x00\x01\x02\x03\r\n\r\n", 400, "bad-method"),
    raw("non-UTF-8 target", b"GET /\xff HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-target-bytes"),
    raw("non-UTF-8 method", b"G\xffT / HTTP/1.1\r\nHost: gate.test\r\n\r\n", 400, "bad-method"),
    refuse("CONNECT", "CONNECT gate.test:443 HTTP/1.1\r\nHost: gate.test:443\r\n\r\n", 405, "connect"),
    refuse("CONNECT of a path", "CONNECT /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 405, "connect"),
    refuse("TRACE", "TRACE /v HTTP/1.1\r\nHost: gate.test\r\n\r\n", 405, "trace"),
    // Target.
    pass("raw brackets in a query", target!("/v?a[]=1&b={2}|^\\"), &["GET /v?a[]=1&b={2}|^\\ HTTP/1.1\r\n"], NOTHING),
    pass("raw brackets in a path", target!("/v/[a]|^"), &["GET /v/[a]|^ HTTP/1.1\r\n"], NOTHING),
    pass("escapes in a query stay", target!("/v?a=%2f%zz%00"), &["GET /v?a=%2f%zz%00 HTTP/1.1\r\n"], NOTHING),
    pass("second question mark", target!("/v?a?b"), &["GET /v?a?b HTTP/1.1\r\n"], NOTHING),
    pass("stock id with an escape", target!("/api/M%26M.NS"), &["GET /api/M%26M.NS HTTP/1.1\r\n"], NOTHING),
    pass("lower-case escape", target!("/a%3ab"), &["GET /a%3Ab HTTP/1.1\r\n"], NOTHING),
    pass("escaped letter", target!("/%76"), &["GET /v HTTP/1.1\r\n"], NOTHING),
    pass("encoded slash stays", target!("/a%2fb"), &["GET /a%2Fb HTTP/1.1\r\n"], NOTHING),
    pass("dot segments", target!("/a/./b/../v"), &["GET /a/v HTTP/1.1\r\n"], NOTHING),
    pass("escaped dot segments", target!("/a/%2e%2E/v"), &["GET /v HTTP/1.1\r\n"], NOTHING),
    pass("dots above the root", target!("/../../v"), &["GET /v HTTP/1.1\r\n"], NOTHING),
    pass("slashes", target!("//a///v"), &["GET /a/v HTTP/1.1\r\n"], NOTHING),
    pass("trailing slash", target!("/v/"), &["GET /v/ HTTP/1.1\r\n"], NOTHING),
    pass("dots in a query stay", target!("/v?a=../.."), &["GET /v?a=../.. HTTP/1.1\r\n"], NOTHING),
    pass("parameters", target!("/v;a=b"), &["GET /v;a=b HTTP/1.1\r\n"], NOTHING),
    refuse("backslash in a path", target!("/v\\w"), 400, "backslash"),
    refuse("fragment", target!("/v#w"), 400, "fragment"),
    refuse("fragment behind a query", target!("/v?a#w"), 400, "fragment"),
    refuse("raw non-ASCII path", target!("/\u{e4}"), 400, "bad-target-bytes"),
    refuse("raw non-ASCII query", target!("/v?\u{e4}"), 400, "bad-target-bytes"),
    refuse("DEL in a target", target!("/v\x7f"), 400, "bad-target-bytes"),
    refuse("NUL in a target", target!("/v\x00"), 400, "bad-target-bytes"),
    refuse("escaped NUL", target!("/v%00"), 400, "escaped-control"),
    refuse("escaped LF", target!("/v%0aX:%20y"), 400, "escaped-control"),
    refuse("broken escape", target!("/v%zz"), 400, "broken-escape"),
    refuse("cut escape", target!("/v%2"), 400, "broken-escape"),
    refuse("IIS escape", target!("/v%u002f"), 400, "broken-escape"),
    refuse("relative target", target!("v"), 400, "bad-target"),
    refuse("star with GET", target!("*"), 400, "bad-target"),
    refuse("star with a path", target!("*/api/admin"), 400, "bad-target"),
    refuse("authority form", target!("gate.test:80"), 400, "bad-target"),
    refuse("query alone", target!("?a"), 400, "bad-target"),
    // Absolute form.
    pass("absolute form", target!("http://gate.test/v?a"), &["GET /v?a HTTP/1.1\r\n", "\r\nHost: gate.test\r\n"], &["http://"]),
    pass("absolute form, other case, default port", target!("HTTP://GATE.test:80/v"), &["GET /v HTTP/1.1\r\n", "\r\nHost: gate.test\r\n"], NOTHING),
    pass("absolute form without path", target!("http://gate.test"), &["GET / HTTP/1.1\r\n"], NOTHING),
    pass("absolute form with query alone", target!("http://gate.test?a"), &["GET /?a HTTP/1.1\r\n"], NOTHING),
    pass("absolute form, https", target!("https://gate.test:443/v"), &["GET /v HTTP/1.1\r\n"], NOTHING),
    last("absolute form in 1.0 without host", "GET http://gate.test/v HTTP/1.0\r\n\r\n", &["GET /v HTTP/1.1\r\n", "\r\nHost: gate.test\r\n"], NOTHING),
    refuse("absolute form of another host", target!("http://other.test/v"), 400, "authority-mismatch"),
    refuse("absolute form of another port", target!("http://gate.test:8080/v"), 400, "authority-mismatch"),
    refuse("absolute form of the other default port", target!("https://gate.test:80/v"), 400, "authority-mismatch"),
    refuse("absolute form without host", "GET http://gate.test/v HTTP/1.1\r\n\r\n", 400, "no-host"),
    refuse("absolute form with userinfo", target!("http://a:b@gate.test/v"), 400, "userinfo"),
    refuse("absolute form with an empty user", target!("http://@gate.test/v"), 400, "userinfo"),
    refuse("absolute form without authority", target!("http:///v"), 400, "bad-host"),
    refuse("absolute form of another scheme", target!("ftp://gate.test/v"), 400, "bad-target"),
    refuse("absolute form with a backslash", target!("http://gate.test\\v"), 400, "backslash"),
    // Host.
    pass("host with port", host!("Host: gate.test:8080"), &["\r\nHost: gate.test:8080\r\n"], NOTHING),
    pass("host in capitals stays", host!("HOST: Gate.Test"), &["\r\nHost: Gate.Test\r\n"], NOTHING),
    pass("host with an underscore", host!("Host: signal_engine"), &["\r\nHost: signal_engine\r\n"], NOTHING),
    pass("host with a trailing dot", host!("Host: gate.test."), &["\r\nHost: gate.test.\r\n"], NOTHING),
    pass("IPv4 host", host!("Host: 192.0.2.1:80"), &["\r\nHost: 192.0.2.1:80\r\n"], NOTHING),
    pass("IPv6 host", host!("Host: [2001:db8::1]:80"), &["\r\nHost: [2001:db8::1]:80\r\n"], NOTHING),
    refuse("no host", "GET /v HTTP/1.1\r\n\r\n", 400, "no-host"),
    refuse("empty host", host!("Host:"), 400, "bad-host"),
    refuse("two hosts", get!("Host: other.test\r\n"), 400, "several-hosts"),
    refuse("the same host twice", get!("Host: gate.test\r\n"), 400, "several-hosts"),
    refuse("list of hosts", host!("Host: gate.test, other.test"), 400, "bad-host"),
    refuse("host with a path", host!("Host: gate.test/v"), 400, "bad-host"),
    refuse("host with userinfo", host!("Host: a@gate.test"), 400, "bad-host"),
    refuse("host with a space", host!("Host: gate test"), 400, "bad-host"),
    refuse("host with an escape", host!("Host: gate%2etest"), 400, "bad-host"),
    refuse("host with a bad port", host!("Host: gate.test:8a"), 400, "bad-host"),
    refuse("host with an empty port", host!("Host: gate.test:"), 400, "bad-host"),
    refuse("host with a large port", host!("Host: gate.test:65536"), 400, "bad-host"),
    refuse("host with two ports", host!("Host: gate.test:80:80"), 400, "bad-host"),
    refuse("bare IPv6 host", host!("Host: 2001:db8::1"), 400, "bad-host"),
    refuse("broken IPv6 host", host!("Host: [2001:db8::1"), 400, "bad-host"),
    refuse("IPv6 host with a zone", host!("Host: [fe80::1%25eth0]"), 400, "bad-host"),
    refuse("non-ASCII host", host!("Host: g\u{e4}te.test"), 400, "bad-host"),
    // HTTP/1.0.
    last("1.0", "GET /v HTTP/1.0\r\nHost: gate.test\r\n\r\n", &["GET /v HTTP/1.1\r\n", "\r\nVia: 1.0 headgate\r\n"], NOTHING),
    last("1.0 without host", "GET /v HTTP/1.0\r\n\r\n", &["\r\nHost: \r\n"], &["x-forwarded-host"]),
    pass("1.0 with keep-alive", "GET /v HTTP/1.0\r\nHost: gate.test\r\nConnection: keep-alive\r\n\r\n", &["GET /v HTTP/1.1\r\n"], &["keep-alive"]),
    last("1.0 with a body", "POST /v HTTP/1.0\r\nHost: gate.test\r\nContent-Length: 3\r\n\r\nabc", &["\r\nContent-Length: 3\r\n"], NOTHING),
    last("1.0 with expect", "POST /v HTTP/1.0\r\nHost: gate.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", &["\r\nContent-Length: 3\r\n"], &["expect"]),
    last("1.0 with upgrade", "GET /v HTTP/1.0\r\nHost: gate.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", NOTHING, &["upgrade"]),
    refuse("1.0 with chunks", "POST /v HTTP/1.0\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "te-in-10"),
    refuse("1.0 with two hosts", "GET /v HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "several-hosts"),
    // Framing.
    refuse("length with chunks", post!("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "cl-with-te"),
    refuse("chunks with length", post!("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n"), 400, "cl-with-te"),
    refuse("chunks with a length of 0", post!("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"), 400, "cl-with-te"),
    refuse("length with an unknown coding", post!("Content-Length: 3\r\nTransfer-Encoding: xchunked\r\n", "abc"), 400, "cl-with-te"),
    refuse("two lengths", post!("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400, "several-lengths"),
    refuse("the same length twice", post!("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, "several-lengths"),
    refuse("list of lengths", post!("Content-Length: 3, 3\r\n", "abc"), 400, "bad-length"),
    refuse("signed length", post!("Content-Length: +3\r\n", "abc"), 400, "bad-length"),
    refuse("negative length", post!("Content-Length: -3\r\n", ""), 400, "bad-length"),
    refuse("empty length", post!("Content-Length:\r\n", ""), 400, "bad-length"),
    refuse("hexadecimal length", post!("Content-Length: 0x3\r\n", "abc"), 400, "bad-length"),
    refuse("fractional length", post!("Content-Length: 3.0\r\n", "abc"), 400, "bad-length"),
    refuse("length with an underscore", post!("Content-Length: 1_0\r\n", "abc"), 400, "bad-length"),
    refuse("length with a space", post!("Content-Length: 3 3\r\n", "abc"), 400, "bad-length"),
    refuse("quoted length", post!("Content-Length: \"3\"\r\n", "abc"), 400, "bad-length"),
    refuse("length of 2^63", post!("Content-Length: 9223372036854775808\r\n", ""), 400, "bad-length"),
    refuse("length of 2^64 + 3", post!("Content-Length: 18446744073709551619\r\n", "abc"), 400, "bad-length"),
    refuse("two codings on two lines", post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("chunked twice", post!("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("chunked with a comma", post!("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("chunked with a parameter", post!("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("quoted chunked", post!("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("tab before chunked", post!("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("tab after chunked", post!("Transfer-Encoding: chunked\t\r\n", "0\r\n\r\n"), 400, "ambiguous-te"),
    refuse("empty transfer-encoding", post!("Transfer-Encoding:\r\n", ""), 400, "ambiguous-te"),
    refuse("identity", post!("Transfer-Encoding: identity\r\n", ""), 501, "unknown-coding"),
    refuse("identity, then chunked", post!("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 501, "unknown-coding"),
    refuse("gzip, chunked", post!("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, "unknown-coding"),
    refuse("xchunked", post!("Transfer-Encoding: xchunked\r\n", ""), 501, "unknown-coding"),
    // Names that look like ours.
    refuse("Transfer_Encoding", post!("Transfer_Encoding: chunked\r\n", ""), 400, "shadow-name"),
    refuse("Content_Length", post!("Content_Length: 3\r\n", ""), 400, "shadow-name"),
    refuse("X_API_KEY", get!("X_API_KEY: k\r\n"), 400, "shadow-name"),
    refuse("X-API_KEY", get!("X-API_KEY: k\r\n"), 400, "shadow-name"),
    refuse("X_Forwarded_For", get!("X_Forwarded_For: 192.0.2.9\r\n"), 400, "shadow-name"),
    refuse("X_Forwarded_Proto", get!("X_Forwarded_Proto: https\r\n"), 400, "shadow-name"),
    refuse("X_Forwarded_Uri", get!("x_forwarded_uri: /\r\n"), 400, "shadow-name"),
    refuse("X_Real_IP", get!("X_Real_IP: 192.0.2.9\r\n"), 400, "shadow-name"),
    refuse("X_Headgate_Client", get!("X_Headgate_Client: admin\r\n"), 400, "shadow-name"),
    refuse("X_Request_ID", get!("X_Request_ID: 1\r\n"), 400, "shadow-name"),
    pass("other underscores", get!("X_Tenant_Name: a\r\n_ga: b\r\n"), &["\r\nX_Tenant_Name: a\r\n", "\r\n_ga: b\r\n"], NOTHING),
    // Keys.
    pass("one key is not forwarded", get!("X-API-Key: secret-of-sixteen\r\n"), NOTHING, &["x-api-key", "secret-of-sixteen"]),
    refuse("two keys", get!("X-API-KEY: a\r\nX-API-KEY: b\r\n"), 400, "several-keys"),
    refuse("the same key twice, other case", get!("X-API-KEY: a\r\nx-api-key: a\r\n"), 400, "several-keys"),
    // Connection.
    last("connection close", get!("Connection: close\r\n"), &["GET /v HTTP/1.1\r\n"], &["connection:"]),
    last("close beside keep-alive", get!("Connection: keep-alive, CLOSE\r\n"), NOTHING, &["connection:"]),
    pass("keep-alive", get!("Connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n"), NOTHING, &["connection:", "keep-alive"]),
    pass("nominated field", get!("Connection: X-Hop\r\nX-Hop: a\r\nX-Stay: b\r\n"), &["\r\nX-Stay: b\r\n"], &["x-hop"]),
    pass("nominated before", get!("x-hop: a\r\nConnection: close-not, X-Hop\r\n"), NOTHING, &["x-hop"]),
    pass("other hop-by-hop fields", get!("Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n"), NOTHING, &["proxy-"]),
    pass("empty connection", get!("Connection: ,\r\n"), NOTHING, &["connection:"]),
    refuse("connection names the key", get!("Connection: X-API-KEY\r\nX-API-KEY: a\r\n"), 400, "protected-nominated"),
    refuse("connection names host", get!("Connection: close, Host\r\n"), 400, "protected-nominated"),
    refuse("connection names content-length", post!("Connection: content-length\r\nContent-Length: 3\r\n", "abc"), 400, "protected-nominated"),
    refuse("connection names transfer-encoding", post!("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "protected-nominated"),
    refuse("connection names x-forwarded-for", get!("Connection: x-forwarded-for\r\n"), 400, "protected-nominated"),
    refuse("connection names x-forwarded-uri", get!("Connection: X-Forwarded-Uri\r\n"), 400, "protected-nominated"),
    refuse("connection names x-real-ip", get!("Connection: x-real-ip\r\n"), 400, "protected-nominated"),
    refuse("connection names authorization", get!("Connection: Authorization\r\nAuthorization: a\r\n"), 400, "protected-nominated"),
    refuse("connection names cookie", get!("Connection: cookie\r\nCookie: a=b\r\n"), 400, "protected-nominated"),
    refuse("connection names content-type", post!("Connection: Content-Type\r\nContent-Length: 1\r\n", "a"), 400, "protected-nominated"),
    refuse("connection names via", get!("Connection: Via\r\n"), 400, "protected-nominated"),
    refuse("connection names traceparent", get!("Connection: traceparent\r\n"), 400, "protected-nominated"),
    refuse("connection is no token", get!("Connection: a b\r\n"), 400, "bad-connection"),
    pass("te trailers", get!("TE: trailers\r\nConnection: TE\r\n"), &["\r\nTE: trailers\r\n", "\r\nConnection: TE\r\n"], NOTHING),
    pass("te gzip is of this hop", get!("TE: gzip\r\n"), NOTHING, &["\r\nte:"]),
    // Upgrade; those that the upstream is asked for are tested with tunnels.
    pass("h2c upgrade is stripped", get!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), &["GET /v HTTP/1.1\r\n"], &["upgrade", "http2-settings", "connection:"]),
    pass("h2c upgrade on a post", post!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 3\r\n", "abc"), &["\r\nContent-Length: 3\r\n"], &["upgrade", "http2-settings"]),
    pass("upgrade to TLS would hide requests", get!("Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"), NOTHING, &["upgrade"]),
    pass("upgrade to HTTP/2.0", get!("Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n"), NOTHING, &["upgrade"]),
    pass("upgrade that connection does not name", get!("Upgrade: websocket\r\n"), NOTHING, &["upgrade"]),
    pass("list of upgrades is ignored", get!("Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n"), NOTHING, &["upgrade"]),
    refuse("upgrade with a length", post!("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", "abc"), 400, "upgrade-with-body"),
    refuse("upgrade with chunks", post!("Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, "upgrade-with-body"),
    // Expect.
    pass("expect without a body", get!("Expect: 100-continue\r\n"), NOTHING, &["expect"]),
    refuse("other expectation", post!("Expect: 200-ok\r\nContent-Length: 1\r\n", "a"), 417, "expectation"),
    refuse("list of expectations", post!("Expect: 100-continue, x\r\nContent-Length: 1\r\n", "a"), 417, "expectation"),
    refuse("two expectations", post!("Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n", "a"), 417, "expectation"),
    refuse("empty expectation", post!("Expect:\r\nContent-Length: 1\r\n", "a"), 417, "expectation"),
    // What an untrusted peer says about others.
    pass("a path of its own", get!("X-Original-URL: /api/admin/x\r\nX-Rewrite-Url: /api/admin/x\r\n"), &[], &["original", "rewrite", "/api/admin"]),
    pass("spoofed x-forwarded-*", get!("X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: spoof.test\r\nX-Forwarded-Port: 4711\r\nX-Forwarded-Prefix: /spoof\r\nX-Forwarded-Uri: /spoof\r\n"), &["\r\nX-Forwarded-Proto: http\r\n", "\r\nX-Forwarded-Host: gate.test\r\n"], &["198.51.100.9", "https", "spoof", "4711"]),
    pass("spoofed forwarded", get!("Forwarded: for=198.51.100.9\r\nX-Real-IP: 198.51.100.9\r\n"), &["\r\nX-Real-IP: "], &["\r\nforwarded:", "198.51.100.9"]),
    pass("spoofed identity", get!("X-Headgate-Client: admin\r\nX-Headgate-Maintenance: bypassed\r\n"), NOTHING, &["x-headgate"]),
    pass("via grows", get!("Via: 1.1 a\r\nVia: 1.1 b\r\n"), &["\r\nVia: 1.1 a, 1.1 b, 1.1 headgate\r\n"], NOTHING),
    pass("request id stays", get!("X-Request-ID: a-b_c.1\r\n"), &["\r\nX-Request-ID: a-b_c.1\r\n"], NOTHING),
    pass("bad request id is replaced", get!("X-Request-ID: a b<script>\r\n"), &["\r\nX-Request-ID: "], &["script"]),
    pass("trace continues", get!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b\r\n"), &["\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-", "-01\r\n", "\r\ntracestate: a=b\r\n"], &["b7ad6b7169203331"]),
    pass("broken trace is replaced", get!("traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\r\ntracestate: a=b\r\n"), &["\r\ntraceparent: 00-"], &["-00000000000000000000000000000000-", "tracestate"]),
    // Size.
    raw("long path", &LONG_PATH, 414, "target-too-long"),
    raw("long query", &LONG_QUERY, 414, "target-too-long"),
    raw("endless target", &ENDLESS_TARGET, 414, "target-too-long"),
    raw("long value", &LONG_VALUE, 431, "head-too-large"),
    raw("long name", &LONG_NAME, 431, "head-too-large"),
    raw("many fields", &MANY_FIELDS, 431, "too-many-fields"),
    raw("endless head", &ENDLESS_HEAD, 431, "too-many-fields"),
];
