//! Which bytes a plugin is: what the config names, or what was pushed. The one place that knows the precedence.
//!
//! A pushed component acts instead of what the config names, over restarts and reloads, until
//! 1. the config names another source, or that source has other bytes than at the push: the operator's newer word counts;
//! 2. it is rolled back (`rollback --to config`);
//! 3. the config pins another digest.
//!
//! A source that cannot be read now says nothing newer, so the push stays. A push that lost is forgotten once the generation
//! without it is live.

use std::io;

use bytes::Bytes;

use crate::plugin::limits::Limits;
use crate::plugin::registry::kept::{Kept, PushNote, Slot, when};
use crate::plugin::registry::{Source, Spec, builtin, shelf};
use crate::plugin::{Class, Digest, Kind, Refusal};

/// Where the bytes of a version come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Builtin(String),
    File(String),
    Pushed {
        at: u64,
        by: Option<String>,
    },
    /// The last good one, of which nothing but the bytes is known any more.
    Kept,
}

impl Origin {
    /// As status and metrics name it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Builtin(_) => "builtin",
            Self::File(_) => "file",
            Self::Pushed { .. } => "pushed",
            Self::Kept => "kept",
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Builtin(name) => name.clone(),
            Self::File(path) => path.clone(),
            Self::Pushed { at, by } => {
                let by = by.as_ref().map_or(String::new(), |it| format!(" by {it}"));
                format!("pushed {}{by}", when(*at))
            }
            Self::Kept => "the last good one, kept in the state folder".to_owned(),
        }
    }
}

/// Bytes that want to act.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
    pub(crate) origin: Origin,
}

/// What a plugin should be by config and pushes.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) found: Result<Found, Refusal>,
    /// Digest of what the config names, when that can be read.
    pub(crate) config: Option<Digest>,
    /// Why a push no longer counts.
    pub(crate) retired: Option<String>,
}

/// A source as text, to be compared with a later one.
pub(crate) fn source_text(source: &Source) -> String {
    match source {
        Source::Builtin(name) => format!("builtin {name}"),
        Source::File(path) => format!("file {}", path.display()),
    }
}

/// Reads what the config names.
pub(crate) fn read(source: &Source, class: Class) -> Result<Found, Refusal> {
    let (bytes, origin) = match source {
        Source::Builtin(name) => {
            let it = builtin::find(name).ok_or_else(|| unknown_builtin(name))?;
            (Bytes::from_static(it.wasm), Origin::Builtin(name.clone()))
        }
        Source::File(path) => {
            let max = Limits::of(Kind::Policy, class).component_bytes;
            let bytes = shelf::read(path, max).map_err(|it| unreadable(path, &it, class))?;
            (bytes, Origin::File(path.display().to_string()))
        }
    };
    Ok(Found { digest: Digest::of(&bytes), bytes, origin })
}

fn unknown_builtin(name: &str) -> Refusal {
    let known: Vec<&str> = builtin::BUILTINS.iter().map(|it| it.name).collect();
    Refusal::new("file", format!("no component `{name}` is built in"))
        .advice(format!("Built in are {}.", known.join(", ")))
}

fn unreadable(path: &std::path::Path, error: &io::Error, class: Class) -> Refusal {
    if error.kind() == io::ErrorKind::FileTooLarge {
        let advice = match class {
            Class::Default => "Leave out debug information, or grant the plugin `class: large`.",
            Class::Large => "Leave out debug information.",
        };
        return Refusal::new("too-large", format!("{} {error}", path.display())).advice(advice);
    }
    Refusal::new("file", format!("{} cannot be read: {error}", path.display()))
}

/// Chooses by the precedence above.
pub(crate) fn choose(spec: &Spec, kept: &Kept) -> Choice {
    let named = read(&spec.source, spec.class);
    let config = named.as_ref().ok().map(|it| it.digest);
    let Some((note, bytes)) = kept.pushed(&spec.name, Slot::Active) else {
        return Choice { found: named, config, retired: None };
    };
    if let Some(why) = lost(spec, config, &note) {
        return Choice { found: named, config, retired: Some(why) };
    }
    let origin = Origin::Pushed { at: note.at, by: note.by };
    Choice { found: Ok(Found { bytes, digest: note.digest, origin }), config, retired: None }
}

/// Why a push no longer counts.
fn lost(spec: &Spec, config: Option<Digest>, push: &PushNote) -> Option<String> {
    if let Some(pin) = spec.pin.filter(|it| *it != push.digest) {
        return Some(format!("the config pins {}", pin.short()));
    }
    if source_text(&spec.source) != push.config_source {
        return Some(format!("the config names another source, {}", source_text(&spec.source)));
    }
    let newer = config.filter(|it| Some(*it) != push.config_digest);
    newer.map(|it| format!("the config's own component is a newer one, {}", it.short()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(pin: Option<Digest>, source: &str) -> Spec {
        Spec {
            name: "slo".to_owned(),
            source: Source::File(source.into()),
            pin,
            class: Class::Default,
            grants: Vec::new(),
            shadow: None,
            at: "plugins.slo".to_owned(),
        }
    }

    #[test]
    fn a_push_counts_until_the_config_says_something_newer() {
        let [pushed, then, now] = [[1; 32], [2; 32], [3; 32]].map(Digest);
        let note = |config_digest| PushNote {
            plugin: "slo".to_owned(),
            digest: pushed,
            at: 0,
            by: None,
            config_digest,
            config_source: "file a.wasm".to_owned(),
        };
        for (pin, source, config, at_push, counts) in [
            (None, "a.wasm", Some(then), Some(then), true),
            (None, "a.wasm", None, Some(then), true),
            (None, "a.wasm", None, None, true),
            (None, "a.wasm", Some(now), Some(then), false),
            (None, "a.wasm", Some(now), None, false),
            (None, "b.wasm", Some(then), Some(then), false),
            (Some(pushed), "a.wasm", Some(then), Some(then), true),
            (Some(then), "a.wasm", Some(then), Some(then), false),
        ] {
            let lost = lost(&spec(pin, source), config, &note(at_push));
            assert_eq!(lost.is_none(), counts, "{pin:?} {source} {config:?} {at_push:?} {lost:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_had_is_refused_with_its_name() {
        let missing = read(&Source::File("/nowhere/x.wasm".into()), Class::Default).unwrap_err();
        assert_eq!(missing.code, "file");
        assert!(missing.message.contains("/nowhere/x.wasm"));
        let unknown = read(&Source::Builtin("x".to_owned()), Class::Default).unwrap_err();
        assert!(unknown.advice.unwrap().contains("latency-slo"));
    }
}
