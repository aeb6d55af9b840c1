//! Every reason for which a head is refused, in one list.

use crate::semantics::head::HeadError;

const fn refuse(status: u16, code: &'static str, detail: &'static str) -> HeadError {
    HeadError { status, code, detail }
}

/// The same fault in what an upstream sent: the exchange fails with 502.
pub(crate) const fn of_upstream(fault: HeadError) -> HeadError {
    HeadError { status: 502, code: fault.code, detail: fault.detail }
}

// Lines and bytes.
pub(crate) const TLS_ON_PLAIN_PORT: HeadError = refuse(
    400,
    "tls-on-plain-port",
    "this port speaks plain HTTP and got a TLS handshake; use http:// or the TLS port",
);
pub(crate) const LEADING_LINES: HeadError =
    refuse(400, "leading-lines", "more than one empty line before the request line");
pub(crate) const BARE_LF: HeadError =
    refuse(400, "bare-lf", "a line of the head ends in LF without CR");
pub(crate) const BARE_CR: HeadError =
    refuse(400, "bare-cr", "the head has a CR that is not followed by LF");
pub(crate) const OBS_FOLD: HeadError =
    refuse(400, "obs-fold", "a header line begins with white space (obsolete line folding)");
pub(crate) const SPACE_BEFORE_COLON: HeadError =
    refuse(400, "space-before-colon", "white space between a header name and its colon");
pub(crate) const BAD_NAME: HeadError =
    refuse(400, "bad-header-name", "a header name is empty or has a byte that no token has");
pub(crate) const BAD_VALUE: HeadError =
    refuse(400, "bad-header-value", "a header value has a control byte");
pub(crate) const BAD_REQUEST_LINE: HeadError = refuse(
    400,
    "bad-request-line",
    "the first line is not a method, a target and a version with one space between them",
);
pub(crate) const BAD_METHOD: HeadError =
    refuse(400, "bad-method", "the method has a byte that no token has");
pub(crate) const HTTP_09: HeadError =
    refuse(400, "http-09", "the request line has no version (HTTP/0.9)");
pub(crate) const VERSION: HeadError =
    refuse(505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken on this port");
pub(crate) const H2_PREFACE: HeadError =
    refuse(505, "h2-preface", "HTTP/2 without TLS negotiation is not spoken on this port");

// Size.
pub(crate) const TARGET_TOO_LONG: HeadError =
    refuse(414, "target-too-long", "the request target is longer than the limit");
pub(crate) const HEAD_TOO_LARGE: HeadError =
    refuse(431, "head-too-large", "the head is larger than the limit");
pub(crate) const TOO_MANY_FIELDS: HeadError =
    refuse(431, "too-many-fields", "the head has more header lines than the limit");

// Method and target.
pub(crate) const CONNECT: HeadError =
    refuse(405, "connect", "CONNECT is not served: this is no forward proxy");
pub(crate) const TRACE: HeadError =
    refuse(405, "trace", "TRACE is not served: it would echo credentials");
pub(crate) const BAD_TARGET: HeadError = refuse(
    400,
    "bad-target",
    "the target is neither a path, nor an http(s) URL, nor * with OPTIONS",
);
pub(crate) const TARGET_BYTES: HeadError =
    refuse(400, "bad-target-bytes", "the target has a raw control or non-ASCII byte");
pub(crate) const FRAGMENT: HeadError = refuse(400, "fragment", "the target has a raw #");
pub(crate) const BACKSLASH: HeadError = refuse(400, "backslash", "the path has a raw backslash");
pub(crate) const USERINFO: HeadError =
    refuse(400, "userinfo", "the target's authority has a user name");
pub(crate) const AUTHORITY_MISMATCH: HeadError =
    refuse(400, "authority-mismatch", "the target's authority and Host differ");
pub(crate) const BROKEN_ESCAPE: HeadError =
    refuse(400, "broken-escape", "the path has a % that two hex digits do not follow");
pub(crate) const ESCAPED_CONTROL: HeadError =
    refuse(400, "escaped-control", "the path has an escaped control byte (such as %00 or %0A)");

// Host.
pub(crate) const NO_HOST: HeadError = refuse(400, "no-host", "an HTTP/1.1 request needs Host");
pub(crate) const SEVERAL_HOSTS: HeadError =
    refuse(400, "several-hosts", "the head has more than one Host line");
pub(crate) const BAD_HOST: HeadError =
    refuse(400, "bad-host", "Host is not one name or address with an optional port");

// Framing.
pub(crate) const CL_WITH_TE: HeadError =
    refuse(400, "cl-with-te", "both Content-Length and Transfer-Encoding");
pub(crate) const SEVERAL_LENGTHS: HeadError =
    refuse(400, "several-lengths", "more than one Content-Length");
pub(crate) const BAD_LENGTH: HeadError =
    refuse(400, "bad-length", "Content-Length is not one plain decimal number");
pub(crate) const AMBIGUOUS_TE: HeadError =
    refuse(400, "ambiguous-te", "Transfer-Encoding is not exactly one plain chunked");
pub(crate) const UNKNOWN_CODING: HeadError =
    refuse(501, "unknown-coding", "Transfer-Encoding names a coding other than chunked");
pub(crate) const TE_IN_10: HeadError =
    refuse(400, "te-in-10", "Transfer-Encoding in an HTTP/1.0 message");
pub(crate) const FRAMED_BODYLESS: HeadError =
    refuse(400, "framed-bodyless", "a message that cannot have a body announces one");

// Fields.
pub(crate) const EXPECTATION: HeadError =
    refuse(417, "expectation", "Expect is something other than one 100-continue");
pub(crate) const SEVERAL_KEYS: HeadError =
    refuse(400, "several-keys", "more than one X-API-KEY line");
pub(crate) const SHADOW_NAME: HeadError = refuse(
    400,
    "shadow-name",
    "a header name with _ would be read as one of the gate's own by some servers",
);
pub(crate) const TWIN_NAME: HeadError = refuse(
    400,
    "twin-name",
    "a header name with _ would be read by some servers as one that a filter looks at",
);
pub(crate) const BAD_CONNECTION: HeadError =
    refuse(400, "bad-connection", "Connection is not a short list of tokens");
pub(crate) const CONNECTION_NAMES_PROTECTED: HeadError =
    refuse(400, "protected-nominated", "Connection names a header that may not be dropped");
pub(crate) const UPGRADE_WITH_BODY: HeadError =
    refuse(400, "upgrade-with-body", "a request for an upgrade has a body");
pub(crate) const H2_CONNECTION_FIELD: HeadError =
    refuse(400, "h2-connection-field", "HTTP/2 has no connection-specific header fields");

// Responses.
pub(crate) const BAD_STATUS_LINE: HeadError = refuse(
    502,
    "bad-status-line",
    "the first line is not a version, a status of 100 to 599 and a reason",
);
pub(crate) const NOT_HTTP: HeadError =
    refuse(502, "not-http", "the answer does not begin with an HTTP/1.x status line");
