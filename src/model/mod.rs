//! The nouns that every room shares; no I/O, no async.

pub mod alert;
pub mod health;
pub mod incident;

use std::net::Ipv4Addr;

/// The name of the product in `Via`, `Proxy-Status`, realms and logs.
pub const PRODUCT: &str = "headgate";

/// Scope that opens the admin prefix.
pub const SCOPE_ADMIN: &str = "admin";

/// Scope whose holders pass a covered service during maintenance.
pub const SCOPE_BYPASS: &str = "maintenance:bypass";

/// Wall-clock time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Now, by the system clock; zero when the clock is before the epoch.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339 in UTC with milliseconds, for example `2026-11-24T06:40:00.123Z`.
    pub fn rfc3339(self) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms)
            .map_or_else(|_| String::from("unknown"), |it| format!("{it:.3}"))
    }
}

/// Index of a service in its generation's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceId(pub usize);

/// Whether a service obeys maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Answers the maintenance response while maintenance is on.
    Covered,
    /// Stays reachable in maintenance.
    Exempt,
}

/// What a route demands of a request. There is no default: a route that forgets its protection does not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody may pass.
    Public,
    /// A key with this scope.
    Key(String),
}

/// Appends an IPv4 address in one go: requests and log lines have several.
pub fn push_ipv4(out: &mut Vec<u8>, ip: Ipv4Addr) {
    let mut text = [b'.'; 16];
    let mut end = 0;
    for octet in ip.octets() {
        let digits = [octet / 100, octet / 10 % 10, octet % 10];
        let first = if octet >= 100 { 0 } else { 1 + usize::from(octet < 10) };
        for digit in digits.get(first..).unwrap_or_default() {
            text[end] = b'0' + digit;
            end += 1;
        }
        end += 1;
    }
    out.extend_from_slice(text.get(..end - 1).unwrap_or_default());
}

/// Lower-case hex of bytes.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes of hex digits in either case; `None` for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().as_chunks::<2>();
    let digit = |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
    match digits {
        (pairs, []) => {
            pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
        }
        _ => None,
    }
}

/// Reason phrase of the statuses that the gate itself answers (RFC 9110 §15); empty for others.
pub fn reason_phrase(status: u16) -> &'static str {
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
