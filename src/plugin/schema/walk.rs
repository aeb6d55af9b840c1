//! Walks settings along a schema, counts its steps, and puts what does not fit into words.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use crate::plugin::Issue;
use crate::plugin::schema::shape::Schema;

/// Steps of one check: subschemas met, values compared, bytes matched by patterns.
const STEPS_MAX: usize = 2_000_000;
/// Of the product of a pattern's bytes and a text's: what costs as much as another step.
const PATTERN_WORK: usize = 512;
/// Values that a message repeats.
const SHOWN_MAX: usize = 12;
/// Issues of one branch that are kept: more are never told.
const KEPT_MAX: usize = 256;

/// The check takes more steps than it may.
#[derive(Debug)]
pub(super) struct TooMuch;

pub(super) struct Walk<'a> {
    schema: &'a Schema,
    left: usize,
}

/// What was found wrong at one place, collected.
struct Found {
    issues: Vec<Issue>,
}

impl Found {
    fn add(&mut self, path: &str, message: String) {
        if self.issues.len() < KEPT_MAX {
            self.issues.push(Issue { path: path.to_owned(), message });
        }
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self { schema, left: STEPS_MAX }
    }

    pub(super) fn check(&mut self, settings: &Value) -> Result<Vec<Issue>, TooMuch> {
        let mut found = Found { issues: Vec::new() };
        let schema = self.schema;
        self.value(&schema.root, settings, "", &mut found)?;
        Ok(found.issues)
    }

    fn step(&mut self, steps: usize) -> Result<(), TooMuch> {
        self.left = self.left.checked_sub(steps.max(1)).ok_or(TooMuch)?;
        Ok(())
    }

    fn value(
        &mut self,
        schema: &'a Value,
        value: &Value,
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        self.step(1)?;
        let rules = match schema {
            Value::Bool(false) => {
                found.add(path, "is not allowed here".to_owned());
                return Ok(());
            }
            Value::Object(rules) => rules,
            _ => return Ok(()),
        };
        if let Some(wanted) = rules.get("type").filter(|it| !has_type(it, value)) {
            found.add(path, format!("must be {}, not {}", types(wanted), article(kind(value))));
            return Ok(());
        }
        if let Some(target) =
            rules.get("$ref").and_then(Value::as_str).and_then(|it| self.schema.target(it))
        {
            self.value(target, value, path, found)?;
        }
        self.same(rules, value, path, found)?;
        self.combined(rules, value, path, found)?;
        match value {
            Value::Object(members) => self.object(rules, members, path, found),
            Value::Array(items) => self.array(rules, items, path, found),
            Value::String(text) => self.string(rules, text, path, found),
            Value::Number(number) => {
                numbers(rules, number, path, found);
                Ok(())
            }
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    /// `enum` and `const`.
    fn same(
        &mut self,
        rules: &Map<String, Value>,
        value: &Value,
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        if let Some(all) = rules.get("enum").and_then(Value::as_array) {
            self.step(all.len() * size(value))?;
            if !all.iter().any(|it| equal(it, value)) {
                found.add(path, format!("must be one of {}", listed(all)));
            }
        }
        if let Some(one) = rules.get("const") {
            self.step(size(value))?;
            if !equal(one, value) {
                found.add(path, format!("must be {}", short(one)));
            }
        }
        Ok(())
    }

    /// `allOf`, `anyOf` and `oneOf`.
    fn combined(
        &mut self,
        rules: &'a Map<String, Value>,
        value: &Value,
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        for part in rules.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, value, path, found)?;
        }
        for (key, several_may) in [("anyOf", true), ("oneOf", false)] {
            let Some(parts) = rules.get(key).and_then(Value::as_array) else { continue };
            let (mut fits, mut nearest): (usize, Option<Vec<Issue>>) = (0, None);
            for part in parts {
                let mut one = Found { issues: Vec::new() };
                self.value(part, value, path, &mut one)?;
                if one.issues.is_empty() {
                    fits += 1;
                } else if nearest
                    .as_ref()
                    .is_none_or(|it| distance(&one.issues, path) < distance(it, path))
                {
                    nearest = Some(one.issues);
                }
            }
            match fits {
                // Of the alternatives the one that fits best says what to do.
                0 => nearest.into_iter().flatten().for_each(|it| found.add(&it.path, it.message)),
                1 => {}
                _ if several_may => {}
                _ => found
                    .add(path, format!("fits {fits} of the alternatives, but must fit one alone")),
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        rules: &'a Map<String, Value>,
        members: &Map<String, Value>,
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        let known = rules.get("properties").and_then(Value::as_object);
        for name in rules.get("required").and_then(Value::as_array).into_iter().flatten() {
            self.step(1)?;
            if let Some(name) = name.as_str().filter(|it| !members.contains_key(*it)) {
                found.add(&below(path, name), "is missing".to_owned());
            }
        }
        let others = rules.get("additionalProperties");
        for (name, value) in members {
            self.step(1)?;
            let at = below(path, name);
            match (known.and_then(|it| it.get(name)), others) {
                (Some(rule), _) => self.value(rule, value, &at, found)?,
                (None, Some(Value::Bool(false))) => found.add(&at, unknown(known)),
                (None, Some(rule)) => self.value(rule, value, &at, found)?,
                (None, None) => {}
            }
        }
        count(rules, ("minProperties", "maxProperties"), (members.len(), "members"), path, found);
        Ok(())
    }

    fn array(
        &mut self,
        rules: &'a Map<String, Value>,
        items: &[Value],
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        count(rules, ("minItems", "maxItems"), (items.len(), "items"), path, found);
        if let Some(rule) = rules.get("items") {
            for (at, item) in items.iter().enumerate() {
                self.value(rule, item, &format!("{path}/{at}"), found)?;
            }
        }
        if rules.get("uniqueItems") == Some(&Value::Bool(true)) {
            let each = items.iter().map(size).sum::<usize>();
            self.step(each.saturating_mul(items.len()))?;
            for (at, item) in items.iter().enumerate() {
                if items.iter().take(at).any(|it| equal(it, item)) {
                    found.add(&format!("{path}/{at}"), format!("is there twice: {}", short(item)));
                }
            }
        }
        Ok(())
    }

    fn string(
        &mut self,
        rules: &Map<String, Value>,
        text: &str,
        path: &str,
        found: &mut Found,
    ) -> Result<(), TooMuch> {
        // JSON Schema counts characters.
        count(rules, ("minLength", "maxLength"), (text.chars().count(), "characters"), path, found);
        let Some(pattern) = rules.get("pattern").and_then(Value::as_str) else { return Ok(()) };
        let Some(compiled) = self.schema.patterns.get(pattern) else { return Ok(()) };
        self.step(text.len().saturating_mul(compiled.size) / PATTERN_WORK)?;
        if !compiled.regex.is_match(text) {
            found.add(path, format!("does not match the pattern {pattern}"));
        }
        Ok(())
    }
}

fn numbers(rules: &Map<String, Value>, number: &Number, path: &str, found: &mut Found) {
    let against = |key: &str| match rules.get(key) {
        Some(Value::Number(bound)) => Some((compare(number, bound), bound)),
        _ => None,
    };
    for (key, wrong, words) in [
        ("minimum", &[Ordering::Less][..], "at least"),
        ("maximum", &[Ordering::Greater], "at most"),
        ("exclusiveMinimum", &[Ordering::Less, Ordering::Equal], "more than"),
        ("exclusiveMaximum", &[Ordering::Greater, Ordering::Equal], "less than"),
    ] {
        if let Some((order, bound)) = against(key)
            && wrong.contains(&order)
        {
            found.add(path, format!("must be {words} {bound}"));
        }
    }
}

fn count(
    rules: &Map<String, Value>,
    keys: (&str, &str),
    (has, what): (usize, &str),
    path: &str,
    found: &mut Found,
) {
    let bound = |key: &str| rules.get(key).and_then(Value::as_u64);
    if let Some(least) = bound(keys.0).filter(|it| (has as u64) < *it) {
        found.add(path, format!("must have at least {least} {what}, not {has}"));
    }
    if let Some(most) = bound(keys.1).filter(|it| (has as u64) > *it) {
        found.add(path, format!("must have at most {most} {what}, not {has}"));
    }
}

/// How far off a branch is: a wrong type at this very place is farther than anything inside.
fn distance(issues: &[Issue], path: &str) -> (bool, usize) {
    (issues.iter().any(|it| it.path == path), issues.len())
}

fn unknown(known: Option<&Map<String, Value>>) -> String {
    let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [] => "is unknown".to_owned(),
        names if names.len() <= SHOWN_MAX => format!("is unknown; known are {}", names.join(", ")),
        names => format!("is unknown; {} others are known", names.len()),
    }
}

/// RFC 6901.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let is = |it: &Value| match (it.as_str(), value) {
        (Some("number"), Value::Number(_)) => true,
        (Some("integer"), Value::Number(number)) => is_integer(number),
        (Some(name), value) => name == kind(value) && name != "number",
        (None, _) => false,
    };
    match wanted {
        Value::Array(all) => all.iter().any(is),
        one => is(one),
    }
}

/// 1.0 is an integer to JSON Schema.
fn is_integer(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|it| it.fract() == 0.0)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn article(name: &str) -> String {
    match name {
        "null" => name.to_owned(),
        "array" | "object" | "integer" => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

fn types(wanted: &Value) -> String {
    let names = match wanted {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    names.into_iter().map(article).collect::<Vec<_>>().join(" or ")
}

/// Equal as JSON Schema has it: numbers by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|it| equal(v, it)))
        }
        _ => a == b,
    }
}

fn compare(a: &Number, b: &Number) -> Ordering {
    let whole = |it: &Number| it.as_i64().map(i128::from).or_else(|| it.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => {
            let float = |it: &Number| it.as_f64().unwrap_or(f64::NAN);
            float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal)
        }
    }
}

/// Values in a value, itself counted, and some for long strings.
fn size(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(size).sum(),
        Value::Object(all) => all.values().map(size).sum(),
        Value::String(text) => text.len() / 32,
        _ => 0,
    }
}

fn listed(all: &[Value]) -> String {
    let mut text = all.iter().take(SHOWN_MAX).map(short).collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN_MAX {
        text.push_str(", ...");
    }
    text
}

/// As JSON, cut.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
