//! Parameters of the admin API, parsed strictly: what is not understood is refused, not passed over.

use std::time::Duration;

use serde_json::json;

use crate::admin::problem::{Problem, shown};

const PARAMETERS_MAX: usize = 256;

/// Decoded parameters in the order in which they were sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Splits and decodes (`+` is a space, as forms and curl's `--data-urlencode` send it).
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Problem> {
        let parts = text.unwrap_or_default().split('&').filter(|it| !it.is_empty());
        let mut pairs = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                let detail = format!("{} is not percent-encoded UTF-8", shown(part));
                return Err(bad_query(detail));
            };
            pairs.push((name, value));
            if pairs.len() > PARAMETERS_MAX {
                return Err(bad_query(format!("more than {PARAMETERS_MAX} parameters")));
            }
        }
        Ok(Self(pairs))
    }

    /// Refuses any name but these.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.0.iter().find(|(name, _)| !known.contains(&name.as_str()))
        else {
            return Ok(());
        };
        let detail = match nearest(name, known) {
            Some(it) => format!("there is no parameter {}; did you mean {it}?", shown(name)),
            None => format!("there is no parameter {}", shown(name)),
        };
        Err(bad_query(detail).with("parameters", json!(known)))
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(bad_query(format!("{name} is given more than once")));
        }
        Ok(first)
    }

    /// The values of a parameter that may be repeated.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |it| it.0 == name).map(|it| it.1.as_str())
    }

    /// A number of rows that may be given once, from 1 to `most`.
    pub(super) fn limit(&self, unless_told: usize, most: usize) -> Result<usize, Problem> {
        let Some(text) = self.one("limit")? else { return Ok(unless_told) };
        let number = text.parse().ok().filter(|it| (1..=most).contains(it));
        number.ok_or_else(|| Problem::bad_value("limit", format!("a number from 1 to {most}")))
    }

    /// `true` or `false`, or the bare name for `true`.
    pub(super) fn flag(&self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.one(name)? {
            None => Ok(None),
            Some("true" | "") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Problem::bad_value(name, format!("{name} is `true` or `false`"))),
        }
    }

    /// A span of time that may be given once.
    pub(super) fn duration(&self, name: &'static str) -> Result<Option<Duration>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let wrong = || {
            let detail =
                format!("{name}={} is no span of time; write 90s, 30m, 2h or 1h30m", shown(text));
            Problem::bad_value(name, detail)
        };
        duration(text).map(Some).ok_or_else(wrong)
    }
}

fn bad_query(detail: String) -> Problem {
    Problem::new(400, "bad-query", "Query cannot be used", detail)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit =
                    |it: u8| char::from(it).to_digit(16).and_then(|it| u8::try_from(it).ok());
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// `90s`, `30m`, `1h30m`, `250ms`, `2d`: numbers with units, largest first is not demanded.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|it: char| !it.is_ascii_digit())?);
        let end = after.find(|it: char| it.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "ms" => 0,
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let part = match unit {
            "ms" => Duration::from_millis(number),
            _ => Duration::from_secs(number.checked_mul(seconds)?),
        };
        total = total.checked_add(part)?;
        rest = after;
    }
    Some(total)
}

/// The candidate that `word` most likely meant.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > 128 {
        return None;
    }
    candidates
        .iter()
        .map(|it| (strsim::damerau_levenshtein(word, it), *it))
        .filter(|(distance, it)| *distance <= (it.len() / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time() {
        let rows = [
            ("90s", Some(90_000)),
            ("30m", Some(1_800_000)),
            ("2h", Some(7_200_000)),
            ("1h30m", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("m", None),
            ("-5m", None),
            ("1.5h", None),
            ("30 m", None),
            ("30M", None),
            ("30min", None),
            ("5m3", None),
            ("٣m", None),
            ("18446744073709551615d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615s18446744073709551615s", None),
        ];
        for (text, expected) in rows {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn parameters_are_decoded_or_refused() {
        let query =
            Query::parse(Some("service=a&service=b%26c&&reason=x+y%20%C3%BC&flag")).unwrap();
        assert_eq!(query.all("service").collect::<Vec<_>>(), ["a", "b&c"]);
        assert_eq!(query.one("reason").unwrap(), Some("x y ü"));
        assert_eq!(query.one("flag").unwrap(), Some(""));
        assert_eq!(query.one("none").unwrap(), None);
        assert!(query.one("service").is_err());
        for bad in ["a=%", "a=%1", "a=%zz", "a=%ff", "%+1=a", "a=%C3", "a=%é"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
        let many = "a=1&".repeat(PARAMETERS_MAX + 1);
        assert!(Query::parse(Some(&many)).is_err());
    }

    #[test]
    fn a_misspelt_name_is_met_with_the_right_one() {
        let names = ["signal-engine", "market-intel", "ttl"];
        assert_eq!(nearest("signal-engin", &names), Some("signal-engine"));
        assert_eq!(nearest("tll", &names), Some("ttl"));
        assert_eq!(nearest("something-else-entirely", &names), None);
        assert_eq!(nearest(&"x".repeat(10_000), &names), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = Query::parse(Some(&text));
            let _ = duration(&text);
        }

        #[test]
        fn what_is_encoded_is_decoded(text in "\\PC{0,40}") {
            let encoded: String = text.bytes().map(|it| format!("%{it:02X}")).collect();
            let query = Query::parse(Some(&format!("reason={encoded}"))).unwrap();
            proptest::prop_assert_eq!(query.one("reason").unwrap(), Some(text.as_str()));
        }
    }
}
