//! Times of day and time zones.

use super::{Wrong, nearest};

/// Minutes since midnight of `HH:MM`.
pub(super) fn time_of_day(text: &str) -> Result<u16, Wrong> {
    let wrong =
        || Wrong::new(format!("`{text}` is not a time of day"), "`HH:MM`, `00:00` to `23:59`");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    match (two_digits(hours), two_digits(minutes)) {
        (Some(hours @ 0..=23), Some(minutes @ 0..=59)) => Ok(hours * 60 + minutes),
        _ => Err(wrong()),
    }
}

/// A time zone that can be asked for its offset: `UTC`, an offset, or a name that the machine's database has.
pub(super) fn zone(text: &str) -> Result<String, Wrong> {
    let expected =
        "a name of the IANA database such as `Asia/Kolkata`, or an offset such as `+05:30`";
    if text == "UTC" || is_offset(text) {
        return Ok(text.to_owned());
    }
    if text.is_empty() || text.starts_with(['+', '-']) {
        return Err(Wrong::new(format!("`{text}` is not an offset"), expected));
    }
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) if jiff::tz::db().is_definitively_empty() => {
            let message = format!("this machine has no time zone database to look `{text}` up in");
            Err(Wrong::new(message, "an offset such as `+05:30`, or the package `tzdata`"))
        }
        Err(_) => {
            let names: Vec<String> =
                jiff::tz::db().available().map(|it| it.as_str().to_owned()).collect();
            let near = nearest(text, names.iter().map(String::as_str));
            let wrong = Wrong::new(format!("there is no time zone `{text}`"), expected);
            Err(Wrong { nearest: near, ..wrong })
        }
    }
}

/// `+05:30`; no place is further from UTC than 14 hours.
fn is_offset(text: &str) -> bool {
    let Some((hours, minutes)) = text.strip_prefix(['+', '-']).and_then(|it| it.split_once(':'))
    else {
        return false;
    };
    let (hours, minutes) = (two_digits(hours), two_digits(minutes));
    matches!((hours, minutes), (Some(0..=13), Some(0..=59)) | (Some(14), Some(0)))
}

fn two_digits(text: &str) -> Option<u16> {
    let digits = text.len() == 2 && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::{time_of_day, zone};

    #[test]
    fn times_of_day_are_minutes() {
        for (text, minutes) in [
            ("00:00", Some(0)),
            ("07:05", Some(425)),
            ("23:59", Some(1439)),
            ("24:00", None),
            ("7:00", None),
            ("07:60", None),
            ("0700", None),
            ("+7:00", None),
            ("07:00:00", None),
            ("", None),
        ] {
            assert_eq!(time_of_day(text).ok(), minutes, "{text}");
        }
    }

    #[test]
    fn offsets_need_no_database() {
        for text in ["UTC", "+05:30", "-00:00", "+14:00", "-13:59"] {
            assert_eq!(zone(text).unwrap(), text);
        }
        for text in ["", "+5:30", "+14:30", "+0530", "-", "Asia/Nowhere", "../etc/passwd", "IST "] {
            assert!(zone(text).is_err(), "{text}");
        }
    }
}
