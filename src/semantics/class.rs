//! Sorts a header name into its class by length, then by name.

/// One header field of a head: name as sent, value without surrounding white space.
pub type Field<'a> = httparse::Header<'a>;

/// What a header is to a proxy. `Other` passes unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Passes as it is.
    Other,
    /// Named by `Connection`, so it is of this hop only and is dropped.
    Nominated,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// `Keep-Alive`, `Proxy-Connection`, `Proxy-Authorization`, `Proxy-Authenticate`, `HTTP2-Settings`: dropped.
    HopByHop,
    Te,
    Trailer,
    Upgrade,
    Expect,
    ApiKey,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    XForwardedPort,
    /// Other `X-Forwarded-*` (`-Prefix`, `-Server`, `-Method`, `-Uri`, …): from untrusted peers dropped.
    XForwardedOther,
    XRealIp,
    Forwarded,
    Via,
    RequestId,
    TraceParent,
    TraceState,
    Origin,
    Accept,
    ContentType,
    /// `Access-Control-Request-Method`.
    CorsMethod,
    /// `Access-Control-Request-Headers`.
    CorsHeaders,
    /// `Purpose`, `X-Purpose`, `X-Moz`, `Sec-Purpose`, `Sec-Fetch-Site`: read by state-changing endpoints; pass.
    FetchContext,
    /// Response only: `Date`, `Server`, `Retry-After` … nothing special; pass.
    SetCookie,
    /// `X-Headgate-*`: said by the gate alone, so dropped from both sides.
    Headgate,
    /// A name of the list above spelt with `_` for `-`: CGI, WSGI and PHP read both as one (CVE-2026-39858).
    /// Refused in requests, dropped from responses.
    Shadow,
}

/// The class of a field name; `name` is a token in any case.
#[inline]
pub fn classify(name: &[u8]) -> Class {
    let Some(first) = name.first() else { return Class::Other };
    match (name.len(), first | 0x20) {
        (2, b't') => pick(name, &[(b"te", Class::Te)]),
        (3, b'v') => pick(name, &[(b"via", Class::Via)]),
        (4, b'h') => pick(name, &[(b"host", Class::Host)]),
        (5, b'x') => pick(name, &[(b"x-moz", Class::FetchContext)]),
        (6, b'a') => pick(name, &[(b"accept", Class::Accept)]),
        (6, b'e') => pick(name, &[(b"expect", Class::Expect)]),
        (6, b'o') => pick(name, &[(b"origin", Class::Origin)]),
        (7, b'p') => pick(name, &[(b"purpose", Class::FetchContext)]),
        (7, b't') => pick(name, &[(b"trailer", Class::Trailer)]),
        (7, b'u') => pick(name, &[(b"upgrade", Class::Upgrade)]),
        (9, b'f') => pick(name, &[(b"forwarded", Class::Forwarded)]),
        (9, b'x') => pick(
            name,
            &[
                (b"x-api-key", Class::ApiKey),
                (b"x-real-ip", Class::XRealIp),
                (b"x-purpose", Class::FetchContext),
            ],
        ),
        (10, b'c') => pick(name, &[(b"connection", Class::Connection)]),
        (10, b'k') => pick(name, &[(b"keep-alive", Class::HopByHop)]),
        (10, b's') => pick(name, &[(b"set-cookie", Class::SetCookie)]),
        (10, b't') => pick(name, &[(b"tracestate", Class::TraceState)]),
        _ => classify_long(name, first | 0x20),
    }
}

/// Names of eleven bytes and more.
fn classify_long(name: &[u8], first: u8) -> Class {
    match (name.len(), first) {
        (11, b's') => pick(name, &[(b"sec-purpose", Class::FetchContext)]),
        (11, b't') => pick(name, &[(b"traceparent", Class::TraceParent)]),
        (12, b'c') => pick(name, &[(b"content-type", Class::ContentType)]),
        (14, b'c') => pick(name, &[(b"content-length", Class::ContentLength)]),
        (14, b'h') => pick(name, &[(b"http2-settings", Class::HopByHop)]),
        (14, b's') => pick(name, &[(b"sec-fetch-site", Class::FetchContext)]),
        (16, b'p') => pick(name, &[(b"proxy-connection", Class::HopByHop)]),
        (17, b't') => pick(name, &[(b"transfer-encoding", Class::TransferEncoding)]),
        (18, b'p') => pick(name, &[(b"proxy-authenticate", Class::HopByHop)]),
        (19, b'p') => pick(name, &[(b"proxy-authorization", Class::HopByHop)]),
        (29, b'a') => pick(name, &[(b"access-control-request-method", Class::CorsMethod)]),
        (30, b'a') => pick(name, &[(b"access-control-request-headers", Class::CorsHeaders)]),
        (11.., b'x') => classify_x(name),
        _ => Class::Other,
    }
}

/// `X-…` of eleven bytes and more.
fn classify_x(name: &[u8]) -> Class {
    let known = match name.len() {
        12 => pick(name, &[(b"x-request-id", Class::RequestId)]),
        15 => pick(name, &[(b"x-forwarded-for", Class::XForwardedFor)]),
        16 => pick(
            name,
            &[
                (b"x-forwarded-host", Class::XForwardedHost),
                (b"x-forwarded-port", Class::XForwardedPort),
            ],
        ),
        17 => pick(name, &[(b"x-forwarded-proto", Class::XForwardedProto)]),
        _ => Class::Other,
    };
    match known {
        Class::Other => family(name),
        known => known,
    }
}

/// Families known by how they begin.
fn family(name: &[u8]) -> Class {
    const FAMILIES: &[(&[u8], Class)] =
        &[(b"x-forwarded-", Class::XForwardedOther), (b"x-headgate-", Class::Headgate)];
    FAMILIES
        .iter()
        .map(|(begin, class)| match name.get(..begin.len()) {
            Some(same) => pick(same, &[(begin, *class)]),
            None => Class::Other,
        })
        .find(|it| *it != Class::Other)
        .unwrap_or(Class::Other)
}

/// The class whose name this is; `Shadow` when it is that name but for `_`.
#[inline]
fn pick(name: &[u8], known: &[(&[u8], Class)]) -> Class {
    for (wanted, class) in known {
        if name.eq_ignore_ascii_case(wanted) {
            return *class;
        }
        if is_shadow(name, wanted) {
            return Class::Shadow;
        }
    }
    Class::Other
}

/// Whether both are one name to a reader that takes `_` for `-`.
fn is_shadow(name: &[u8], wanted: &[u8]) -> bool {
    name.len() == wanted.len()
        && name
            .iter()
            .zip(wanted)
            .all(|(sent, it)| sent.to_ascii_lowercase() == *it || (*sent == b'_' && *it == b'-'))
}

/// Whether `Connection` may not name this field: dropping it would change who the request is from, where it goes or
/// how long it is (CVE-2021-32813, CVE-2024-45410).
pub(crate) fn is_protected(name: &[u8]) -> bool {
    match classify(name) {
        Class::Other => {
            name.eq_ignore_ascii_case(b"authorization")
                || name.eq_ignore_ascii_case(b"cookie")
                || name.get(..8).is_some_and(|it| it.eq_ignore_ascii_case(b"content-"))
        }
        Class::Connection | Class::HopByHop | Class::Te | Class::Trailer | Class::Upgrade => false,
        _ => true,
    }
}

/// Whether a trailer of this name is dropped (RFC 9110 §6.5.1): it would bear on framing, routing, authentication,
/// content or caching after those were decided.
pub(crate) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const OTHERS: &[&[u8]] = &[
        b"age",
        b"cache-control",
        b"date",
        b"expires",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"vary",
        b"warning",
        b"www-authenticate",
    ];
    classify(name) != Class::Other
        || is_protected(name)
        || name.get(..3).is_some_and(|it| it.eq_ignore_ascii_case(b"if-"))
        || OTHERS.iter().any(|it| name.eq_ignore_ascii_case(it))
}
