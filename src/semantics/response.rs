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
