//! YAML text becomes a tree in which every node knows its line, column and path.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};

use super::findings::{Finding, Place, Problem, Problems, Source, Spot};

/// Index of a node in its tree.
pub(super) type NodeId = usize;

/// The value of one node.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Count(u64),
    Float(f64),
    Text(String),
    List(Vec<NodeId>),
    /// Key node and value node of each entry; keys are unique texts.
    Map(Vec<(NodeId, NodeId)>),
}

/// One node and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its own index.
    pub(super) id: NodeId,
    pub(super) value: Value,
    pub(super) place: Place,
    /// Its key's place, or its own where it has no key.
    pub(super) label: Place,
    /// For example `routes[2].path`; empty at the top.
    pub(super) path: String,
}

/// A parsed document.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// Reads one document. Duplicate keys become problems, and the first of them counts.
    ///
    /// # Errors
    /// The first syntax error (a parser cannot go on behind it).
    pub(super) fn read(
        text: &str,
        origin: &Path,
        problems: &Problems,
    ) -> Result<Self, Box<Finding>> {
        let wild: Option<Spanned<Wild>> = serde_saphyr::from_str_with_options(text, options())
            .map_err(|error| Box::new(syntax(&error, text, origin)))?;
        let mut tree = Self { nodes: Vec::new() };
        tree.add(top(), None, String::new());
        if let Some(wild) = wild {
            tree.fill(Self::ROOT, wild, problems);
        }
        Ok(tree)
    }

    pub(super) const ROOT: NodeId = 0;

    /// The node; the root when there is no such node (ids come from the tree itself).
    pub(super) fn node(&self, id: NodeId) -> &Node {
        // The root always exists: `read` is the only constructor and starts with it.
        self.nodes.get(id).unwrap_or(&self.nodes[Self::ROOT])
    }

    pub(super) fn spot(&self, id: NodeId) -> Spot {
        let node = self.node(id);
        Spot { place: node.place, path: node.path.clone() }
    }

    /// Where the node's key stands: the place to say that something is missing below it.
    pub(super) fn label(&self, id: NodeId) -> Spot {
        let node = self.node(id);
        Spot { place: node.label, path: node.path.clone() }
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The text of a node that is one.
    pub(super) fn text(&self, id: NodeId) -> &str {
        match &self.node(id).value {
            Value::Text(text) => text,
            _ => "",
        }
    }

    fn add(&mut self, place: Place, label: Option<Place>, path: String) -> NodeId {
        let id = self.nodes.len();
        let label = label.unwrap_or(place);
        self.nodes.push(Node { id, value: Value::Null, place, label, path });
        id
    }

    fn fill(&mut self, id: NodeId, wild: Spanned<Wild>, problems: &Problems) {
        let path = self.node(id).path.clone();
        let value = match wild.value {
            Wild::Scalar(value) => value,
            Wild::List(items) => Value::List(self.list(&path, items, problems)),
            Wild::Map(entries) => Value::Map(self.map(&path, entries, problems)),
        };
        if let Some(node) = self.nodes.get_mut(id) {
            node.value = value;
        }
    }

    fn list(&mut self, path: &str, items: Vec<Spanned<Wild>>, problems: &Problems) -> Vec<NodeId> {
        let mut ids = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let id = self.add(place(&item), None, format!("{path}[{index}]"));
            self.fill(id, item, problems);
            ids.push(id);
        }
        ids
    }

    fn map(
        &mut self,
        path: &str,
        entries: Vec<(Spanned<String>, Spanned<Wild>)>,
        problems: &Problems,
    ) -> Vec<(NodeId, NodeId)> {
        let mut ids: Vec<(NodeId, NodeId)> = Vec::with_capacity(entries.len());
        let mut first_lines: HashMap<String, usize> = HashMap::new();
        for (key, item) in entries {
            let below = below(path, &key.value);
            let label = place(&key);
            let key_id = self.add(label, None, below.clone());
            if let Some(line) = first_lines.get(&key.value) {
                let message = format!("`{}` is given twice, first in line {line}", key.value);
                problems.push(Problem::error(self.spot(key_id), message).expected("one of them"));
                // Counts for nothing, but stands in the text: it may be a secret to hide.
                let id = self.add(place(&item), Some(label), below);
                self.fill(id, item, problems);
                continue;
            }
            first_lines.insert(key.value.clone(), label.line);
            if let Some(node) = self.nodes.get_mut(key_id) {
                node.value = Value::Text(key.value);
            }
            let id = self.add(place(&item), Some(label), below);
            self.fill(id, item, problems);
            ids.push((key_id, id));
        }
        ids
    }
}

/// The path of a field. Every node has its own, so a key of absurd length stands in it cut.
fn below(path: &str, key: &str) -> String {
    let short: String = key.chars().take(KEY_CHARS_MAX).collect();
    if path.is_empty() { short } else { format!("{path}.{short}") }
}

/// Characters of a key in a path.
const KEY_CHARS_MAX: usize = 64;

fn top() -> Place {
    Place { line: 1, column: 1, width: 1 }
}

fn place<T>(item: &Spanned<T>) -> Place {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    let at = item.referenced;
    let width = number(at.span().len()).max(1);
    Place { line: number(at.line()), column: number(at.column()), width }
}

/// Depth and node counts are far above any real config and far below harm.
fn options() -> serde_saphyr::Options {
    let budget = serde_saphyr::budget!(
        max_depth: 32,
        max_nodes: 100_000,
        max_events: 300_000,
        max_aliases: 1_000,
        max_anchors: 100,
    );
    serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

fn syntax(error: &serde_saphyr::Error, text: &str, origin: &Path) -> Finding {
    let at = error.location();
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    let place = at.map_or_else(top, |it| Place {
        line: number(it.line()),
        column: number(it.column()),
        width: 1,
    });
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    // The place stands beside the message already.
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |it| it.0);
    let mut source = Source::new(text, origin);
    source.mask(suspects(text));
    let spot = Spot { place, path: String::new() };
    Problem::error(spot, format!("cannot be read as YAML: {message}"))
        .expected("one YAML document; see `headgate config schema` for its fields")
        .at(&source)
}

/// Words before what may be a secret.
const SUSPECT_WORDS: [&str; 6] = ["key", "secret", "slack", "webhook", "password", "token"];

/// Where a broken document may hold a raw secret: everything after `key:` and the like on its line.
fn suspects(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_ascii_lowercase();
        let first = SUSPECT_WORDS.iter().filter_map(|it| lower.find(it)).min();
        let Some(at) = first else { continue };
        let Some(colon) = line.get(at..).and_then(|it| it.find(':')) else { continue };
        let column = line.get(..=at + colon).map_or(0, |it| it.chars().count()) + 1;
        places.push(Place { line: index + 1, column, width: line.len() });
    }
    places
}

/// A document without types.
#[derive(Debug)]
enum Wild {
    Scalar(Value),
    List(Vec<Spanned<Wild>>),
    Map(Vec<(Spanned<String>, Spanned<Wild>)>),
}

impl<'de> Deserialize<'de> for Wild {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WildVisitor)
    }
}

struct WildVisitor;

impl<'de> Visitor<'de> for WildVisitor {
    type Value = Wild;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, it: bool) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Bool(it)))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Wild, E> {
        Ok(Wild::Scalar(u64::try_from(it).map_or(Value::Int(it), Value::Count)))
    }

    fn visit_u64<E>(self, it: u64) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Count(it)))
    }

    fn visit_f64<E>(self, it: f64) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Float(it)))
    }

    fn visit_str<E>(self, it: &str) -> Result<Wild, E> {
        Ok(Wild::Scalar(Value::Text(it.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Wild, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Wild::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wild, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Wild::Map(entries))
    }
}
