//! Durations such as `1m30s` and sizes such as `64KiB`, read and written.

use std::fmt::Write as _;
use std::time::Duration;

/// What a duration looks like, for messages.
pub const DURATION: &str = "a duration such as `250ms`, `10s`, `1m30s` or `2h`";

/// What a size looks like, for messages.
pub const SIZE: &str = "a size such as `512B`, `64KiB` or `10MiB`";

/// Unit and milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Unit and bytes, largest first.
const SIZE_UNITS: [(&str, u64); 4] =
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a duration: whole numbers with units, the larger unit first, no unit twice.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = DURATION_UNITS.iter();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, unit, behind) = part(rest)?;
        // Only units behind the last one are left: `1s1m` and `1s1s` are refused.
        let (_, ms) = units.find(|it| it.0 == unit)?;
        total = total.checked_add(number.checked_mul(*ms)?)?;
        rest = behind;
    }
    Some(Duration::from_millis(total))
}

/// Reads a size: one whole number with one unit.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit, rest) = part(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|it| it.0 == unit)?;
    if rest.is_empty() { number.checked_mul(*bytes) } else { None }
}

/// Digits, letters, rest.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, behind) = text.split_at_checked(digits)?;
    let letters = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
    let (unit, rest) = behind.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, rest))
}

/// Writes a duration as [`parse_duration`] reads it; fractions of a millisecond are cut.
pub fn duration(it: Duration) -> String {
    let mut left = u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
    if left == 0 {
        return String::from("0s");
    }
    let mut text = String::new();
    for (unit, ms) in DURATION_UNITS {
        let count = left / ms;
        left %= ms;
        if count > 0 {
            let _ = write!(text, "{count}{unit}");
        }
    }
    text
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that is exact.
pub fn size(bytes: u64) -> String {
    let exact = SIZE_UNITS.iter().find(|it| bytes >= it.1 && bytes.is_multiple_of(it.1));
    exact.map_or_else(|| String::from("0B"), |(unit, each)| format!("{}{unit}", bytes / each))
}

#[cfg(test)]
mod tests {
    use super::{duration, parse_duration, parse_size, size};
    use proptest::prelude::{any, proptest};
    use std::time::Duration;

    #[test]
    fn durations_are_read_strictly() {
        for (text, ms) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("250ms", Some(250)),
            ("1d2h3m4s5ms", Some(93_784_005)),
            ("0s", Some(0)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1s1m", None),
            ("1s2s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1 s", None),
            ("1S", None),
            ("10s ", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("１s", None),
        ] {
            assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_strictly() {
        for (text, bytes) in [
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10_485_760)),
            ("1GiB", Some(1 << 30)),
            ("100B", Some(100)),
            ("64KB", None),
            ("64k", None),
            ("64", None),
            ("KiB", None),
            ("1KiB1B", None),
            ("18446744073709551615GiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in any::<u64>(), bytes in any::<u64>()) {
            let time = Duration::from_millis(ms);
            assert_eq!(parse_duration(&duration(time)), Some(time));
            assert_eq!(parse_size(&size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
