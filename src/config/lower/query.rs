//! Singular queries of JSONPath: the one place in a body that a probe looks at.

use super::Wrong;

/// Names and indexes of one query.
const SEGMENTS_MAX: usize = 16;
const BYTES_MAX: usize = 256;

/// RFC 9535 §2.3.5.1 without escapes in quoted names: `$`, then `.name`, `['name']`, `["name"]` or `[index]`, index from 0.
pub(super) fn singular(text: &str) -> Result<String, Wrong> {
    let wrong = |message: String| {
        Wrong::new(message, "one place, for example `$.status` or `$.checks[0].state`")
    };
    if text.len() > BYTES_MAX {
        return Err(wrong(format!("this query has {} bytes", text.len())));
    }
    let Some(mut rest) = text.strip_prefix('$') else {
        let near = Some(format!("$.{text}")).filter(|it| walk(it));
        return Err(Wrong { nearest: near, ..wrong(format!("`{text}` does not begin with `$`")) });
    };
    let mut segments = 0;
    while !rest.is_empty() {
        let Some(behind) = segment(rest) else {
            return Err(wrong(format!("`{text}` does not lead to one place")));
        };
        rest = behind;
        segments += 1;
    }
    if segments > SEGMENTS_MAX {
        return Err(wrong(format!("this query has {segments} steps, more than {SEGMENTS_MAX}")));
    }
    Ok(text.to_owned())
}

fn walk(text: &str) -> bool {
    let mut rest = text.strip_prefix('$');
    while let Some(it) = rest.filter(|it| !it.is_empty()) {
        rest = segment(it);
    }
    rest.is_some()
}

/// What stands behind the first segment.
fn segment(text: &str) -> Option<&str> {
    if let Some(name) = text.strip_prefix('.') {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let end = name.find(|c| !inside(c)).unwrap_or(name.len());
        let (name, behind) = name.split_at_checked(end)?;
        return (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()))
            .then_some(behind);
    }
    let inside = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = inside.strip_prefix(quote) {
            let (name, behind) = name.split_once(quote)?;
            return behind.strip_prefix(']').filter(|_| !name.contains('\\'));
        }
    }
    let (index, behind) = inside.split_once(']')?;
    let digits = !index.is_empty() && index.bytes().all(|it| it.is_ascii_digit());
    // RFC 9535 §2.3.3: no leading zero.
    let plain = index == "0" || !index.starts_with('0');
    (digits && plain && index.parse::<u32>().is_ok()).then_some(behind)
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
