//! The names that a component may import and must export, and what is said about others.

use crate::plugin::{Kind, Refusal};

pub(super) const PACKAGE: &str = "headgate:plugin";
/// Versions of it that this gate speaks: all of this series, for whom a minor number decides while the major one is 0.
pub(super) const SERIES: &str = "0.1";
/// Functions of the interface that every kind exports.
pub(super) const PLUGIN: &[&str] = &["describe", "configure", "self-test"];
/// Names that a refusal repeats; the rest is counted.
const SHOWN: usize = 4;

/// The interface that makes a kind, with its functions.
pub(super) fn duties(kind: Kind) -> (&'static str, &'static [&'static str]) {
    match kind {
        Kind::Policy => ("health-policy", &["evaluate"]),
        Kind::Formatter => ("alert-formatter", &["format"]),
        Kind::Filter => ("request-filter", &["on-request"]),
    }
}

/// An interface of our package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    pub(super) name: &'a str,
    /// Empty when the name has none.
    pub(super) version: &'a str,
}

impl<'a> Interface<'a> {
    /// `headgate:plugin/NAME@VERSION` taken apart.
    pub(super) fn ours(name: &'a str) -> Option<Self> {
        let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
        let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
        Some(Self { name, version })
    }

    /// Within one series interfaces only grow, so that an earlier or later patch version fits; pre-releases promise nothing.
    fn is_spoken(self) -> bool {
        let rest = self.version.strip_prefix(SERIES).and_then(|it| it.strip_prefix('.'));
        rest.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
    }
}

/// Versions of our package in a component's names.
#[derive(Debug, Default)]
pub(super) struct Versions {
    /// Interface and version, as seen.
    seen: Vec<(String, String)>,
    foreign: Vec<String>,
}

impl Versions {
    pub(super) fn see(&mut self, name: &str) {
        let Some(interface) = Interface::ours(name) else { return };
        self.seen.push((interface.name.to_owned(), interface.version.to_owned()));
        let version =
            if interface.version.is_empty() { "without a version" } else { interface.version };
        if !interface.is_spoken() && !self.foreign.iter().any(|it| it == version) {
            self.foreign.push(version.to_owned());
        }
    }

    pub(super) fn all_spoken(&self) -> bool {
        self.foreign.is_empty()
    }

    pub(super) fn refuse(&self) -> Option<Refusal> {
        if self.all_spoken() {
            return None;
        }
        let what =
            format!("it is built for {PACKAGE} {}, this gate speaks {SERIES}", some(&self.foreign));
        let advice = "Build it against the WIT of this gate: `headgate plugin new` writes it beside the sources.";
        Some(Refusal::new("wrong-world", what).advice(advice))
    }

    /// The version of the interface that makes the kind.
    pub(super) fn built_against(&self, kind: Kind) -> String {
        let found = self.seen.iter().find(|(name, _)| name == duties(kind).0);
        found.map(|(_, version)| version.clone()).unwrap_or_default()
    }
}

/// Imports beyond those of the kind's world. Of an unknown kind every import of some world is let pass.
pub(super) fn refuse_imports(imports: &[String], kind: Option<Kind>) -> Vec<Refusal> {
    let (mut wasi, mut foreign, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for name in imports {
        match Interface::ours(name) {
            Some(Interface { name: "types" | "telemetry", .. }) => {}
            Some(Interface { name: "request", .. }) => {
                if let Some(kind @ (Kind::Policy | Kind::Formatter)) = kind {
                    reasons.push(refuse_request(name, kind));
                }
            }
            None if name.starts_with("wasi:") || name.starts_with("wasi_") => {
                wasi.push(name.clone());
            }
            _ => foreign.push(name.clone()),
        }
    }
    if !wasi.is_empty() {
        let what = format!("it imports {}; there is no WASI here", some(&wasi));
        reasons.push(Refusal::new("import", what).advice(
            "Rust: build for wasm32-unknown-unknown. JavaScript: componentize-qjs --stub-wasi. \
             Python: componentize-py --stub-wasi.",
        ));
    }
    if !foreign.is_empty() {
        let what = format!("it imports {}, which this gate does not offer", some(&foreign));
        let advice = format!(
            "Plugins import {PACKAGE}/telemetry, filters {PACKAGE}/request too; nothing else."
        );
        reasons.push(Refusal::new("import", what).advice(advice));
    }
    reasons
}

fn refuse_request(name: &str, kind: Kind) -> Refusal {
    let what =
        format!("it imports {}, but a {} has no request to look at", shown(name), kind.word());
    let advice = format!("Build it for the world {}, or drop the import.", kind.world());
    Refusal::new("import", what).advice(advice)
}

/// The first few names, and how many more.
pub(super) fn some(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(|it| shown(it)).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// Names come from outside: cut, and without control characters.
fn shown(name: &str) -> String {
    name.chars().take(100).map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect()
}
