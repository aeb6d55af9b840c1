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
    /// `X-Original-URL`, `X-Rewrite-URL`: some frameworks take them for the path, so what was authorised would not be what
    /// is served. Dropped from requests.
    PathOverride,
    /// A name of the list above spelt with `_` for `-`: CGI, WSGI and PHP read both as one (CVE-2026-39858).
    /// Refused in requests, dropped from responses.
    Shadow,
}

impl Class {
    /// Whether fields of this class bear on nothing but the request itself: neither framing nor the hop, the gate's own
    /// nor a credential of its. They pass as they are, and others may see and change them.
    #[inline]
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Other
                | Self::Origin
                | Self::Accept
                | Self::ContentType
                | Self::CorsMethod
                | Self::CorsHeaders
                | Self::FetchContext
                | Self::SetCookie
        )
    }
}

/// The class of a field name; `name` is a token in any case.
#[inline]
pub fn classify(name: &[u8]) -> Class {
    let Some(first) = name.first() else { return Class::Other };
    match (name.len(), first | 0x20) {
        (2, b't') => pick(name, [(b"te", Class::Te)]),
        (3, b'v') => pick(name, [(b"via", Class::Via)]),
        (4, b'h') => pick(name, [(b"host", Class::Host)]),
        (5, b'x') => pick(name, [(b"x-moz", Class::FetchContext)]),
        (6, b'a') => pick(name, [(b"accept", Class::Accept)]),
        (6, b'e') => pick(name, [(b"expect", Class::Expect)]),
        (6, b'o') => pick(name, [(b"origin", Class::Origin)]),
        (7, b'p') => pick(name, [(b"purpose", Class::FetchContext)]),
        (7, b't') => pick(name, [(b"trailer", Class::Trailer)]),
        (7, b'u') => pick(name, [(b"upgrade", Class::Upgrade)]),
        (9, b'f') => pick(name, [(b"forwarded", Class::Forwarded)]),
        (9, b'x') => pick(
            name,
            [
                (b"x-api-key", Class::ApiKey),
                (b"x-real-ip", Class::XRealIp),
                (b"x-purpose", Class::FetchContext),
            ],
        ),
        (10, b'c') => pick(name, [(b"connection", Class::Connection)]),
        (10, b'k') => pick(name, [(b"keep-alive", Class::HopByHop)]),
        (10, b's') => pick(name, [(b"set-cookie", Class::SetCookie)]),
        (10, b't') => pick(name, [(b"tracestate", Class::TraceState)]),
        (11.., first) => classify_long(name, first),
        _ => Class::Other,
    }
}

/// Names of eleven bytes and more.
fn classify_long(name: &[u8], first: u8) -> Class {
    match (name.len(), first) {
        (_, b'x') => classify_x(name),
        (11, b's') => pick(name, [(b"sec-purpose", Class::FetchContext)]),
        (11, b't') => pick(name, [(b"traceparent", Class::TraceParent)]),
        (12, b'c') => pick(name, [(b"content-type", Class::ContentType)]),
        (14, b'c') => pick(name, [(b"content-length", Class::ContentLength)]),
        (14, b'h') => pick(name, [(b"http2-settings", Class::HopByHop)]),
        (14, b's') => pick(name, [(b"sec-fetch-site", Class::FetchContext)]),
        (16, b'p') => pick(name, [(b"proxy-connection", Class::HopByHop)]),
        (17, b't') => pick(name, [(b"transfer-encoding", Class::TransferEncoding)]),
        (18, b'p') => pick(name, [(b"proxy-authenticate", Class::HopByHop)]),
        (19, b'p') => pick(name, [(b"proxy-authorization", Class::HopByHop)]),
        (29, b'a') => pick(name, [(b"access-control-request-method", Class::CorsMethod)]),
        (30, b'a') => pick(name, [(b"access-control-request-headers", Class::CorsHeaders)]),
        _ => Class::Other,
    }
}

/// `X-…` of eleven bytes and more: single names first, then families known by how they begin.
fn classify_x(name: &[u8]) -> Class {
    let known = match name.len() {
        12 => pick(name, [(b"x-request-id", Class::RequestId)]),
        13 => pick(name, [(b"x-rewrite-url", Class::PathOverride)]),
        14 => pick(name, [(b"x-original-url", Class::PathOverride)]),
        15 => pick(name, [(b"x-forwarded-for", Class::XForwardedFor)]),
        16 => pick(
            name,
            [
                (b"x-forwarded-host", Class::XForwardedHost),
                (b"x-forwarded-port", Class::XForwardedPort),
            ],
        ),
        17 => pick(name, [(b"x-forwarded-proto", Class::XForwardedProto)]),
        _ => Class::Other,
    };
    let family = |begin: &[u8; 12], class| match name.get(..12) {
        Some(same) => pick(same, [(begin, class)]),
        None => Class::Other,
    };
    let families = [
        known,
        family(b"x-forwarded-", Class::XForwardedOther),
        pick(name.get(..11).unwrap_or_default(), [(b"x-headgate-", Class::Headgate)]),
    ];
    families.into_iter().find(|it| *it != Class::Other).unwrap_or(Class::Other)
}

/// The class whose name this is; `Shadow` when it is that name but for `_`.
#[inline]
fn pick<const N: usize, const M: usize>(name: &[u8], known: [(&[u8; N], Class); M]) -> Class {
    let Some(name) = name.first_chunk::<N>().filter(|_| name.len() == N) else {
        return Class::Other;
    };
    for (wanted, class) in known {
        if is_same(name, wanted) {
            return class;
        }
    }
    if name.contains(&b'_') && known.iter().any(|it| is_shadow(name, it.0)) {
        return Class::Shadow;
    }
    Class::Other
}

/// Whether a token is `wanted` in any case. Of all token bytes only a letter's two cases become that letter, and only
/// `-` becomes `-`, when bit 5 is set; so whole words are compared at once.
#[inline]
fn is_same<const N: usize>(name: &[u8; N], wanted: &[u8; N]) -> bool {
    let mut difference = 0;
    for (sent, it) in name.iter().zip(wanted) {
        difference |= (sent | 0x20) ^ it;
    }
    difference == 0
}

/// Whether both are one name to a reader that takes `_` for `-`.
#[cold]
fn is_shadow(name: &[u8], wanted: &[u8]) -> bool {
    name.iter()
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

    use super::{Class, classify, is_forbidden_trailer, is_protected};

    /// Every name that has a class, in lower case.
    const KNOWN: &[(&str, Class)] = &[
        ("te", Class::Te),
        ("via", Class::Via),
        ("host", Class::Host),
        ("x-moz", Class::FetchContext),
        ("accept", Class::Accept),
        ("expect", Class::Expect),
        ("origin", Class::Origin),
        ("purpose", Class::FetchContext),
        ("trailer", Class::Trailer),
        ("upgrade", Class::Upgrade),
        ("forwarded", Class::Forwarded),
        ("x-api-key", Class::ApiKey),
        ("x-real-ip", Class::XRealIp),
        ("x-purpose", Class::FetchContext),
        ("connection", Class::Connection),
        ("keep-alive", Class::HopByHop),
        ("set-cookie", Class::SetCookie),
        ("tracestate", Class::TraceState),
        ("sec-purpose", Class::FetchContext),
        ("traceparent", Class::TraceParent),
        ("content-type", Class::ContentType),
        ("x-request-id", Class::RequestId),
        ("content-length", Class::ContentLength),
        ("http2-settings", Class::HopByHop),
        ("sec-fetch-site", Class::FetchContext),
        ("x-rewrite-url", Class::PathOverride),
        ("x-original-url", Class::PathOverride),
        ("x-forwarded-for", Class::XForwardedFor),
        ("x-forwarded-uri", Class::XForwardedOther),
        ("x-forwarded-host", Class::XForwardedHost),
        ("x-forwarded-port", Class::XForwardedPort),
        ("proxy-connection", Class::HopByHop),
        ("x-forwarded-proto", Class::XForwardedProto),
        ("x-headgate-client", Class::Headgate),
        ("transfer-encoding", Class::TransferEncoding),
        ("x-forwarded-prefix", Class::XForwardedOther),
        ("x-forwarded-client-cert", Class::XForwardedOther),
        ("proxy-authenticate", Class::HopByHop),
        ("proxy-authorization", Class::HopByHop),
        ("access-control-request-method", Class::CorsMethod),
        ("access-control-request-headers", Class::CorsHeaders),
    ];

    #[test]
    fn each_name_has_its_class_in_any_case() {
        for (name, class) in KNOWN {
            assert_eq!(classify(name.as_bytes()), *class, "{name}");
            assert_eq!(classify(name.to_uppercase().as_bytes()), *class, "{name}");
            let shadow = name.replacen('-', "_", 1);
            if shadow != *name {
                assert_eq!(classify(shadow.as_bytes()), Class::Shadow, "{shadow}");
                assert_eq!(classify(name.replace('-', "_").as_bytes()), Class::Shadow, "{name}");
            }
        }
    }

    #[test]
    fn other_names_have_none() {
        for name in [
            "",
            "x",
            "user-agent",
            "cookie",
            "authorization",
            "x-api-keys",
            "x-api-ke",
            "xx-api-key",
            "x-forwarded",
            "x-forwarde-",
            "hosts",
            "content-lengths",
            "x-headgat",
            "x_tenant",
            "_ga",
            "transfer-encodin",
            "x-real-ips",
            "tes",
            "t",
        ] {
            assert_eq!(classify(name.as_bytes()), Class::Other, "{name}");
        }
    }

    #[test]
    fn connection_may_name_what_is_of_this_hop_only() {
        for name in ["te", "keep-alive", "upgrade", "http2-settings", "x-mine", "trailer"] {
            assert!(!is_protected(name.as_bytes()), "{name}");
        }
        for name in ["Cookie", "authorization", "Content-MD5", "x_api_key", "X-Forwarded-Any"] {
            assert!(is_protected(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_trailer_cannot_carry_what_was_decided() {
        for name in ["grpc-status", "grpc-message", "x-checksum", "etag", "server-timing", "digest"]
        {
            assert!(!is_forbidden_trailer(name.as_bytes()), "{name}");
        }
        for (name, _) in KNOWN {
            assert!(is_forbidden_trailer(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_name_is_classed_as_the_plain_list_says(name in "(x[-_])?(api|forwarded|real|te|host)?[-_]?(key|ip|for|proto|x)?") {
            let dashed = name.to_lowercase().replace('_', "-");
            let listed = KNOWN.iter().find(|it| it.0 == dashed).map(|it| it.1);
            let family = dashed.starts_with("x-forwarded-").then_some(Class::XForwardedOther);
            let shadowing = match dashed.strip_prefix("x-forwarded-") {
                Some(_) => name.contains('_') && (listed.is_some() || name[..12].contains('_')),
                None => name.contains('_'),
            };
            let expected = match listed.or(family) {
                Some(_) if shadowing => Class::Shadow,
                Some(class) => class,
                None => Class::Other,
            };
            prop_assert_eq!(classify(name.as_bytes()), expected, "{}", name);
        }
    }
}
