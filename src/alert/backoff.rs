//! When to try again: exponential with full jitter, or as the receiver asks. Pure.

use std::time::Duration;

/// The widest first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The widest wait after many failures.
const MOST: Duration = Duration::from_mins(5);
/// Full jitter may come out at nothing; a receiver that fails at once would then be asked in a tight loop.
const LEAST: Duration = Duration::from_millis(100);
/// A receiver cannot keep alerts back for longer than this.
const ASKED_MOST: Duration = Duration::from_hours(1);

/// How long to wait after the `failures`th failure in a row (from 1). `random` decides where between [`LEAST`] and the bound
/// of this failure; `asked` (from [`asked`]) is a lower bound.
///
/// Full jitter, so that gates that failed together do not come back together
/// (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
pub fn delay(failures: u32, asked: Option<Duration>, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let bound = FIRST.saturating_mul(1 << doublings).min(MOST);
    let span = u64::try_from((bound - LEAST).as_micros()).unwrap_or(u64::MAX);
    let jittered = LEAST + Duration::from_micros(random % span.saturating_add(1));
    jittered.max(asked.unwrap_or_default().min(ASKED_MOST))
}

/// What `Retry-After` asks for (RFC 9110 §10.2.3): seconds, or a date in any of HTTP's forms that are still sent. `None` when it
/// is neither, or in the past.
pub fn asked(retry_after: &str, now_ms: u64) -> Option<Duration> {
    let text = retry_after.trim();
    if !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit()) {
        // What does not fit is more than the bound anyway.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(ASKED_MOST));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let at_ms = u64::try_from(at.as_millisecond()).ok()?;
    let wait = Duration::from_millis(at_ms.checked_sub(now_ms)?);
    Some(wait.min(ASKED_MOST)).filter(|it| !it.is_zero())
}

#[cfg(test)]
mod tests {
    use super::{ASKED_MOST, LEAST, MOST, asked, delay};
    use proptest::prelude::{any, proptest};
    use std::time::Duration;

    proptest! {
        #[test]
        fn a_wait_has_both_bounds(failures in any::<u32>(), random in any::<u64>()) {
            let wait = delay(failures, None, random);
            let bound = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
            assert!(wait >= LEAST && wait <= MOST.min(Duration::from_secs(bound.max(1))));
        }

        #[test]
        fn what_is_asked_is_heeded_up_to_an_hour(
            failures in any::<u32>(),
            seconds in any::<u64>(),
            random in any::<u64>(),
        ) {
            let wish = Duration::from_secs(seconds);
            let wait = delay(failures, Some(wish), random);
            assert!(wait >= wish.min(ASKED_MOST) && wait <= ASKED_MOST);
        }

        #[test]
        fn no_text_panics_and_none_asks_for_more_than_an_hour(text in ".{0,40}", now in any::<u64>()) {
            assert!(asked(&text, now).unwrap_or_default() <= ASKED_MOST);
        }
    }

    #[test]
    fn the_whole_span_is_used() {
        assert_eq!(delay(1, None, 0), LEAST);
        assert_eq!(delay(1, None, 900_000), Duration::from_secs(1));
        assert_eq!(delay(4, None, 7_900_000), Duration::from_secs(8));
        assert_eq!(delay(u32::MAX, None, 299_900_000), MOST);
    }

    #[test]
    fn retry_after_has_two_forms() {
        // 1994-11-06T08:49:37Z
        let then = 784_111_777_000;
        for (text, now, expected) in [
            ("120", 0, Some(120)),
            (" 0 ", 0, Some(0)),
            ("99999999999999999999999", 0, Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", then - 5000, Some(5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0, Some(3600)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", then + 1, None),
            ("-1", 0, None),
            ("1.5", 0, None),
            ("soon", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(asked(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}
