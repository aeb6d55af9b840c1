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
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same without a check that it is text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Appends; what does not fit is left out.
    fn push(&mut self, text: &[u8]) {
        let room = &mut self.bytes[usize::from(self.len)..];
        let fitting = text.len().min(room.len());
        room[..fitting].copy_from_slice(&text[..fitting]);
        self.len += fitting as u8; // at most 128
    }

    /// Appends the low `N` hex digits of `number`.
    fn push_hex<const N: usize>(&mut self, number: u128) {
        let mut digits = [b'0'; N];
        for (at, digit) in digits.iter_mut().rev().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (at * 4)) as usize & 0xf];
        }
        self.push(&digits);
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
        _ => id.push_hex::<32>(fresh.request),
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
            text.push_hex::<32>(fresh.trace.max(1));
            1
        }
    };
    text.push(b"-");
    text.push_hex::<16>(u128::from(fresh.span.max(1)));
    text.push(b"-");
    text.push_hex::<2>(u128::from(flags));
    text
}

/// Whether `ours` continues the trace of `sent`: only then does the sent `tracestate` belong to it.
pub fn continues(ours: &[u8], sent: Option<&[u8]>) -> bool {
    let Some(parent) = sent.and_then(Parent::parse) else { return false };
    Parent::parse(ours).is_some_and(|it| it.trace == parent.trace)
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

#[cfg(test)]
mod tests {
    use super::{Fresh, continues, request_id, traceparent};

    const FRESH: Fresh = Fresh { request: 0xabc, trace: 0xdef, span: 0x123 };
    const NEW: &str = "00-00000000000000000000000000000def-0000000000000123-01";

    #[test]
    fn a_request_id_is_kept_only_when_it_is_harmless() {
        let long = "x".repeat(128);
        for sent in ["a", "0b3f-A_z.~+/=@:", &long] {
            assert_eq!(request_id(Some(sent.as_bytes()), FRESH).as_str(), sent);
        }
        let too_long = "x".repeat(129);
        for sent in ["", "a b", "a\"b", "a<b", "a\tb", "a;b", "\u{e4}", "a,b", &too_long] {
            let made = request_id(Some(sent.as_bytes()), FRESH);
            assert_eq!(made.as_str(), "00000000000000000000000000000abc", "{sent}");
        }
        assert_eq!(request_id(None, FRESH).as_str(), "00000000000000000000000000000abc");
    }

    #[test]
    fn a_trace_continues_only_when_it_is_valid() {
        const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-";
        let table = [
            ("00", "01", Some("01")),
            ("00", "00", Some("00")),
            ("00", "03", Some("03")),
            ("00", "ff", Some("03")),
            ("cc", "01", Some("01")),
            ("ff", "01", None),
            ("0g", "01", None),
            ("00", "0g", None),
            ("00", "0A", None),
        ];
        for (version, flags, kept) in table {
            let sent = format!("{version}{}{flags}", &SENT[2..]);
            let ours = traceparent(Some(sent.as_bytes()), FRESH);
            let expected = match kept {
                Some(flags) => {
                    format!("00-0af7651916cd43dd8448eb211c80319c-0000000000000123-{flags}")
                }
                None => NEW.to_owned(),
            };
            assert_eq!(ours.as_str(), expected, "{sent}");
            assert_eq!(continues(ours.as_bytes(), Some(sent.as_bytes())), kept.is_some(), "{sent}");
        }
    }

    #[test]
    fn a_malformed_parent_begins_a_new_trace() {
        for sent in [
            "",
            "00",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
            "00 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(traceparent(Some(sent.as_bytes()), FRESH).as_str(), NEW, "{sent}");
            assert!(!continues(NEW.as_bytes(), Some(sent.as_bytes())));
        }
        assert_eq!(traceparent(None, FRESH).as_str(), NEW);
    }

    #[test]
    fn a_later_version_may_have_more_and_ids_are_never_zero() {
        let sent = b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        let ours = traceparent(Some(sent), FRESH);
        assert!(ours.as_str().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        let none = Fresh { request: 0, trace: 0, span: 0 };
        let ours = traceparent(None, none);
        assert_eq!(ours.as_str(), "00-00000000000000000000000000000001-0000000000000001-01");
    }
}
