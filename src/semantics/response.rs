//! One response head of an upstream is unambiguous, or the exchange fails with 502.

use httparse::{ParserConfig, Status};

use crate::semantics::class::{Class, Field};
use crate::semantics::fields::{Side, Traits, sort};
use crate::semantics::head::{Framing, HeadError, Parsed, Storage, Version};
use crate::semantics::lines;
use crate::semantics::refusal::{
    AMBIGUOUS_TE, BAD_STATUS_LINE, BARE_LF, FRAMED_BODYLESS, HEAD_TOO_LARGE, NOT_HTTP, of_upstream,
};

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

impl<'a> ResponseHead<'a> {
    /// The first value of a class.
    pub fn first(&self, class: Class) -> Option<&'a [u8]> {
        self.fields.iter().zip(self.classes).find(|it| *it.1 == class).map(|it| it.0.value)
    }
}

/// Reads one response head from the start of `bytes`, as an answer to a request of `method`.
///
/// # Errors
/// A [`HeadError`] (status 502) when the framing is ambiguous or the head is malformed or larger than `head_bytes`.
pub fn parse_response<'a>(
    bytes: &'a [u8],
    storage: &'a mut Storage<'a>,
    method: &str,
    head_bytes: usize,
) -> Result<Parsed<ResponseHead<'a>>, HeadError> {
    if bytes.first().is_some_and(|it| *it != b'H') {
        return Err(NOT_HTTP); // httparse would skip empty lines
    }
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut storage.fields,
    );
    let used = match parsed {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) => return unfinished(bytes, head_bytes),
        Err(error) => return Err(lines::response_fault(bytes, error)),
    };
    if used > head_bytes {
        return Err(of_upstream(HEAD_TOO_LARGE));
    }
    let (fields, head): (&'a [Field<'a>], _) = (response.headers, &bytes[..used]);
    if !lines::end_in_crlf(head, fields) {
        return Err(of_upstream(BARE_LF));
    }
    let classes = &mut storage.classes[..fields.len()];
    let traits = sort(fields, classes, Side::Response).map_err(of_upstream)?;
    if traits.has_coding() && lines::coding_has_tab(head, fields, classes) {
        return Err(of_upstream(AMBIGUOUS_TE));
    }
    let line = Line {
        version: if response.version == Some(0) { Version::Http10 } else { Version::Http11 },
        status: response.code.filter(|it| (100..600).contains(it)).ok_or(BAD_STATUS_LINE)?,
        reason: response.reason.unwrap_or_default(),
    };
    Ok(Parsed::Whole(judge(line, method, &traits, (fields, classes))?, used))
}

/// The status line.
#[derive(Clone, Copy)]
struct Line<'a> {
    version: Version,
    status: u16,
    reason: &'a str,
}

#[cold]
fn unfinished<T>(bytes: &[u8], head_bytes: usize) -> Result<Parsed<T>, HeadError> {
    if bytes.len() >= head_bytes {
        return Err(of_upstream(HEAD_TOO_LARGE));
    }
    if lines::has_bare_lf(bytes) { Err(of_upstream(BARE_LF)) } else { Ok(Parsed::Partial) }
}

fn judge<'a>(
    line: Line<'a>,
    method: &str,
    traits: &Traits<'a>,
    (fields, classes): (&'a [Field<'a>], &'a [Class]),
) -> Result<ResponseHead<'a>, HeadError> {
    let announced = traits.framing(line.version).map_err(of_upstream)?;
    let framing = framing(line.status, method, announced)?;
    // A body that is announced where none can be may follow all the same: nothing after it can be trusted.
    let is_clean = line.status != 204 || matches!(announced, None | Some(Framing::Length(0)));
    Ok(ResponseHead {
        version: line.version,
        status: line.status,
        reason: line.reason,
        fields,
        classes,
        framing,
        keep_alive: framing != Framing::UntilClose && is_clean && traits.persists(line.version),
        upgrade: traits.upgrade().filter(|_| line.status == 101),
    })
}

/// RFC 9112 §6.3. `Transfer-Encoding` on 1xx and 204 is refused (§6.1), as is a length on 1xx: a final head follows
/// there, and a peer that sends the body would have it read as that head.
fn framing(status: u16, method: &str, announced: Option<Framing>) -> Result<Framing, HeadError> {
    match (status, announced) {
        (100..200 | 204, Some(Framing::Chunked)) => Err(of_upstream(FRAMED_BODYLESS)),
        (100..200, Some(Framing::Length(1..))) => Err(of_upstream(FRAMED_BODYLESS)),
        (100..200 | 204 | 304, _) => Ok(Framing::None),
        _ if method == "HEAD" => Ok(Framing::None),
        (_, announced) => Ok(announced.unwrap_or(Framing::UntilClose)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_response;
    use crate::semantics::head::{Framing, HeadError, Parsed, Storage};

    /// Framing, whether the upstream keeps the connection, and the protocol of an upgrade.
    type Seen = (Framing, bool, Option<String>);

    fn read(bytes: &[u8], method: &str) -> Result<Option<Seen>, HeadError> {
        let mut storage = Storage::default();
        Ok(match parse_response(bytes, &mut storage, method, 8192)? {
            Parsed::Partial => None,
            Parsed::Whole(head, used) => {
                assert_eq!(used, bytes.len());
                Some((head.framing, head.keep_alive, head.upgrade.map(str::to_owned)))
            }
        })
    }

    #[test]
    fn framing_follows_method_status_and_fields() {
        let table = [
            ("GET", "200 OK\r\nContent-Length: 3", Framing::Length(3), true),
            ("GET", "200 OK\r\nContent-Length: 0", Framing::Length(0), true),
            ("GET", "200 OK\r\nTransfer-Encoding: Chunked", Framing::Chunked, true),
            ("GET", "200 OK\r\nX: y", Framing::UntilClose, false),
            ("GET", "200 OK\r\nConnection: close\r\nContent-Length: 3", Framing::Length(3), false),
            ("GET", "404\r\nContent-Length: 3", Framing::Length(3), true),
            ("GET", "404 \r\nContent-Length: 3", Framing::Length(3), true),
            ("GET", "599 Odd\r\nContent-Length: 3", Framing::Length(3), true),
            ("HEAD", "200 OK\r\nContent-Length: 3", Framing::None, true),
            ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", Framing::None, true),
            ("HEAD", "200 OK\r\nX: y", Framing::None, true),
            ("GET", "304 Not Modified\r\nContent-Length: 3", Framing::None, true),
            ("GET", "304 Not Modified\r\nX: y", Framing::None, true),
            ("GET", "204 No Content\r\nX: y", Framing::None, true),
            ("GET", "204 No Content\r\nContent-Length: 0", Framing::None, true),
            ("GET", "204 No Content\r\nContent-Length: 3", Framing::None, false),
            ("GET", "100 Continue\r\nX: y", Framing::None, true),
            ("GET", "103 Early Hints\r\nLink: </a>", Framing::None, true),
            ("GET", "103 Early Hints\r\nContent-Length: 0", Framing::None, true),
        ];
        for (method, rest, framing, keep_alive) in table {
            let bytes = format!("HTTP/1.1 {rest}\r\n\r\n");
            let seen = read(bytes.as_bytes(), method);
            assert_eq!(seen, Ok(Some((framing, keep_alive, None))), "{method} {rest}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes.as_bytes()[..end], method), Ok(None), "{rest} cut at {end}");
            }
        }
    }

    #[test]
    fn an_old_upstream_closes_unless_it_says_otherwise() {
        let seen = read(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", "GET");
        assert_eq!(seen, Ok(Some((Framing::Length(3), false, None))));
        let seen =
            read(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n", "GET");
        assert_eq!(seen, Ok(Some((Framing::Length(3), true, None))));
        let seen = read(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", "GET");
        assert_eq!(seen, Ok(Some((Framing::UntilClose, false, None))));
    }

    #[test]
    fn only_a_101_switches() {
        let seen =
            read(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET");
        assert_eq!(seen, Ok(Some((Framing::None, true, Some("websocket".to_owned())))));
        for bytes in [
            &b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n"[..],
            b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"HTTP/1.1 200 S\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ] {
            assert!(matches!(read(bytes, "GET"), Ok(Some((_, _, None)))));
        }
    }

    #[test]
    fn what_cannot_be_passed_on_has_a_name() {
        let table: &[(&str, &str)] = &[
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", "not-http"),
            ("<html>", "not-http"),
            ("HTML", "not-http"),
            ("HTTP/1.2 200 OK\r\n\r\n", "not-http"),
            ("HTTP/2 200 OK\r\n\r\n", "not-http"),
            ("http/1.1 200 OK\r\n\r\n", "not-http"),
            ("ICY 200 OK\r\n\r\n", "not-http"),
            ("HTTP/1.1 099 OK\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 600 OK\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 20 OK\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1  200 OK\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 200 O\0K\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 200 OK\rX\r\n\r\n", "bad-status-line"),
            ("HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\n", "bare-lf"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\n\r\n", "bare-lf"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\n", "bare-lf"),
            ("HTTP/1.1 200 OK\nContent-", "bare-lf"),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "obs-fold"),
            ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "space-before-colon"),
            ("HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", "bad-header-value"),
            ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "bare-cr"),
            ("HTTP/1.1 200 OK\r\nX\r\n\r\n", "bad-header-name"),
            ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", "bad-header-name"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                "several-lengths",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", "bad-length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad-length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n", "bad-length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "bad-length"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "cl-with-te",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "unknown-coding"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", "unknown-coding"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "ambiguous-te"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\tchunked\r\n\r\n", "ambiguous-te"),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "te-in-10"),
            ("HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "framed-bodyless"),
            ("HTTP/1.1 100 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "framed-bodyless"),
            ("HTTP/1.1 103 OK\r\nContent-Length: 3\r\n\r\n", "framed-bodyless"),
            (
                "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
                "protected-nominated",
            ),
        ];
        for (bytes, code) in table {
            match read(bytes.as_bytes(), "GET") {
                Err(error) => assert_eq!((error.status, error.code), (502, *code), "{bytes:?}"),
                Ok(seen) => panic!("{bytes:?}: {seen:?}"),
            }
        }
    }

    #[test]
    fn size_is_bounded() {
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "v".repeat(9000));
        let endless = format!("HTTP/1.1 200 {}", "v".repeat(9000));
        for bytes in [&long, &endless] {
            assert_eq!(read(bytes.as_bytes(), "GET").expect_err("refused").code, "head-too-large");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
        assert_eq!(read(many.as_bytes(), "GET").expect_err("refused").code, "too-many-fields");
    }
}
