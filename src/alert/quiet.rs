//! Hours in which only what is loud enough goes out. Pure.
//!
//! What is not loud enough waits until their end. What has opened and resolved within them is told once, as resolved.

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use crate::config::alerts::Quiet;
use crate::model::health::Severity;

const DAY_MINUTES: u16 = 24 * 60;

/// Until when (unix milliseconds, later than `at_ms`) something of this severity waits; `None`: it goes out at once. So it
/// does where the zone is not known to this machine: rather a voice at night than silence.
pub fn until(quiet: Option<&Quiet>, severity: Severity, at_ms: u64) -> Option<u64> {
    let quiet = quiet.filter(|it| severity < it.from_severity)?;
    let zone = zone(&quiet.zone)?;
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    let local = zone.to_datetime(at);
    let end = end(quiet, local)?;
    let ambiguous = zone.to_ambiguous_timestamp(end);
    // An hour that comes twice: its first end may be over already.
    let first = ambiguous.compatible().ok().filter(|it| *it > at);
    let end = first.or_else(|| ambiguous.later().ok()).filter(|it| *it > at)?;
    u64::try_from(end.as_millisecond()).ok()
}

/// The zone of a name or an offset (`+05:30`).
pub fn zone(name: &str) -> Option<TimeZone> {
    match name.strip_prefix(['+', '-']) {
        Some(rest) => offset(rest, name.starts_with('-')).map(TimeZone::fixed),
        None if name == "UTC" => Some(TimeZone::UTC),
        None => TimeZone::get(name).ok(),
    }
}

fn offset(text: &str, negative: bool) -> Option<Offset> {
    let (hours, minutes) = match text.split_once(':') {
        Some((hours, minutes)) => (hours, minutes),
        None => (text, "0"),
    };
    let number = |it: &str| {
        let digits = (1..=2).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| it.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    if hours > 18 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3600 + minutes * 60;
    Offset::from_seconds(if negative { -seconds } else { seconds }).ok()
}

/// The end of the quiet hours that this moment is in.
fn end(quiet: &Quiet, local: DateTime) -> Option<DateTime> {
    let minute = u16::try_from(local.hour()).ok()? * 60 + u16::try_from(local.minute()).ok()?;
    let (from, to) = (quiet.from, quiet.to);
    let today = local.date();
    if from < to {
        return (from..to).contains(&minute).then(|| at(today, to)).flatten();
    }
    match (minute >= from && from != to, minute < to && from != to) {
        (true, _) => at(today.checked_add(1.day()).ok()?, to),
        (_, true) => at(today, to),
        _ => None,
    }
}

fn at(date: Date, minute: u16) -> Option<DateTime> {
    if minute >= DAY_MINUTES {
        return at(date.checked_add(1.day()).ok()?, minute - DAY_MINUTES);
    }
    let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
    Some(date.at(hour, minute, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::until;
    use crate::config::alerts::Quiet;
    use crate::model::health::Severity::{Critical, Info, Warning};
    use jiff::Timestamp;

    fn ms(at: &str) -> u64 {
        let at: Timestamp = at.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    fn waits(from: &str, to: &str, zone: &str, at: &str) -> String {
        let minutes = |it: &str| {
            let (hours, minutes) = it.split_once(':').unwrap();
            hours.parse::<u16>().unwrap() * 60 + minutes.parse::<u16>().unwrap()
        };
        let quiet = Quiet {
            from: minutes(from),
            to: minutes(to),
            zone: zone.to_owned(),
            from_severity: Critical,
        };
        match until(Some(&quiet), Warning, ms(at)) {
            Some(end) => {
                Timestamp::from_millisecond(i64::try_from(end).unwrap()).unwrap().to_string()
            }
            None => String::from("no"),
        }
    }

    #[test]
    fn quiet_hours_end_when_the_wall_clock_of_their_zone_says_so() {
        let (india, berlin) = ("+05:30", "Europe/Berlin");
        for (from, to, zone, at, expected) in [
            // Within a day, both borders.
            ("01:00", "06:00", "UTC", "2026-11-24T00:59:59.999Z", "no"),
            ("01:00", "06:00", "UTC", "2026-11-24T01:00:00Z", "2026-11-24T06:00:00Z"),
            ("01:00", "06:00", "UTC", "2026-11-24T05:59:59.999Z", "2026-11-24T06:00:00Z"),
            ("01:00", "06:00", "UTC", "2026-11-24T06:00:00Z", "no"),
            // Over midnight, and over the end of a year.
            ("22:00", "07:00", "UTC", "2026-12-31T22:00:00Z", "2027-01-01T07:00:00Z"),
            ("22:00", "07:00", "UTC", "2027-01-01T06:59:00Z", "2027-01-01T07:00:00Z"),
            ("22:00", "07:00", "UTC", "2027-01-01T12:00:00Z", "no"),
            // Offsets.
            ("22:00", "07:00", india, "2026-11-24T16:29:00Z", "no"),
            ("22:00", "07:00", india, "2026-11-24T16:30:00Z", "2026-11-25T01:30:00Z"),
            ("22:00", "07:00", "-03:00", "2026-11-24T02:00:00Z", "2026-11-24T10:00:00Z"),
            // The night in which the clock is put on, and the one in which it is put back.
            ("22:00", "07:00", berlin, "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"),
            ("22:00", "07:00", berlin, "2026-10-24T22:00:00Z", "2026-10-25T06:00:00Z"),
            // An end that does not exist that night; one that exists twice.
            ("22:00", "02:30", berlin, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"),
            ("22:00", "02:30", berlin, "2026-10-25T00:20:00Z", "2026-10-25T00:30:00Z"),
            ("22:00", "02:30", berlin, "2026-10-25T01:20:00Z", "2026-10-25T01:30:00Z"),
            // All day, never, and a zone that nobody knows.
            ("00:00", "24:00", "UTC", "2026-11-24T12:00:00Z", "2026-11-25T00:00:00Z"),
            ("06:00", "06:00", "UTC", "2026-11-24T06:00:00Z", "no"),
            ("00:00", "24:00", "Mars/Base", "2026-11-24T12:00:00Z", "no"),
            ("00:00", "24:00", "+99:00", "2026-11-24T12:00:00Z", "no"),
        ] {
            assert_eq!(waits(from, to, zone, at), expected, "{from}-{to} {zone} at {at}");
        }
    }

    #[test]
    fn what_is_loud_enough_does_not_wait() {
        let quiet = Quiet { from: 0, to: 1440, zone: String::from("UTC"), from_severity: Warning };
        let at = ms("2026-11-24T12:00:00Z");
        assert!(until(Some(&quiet), Info, at).is_some());
        assert!(until(Some(&quiet), Warning, at).is_none());
        assert!(until(Some(&quiet), Critical, at).is_none());
        assert!(until(None, Info, at).is_none());
    }

    proptest::proptest! {
        #[test]
        fn an_end_is_ahead_and_not_further_than_a_day_or_so(
            at in 0_u64..4_000_000_000_000, from in 0_u16..1440, to in 0_u16..=1440, zone in 0_usize..4,
        ) {
            let zone = ["UTC", "Europe/Berlin", "Asia/Kolkata", "-11:00"][zone].to_owned();
            let quiet = Quiet { from, to, zone, from_severity: Critical };
            if let Some(end) = until(Some(&quiet), Info, at) {
                proptest::prop_assert!(end > at && end - at <= 25 * 3_600_000);
                // There, or a minute on where an hour comes twice, it is over.
                let over = until(Some(&quiet), Info, end);
                proptest::prop_assert!(over.is_none_or(|it| it - end <= 3_600_000), "{over:?}");
            }
        }
    }
}
