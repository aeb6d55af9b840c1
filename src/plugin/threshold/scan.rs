//! Finds the value at a path of a JSON body that may be cut anywhere, and looks at nothing behind it.

/// Arrays and objects within a skipped value.
const DEPTH_MAX: usize = 32;

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Absent, cut, or behind something that is no JSON.
    Missing,
    Text(String),
    /// A number that is written as an integer and fits.
    Integer(i64),
    Boolean(bool),
    /// A whole value of any other kind.
    Other,
}

/// The value that these names lead to, from the root; the first member of a name counts.
pub(super) fn find<'n>(body: &str, names: impl Iterator<Item = &'n str>) -> Found {
    let mut scan = Scan(body.as_bytes());
    scan.blanks();
    for name in names {
        if scan.enter(name).is_none() {
            return Found::Missing;
        }
    }
    scan.found().unwrap_or(Found::Missing)
}

/// What is left of a body. `None` stands for anything that makes the value missing.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn is(&mut self, wanted: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(wanted)?;
        Some(())
    }

    fn blanks(&mut self) {
        self.0 = self
            .0
            .get(self.run(|it| matches!(it, b' ' | b'\t' | b'\n' | b'\r'))..)
            .unwrap_or_default();
    }

    fn run(&self, of: impl Fn(u8) -> bool) -> usize {
        self.0.iter().take_while(|it| of(**it)).count()
    }

    /// From an object to the value of one of its members.
    fn enter(&mut self, wanted: &str) -> Option<()> {
        self.is(b"{")?;
        while self.name()? != wanted {
            self.skip(0)?;
            self.blanks();
            self.is(b",")?;
        }
        Some(())
    }

    /// A member's name, up to its value.
    fn name(&mut self) -> Option<String> {
        self.blanks();
        let name = self.string()?;
        self.blanks();
        self.is(b":")?;
        self.blanks();
        Some(name)
    }

    fn found(&mut self) -> Option<Found> {
        match self.peek()? {
            b'"' => self.string().map(Found::Text),
            b't' => self.is(b"true").map(|()| Found::Boolean(true)),
            b'f' => self.is(b"false").map(|()| Found::Boolean(false)),
            b'-' | b'0'..=b'9' => {
                let digits = self.number()?;
                // At the end of a cut body more digits might follow.
                matches!(self.peek()?, b' ' | b'\t' | b'\n' | b'\r' | b',' | b'}').then_some(())?;
                let text = std::str::from_utf8(digits).ok()?;
                Some(text.parse().map_or(Found::Other, Found::Integer))
            }
            _ => self.skip(0).map(|()| Found::Other),
        }
    }

    fn skip(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b't' => self.is(b"true"),
            b'f' => self.is(b"false"),
            b'n' => self.is(b"null"),
            b'[' | b'{' if depth == DEPTH_MAX => None,
            b'[' => self.skip_list(depth, b']', |scan| {
                scan.blanks();
                Some(())
            }),
            b'{' => self.skip_list(depth, b'}', |scan| scan.name().map(drop)),
            _ => self.number().map(drop),
        }
    }

    /// What stands in brackets or braces, with what comes before each value.
    fn skip_list(
        &mut self,
        depth: usize,
        end: u8,
        before: impl Fn(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take()?;
        self.blanks();
        if self.peek()? == end {
            return self.is(&[end]);
        }
        loop {
            before(self)?;
            self.skip(depth + 1)?;
            self.blanks();
            match self.take()? {
                b',' => {}
                byte if byte == end => return Some(()),
                _ => return None,
            }
        }
    }

    /// By the grammar of RFC 8259, section 6.
    fn number(&mut self) -> Option<&'a [u8]> {
        let from = self.0;
        let _ = self.is(b"-");
        if self.is(b"0").is_none() {
            self.digits()?;
        }
        if self.is(b".").is_some() {
            self.digits()?;
        }
        if self.is(b"e").or_else(|| self.is(b"E")).is_some() {
            let _ = self.is(b"+").or_else(|| self.is(b"-"));
            self.digits()?;
        }
        from.get(..from.len() - self.0.len())
    }

    fn digits(&mut self) -> Option<()> {
        let n = self.run(|it| it.is_ascii_digit());
        self.0 = self.0.get(n..)?;
        (n > 0).then_some(())
    }

    /// A string without its escapes.
    fn string(&mut self) -> Option<String> {
        self.is(b"\"")?;
        let mut text = Vec::new();
        loop {
            let n = self.run(|it| it >= 0x20 && it != b'"' && it != b'\\');
            let (plain, rest) = self.0.split_at_checked(n)?;
            text.extend_from_slice(plain);
            self.0 = rest;
            match self.take()? {
                b'"' => return String::from_utf8(text).ok(),
                b'\\' => text.extend_from_slice(self.escape()?.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        match self.take()? {
            byte @ (b'"' | b'\\' | b'/') => Some(char::from(byte)),
            b'b' => Some('\u{8}'),
            b'f' => Some('\u{c}'),
            b'n' => Some('\n'),
            b'r' => Some('\r'),
            b't' => Some('\t'),
            b'u' => self.unicode(),
            _ => None,
        }
    }

    /// One UTF-16 unit, or two where the first is half of a pair.
    fn unicode(&mut self) -> Option<char> {
        let first = self.unit()?;
        let units = if (0xd800..0xdc00).contains(&first) {
            self.is(b"\\u")?;
            vec![first, self.unit()?]
        } else {
            vec![first]
        };
        // Fails on a half that stands alone, whichever it is.
        let mut decoded = char::decode_utf16(units);
        let character = decoded.next()?.ok()?;
        decoded.next().is_none().then_some(character)
    }

    fn unit(&mut self) -> Option<u16> {
        let (digits, rest) = self.0.split_at_checked(4)?;
        self.0 = rest;
        // `from_str_radix` alone would take a sign.
        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(body: &str) -> Found {
        find(body, ["a", "b"].into_iter())
    }

    #[test]
    fn values_are_read_as_they_are_written() {
        for (value, expected) in [
            (r#""x""#, Found::Text("x".to_owned())),
            (r#""\"\\\/\b\f\n\r\t""#, Found::Text("\"\\/\u{8}\u{c}\n\r\t".to_owned())),
            (r#""\u00e9\uD83D\ude00""#, Found::Text("é😀".to_owned())),
            ("true", Found::Boolean(true)),
            ("false", Found::Boolean(false)),
            ("0,", Found::Integer(0)),
            ("-0}", Found::Integer(0)),
            ("-12 ", Found::Integer(-12)),
            ("9223372036854775807\n", Found::Integer(i64::MAX)),
            ("9223372036854775808,", Found::Other),
            ("1.0,", Found::Other),
            ("1e2,", Found::Other),
            ("1E-2\t", Found::Other),
            ("null", Found::Other),
            ("[]", Found::Other),
            (r#"[1, {"x": [true, null, "]"]}]"#, Found::Other),
            ("{}", Found::Other),
        ] {
            assert_eq!(at(&format!(r#"{{"a":{{"b":{value}"#)), expected, "{value}");
        }
    }

    #[test]
    fn what_is_cut_or_broken_is_missing() {
        for value in [
            "",
            "\"",
            "\"x",
            r#""\"#,
            r#""\u00e"#,
            r#""\u+123""#,
            r#""\x""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dx""#,
            "\"\n\"",
            "\"\0\"",
            "tru",
            "fals",
            "nul",
            "-",
            "1",
            "1.",
            "1.,",
            "1e,",
            "1e+,",
            "01,",
            "1x,",
            "1]",
            "+1,",
            ".5,",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"x\"",
            "{\"x\":",
            "{\"x\":1",
            "{\"x\":1,}",
            "{x:1}",
            "{\"x\" 1}",
            "Infinity",
            "'x'",
        ] {
            assert_eq!(at(&format!(r#"{{"a":{{"b":{value}"#)), Found::Missing, "{value}");
        }
    }

    #[test]
    fn the_way_leads_through_objects_and_the_first_of_a_name() {
        let one = Found::Integer(1);
        for (body, expected) in [
            (r#" { "a" : { "b" : 1 } }"#, &one),
            ("\t\r\n{\"a\":{\"b\":1,\"b\":2},\"a\":0}", &one),
            (r#"{"x":[{"a":{"b":2}}],"y":"}\"{","a":{"x":null,"b":1 "#, &one),
            (r#"{"\u0061":{"b":1,"#, &one),
            (r#"{"a":{"b":1} garbage"#, &one),
            (r#"{"x" 1,"a":{"b":1,"#, &Found::Missing),
            (r#"{"x":x,"a":{"b":1,"#, &Found::Missing),
            (r#"{"x":1 "a":{"b":1,"#, &Found::Missing),
            (r#"{"a":[{"b":1}]}"#, &Found::Missing),
            (r#"[{"a":{"b":1}}]"#, &Found::Missing),
            (r#"{"a":1}"#, &Found::Missing),
            (r#"{"a":{}}"#, &Found::Missing),
            ("", &Found::Missing),
            ("OK", &Found::Missing),
            ("\u{feff}{\"a\":{\"b\":1}}", &Found::Missing),
        ] {
            assert_eq!(at(body), *expected, "{body}");
        }
    }

    #[test]
    fn skipped_values_may_nest_so_deep() {
        for (open, close) in [("[", "]"), (r#"{"x":"#, "}")] {
            let body = |depth: usize, inner: &str| {
                let nested = format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
                find(&format!(r#"{{"x":{nested},"a":true"#), ["a"].into_iter())
            };
            assert_eq!(body(DEPTH_MAX, "1"), Found::Boolean(true));
            assert_eq!(body(DEPTH_MAX + 1, "1"), Found::Missing);
            assert_eq!(body(5000, ""), Found::Missing);
        }
    }

    #[test]
    fn a_cut_never_turns_a_value_into_another() {
        let body = r#"{"x":[1,"é"],"a":{"y":-1.5e3,"b":1234567890}}"#;
        for cut in (0..body.len()).filter(|it| body.is_char_boundary(*it)) {
            let found = at(&body[..cut]);
            assert!(
                found == Found::Missing || found == Found::Integer(1_234_567_890),
                "cut at {cut}"
            );
        }
    }
}
