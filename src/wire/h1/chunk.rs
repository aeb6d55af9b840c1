//! Decodes a chunked body strictly, byte by byte or all at once, and encodes one.
//!
//! Data is never copied: a step says which part of the bytes that it was lent is data. Extensions are dropped, trailers
//! are checked and collected. Everything that servers read differently is an error (RFC 9112 §7.1): bare LF or CR, white
//! space around the size, a sign, a size beyond 63 bits.

use std::ops::Range;

use crate::semantics::class::{Field, is_forbidden_trailer};
use crate::semantics::fields::check;

/// What a chunked body may cost besides its data.
#[derive(Clone, Copy, Debug)]
pub struct ChunkLimits {
    /// Of the trailer section, with line ends.
    pub trailer_bytes: usize,
    /// Of extensions: as many at first, and as many again as data has come since.
    pub extension_bytes: u64,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { trailer_bytes: 8 * 1024, extension_bytes: 4 * 1024 }
    }
}

/// Why a chunked body is broken; the connection it came by cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk's size is not a plain hexadecimal number")]
    BadSize,
    #[error("a chunk's size is larger than 63 bits")]
    SizeTooLarge,
    #[error("chunk extensions are longer than the limit")]
    ExtensionTooLong,
    #[error("a chunk extension has a control byte")]
    BadExtension,
    #[error("a line of the chunked body does not end in CRLF")]
    BadLineEnd,
    #[error("a chunk's data is not followed by CRLF")]
    DataOverrun,
    #[error("a trailer is not a well-formed field")]
    BadTrailer,
    #[error("the trailers are longer than the limit")]
    TrailersTooLong,
}

impl ChunkError {
    /// Stable slug.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadSize => "bad-chunk-size",
            Self::SizeTooLarge => "chunk-size-too-large",
            Self::ExtensionTooLong => "chunk-extension-too-long",
            Self::BadExtension => "bad-chunk-extension",
            Self::BadLineEnd => "bad-chunk-line-end",
            Self::DataOverrun => "chunk-data-overrun",
            Self::BadTrailer => "bad-trailer",
            Self::TrailersTooLong => "trailers-too-long",
        }
    }
}

/// What the bytes of one step were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// All bytes were used and held no data; more is needed.
    More,
    /// These of the bytes are data; they are used up to the end of the range. Call again with the rest.
    Data(Range<usize>),
    /// The body is over; this many bytes were used, the rest belongs to the next message.
    End { used: usize },
}

/// A chunked body under way.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: ChunkLimits,
    /// Bytes of extensions that may still come.
    extension_left: u64,
    /// Bytes of trailers that may still come.
    trailer_left: usize,
    /// The trailer line under way.
    line: Vec<u8>,
    /// Whole trailer lines that may be passed on.
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size, of which so many digits have come.
    Size {
        size: u64,
        digits: u8,
    },
    /// After `;`.
    Extension {
        size: u64,
    },
    /// After the CR of a size line.
    SizeLf {
        size: u64,
    },
    /// So many bytes of data are left; more than 0.
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In a trailer line.
    Trailer,
    /// After the CR of a trailer line.
    TrailerLf,
    Done,
}

const AT_SIZE: State = State::Size { size: 0, digits: 0 };

impl Decoder {
    /// At the start of a body.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            state: AT_SIZE,
            limits,
            extension_left: limits.extension_bytes,
            trailer_left: limits.trailer_bytes,
            line: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Takes framing from the start of `bytes` up to the next data, the end of the body or the end of `bytes`.
    ///
    /// # Errors
    /// A [`ChunkError`] as soon as the framing is broken; the decoder must not be used afterwards.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Piece, ChunkError> {
        if self.state == State::Done {
            return Ok(Piece::End { used: 0 });
        }
        for (at, byte) in bytes.iter().enumerate() {
            if let State::Data { left } = self.state {
                return Ok(self.data(at, bytes.len(), left));
            }
            self.state = self.after(*byte)?;
            if self.state == State::Done {
                return Ok(Piece::End { used: at + 1 });
            }
        }
        Ok(Piece::More)
    }

    /// Whether the last chunk and its trailers have come.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailers that may be passed on, as whole lines (`name: value\r\n`); complete at the end of the body.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    fn data(&mut self, at: usize, end: usize, left: u64) -> Piece {
        let here = (end - at).min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - here as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data { left } };
        let earned = self.extension_left.saturating_add(here as u64);
        self.extension_left = earned.min(self.limits.extension_bytes);
        Piece::Data(at..at + here)
    }

    /// The state after one byte of framing.
    fn after(&mut self, byte: u8) -> Result<State, ChunkError> {
        match (self.state, byte) {
            (State::Size { size, digits }, byte) => size_after(size, digits, byte),
            (State::Extension { size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size }, byte) => {
                if (byte < b' ' && byte != b'\t') || byte == 0x7f {
                    return Err(ChunkError::BadExtension);
                }
                let left = self.extension_left.checked_sub(1);
                self.extension_left = left.ok_or(ChunkError::ExtensionTooLong)?;
                Ok(State::Extension { size })
            }
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(AT_SIZE),
            (State::DataCr | State::DataLf, _) => Err(ChunkError::DataOverrun),
            (State::Trailer, byte) => self.trailer_byte(byte),
            (State::TrailerLf, b'\n') if self.line.is_empty() => Ok(State::Done),
            (State::TrailerLf, b'\n') => self.keep_line(),
            (State::SizeLf { .. } | State::TrailerLf, _) => Err(ChunkError::BadLineEnd),
            (state @ (State::Data { .. } | State::Done), _) => Ok(state),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        match byte {
            b'\r' => return Ok(State::TrailerLf),
            b'\n' => return Err(ChunkError::BadLineEnd),
            0..=0x08 | 0x0b..=0x1f | 0x7f => return Err(ChunkError::BadTrailer),
            byte => self.line.push(byte),
        }
        let left = self.trailer_left.checked_sub(1);
        self.trailer_left = left.ok_or(ChunkError::TrailersTooLong)?;
        Ok(State::Trailer)
    }

    /// Checks a whole trailer line; what must not be a trailer (RFC 9110 §6.5.1) is dropped.
    fn keep_line(&mut self) -> Result<State, ChunkError> {
        let left = self.trailer_left.checked_sub(2);
        self.trailer_left = left.ok_or(ChunkError::TrailersTooLong)?;
        let colon = self.line.iter().position(|it| *it == b':').ok_or(ChunkError::BadTrailer)?;
        let name = str::from_utf8(&self.line[..colon]).map_err(|_| ChunkError::BadTrailer)?;
        let field = Field { name, value: self.line[colon + 1..].trim_ascii() };
        check(&field).map_err(|_| ChunkError::BadTrailer)?;
        if !is_forbidden_trailer(name.as_bytes()) {
            for part in [name.as_bytes(), b": ", field.value, b"\r\n"] {
                self.trailers.extend_from_slice(part);
            }
        }
        self.line.clear();
        Ok(State::Trailer)
    }
}

fn size_after(size: u64, digits: u8, byte: u8) -> Result<State, ChunkError> {
    match (byte, char::from(byte).to_digit(16)) {
        (_, Some(digit)) => {
            if digits == 16 || size >> 59 != 0 {
                return Err(ChunkError::SizeTooLarge);
            }
            Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
        }
        (b'\r', None) if digits > 0 => Ok(State::SizeLf { size }),
        (b';', None) if digits > 0 => Ok(State::Extension { size }),
        (b'\n', None) if digits > 0 => Err(ChunkError::BadLineEnd),
        _ => Err(ChunkError::BadSize),
    }
}

/// What stands between a chunk's data and the next chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Appends the size line of a chunk. `data_bytes` is more than 0: a chunk of 0 would end the body.
pub fn put_size(out: &mut Vec<u8>, data_bytes: usize) {
    let digits = (usize::BITS - data_bytes.leading_zeros()).div_ceil(4).max(1);
    for at in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(data_bytes >> (at * 4)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk, `trailers` (whole lines, as [`Decoder::trailers`] gives them) and the final empty line.
pub fn put_last(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

    use super::{CHUNK_END, ChunkError, ChunkLimits, Decoder, Piece, put_last, put_size};

    /// Data, trailers, and how many bytes were used in all; `None` for used when the end did not come.
    type Decoded = Result<(Vec<u8>, String, Option<usize>), ChunkError>;

    /// Lends the bytes in parts that end at `cuts`.
    fn decode(bytes: &[u8], cuts: &[usize]) -> Decoded {
        let mut decoder = Decoder::new(ChunkLimits::default());
        let (mut data, mut end, mut from) = (Vec::new(), None, 0);
        for to in cuts.iter().copied().chain([bytes.len()]) {
            while from < to && end.is_none() {
                match decoder.step(&bytes[from..to])? {
                    Piece::More => from = to,
                    Piece::Data(range) => {
                        data.extend_from_slice(&bytes[from..to][range.clone()]);
                        from += range.end;
                    }
                    Piece::End { used } => end = Some(from + used),
                }
            }
        }
        assert_eq!(decoder.is_done(), end.is_some());
        let trailers = String::from_utf8_lossy(decoder.trailers()).into_owned();
        Ok((data, trailers, end))
    }

    /// Bytes, data, trailers, bytes used when the body ends.
    const GOOD: &[(&str, &str, &str, Option<usize>)] = &[
        ("0\r\n\r\n", "", "", Some(5)),
        ("3\r\nabc\r\n0\r\n\r\nGET /", "abc", "", Some(13)),
        ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", "", Some(20)),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", "", Some(20)),
        ("a\r\n0123456789\r\n000\r\n\r\n", "0123456789", "", Some(22)),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc", "", Some(28)),
        ("3;a=b;c=\"d;e\"\r\nabc\r\n0;x\r\n\r\n", "abc", "", Some(27)),
        ("3;\tx\r\nabc\r\n0\r\n\r\n", "abc", "", Some(16)),
        ("0\r\nGrpc-Status:  0 \r\n\r\n", "", "Grpc-Status: 0\r\n", Some(23)),
        ("0\r\nA: 1\r\nA: 2\r\n\r\n", "", "A: 1\r\nA: 2\r\n", Some(17)),
        ("0\r\nHost: a\r\nX-API-KEY: k\r\nA: 1\r\nx_api_key: k\r\n\r\n", "", "A: 1\r\n", Some(48)),
        (
            "0\r\nContent-Length: 3\r\nAuthorization: a\r\nCookie: a\r\nIf-Match: a\r\n\r\n",
            "",
            "",
            Some(66),
        ),
        ("0\r\nX-Forwarded-For: a\r\nContent-MD5: a\r\nCache-Control: a\r\n\r\n", "", "", Some(59)),
        ("", "", "", None),
        ("3\r\nab", "ab", "", None),
        ("3\r\nabc\r\n0\r\n", "abc", "", None),
        ("7fffffffffffffff\r\n", "", "", None),
    ];

    const BAD: &[(&str, ChunkError)] = &[
        ("\r\n", ChunkError::BadSize),
        ("g\r\n", ChunkError::BadSize),
        ("0x3\r\nabc", ChunkError::BadSize),
        ("+3\r\nabc", ChunkError::BadSize),
        ("-3\r\nabc", ChunkError::BadSize),
        (" 3\r\nabc", ChunkError::BadSize),
        ("3 \r\nabc", ChunkError::BadSize),
        ("3 ;a\r\nabc", ChunkError::BadSize),
        ("3\t\r\nabc", ChunkError::BadSize),
        ("3_0\r\nabc", ChunkError::BadSize),
        (";a\r\n", ChunkError::BadSize),
        ("8000000000000000\r\n", ChunkError::SizeTooLarge),
        ("ffffffffffffffff\r\n", ChunkError::SizeTooLarge),
        ("10000000000000003\r\n", ChunkError::SizeTooLarge),
        ("00000000000000003\r\n", ChunkError::SizeTooLarge),
        ("3\nabc\r\n0\r\n\r\n", ChunkError::BadLineEnd),
        ("3\r\rabc", ChunkError::BadLineEnd),
        ("3\rabc", ChunkError::BadLineEnd),
        ("3;a\nabc", ChunkError::BadExtension),
        ("3;a\0\r\nabc", ChunkError::BadExtension),
        ("3\r\nabcd\r\n", ChunkError::DataOverrun),
        ("3\r\nabc\n0\r\n\r\n", ChunkError::DataOverrun),
        ("3\r\nabc\r0\r\n\r\n", ChunkError::DataOverrun),
        ("0\r\n\n", ChunkError::BadLineEnd),
        ("0\r\n\r\r", ChunkError::BadLineEnd),
        ("0\r\nA: 1\n\r\n", ChunkError::BadLineEnd),
        ("0\r\nA: 1\r\n b\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\nA : 1\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\nA\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\n: 1\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\nA: \x01\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\nA: \0\r\n\r\n", ChunkError::BadTrailer),
        ("0\r\nA\u{e4}: 1\r\n\r\n", ChunkError::BadTrailer),
    ];

    #[test]
    fn bodies_are_decoded_or_refused() {
        let good = GOOD.iter().map(|(bytes, data, trailers, used)| {
            (*bytes, Ok((data.as_bytes().to_vec(), (*trailers).to_owned(), *used)))
        });
        let bad = BAD.iter().map(|(bytes, error)| (*bytes, Err(*error)));
        for (bytes, expected) in good.chain(bad) {
            assert_eq!(decode(bytes.as_bytes(), &[]), expected, "{bytes:?}");
            let cuts: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(decode(bytes.as_bytes(), &cuts), expected, "{bytes:?} byte by byte");
            for at in 0..bytes.len() {
                assert_eq!(decode(bytes.as_bytes(), &[at]), expected, "{bytes:?} cut at {at}");
            }
        }
    }

    #[test]
    fn costs_beside_the_data_are_bounded() {
        let long = format!("3;{}\r\n", "x".repeat(5000));
        assert_eq!(decode(long.as_bytes(), &[]), Err(ChunkError::ExtensionTooLong));
        let many = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5);
        assert_eq!(decode(many.as_bytes(), &[]), Err(ChunkError::ExtensionTooLong));
        let earned = format!("400;{}\r\n{}\r\n", "x".repeat(1000), "a".repeat(0x400)).repeat(50);
        assert!(decode(earned.as_bytes(), &[]).is_ok());
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(2000));
        assert_eq!(decode(trailers.as_bytes(), &[]), Err(ChunkError::TrailersTooLong));
        let endless = format!("0\r\n{}", "a".repeat(9000));
        assert_eq!(decode(endless.as_bytes(), &[]), Err(ChunkError::TrailersTooLong));
    }

    #[test]
    fn a_body_that_is_over_takes_nothing_more() {
        let mut decoder = Decoder::new(ChunkLimits::default());
        assert_eq!(decoder.step(b"0\r\n\r\n"), Ok(Piece::End { used: 5 }));
        assert_eq!(decoder.step(b"3\r\nabc"), Ok(Piece::End { used: 0 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_encoded_is_decoded_however_it_is_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            mut cuts in prop::collection::vec(0_usize..400, 0..8),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                put_size(&mut bytes, chunk.len());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(CHUNK_END);
            }
            put_last(&mut bytes, b"A: 1\r\n");
            let end = bytes.len();
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
            cuts.retain(|it| *it < bytes.len());
            cuts.sort_unstable();
            let expected = Ok((chunks.concat(), "A: 1\r\n".to_owned(), Some(end)));
            prop_assert_eq!(decode(&bytes, &cuts), expected);
        }

        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            bytes in "[0-3a;: \\r\\n\\x00]{0,40}",
            mut cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            cuts.retain(|it| *it < bytes.len());
            cuts.sort_unstable();
            prop_assert_eq!(decode(bytes.as_bytes(), &cuts), decode(bytes.as_bytes(), &[]));
        }
    }
}
