//! A JSON value in memory. Numbers stay as they are written: a sandbox of a few KiB has no room for floats.

use crate::scan::{DEPTH_MAX, Scanner};

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    String(String),
    Array(Vec<Value>),
    /// In the order of the text. Of equal names the last counts.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Reads a whole text.
    ///
    /// # Errors
    /// Line and column, from 1, where it is no JSON any more.
    pub fn parse(text: &str) -> Result<Self, (usize, usize)> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        let value = Self::read(&mut scanner, 0);
        scanner.space();
        match value {
            Some(value) if scanner.left() == 0 => Ok(value),
            _ => {
                let read = text.len() - scanner.left();
                let before = text.as_bytes().get(..read).unwrap_or_default();
                let line = before.split(|it| *it == b'\n');
                let column = line.clone().next_back().map_or(1, |it| it.len() + 1);
                Err((line.count(), column))
            }
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is written as an integer and fits. (`-0` is none.)
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(text) if text != "-0" => text.parse().ok(),
            _ => None,
        }
    }

    /// The number, if it is written as an integer that is not negative and fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The number times 1000, if it is not negative, has three decimals at most and no exponent.
    pub fn as_thousandths(&self) -> Option<u64> {
        let Self::Number(text) = self else { return None };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let whole: u64 = whole.parse().ok()?;
        let mut thousandths: u64 = 0;
        for place in 0..3.max(decimals.len()) {
            let digit = decimals
                .as_bytes()
                .get(place)
                .map_or(Some(0), |it| char::from(*it).to_digit(10))?;
            match place {
                0..3 => thousandths = thousandths * 10 + u64::from(digit),
                _ if digit == 0 => {}
                _ => return None,
            }
        }
        whole.checked_mul(1000)?.checked_add(thousandths)
    }

    fn read(scanner: &mut Scanner<'_>, depth: u32) -> Option<Self> {
        Some(match scanner.peek()? {
            b'"' => Self::String(scanner.text()?),
            b't' => scanner.word("true").map(|()| Self::Bool(true))?,
            b'f' => scanner.word("false").map(|()| Self::Bool(false))?,
            b'n' => scanner.word("null").map(|()| Self::Null)?,
            b'[' | b'{' if depth == DEPTH_MAX => return None,
            b'[' => Self::Array(Self::items(scanner, depth)?),
            b'{' => Self::Object(Self::members(scanner, depth)?),
            _ => Self::Number(scanner.number()?.to_owned()),
        })
    }

    fn items(scanner: &mut Scanner<'_>, depth: u32) -> Option<Vec<Self>> {
        let mut items = Vec::new();
        scanner.expect(b'[')?;
        scanner.space();
        if scanner.peek()? == b']' {
            scanner.next()?;
            return Some(items);
        }
        loop {
            items.push(Self::read(scanner, depth + 1)?);
            scanner.space();
            match scanner.next()? {
                b',' => scanner.space(),
                b']' => return Some(items),
                _ => return None,
            }
        }
    }

    fn members(scanner: &mut Scanner<'_>, depth: u32) -> Option<Vec<(String, Self)>> {
        let mut members: Vec<(String, Self)> = Vec::new();
        scanner.expect(b'{')?;
        scanner.space();
        if scanner.peek()? == b'}' {
            scanner.next()?;
            return Some(members);
        }
        loop {
            let name = scanner.text()?;
            scanner.space();
            scanner.expect(b':')?;
            scanner.space();
            let value = Self::read(scanner, depth + 1)?;
            members.retain(|it| it.0 != name);
            members.push((name, value));
            scanner.space();
            match scanner.next()? {
                b',' => scanner.space(),
                b'}' => return Some(members),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        let number = |text: &str| Value::parse(text).expect(text);
        assert_eq!(number("9223372036854775807").as_i64(), Some(i64::MAX));
        assert_eq!(number("9223372036854775808").as_i64(), None);
        assert_eq!(number("1.0").as_i64(), None);
        assert_eq!(number("-0").as_i64(), None);
        assert_eq!(number("14.4").as_thousandths(), Some(14_400));
        assert_eq!(number("99.9990").as_thousandths(), Some(99_999));
        assert_eq!(number("6").as_thousandths(), Some(6_000));
        assert_eq!(number("0.0001").as_thousandths(), None);
        assert_eq!(number("1e3").as_thousandths(), None);
        assert_eq!(number("-1").as_thousandths(), None);
    }

    #[test]
    fn faults_are_placed() {
        assert_eq!(Value::parse("{\n \"a\": x}"), Err((2, 7)));
        assert_eq!(Value::parse(""), Err((1, 1)));
        assert_eq!(Value::parse("{} {}"), Err((1, 4)));
    }

    #[test]
    fn of_equal_names_the_last_counts() {
        let last = Value::parse(r#"{"a":1,"b":2,"a":3}"#).expect("JSON");
        assert_eq!(last, Value::parse(r#"{"b":2,"a":3}"#).expect("JSON"));
    }
}
