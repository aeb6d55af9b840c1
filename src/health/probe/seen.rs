//! What one check has seen so far, kept outside its future so that a deadline does not take it away.

use std::net::SocketAddr;
use std::time::Duration;

use crate::health::probe::fault::Fault;
use crate::model::health::{Attrs, Outcome, Sample, Source};
use crate::telemetry::escape::is_hidden;

/// Bytes of a body that a sample keeps.
const BODY_KEPT_MAX: usize = 2 << 10;
/// Bytes of a sentence.
const SENTENCE_MAX: usize = 300;

/// How far a check has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Connect,
    Tls,
    Head,
    Body,
}

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) phase: Phase,
    /// HTTP or gRPC code.
    pub(super) status: Option<u16>,
    pub(super) body: Vec<u8>,
    /// Whether the body went on behind what was read of it.
    pub(super) cut: bool,
    outcome: Option<Outcome>,
    extra: Attrs,
}

impl Seen {
    /// The check ended early.
    pub(super) fn failed(&mut self, fault: &Fault) {
        self.outcome = Some(fault.outcome);
        self.note("phase", self.phase.name());
        self.note("error", &fault.text);
    }

    /// The answer came whole and is not what was expected; the first sentence counts.
    pub(super) fn unexpected(&mut self, outcome: Outcome, sentence: &str) {
        if self.outcome.is_none() {
            self.outcome = Some(outcome);
            self.note("expect", sentence);
        }
    }

    /// A further pair for whoever reads the sample.
    pub(super) fn note(&mut self, name: &str, text: &str) {
        self.extra.push((name.to_owned(), sentence(text)));
    }

    pub(super) fn into_sample(
        self,
        at_ms: u64,
        kind: &str,
        endpoint: SocketAddr,
        took: Duration,
    ) -> Sample {
        let mut extra = vec![("endpoint".to_owned(), endpoint.to_string())];
        extra.extend(self.extra);
        Sample {
            at_ms,
            source: Source::Probe,
            kind: kind.to_owned(),
            latency_us: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
            outcome: self.outcome.unwrap_or(Outcome::Ok),
            status: self.status,
            body: (!self.body.is_empty()).then(|| text(&self.body, BODY_KEPT_MAX)),
            extra,
        }
    }
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Head => "head",
            Self::Body => "body",
        }
    }
}

/// The first bytes as text of at most so many bytes: what is no UTF-8 and what could steer a terminal is U+FFFD. A carriage
/// return becomes a space, so that JSON stays JSON.
pub(super) fn text(bytes: &[u8], bytes_max: usize) -> String {
    let kept = bytes.get(..bytes_max).unwrap_or(bytes);
    let whole = match str::from_utf8(kept) {
        // A character that the cut has halved is no fault of the service.
        Err(error) if error.error_len().is_none() && kept.len() < bytes.len() => {
            kept.get(..error.valid_up_to()).unwrap_or_default()
        }
        _ => kept,
    };
    let fit = |it: char| match it {
        '\n' | '\t' => it,
        '\r' => ' ',
        it if it.is_control() => char::REPLACEMENT_CHARACTER,
        it => it,
    };
    cut(String::from_utf8_lossy(whole).chars().map(fit), bytes_max)
}

/// One line without control characters, of bounded length: verdicts repeat it.
fn sentence(text: &str) -> String {
    let fit = |it: char| if is_hidden(it) { char::REPLACEMENT_CHARACTER } else { it };
    cut(text.chars().map(fit), SENTENCE_MAX)
}

fn cut(chars: impl Iterator<Item = char>, bytes_max: usize) -> String {
    let mut out = String::new();
    for char in chars {
        if out.len() + char.len_utf8() > bytes_max {
            break;
        }
        out.push(char);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{sentence, text};

    #[test]
    fn a_body_is_shown_as_text_that_steers_nothing() {
        for (bytes, max, shown) in [
            (&b"plain\n\ttext"[..], 100, "plain\n\ttext"),
            (b"{\r\n}", 100, "{ \n}"),
            (b"a\0b\x1b[31m", 100, "a\u{fffd}b\u{fffd}[31m"),
            (b"a\xffb", 100, "a\u{fffd}b"),
            // Cut inside a character, and ended inside one.
            ("grün".as_bytes(), 3, "gr"),
            (b"gr\xc3", 100, "gr\u{fffd}"),
            // Three bytes for one: still within the bound.
            (b"\xff\xff\xff", 4, "\u{fffd}"),
            (b"", 4, ""),
        ] {
            assert_eq!(text(bytes, max), shown, "{bytes:?}");
        }
        assert_eq!(sentence("a\nb\u{202e}c"), "a\u{fffd}b\u{fffd}c");
    }

    proptest! {
        #[test]
        fn any_bytes_become_bounded_text(bytes in proptest::collection::vec(any::<u8>(), 0..200), max in 0_usize..150) {
            let shown = text(&bytes, max);
            prop_assert!(shown.len() <= max);
            prop_assert!(!shown.chars().any(|it| it.is_control() && it != '\n' && it != '\t'));
        }
    }
}
