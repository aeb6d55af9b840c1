//! Says what bytes are without running them: a plugin of one kind, or every reason why not with the way to build it right.

mod bytes;
mod names;

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::Types;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::plugin::host::inspect::bytes::refuse_foreign;
use crate::plugin::host::inspect::names::{
    Interface, PACKAGE, SERIES, Versions, duties, refuse_imports,
};
use crate::plugin::limits::Limits;
use crate::plugin::{Class, Digest, Kind, Refusal};

/// What the engine speaks; everything else is refused by name. Neither threads, 64-bit memories, garbage collection,
/// exceptions nor the asynchronous component model.
const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Names beyond these are counted, not kept: a component may hold a hundred thousand of them.
const NAMES_MAX: usize = 1024;

/// What can be said of a component without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub digest: Digest,
    pub bytes: usize,
    pub kind: Kind,
    /// Version of `headgate:plugin` that it was built against.
    pub wit_version: String,
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Looks at bytes: size, foreign `.cwasm`, whole parse, imports, world. Runs nothing and never panics.
///
/// # Errors
/// Every reason at once, each with the way to build it right.
pub fn inspect(wasm: &[u8], class: Class) -> Result<Inspection, Vec<Refusal>> {
    if let Some(refusal) =
        refuse_foreign(wasm, class, Limits::of(Kind::Policy, class).component_bytes)
    {
        return Err(vec![refusal]);
    }
    // Nothing of what is inside may end the gate, a fault of the parser's least of all.
    catch_unwind(AssertUnwindSafe(|| look(wasm)))
        .unwrap_or_else(|_| Err(vec![invalid("the parser fails on it".to_owned())]))
}

/// Why a component cannot be used where this kind is asked for.
pub fn expect_kind(seen: &Inspection, kind: Kind) -> Option<Refusal> {
    (seen.kind != kind).then(|| {
        let (is, asked) = (seen.kind, kind);
        Refusal::new(
            "wrong-world",
            format!("it is a {} ({}), not a {}", is.word(), is.world(), asked.word()),
        )
        .advice(format!(
            "Build it for the world {}, or use it as a {}.",
            asked.world(),
            is.word()
        ))
    })
}

fn look(wasm: &[u8]) -> Result<Inspection, Vec<Refusal>> {
    let (names, whole) = Names::read(wasm);
    let mut reasons = Vec::new();
    let types = Validator::new_with_features(FEATURES).validate_all(wasm);
    if let Err(error) = &types {
        reasons.push(refuse_invalid(error, wasm.len()));
    }
    let mut versions = Versions::default();
    for name in names.imports.iter().chain(&names.exports) {
        versions.see(name);
    }
    reasons.extend(versions.refuse());
    let kinds = kinds(&names);
    let kind = if let [kind] = kinds.as_slice() { Some(*kind) } else { None };
    reasons.extend(refuse_imports(&names.imports, kind));
    if names.dropped > 0 {
        let all = NAMES_MAX + names.dropped;
        reasons.push(Refusal::new("import", format!("it has {all} imports and exports")));
    }
    // The exports of a file that is cut off are not there yet, which is no reason of its own.
    if whole {
        reasons.extend(refuse_world(&names, &kinds, types.as_ref().ok(), &versions));
    }
    match kind {
        Some(kind) if reasons.is_empty() => Ok(Inspection {
            digest: Digest::of(wasm),
            bytes: wasm.len(),
            kind,
            wit_version: versions.built_against(kind),
            imports: names.imports,
            exports: names.exports,
        }),
        None if reasons.is_empty() => Err(vec![invalid("it ends early".to_owned())]),
        _ => Err(reasons),
    }
}

/// Names at the outermost level.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
    dropped: usize,
}

impl Names {
    /// As far as the bytes parse, and whether they do to their end.
    fn read(wasm: &[u8]) -> (Self, bool) {
        let (mut names, mut depth) = (Self::default(), 0_usize);
        for payload in Parser::new(0).parse_all(wasm) {
            let Ok(payload) = payload else { return (names, false) };
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    let found = section.into_iter().flatten().map(|it| it.name.name);
                    found.for_each(|it| names.keep(it, |names| &mut names.imports));
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    let found = section.into_iter().flatten().map(|it| it.name.name);
                    found.for_each(|it| names.keep(it, |names| &mut names.exports));
                }
                _ => {}
            }
        }
        (names, true)
    }

    fn keep(&mut self, name: &str, list: impl Fn(&mut Self) -> &mut Vec<String>) {
        if self.imports.len() + self.exports.len() < NAMES_MAX {
            list(self).push(name.to_owned());
        } else {
            self.dropped += 1;
        }
    }
}

/// Kinds whose interface is exported, whatever its version.
fn kinds(names: &Names) -> Vec<Kind> {
    let exports: Vec<Interface<'_>> =
        names.exports.iter().filter_map(|it| Interface::ours(it)).collect();
    let all = [Kind::Policy, Kind::Formatter, Kind::Filter];
    all.into_iter().filter(|kind| exports.iter().any(|it| it.name == duties(*kind).0)).collect()
}

/// No world, more than one, or one with parts missing.
fn refuse_world(
    names: &Names,
    kinds: &[Kind],
    types: Option<&Types>,
    versions: &Versions,
) -> Vec<Refusal> {
    match kinds {
        [] => vec![refuse_no_world(names)],
        // Of another version's interfaces nothing is known.
        [kind] if versions.all_spoken() => missing(names, *kind, types),
        [_] => Vec::new(),
        several => {
            let words: Vec<&str> = several.iter().map(|it| it.word()).collect();
            let what = format!("it is {} at once", words.join(" and "));
            vec![
                Refusal::new("wrong-world", what)
                    .advice("Build one component for each: a plugin has one world."),
            ]
        }
    }
}

fn refuse_no_world(names: &Names) -> Refusal {
    let what = if names.exports.is_empty() {
        "it exports nothing".to_owned()
    } else {
        format!("it is none of the worlds of {PACKAGE}: it exports {}", names::some(&names.exports))
    };
    let worlds = [Kind::Policy, Kind::Formatter, Kind::Filter].map(Kind::world).join(", ");
    Refusal::new("wrong-world", what)
        .advice(format!("Export one of {worlds}; `headgate plugin new` writes the frame of one."))
}

/// Interfaces and functions that the kind's world demands and that are not there.
fn missing(names: &Names, kind: Kind, types: Option<&Types>) -> Vec<Refusal> {
    let mut absent = Vec::new();
    for (interface, functions) in [("plugin", names::PLUGIN), duties(kind)] {
        let export = names
            .exports
            .iter()
            .find(|it| Interface::ours(it).is_some_and(|it| it.name == interface));
        match (export, types) {
            (None, _) => absent.push(format!("{PACKAGE}/{interface}@{SERIES}")),
            (Some(export), Some(types)) => {
                let has = |it: &&&str| !has_function(types, export, it);
                absent.extend(functions.iter().filter(has).map(|it| format!("{interface}.{it}")));
            }
            (Some(_), None) => {}
        }
    }
    if absent.is_empty() {
        return Vec::new();
    }
    let what = format!("it is a {} without {}", kind.word(), absent.join(", "));
    let advice = format!("The world {} demands it; the WIT is in `wit/`.", kind.world());
    vec![Refusal::new("wrong-world", what).advice(advice)]
}

fn has_function(types: &Types, export: &str, function: &str) -> bool {
    let types = types.as_ref();
    let Some(item) = types.component_item_for_export(export) else { return false };
    let ComponentEntityType::Instance(id) = item.ty else { return false };
    let found = types[id].exports.get(function);
    found.is_some_and(|it| matches!(it.ty, ComponentEntityType::Func(_)))
}

fn refuse_invalid(error: &wasmparser::BinaryReaderError, len: usize) -> Refusal {
    let (message, at) = (error.message(), error.offset());
    if message.starts_with("unexpected end") || at >= len {
        return invalid(format!("it is cut off after {len} bytes ({message})"))
            .advice("Copy or build it again; write under another name first, then rename.");
    }
    let refusal = invalid(format!("it is no valid WebAssembly at byte {at}: {message}"));
    if message.contains("enabled") || message.contains("support") || message.contains("proposal") {
        return refusal.advice(
            "Build without this WebAssembly feature: no threads, exceptions, garbage collection, 64-bit memory or async.",
        );
    }
    refusal.advice("Build it again, and look whether the copy is whole (`sha256sum`).")
}

fn invalid(message: String) -> Refusal {
    Refusal::new("not-a-component", message)
}

#[cfg(test)]
mod tests;
