//! A tree becomes typed values; what does not fit is noted and left out, so that one pass finds everything.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::findings::{Problem, Problems, nearest};
use super::shapes::{AT, At, FLAG_OR, NAME_OR, ONE_OR_MANY};
use super::tree::{NodeId, Tree, Value};

/// Reads the whole tree as `T`. What does not fit goes to `problems`.
pub(super) fn decode<'t, T: Deserialize<'t>>(tree: &'t Tree, problems: &'t Problems) -> At<T> {
    let value = Decoder { tree, problems, id: Tree::ROOT };
    At::deserialize(value).unwrap_or(At { id: Tree::ROOT, value: None })
}

/// Why a node does not fit.
#[derive(Debug, Default)]
pub(super) struct Misfit {
    message: String,
    expected: Option<String>,
    nearest: Option<String>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), ..Self::default() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let message = format!("this is {}", kind(found));
        let wanted = plain_words(&expected.to_string());
        // Words that older YAML took for booleans.
        let nearest = match (found, wanted.as_str()) {
            (Unexpected::Str("yes" | "on" | "Yes" | "On" | "True"), BOOLEAN) => Some("true"),
            (Unexpected::Str("no" | "off" | "No" | "Off" | "False"), BOOLEAN) => Some("false"),
            _ => None,
        };
        Self { message, expected: Some(wanted), nearest: nearest.map(str::to_owned) }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let message = match found {
            Unexpected::Str(text) => format!("`{text}` is not valid here"),
            other => format!("{other} is not valid here"),
        };
        Self { message, expected: Some(plain_words(&expected.to_string())), nearest: None }
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Self {
        Self {
            message: format!("unknown word `{word}`"),
            expected: Some(one_of(words)),
            nearest: nearest(word, words.iter().copied()),
        }
    }
}

const BOOLEAN: &str = "`true` or `false`";

/// serde's names of Rust's types, in words of the config's reader.
fn plain_words(expected: &str) -> String {
    let words = match expected {
        "a string" => "a text",
        "a boolean" => BOOLEAN,
        "a sequence" => "a list",
        "u16" | "u32" | "u64" => "a whole number",
        other => other,
    };
    words.to_owned()
}

/// Names the type, never the value: the value may be a secret at the wrong place.
fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "true or false",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
        Unexpected::Float(_) => "a number",
        Unexpected::Str(_) => "a text",
        Unexpected::Unit => "empty",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a mapping",
        _ => "something else",
    }
}

pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|it| format!("`{it}`")).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}

#[derive(Clone, Copy)]
struct Decoder<'t> {
    tree: &'t Tree,
    problems: &'t Problems,
    id: NodeId,
}

impl<'t> Decoder<'t> {
    fn value(self) -> &'t Value {
        &self.tree.node(self.id).value
    }

    fn to(self, id: NodeId) -> Self {
        Self { id, ..self }
    }

    fn note(self, misfit: Misfit) {
        let mut problem =
            Problem::error(self.tree.spot(self.id), misfit.message).nearest(misfit.nearest);
        if let Some(expected) = misfit.expected {
            problem = problem.expected(expected);
        }
        self.problems.push(problem);
    }

    fn items(self, ids: &'t [NodeId]) -> Items<'t> {
        Items { decoder: self, ids: ids.iter() }
    }

    fn unknown(self, field: &str, fields: &'static [&'static str]) {
        self.note(Misfit {
            message: format!("unknown field `{field}`"),
            expected: Some(one_of(fields)),
            nearest: nearest(field, fields.iter().copied()),
        });
    }
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value() {
            Value::Null => visitor.visit_unit(),
            Value::Bool(it) => visitor.visit_bool(*it),
            Value::Int(it) => visitor.visit_i64(*it),
            Value::Count(it) => visitor.visit_u64(*it),
            Value::Float(it) => visitor.visit_f64(*it),
            Value::Text(it) => visitor.visit_borrowed_str(it),
            Value::List(ids) => visitor.visit_seq(self.items(ids)),
            Value::Map(entries) => visitor.visit_map(Entries {
                decoder: self,
                entries: entries.iter(),
                value: None,
                fields: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value() {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match name {
            AT => visitor.visit_seq(Located { decoder: self, step: 0 }),
            ONE_OR_MANY => match self.value() {
                Value::List(ids) => visitor.visit_seq(self.items(ids)),
                _ => visitor.visit_seq(self.items(std::slice::from_ref(
                    // A single value is a list of the node itself.
                    &self.tree.node(self.id).id,
                ))),
            },
            NAME_OR => match self.value() {
                Value::Text(name) => visitor.visit_borrowed_str(name),
                _ => visitor.visit_newtype_struct(self),
            },
            FLAG_OR => match self.value() {
                Value::Bool(it) => visitor.visit_bool(*it),
                _ => visitor.visit_newtype_struct(self),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let entries = match self.value() {
            Value::Map(entries) => entries,
            // A derived visitor would take a list for the fields in their order.
            Value::List(_) => return Err(Misfit::invalid_type(Unexpected::Seq, &visitor)),
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_map(Entries {
            decoder: self,
            entries: entries.iter(),
            value: None,
            fields: Some(fields),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.value() {
            Value::Text(word) => {
                let word: StrDeserializer<'_, Misfit> = word.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            // serde would name the type.
            _ => self
                .deserialize_any(visitor)
                .map_err(|it| Misfit { expected: Some(one_of(variants)), ..it }),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The items of a list.
struct Items<'t> {
    decoder: Decoder<'t>,
    ids: std::slice::Iter<'t, NodeId>,
}

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        self.ids.next().map(|id| seed.deserialize(self.decoder.to(*id))).transpose()
    }
}

/// The entries of a mapping; with `fields`, others are noted and left out.
struct Entries<'t> {
    decoder: Decoder<'t>,
    entries: std::slice::Iter<'t, (NodeId, NodeId)>,
    value: Option<NodeId>,
    fields: Option<&'static [&'static str]>,
}

impl<'t> MapAccess<'t> for Entries<'t> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        for (key, value) in self.entries.by_ref() {
            let at_key = self.decoder.to(*key);
            let name = self.decoder.tree.text(*key);
            match self.fields {
                Some(fields) if !fields.contains(&name) => at_key.unknown(name, fields),
                _ => {
                    self.value = Some(*value);
                    return seed.deserialize(at_key).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'t>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let Some(id) = self.value.take() else {
            return Err(Misfit::custom("a value without its key"));
        };
        seed.deserialize(self.decoder.to(id))
    }
}

/// An [`At`] as two elements: the node's id, then its value, whose misfit is noted here.
struct Located<'t> {
    decoder: Decoder<'t>,
    step: u8,
}

impl<'t> SeqAccess<'t> for Located<'t> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'t>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        self.step += 1;
        if self.step == 1 {
            return seed.deserialize(self.decoder.id.into_deserializer()).map(Some);
        }
        match seed.deserialize(self.decoder) {
            Ok(value) => Ok(Some(value)),
            Err(misfit) => {
                self.decoder.note(misfit);
                Ok(None)
            }
        }
    }
}
