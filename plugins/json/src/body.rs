//! Finds one value in a JSON body that may be cut short, without reading further than the value.

use crate::scan::Scanner;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing that can be read: absent, cut, or no JSON before the value is whole.
    Missing,
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// A whole value of another kind: null, an array, an object, another number.
    Different,
}

/// The value at `names`: members of objects, from the root down. Of equal names the first counts.
pub fn find<'a>(body: &str, names: impl Iterator<Item = &'a str>) -> Found {
    let mut scanner = Scanner::new(body);
    scanner.space();
    for name in names {
        if enter(&mut scanner, name).is_none() {
            return Found::Missing;
        }
    }
    value(&mut scanner).unwrap_or(Found::Missing)
}

/// Stands at an object; goes to the value of the member `wanted`.
fn enter(scanner: &mut Scanner<'_>, wanted: &str) -> Option<()> {
    scanner.expect(b'{')?;
    loop {
        scanner.space();
        let name = scanner.text()?;
        scanner.space();
        scanner.expect(b':')?;
        scanner.space();
        if name == wanted {
            return Some(());
        }
        scanner.skip(0)?;
        scanner.space();
        scanner.expect(b',')?;
    }
}

fn value(scanner: &mut Scanner<'_>) -> Option<Found> {
    match scanner.peek()? {
        b'"' => scanner.text().map(Found::Text),
        b't' => scanner.word("true").map(|()| Found::Boolean(true)),
        b'f' => scanner.word("false").map(|()| Found::Boolean(false)),
        b'-' | b'0'..=b'9' => {
            let number = scanner.number()?;
            // A number ends only where something else begins: the body may be cut within it.
            matches!(scanner.peek()?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b'}').then_some(())?;
            Some(number.parse().map_or(Found::Different, Found::Integer))
        }
        _ => scanner.skip(0).map(|()| Found::Different),
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, find};

    fn at(path: &str, body: &str) -> Found {
        find(body, path.split('.'))
    }

    #[test]
    fn the_value_at_a_path_is_found_whatever_follows_it() {
        let text = |it: &str| Found::Text(it.to_owned());
        for (path, body, expected) in [
            ("status", r#" {"status":"OK","timestamp":"2026-"#, text("OK")),
            ("status", "\t{\"a\" : [1,{\"b\":[]}] , \"status\"\n:\r\"OK\"", text("OK")),
            ("a.b", r#"{"b":1,"a":{"c":{},"b":"x"}}"#, text("x")),
            ("a", r#"{"a":"first","a":"second"}"#, text("first")),
            ("a", r#"{"\u0061":"\u00e4\ud83d\ude00\/\n"}"#, text("ä😀/\n")),
            ("a", r#"{"a":true"#, Found::Boolean(true)),
            ("a", r#"{"a":false}"#, Found::Boolean(false)),
            ("a", r#"{"a":-0}"#, Found::Integer(0)),
            ("a", r#"{"a":-12 "#, Found::Integer(-12)),
            ("a", r#"{"a":9223372036854775807,"#, Found::Integer(i64::MAX)),
            ("a", r#"{"a":9223372036854775808,"#, Found::Different),
            ("a", r#"{"a":1.0}"#, Found::Different),
            ("a", r#"{"a":1e0}"#, Found::Different),
            ("a", r#"{"a":null"#, Found::Different),
            ("a", r#"{"a":[1,"x",{"y":null}]"#, Found::Different),
            ("a", r#"{"a":{}"#, Found::Different),
        ] {
            assert_eq!(at(path, body), expected, "{path} in {body}");
        }
    }

    #[test]
    fn what_is_absent_cut_or_no_json_is_missing() {
        for (path, body) in [
            ("a", ""),
            ("a", "null"),
            ("a", "[{\"a\":1}]"),
            ("a", "{}"),
            ("a", r#"{"b":1}"#),
            ("a", r#"{"a":"#),
            ("a", r#"{"a":"x"#),
            ("a", r#"{"a":12"#),
            ("a", r#"{"a":01}"#),
            ("a", r#"{"a":+1}"#),
            ("a", r#"{"a":1.}"#),
            ("a", r#"{"a":12x}"#),
            ("a", r#"{"a":tru"#),
            ("a", r#"{"a":[1,2"#),
            ("a", r#"{"a":[1,]}"#),
            ("a", r#"{"a":"\x"}"#),
            ("a", r#"{"a":"\ud800"}"#),
            ("a", r#"{"a":"\ud800\u0041"}"#),
            ("a", r#"{"a":"\udc00"}"#),
            ("a", "{\"a\":\"\u{1}\"}"),
            ("a", "{\"a\":\"\n\"}"),
            ("a", r#"{"b":garbage,"a":1}"#),
            ("a", r#"{"b":1 "a":1}"#),
            ("a", r#"{,"a":1}"#),
            ("a", "<html>"),
            ("a.b", r#"{"a":1,"a":{"b":1}}"#),
            ("a.b", r#"{"a":{"c":1},"b":1}"#),
        ] {
            assert_eq!(at(path, body), Found::Missing, "{path} in {body}");
        }
    }

    #[test]
    fn nesting_is_followed_thirty_two_deep() {
        let nested =
            |depth| format!("{{\"b\":{}{},\"a\":true", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(at("a", &nested(32)), Found::Boolean(true));
        assert_eq!(at("a", &nested(33)), Found::Missing);
    }

    #[test]
    fn no_cut_of_a_body_gives_another_value() {
        let body = r#"{"b":[{"c":"\u00e4"},-1.5e+3],"d":{"e":null},"a":1234567}"#;
        let cuts = (0..body.len()).filter_map(|end| body.get(..end));
        for cut in cuts {
            let found = at("a", cut);
            let whole = cut.ends_with("1234567");
            assert!(found == Found::Missing || whole, "{found:?} in {cut}");
        }
    }
}
