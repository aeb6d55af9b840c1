//! What an HTTP answer must be, made ready once; says in one sentence what is not as it should be.

use std::time::Duration;

use serde_json::Value;

use crate::config::health::Expect;
use crate::config::json_path::JsonPath;
use crate::health::probe::seen::text;

/// Bytes of a value or text that a sentence repeats.
const SHOWN_MAX: usize = 80;

/// The expectations of one probe.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expectations {
    statuses: Vec<(u16, u16)>,
    json: Option<(JsonPath, Value)>,
    body: Option<String>,
    latency: Option<Duration>,
}

impl Expectations {
    /// # Errors
    /// When the query leads to no one place.
    pub(super) fn new(expect: &Expect) -> Result<Self, String> {
        let json = expect.json.as_ref();
        let json =
            json.map(|(path, value)| Ok::<_, String>((JsonPath::parse(path)?, value.clone())));
        Ok(Self {
            statuses: expect.statuses.clone(),
            json: json.transpose()?,
            body: expect.body.clone(),
            latency: expect.latency,
        })
    }

    /// What is wrong with the status.
    pub(super) fn status(&self, status: u16) -> Option<String> {
        let expected = self.statuses.iter().any(|(from, to)| (*from..=*to).contains(&status));
        (!expected).then(|| format!("status {status} is not expected"))
    }

    /// What is wrong with the rest: `cut` says that the body went on behind `body`.
    pub(super) fn rest(&self, body: &[u8], cut: bool, took: Duration) -> Option<String> {
        self.text(body).or_else(|| self.json(body, cut)).or_else(|| self.latency(took))
    }

    fn text(&self, body: &[u8]) -> Option<String> {
        let wanted = self.body.as_deref()?;
        let found = memchr::memmem::find(body, wanted.as_bytes()).is_some();
        (!found).then(|| format!("the body does not hold {:?}", text(wanted.as_bytes(), SHOWN_MAX)))
    }

    fn json(&self, body: &[u8], cut: bool) -> Option<String> {
        let (path, wanted) = self.json.as_ref()?;
        if body.is_empty() {
            return Some("the answer has no body".to_owned());
        }
        if cut {
            return Some(format!(
                "the body is longer than the {} bytes that a probe reads",
                body.len()
            ));
        }
        // Depth is bounded by serde_json (128), so that no body can use up the stack.
        let document: Value = match serde_json::from_slice(body) {
            Ok(document) => document,
            Err(error) => return Some(format!("the body is no JSON: {error}")),
        };
        let path_text = path.text();
        match path.find(&document) {
            Some(found) if same(found, wanted) => None,
            Some(found) => Some(format!("{path_text} is {}, not {}", shown(found), shown(wanted))),
            None => Some(format!("the body has no value at {path_text}")),
        }
    }

    fn latency(&self, took: Duration) -> Option<String> {
        let bound = self.latency.filter(|it| took > *it)?;
        Some(format!("the answer took {} ms, more than {} ms", took.as_millis(), bound.as_millis()))
    }
}

/// Equal as RFC 9535 §2.3.5.2.2 has it: numbers by value, 7 is 7.0.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other
                || one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one == other)
        }
        _ => one == other,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        plain => {
            let written = plain.to_string();
            let kept = text(written.as_bytes(), SHOWN_MAX);
            if kept.len() < written.len() { format!("{kept}...") } else { kept }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::Expectations;
    use crate::config::health::Expect;

    fn of(json: Option<(&str, Value)>, body: Option<&str>, latency: Option<u64>) -> Expectations {
        Expectations::new(&Expect {
            statuses: vec![(200, 204), (404, 404)],
            json: json.map(|(path, value)| (path.to_owned(), value)),
            body: body.map(str::to_owned),
            latency: latency.map(Duration::from_millis),
        })
        .unwrap()
    }

    fn rest(expect: &Expectations, body: &str) -> Option<String> {
        expect.rest(body.as_bytes(), false, Duration::from_millis(5))
    }

    #[test]
    fn statuses_lie_in_ranges_with_both_ends() {
        let expect = of(None, None, None);
        for (status, fine) in [(199, false), (200, true), (204, true), (205, false), (404, true)] {
            assert_eq!(expect.status(status).is_none(), fine, "{status}");
        }
        assert_eq!(expect.status(503).unwrap(), "status 503 is not expected");
    }

    #[test]
    fn each_sentence_says_what_was_found_and_what_was_expected() {
        let ok = || of(Some(("$.status", json!("OK"))), None, None);
        let deep = "[".repeat(10_000);
        let long = format!(r#"{{"status":"{}"}}"#, "ä".repeat(500));
        for (expect, body, sentence) in [
            (ok(), r#"{"status":"OK"}"#, None),
            (
                ok(),
                r#"{"status":"Maintenance mode is enabled"}"#,
                Some(r#"$.status is "Maintenance mode is enabled", not "OK""#),
            ),
            (ok(), r#"{"status":null}"#, Some(r#"$.status is null, not "OK""#)),
            (ok(), r#"{"status":["OK"]}"#, Some(r#"$.status is an array, not "OK""#)),
            (ok(), "{}", Some("the body has no value at $.status")),
            (ok(), "[]", Some("the body has no value at $.status")),
            (ok(), "", Some("the answer has no body")),
            (ok(), "OK", Some("the body is no JSON: expected value at line 1 column 1")),
            (ok(), &deep, Some("the body is no JSON: recursion limit exceeded")),
            (
                ok(),
                "{\"status\":\"O\0K\"}",
                Some(
                    "the body is no JSON: control character (\\u0000-\\u001F) found while parsing a string",
                ),
            ),
            (of(Some(("$.n", json!(7))), None, None), r#"{"n":7.0}"#, None),
            (of(Some(("$.n", json!(7))), None, None), r#"{"n":"7"}"#, Some(r#"$.n is "7", not 7"#)),
            (of(Some(("$.n", json!(true))), None, None), r#"{"n":1}"#, Some("$.n is 1, not true")),
            (of(None, Some("ready"), None), "all ready here", None),
            (of(None, Some("ready"), None), "rea", Some(r#"the body does not hold "ready""#)),
            (of(None, None, Some(5)), "", None),
            (of(None, None, Some(4)), "", Some("the answer took 5 ms, more than 4 ms")),
        ] {
            let said = rest(&expect, body).unwrap_or_default();
            assert!(said.starts_with(sentence.unwrap_or_default()), "{said}");
            assert_eq!(said.is_empty(), sentence.is_none(), "{said}");
        }
        assert!(rest(&ok(), &long).unwrap().len() < 200);
        let cut = ok().rest(br#"{"status":"OK"}"#, true, Duration::ZERO).unwrap();
        assert_eq!(cut, "the body is longer than the 15 bytes that a probe reads");
    }
}
