//! Writes `Date`, formatted once per second and thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
type Imf = [u8; 29];

thread_local! {
    static LAST: Cell<(u64, Imf)> = const { Cell::new((u64::MAX, [0; 29])) };
}

/// Appends the `Date` field of now.
pub(super) fn put(out: &mut Vec<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let (second, mut text) = LAST.get();
    if second != now {
        text = format(now);
        LAST.set((now, text));
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(&text);
    out.extend_from_slice(b"\r\n");
}

fn format(unix: u64) -> Imf {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let (days, second) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[(days % 7) as usize]);
    put_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    put_digits(&mut text[12..16], year);
    put_digits(&mut text[17..19], second / 3600);
    put_digits(&mut text[20..22], second / 60 % 60);
    put_digits(&mut text[23..25], second % 60);
    text
}

fn put_digits(slot: &mut [u8], mut number: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month (1..=12) and day (1..=31) of a day since 1970, counted in years that begin with March, so that the leap
/// day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::{format, put};

    #[test]
    fn known_days_are_formatted() {
        let known = [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ];
        for (unix, text) in known {
            assert_eq!(str::from_utf8(&format(unix)), Ok(text));
        }
    }

    #[test]
    fn every_day_of_four_centuries_agrees_with_jiff() {
        for day in 0..146_097_i64 {
            let stamp = jiff::Timestamp::from_second(day * 86_400).expect("in range");
            let zoned = stamp.to_zoned(jiff::tz::TimeZone::UTC);
            let expected = zoned.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let unix = u64::try_from(day * 86_400).expect("after 1970");
            assert_eq!(str::from_utf8(&format(unix)), Ok(expected.as_str()));
        }
    }

    #[test]
    fn put_writes_one_field() {
        let mut out = Vec::new();
        put(&mut out);
        put(&mut out);
        let text = String::from_utf8(out).expect("ascii");
        assert!(text.lines().all(|it| it.starts_with("Date: ") && it.ends_with(" GMT")), "{text}");
        assert_eq!(text.lines().count(), 2);
    }
}
