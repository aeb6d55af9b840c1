//! Request ids and W3C trace context: kept when well-formed, made anew otherwise.

/// Text of at most 128 bytes, held inline.
#[derive(Clone, Copy, Debug)]
pub struct ShortText {
    bytes: [u8; 128],
    len: u8,
}

impl ShortText {
    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self { bytes: [0; 128], len: 0 }
    }
}

/// Random numbers for one exchange, given by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    pub request: u128,
    pub trace: u128,
    pub span: u64,
}

/// `X-Request-ID`: kept if it is 1..=128 characters of `[A-Za-z0-9._~+/=@:-]`, else 32 hex digits of `fresh`.
pub fn request_id(_sent: Option<&[u8]>, _fresh: Fresh) -> ShortText {
    ShortText::default()
}

/// `traceparent` for the upstream: the trace continues if the sent one is valid, with our own span as the parent.
pub fn traceparent(_sent: Option<&[u8]>, _fresh: Fresh) -> ShortText {
    ShortText::default()
}
