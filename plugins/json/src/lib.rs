//! JSON for plugins: settings with everything that is wrong with them, and single values in bodies.
//!
//! ```
//! let mut read = json::Settings::parse(r#"{"channel":"ops"}"#)?;
//! let channel = read.text("channel", 1..=64);
//! read.finish()?; // members that nobody asked for are issues, too
//! # Ok::<(), Vec<json::Issue>>(())
//! ```

use std::ops::RangeInclusive;

pub mod body;
mod scan;
mod value;

pub use value::Value;

/// One fault in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// JSON pointer (RFC 6901) into the settings.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

/// The members of a settings object that nobody has asked for yet, and the faults found so far.
#[derive(Debug)]
pub struct Settings {
    members: Vec<(String, Value)>,
    issues: Vec<Issue>,
}

impl Settings {
    /// Takes a JSON text apart.
    ///
    /// # Errors
    /// It is no JSON, or no object.
    pub fn parse(json: &str) -> Result<Self, Vec<Issue>> {
        let whole = |message: String| vec![Issue { path: String::new(), message }];
        match Value::parse(json) {
            Ok(Value::Object(members)) => Ok(Self { members, issues: Vec::new() }),
            Ok(_) => Err(whole("expected an object".to_owned())),
            Err((line, column)) => Err(whole(format!("no JSON: line {line}, column {column}"))),
        }
    }

    /// A member as it is; `None` when it is absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let index = self.members.iter().position(|it| it.0 == name)?;
        Some(self.members.remove(index).1)
    }

    /// Notes a fault. `path` is a JSON pointer.
    pub fn fault(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.issues.push(Issue { path: path.into(), message: message.into() });
    }

    /// A string of so many bytes; `None` when it is absent or wrong (which is noted).
    pub fn text(&mut self, name: &str, bytes: RangeInclusive<usize>) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if bytes.contains(&text.len()) => Some(text),
            _ => {
                self.wrong(name, &format!("a string of {} to {} bytes", bytes.start(), bytes.end()))
            }
        }
    }

    /// As [`text`](Self::text), where `null` is a value of its own: `Some(None)`.
    pub fn text_or_null(
        &mut self,
        name: &str,
        bytes: RangeInclusive<usize>,
    ) -> Option<Option<String>> {
        if self.take_null(name) {
            return Some(None);
        }
        self.text(name, bytes).map(Some)
    }

    /// An integer within a range; `None` when it is absent or wrong (which is noted).
    pub fn integer(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        match value.as_u64() {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.wrong(name, &format!("an integer from {} to {}", range.start(), range.end())),
        }
    }

    /// As [`integer`](Self::integer), where `null` is a value of its own: `Some(None)`.
    pub fn integer_or_null(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Option<Option<u64>> {
        if self.take_null(name) {
            return Some(None);
        }
        self.integer(name, range).map(Some)
    }

    /// A number within a range, in thousandths ("14.4" is 14400; finer digits are wrong); `None` when it is absent or
    /// wrong (which is noted).
    pub fn thousandths(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        match value.as_thousandths() {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let (from, to) = (range.start() / 1000, range.end() / 1000);
                self.wrong(
                    name,
                    &format!("a number from {from} to {to} with three decimals at most"),
                )
            }
        }
    }

    /// `true` or `false`; `None` when it is absent or wrong (which is noted).
    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => self.wrong(name, "true or false"),
        }
    }

    /// The elements of an array of so many, each with its JSON pointer; `None` when it is absent or wrong (which is
    /// noted).
    pub fn list(
        &mut self,
        name: &str,
        length: RangeInclusive<usize>,
    ) -> Option<Vec<(String, Value)>> {
        let items = match self.take(name)? {
            Value::Array(items) if length.contains(&items.len()) => items,
            _ => {
                let expected =
                    format!("an array of {} to {} elements", length.start(), length.end());
                return self.wrong(name, &expected);
            }
        };
        let at = |(index, item)| (format!("/{name}/{index}"), item);
        Some(items.into_iter().enumerate().map(at).collect())
    }

    /// Ends the reading: what nobody asked for is a fault, too.
    ///
    /// # Errors
    /// Everything that was found, in the order of the reading.
    pub fn finish(mut self) -> Result<(), Vec<Issue>> {
        for (name, _) in &self.members {
            self.issues.push(Issue { path: pointer(name), message: "unknown member".to_owned() });
        }
        if self.issues.is_empty() { Ok(()) } else { Err(self.issues) }
    }

    fn take_null(&mut self, name: &str) -> bool {
        let before = self.members.len();
        self.members.retain(|it| it.0 != name || it.1 != Value::Null);
        self.members.len() < before
    }

    fn wrong<T>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.fault(pointer(name), format!("expected {expected}"));
        None
    }
}

/// The JSON pointer to a member of the settings.
pub fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A string as JSON, quotes included.
pub fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            control @ '\0'..='\u{1f}' => {
                let digit = |value: u32| char::from_digit(value, 16).unwrap_or('0');
                json.push_str("\\u00");
                json.push(digit(control as u32 >> 4));
                json.push(digit(control as u32 & 15));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::{Settings, quoted};

    #[test]
    fn every_fault_is_named_at_once_with_its_pointer() {
        let mut read = Settings::parse(
            r#"{"a":7,"b":"","c":1.5,"d":[1],"e":null,"x/y~z":1,"f":"1","g":true,"h":5}"#,
        )
        .expect("an object");
        assert_eq!(read.text("a", 0..=9), None);
        assert_eq!(read.text("b", 1..=9), None);
        assert_eq!(read.integer("c", 0..=9), None);
        assert_eq!(read.list("d", 2..=3), None);
        assert_eq!(read.text_or_null("e", 1..=9), Some(None));
        assert_eq!(read.boolean("f"), None);
        assert_eq!(read.boolean("g"), Some(true));
        assert_eq!(read.integer_or_null("h", 1..=9), Some(Some(5)));
        assert_eq!(read.integer("absent", 1..=9), None);
        let issues = read.finish().expect_err("five are wrong, one is unknown");
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["/a", "/b", "/c", "/d", "/f", "/x~1y~0z"]);
    }

    #[test]
    fn what_is_no_object_is_refused_as_a_whole() {
        for text in ["", "{", "[]", "null", "{}x", "\"{}\"", &"[".repeat(500)] {
            let issues = Settings::parse(text).expect_err(text);
            assert_eq!((issues.len(), issues[0].path.as_str()), (1, ""), "{text}");
        }
    }

    #[test]
    fn quoting_is_what_a_json_reader_reads_back() {
        let text: String = (0..0x250).filter_map(char::from_u32).chain(['\u{1f525}']).collect();
        let back: serde_json::Value = serde_json::from_str(&quoted(&text)).expect("JSON");
        assert_eq!(back, serde_json::Value::String(text.clone()));
        assert_eq!(quoted(&text), back.to_string());
    }
}
