//! Reads a schema and refuses whatever the walk does not know or could not bound.

use std::collections::BTreeMap;

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::plugin::Refusal;
use crate::plugin::schema::{SCHEMA_BYTES_MAX, refuse};

/// Levels of subschemas, references followed.
const DEPTH_MAX: usize = 32;
/// Subschemas altogether.
const NODES_MAX: usize = 2000;
const PATTERN_BYTES_MAX: usize = 256;
const PATTERNS_MAX: usize = 64;
/// Bytes of a compiled pattern, the first that is enough; counted repetitions multiply.
const PATTERN_SIZES: [usize; 4] = [4 * 1024, 16 * 1024, 64 * 1024, 256 * 1024];
const PATTERN_NEST_MAX: u32 = 16;

/// Said for people; means nothing here.
const WORDS: [&str; 11] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
];
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "string", "integer"];
/// Where definitions may stand, and what references begin with.
const DEFINITIONS: [(&str, &str); 2] = [("$defs", "#/$defs/"), ("definitions", "#/definitions/")];

/// A schema that is safe to walk: known keywords of right shape, references that end, patterns of bounded size.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) root: Value,
    /// Compiled once, by their text.
    pub(super) patterns: BTreeMap<String, Pattern>,
}

/// A pattern for an engine whose work is at most the pattern's size times the text's (no backtracking).
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// Bytes that it fits in.
    pub(super) size: usize,
}

impl Schema {
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        if text.len() > SCHEMA_BYTES_MAX {
            let len = text.len();
            return Err(refuse(format!(
                "it has {len} bytes; at most {SCHEMA_BYTES_MAX} are taken"
            )));
        }
        // The parser bounds depth by itself.
        let root =
            serde_json::from_str(text).map_err(|it| refuse(format!("it is no JSON: {it}")))?;
        let mut schema = Self { root: Value::Null, patterns: BTreeMap::new() };
        let mut reader = Reader { root: &root, patterns: &mut schema.patterns, nodes: 0 };
        reader.look(&root, "#", 0)?;
        schema.root = root;
        Ok(schema)
    }

    /// What a reference names; checked when the schema was read.
    pub(super) fn target(&self, reference: &str) -> Option<&Value> {
        target(&self.root, reference)
    }
}

fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let (place, name) = DEFINITIONS
        .iter()
        .find_map(|(place, start)| Some((place, reference.strip_prefix(start)?)))?;
    root.get(place)?.get(name)
}

struct Reader<'a> {
    root: &'a Value,
    patterns: &'a mut BTreeMap<String, Pattern>,
    nodes: usize,
}

impl Reader<'_> {
    /// Follows references, so that a cycle meets the bound on depth and a web of them the one on nodes.
    fn look(&mut self, schema: &Value, at: &str, depth: usize) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(refuse(format!(
                "it has more than {NODES_MAX} parts, with references followed"
            )));
        }
        if depth > DEPTH_MAX {
            return Err(refuse(format!(
                "it is deeper than {DEPTH_MAX} levels, or refers to itself (at {})",
                shown(at)
            )));
        }
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(members) => {
                members.iter().try_for_each(|(key, value)| self.keyword(key, value, at, depth))
            }
            _ => Err(wrong(at, "is no schema (an object or a boolean)")),
        }
    }

    fn keyword(&mut self, key: &str, value: &Value, at: &str, depth: usize) -> Result<(), Refusal> {
        let at = format!("{at}/{key}");
        let expect = |good: bool, what: &str| if good { Ok(()) } else { Err(wrong(&at, what)) };
        match key {
            "type" => expect(is_type(value), "is not one or more of the seven types"),
            "enum" => expect(value.is_array(), "is no list"),
            "required" => expect(strings(value), "is no list of strings"),
            "uniqueItems" => expect(value.is_boolean(), "is neither true nor false"),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                expect(value.is_number(), "is no number")
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties" => expect(value.is_u64(), "is no whole number of at least 0"),
            "pattern" => self.pattern(value, &at),
            "$ref" => self.reference(value, &at, depth),
            "items" | "additionalProperties" => self.look(value, &at, depth + 1),
            "allOf" | "anyOf" | "oneOf" => {
                let all = value.as_array().filter(|it| !it.is_empty());
                let all = all.ok_or_else(|| wrong(&at, "is no list of schemas"))?;
                all.iter().try_for_each(|it| self.look(it, &at, depth + 1))
            }
            "properties" | "$defs" | "definitions" => {
                let all: &Map<_, _> =
                    value.as_object().ok_or_else(|| wrong(&at, "is no object"))?;
                if key != "properties" && depth > 0 {
                    return Err(wrong(
                        &at,
                        "stands inside; definitions belong to the outermost level",
                    ));
                }
                all.iter()
                    .try_for_each(|(name, it)| self.look(it, &format!("{at}/{name}"), depth + 1))
            }
            "const" => Ok(()),
            _ if WORDS.contains(&key) => Ok(()),
            _ => Err(wrong(&at, "is outside of the supported subset of JSON Schema").advice(
                "The keywords are listed in plugins/README.md; check the rest in `configure`.",
            )),
        }
    }

    fn reference(&mut self, value: &Value, at: &str, depth: usize) -> Result<(), Refusal> {
        let reference = value.as_str().ok_or_else(|| wrong(at, "is no string"))?;
        let root = self.root;
        match target(root, reference) {
            Some(found) => self.look(found, reference, depth + 1),
            None => Err(wrong(at, "names no definition of this schema (`#/$defs/NAME`)")
                .advice("Nothing is fetched and no other place is followed.")),
        }
    }

    fn pattern(&mut self, value: &Value, at: &str) -> Result<(), Refusal> {
        let pattern = value.as_str().ok_or_else(|| wrong(at, "is no string"))?;
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(wrong(at, &format!("has more than {PATTERN_BYTES_MAX} bytes")));
        }
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        if self.patterns.len() >= PATTERNS_MAX {
            return Err(wrong(at, &format!("is one of more than {PATTERNS_MAX} patterns")));
        }
        let compiled = compile(pattern)
            .map_err(|it| wrong(at, &format!("is no pattern that is taken: {it}")))?;
        self.patterns.insert(pattern.to_owned(), compiled);
        Ok(())
    }
}

fn compile(pattern: &str) -> Result<Pattern, regex_lite::Error> {
    let mut builder = RegexBuilder::new(pattern);
    builder.nest_limit(PATTERN_NEST_MAX);
    for size in PATTERN_SIZES {
        if let Ok(regex) = builder.size_limit(size).build() {
            return Ok(Pattern { regex, size });
        }
    }
    builder.build().map(|regex| Pattern { regex, size: usize::MAX })
}

fn is_type(value: &Value) -> bool {
    let known = |it: &Value| it.as_str().is_some_and(|it| TYPES.contains(&it));
    match value {
        Value::Array(all) => !all.is_empty() && all.iter().all(known),
        one => known(one),
    }
}

fn strings(value: &Value) -> bool {
    value.as_array().is_some_and(|all| all.iter().all(Value::is_string))
}

fn wrong(at: &str, what: &str) -> Refusal {
    refuse(format!("{} {what}", shown(at)))
}

/// Names come from the component: cut, and without control characters.
fn shown(at: &str) -> String {
    at.chars().take(120).map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}
