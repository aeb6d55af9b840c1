//! Singular queries of JSONPath: the one place in a body that a probe looks at.

use super::Wrong;
use crate::config::json_path::JsonPath;

/// Names and indexes of one query.
const SEGMENTS_MAX: usize = 16;
const BYTES_MAX: usize = 256;

/// A query within bounds, as it was written.
pub(super) fn singular(text: &str) -> Result<String, Wrong> {
    let wrong = |message: String| {
        Wrong::new(message, "one place, for example `$.status` or `$.checks[0].state`")
    };
    if text.len() > BYTES_MAX {
        return Err(wrong(format!("this query has {} bytes", text.len())));
    }
    if !text.starts_with('$') {
        let near = Some(format!("$.{text}")).filter(|it| JsonPath::parse(it).is_ok());
        return Err(Wrong { nearest: near, ..wrong(format!("`{text}` does not begin with `$`")) });
    }
    let path = JsonPath::parse(text);
    let path = path.map_err(|_| wrong(format!("`{text}` does not lead to one place")))?;
    if path.steps() > SEGMENTS_MAX {
        let message = format!("this query has {} steps, more than {SEGMENTS_MAX}", path.steps());
        return Err(wrong(message));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::singular;

    #[test]
    fn a_query_leads_to_one_place() {
        for text in
            ["$", "$.status", "$.checks[0].state", "$['a b'][\"c\"]", "$._x9", "$.é", "$['']"]
        {
            assert_eq!(singular(text).unwrap(), text);
        }
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
        ] {
            assert!(singular(text).is_err(), "{text}");
        }
        assert_eq!(singular("status").unwrap_err().nearest.as_deref(), Some("$.status"));
        assert_eq!(singular("a b").unwrap_err().nearest, None);
        assert!(singular(&format!("${}", ".a".repeat(17))).is_err());
        assert!(singular(&format!("$.{}", "a".repeat(300))).is_err());
    }
}
