//! Request ids and W3C trace context: kept when well-formed, made anew otherwise.

/// Text of at most 128 bytes, held inline.
#[derive(Clone, Copy)]
pub struct ShortText {
    bytes: [u8; 128],
    len: u8,
}

impl ShortText {
    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }

    /// Appends; what does not fit is left out.
    fn push(&mut self, text: &[u8]) {
        for byte in text {
            if let Some(slot) = self.bytes.get_mut(usize::from(self.len)) {
                *slot = *byte;
                self.len += 1;
            }
        }
    }

    /// Appends the low `digits` hex digits of `number`.
    fn push_hex(&mut self, number: u128, digits: u32) {
        for at in (0..digits).rev() {
            let digit = (number >> (at * 4)) & 0xf;
            self.push(&[b"0123456789abcdef"[digit as usize]]);
        }
    }
}

impl Default for ShortText {
    fn default() -> Self {
        Self { bytes: [0; 128], len: 0 }
    }
}

impl std::fmt::Debug for ShortText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
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
pub fn request_id(sent: Option<&[u8]>, fresh: Fresh) -> ShortText {
    let mut id = ShortText::default();
    match sent {
        Some(sent) if is_request_id(sent) => id.push(sent),
        _ => id.push_hex(fresh.request, 32),
    }
    id
}

fn is_request_id(sent: &[u8]) -> bool {
    (1..=128).contains(&sent.len())
        && sent.iter().all(|it| it.is_ascii_alphanumeric() || b"._~+/=@:-".contains(it))
}

/// `traceparent` for the upstream: the trace continues if the sent one is valid, with our own span as the parent.
/// A trace that begins here is marked as sampled, so that services which sample by their parent go on as before.
pub fn traceparent(sent: Option<&[u8]>, fresh: Fresh) -> ShortText {
    let mut text = ShortText::default();
    text.push(b"00-");
    let flags = match sent.and_then(Parent::parse) {
        Some(parent) => {
            text.push(parent.trace);
            parent.flags
        }
        None => {
            text.push_hex(fresh.trace.max(1), 32);
            1
        }
    };
    text.push(b"-");
    text.push_hex(u128::from(fresh.span.max(1)), 16);
    text.push(b"-");
    text.push_hex(u128::from(flags), 2);
    text
}

/// Whether `ours` continues the trace of `sent`: only then does the sent `tracestate` belong to it.
pub fn continues(ours: &str, sent: Option<&[u8]>) -> bool {
    let Some(parent) = sent.and_then(Parent::parse) else { return false };
    Parent::parse(ours.as_bytes()).is_some_and(|it| it.trace == parent.trace)
}

/// What is kept of a valid `traceparent` (Trace Context §3.2.2).
struct Parent<'a> {
    /// 32 lower-case hex digits, not all 0.
    trace: &'a [u8],
    /// The flags that are defined: sampled, random.
    flags: u8,
}

impl<'a> Parent<'a> {
    fn parse(sent: &'a [u8]) -> Option<Self> {
        let (known, later) = sent.split_at_checked(55)?;
        let [version, trace, span, flags] = [0..2, 3..35, 36..52, 53..55].map(|it| &known[it]);
        let is_apart = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        let is_version = match version {
            b"00" => later.is_empty(),
            b"ff" => false,
            _ => is_hex(version) && matches!(later, [] | [b'-', ..]),
        };
        let is_set = |id: &[u8]| is_hex(id) && id.iter().any(|it| *it != b'0');
        let flags = is_hex(flags).then(|| hex(flags[1]) & 3)?;
        (is_apart && is_version && is_set(trace) && is_set(span)).then_some(Self { trace, flags })
    }
}

fn is_hex(text: &[u8]) -> bool {
    text.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { (digit & 0xf) + 9 }
}
