//! Singular queries of JSONPath (RFC 9535 §2.3.5.1): one place in a document.

use serde_json::Value;

/// A parsed query, without escapes in quoted names: `$`, then `.name`, `['name']`, `["name"]` or `[index]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

impl JsonPath {
    /// # Errors
    /// When the text does not lead to one place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no query for one value, such as $.status");
        let mut rest = text.strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or_else(wrong)?;
            steps.push(step);
            rest = behind;
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// Names and indexes.
    pub fn steps(&self) -> usize {
        self.steps.len()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What stands there.
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(document, |at, step| match step {
            Step::Name(name) => at.as_object()?.get(name),
            Step::Index(index) => at.as_array()?.get(*index),
        })
    }
}

/// The first step, and what stands behind it.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(name) = text.strip_prefix('.') {
        let inside = |it: char| it.is_ascii_alphanumeric() || it == '_' || !it.is_ascii();
        let end = name.find(|it| !inside(it)).unwrap_or(name.len());
        let (name, behind) = name.split_at_checked(end)?;
        let begins = !name.is_empty() && !name.starts_with(|it: char| it.is_ascii_digit());
        return begins.then(|| (Step::Name(name.to_owned()), behind));
    }
    let inside = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = inside.strip_prefix(quote) {
            let (name, behind) = name.split_once(quote)?;
            let behind = behind.strip_prefix(']').filter(|_| !name.contains('\\'))?;
            return Some((Step::Name(name.to_owned()), behind));
        }
    }
    let (index, behind) = inside.split_once(']')?;
    // RFC 9535 §2.3.3: no sign that we would take, no leading zero.
    let plain =
        index.bytes().all(|it| it.is_ascii_digit()) && (index == "0" || !index.starts_with('0'));
    let index = index.parse::<u32>().ok().filter(|_| plain)?;
    Some((Step::Index(usize::try_from(index).ok()?), behind))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn a_query_finds_the_one_place_that_it_names() {
        let document = json!({
            "status": "OK", "checks": [{"state": "up"}, {"state": "down"}], "a b": {"": 7}, "é": null, "x_9": [[1]],
        });
        for (query, found) in [
            ("$", Some(&document)),
            ("$.status", Some(&json!("OK"))),
            ("$.checks[1].state", Some(&json!("down"))),
            ("$['checks'][0][\"state\"]", Some(&json!("up"))),
            ("$['a b']['']", Some(&json!(7))),
            ("$.é", Some(&json!(null))),
            ("$.x_9[0][0]", Some(&json!(1))),
            ("$.checks[2].state", None),
            ("$.status.more", None),
            ("$.checks.state", None),
            ("$[0]", None),
            ("$.status[0]", None),
            ("$['0']", None),
        ] {
            assert_eq!(JsonPath::parse(query).unwrap().find(&document), found, "{query}");
        }
    }

    #[test]
    fn what_leads_to_no_one_place_is_refused() {
        for text in [
            "",
            "status",
            "$.",
            "$..a",
            "$.*",
            "$[*]",
            "$[-1]",
            "$[01]",
            "$[0",
            "$['a",
            "$.9",
            "$[?@.a]",
            "$[1:2]",
            "$ .a",
            "$['a\\n']",
            "$[4294967296]",
            "$[]",
            "$[+1]",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
