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
}
