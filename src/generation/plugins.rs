//! What a config asks of the plugin registry, and what the registry's notes are as findings.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::findings::{Finding, Severity};
use crate::config::{Config, Plugin, PluginSource, PluginUse, Route};
use crate::generation::Generation;
use crate::plugin::registry::{Note, Place, Source, Spec, Use, Wanted};
use crate::plugin::request_filter::{OnFailure, RequestFilter};
use crate::plugin::{Class, Digest};

/// Everything that a config asks of the registry: policies in the order of services, the formatter, filters in the order of
/// routes.
pub fn wanted(config: &Config) -> Wanted {
    let services = config.services.iter();
    let policies = services.map(|it| place(&it.policy, Place::Service(it.name.clone())));
    let formatter = place(&config.formatter, Place::Alerts);
    let routes = config.routes.iter().filter_map(|it| Some((it.number?, &it.filters)));
    let filters = routes.flat_map(|(route, filters)| {
        let numbered = filters.iter().enumerate();
        numbered.map(move |(number, it)| place(it, Place::Route(route, number)))
    });
    Wanted {
        plugins: config.plugins.iter().map(spec).collect(),
        uses: policies.chain([formatter]).chain(filters).collect(),
    }
}

/// The filters that a request for `path` on the route `own` passes, in order. Allocates only where those of several routes
/// come together.
#[inline]
pub fn filters<'g>(
    generation: &'g Generation,
    authority: &str,
    path: &str,
    own: &Route,
) -> Cow<'g, [Arc<RequestFilter>]> {
    let mut all = Cow::Borrowed(&[][..]);
    generation.filtered.each(authority, path, own, |number| {
        let more = generation.plugins.filters.get(number).map_or(&[][..], Vec::as_slice);
        if all.is_empty() {
            all = Cow::Borrowed(more);
        } else {
            all.to_mut().extend_from_slice(more);
        }
    });
    all
}

/// Notes as findings about this file. An error is what leaves a place to native code or to the fail mode, unless it has
/// been so already: a plugin that never worked must not keep a key from being revoked. At the start nothing is an error.
pub fn findings(notes: &[Note], previous: Option<&Generation>, file: &str) -> Vec<Finding> {
    let is_new = |note: &Note| {
        previous.is_some_and(|it| !it.plugin_notes.iter().any(|old| old.refusal == note.refusal))
    };
    notes.iter().map(|it| finding(it, it.fatal && is_new(it), file)).collect()
}

/// A note as a finding about this file.
pub fn finding(note: &Note, is_error: bool, file: &str) -> Finding {
    // The place may be that of the setting already.
    let pointer = note.refusal.path.as_deref().filter(|_| !note.at.contains(".settings"));
    let path = pointer.map_or_else(String::new, below_settings);
    Finding {
        severity: if is_error { Severity::Error } else { Severity::Warning },
        file: file.to_owned(),
        line: 0,
        column: 0,
        width: 0,
        message: note.refusal.message.clone(),
        expected: note.refusal.advice.clone(),
        nearest: None,
        snippet: String::new(),
        path: format!("{}{path}", note.at),
        snippet_column: 0,
    }
}

/// A JSON pointer (RFC 6901) as a path of the config: `/a/0/b` is `.settings.a[0].b`.
fn below_settings(pointer: &str) -> String {
    let mut path = String::from(".settings");
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let is_index = !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if is_index {
            path.extend(["[", &part, "]"]);
        } else {
            path.extend([".", &part]);
        }
    }
    path
}

fn place(wanted: &PluginUse, place: Place) -> Use {
    Use {
        place,
        plugin: wanted.plugin.clone(),
        settings: wanted.settings.clone(),
        on_failure: if wanted.fail_open { OnFailure::Open } else { OnFailure::Closed },
        at: wanted.at.clone(),
    }
}

fn spec(plugin: &Plugin) -> Spec {
    let source = |it: &PluginSource| match it {
        PluginSource::Builtin(name) => Source::Builtin(name.clone()),
        PluginSource::File(path) => Source::File(path.clone()),
    };
    Spec {
        name: plugin.name.clone(),
        source: source(&plugin.source),
        pin: plugin.sha256.map(Digest),
        class: if plugin.large { Class::Large } else { Class::Default },
        grants: plugin.grants.clone(),
        shadow: plugin.shadow.as_ref().map(source),
        at: format!("plugins.{}", plugin.name),
    }
}

#[cfg(test)]
mod tests {
    use super::{below_settings, findings, wanted};
    use crate::config::findings::Severity;
    use crate::config::{self, BUILTINS, Config, Role};
    use crate::generation::fixture;
    use crate::plugin::registry::{self, Note, Place, Source};
    use crate::plugin::request_filter::OnFailure;
    use crate::plugin::{Class, Kind, Refusal};
    use std::path::Path;

    const TEXT: &str = "\
services:
  a: { upstreams: http://a, health: { policy: { plugin: mine, settings: { x: [1] } } } }
  b: { upstreams: http://b, health: { policy: native } }
plugins:
  mine: { file: p/mine.wasm, limits: large, grants: action:alert, shadow: p/next.wasm }
  check: { builtin: require-header }
routes:
  - { path: /none/, service: a, access: public }
  - path: /
    service: a
    access: public
    filters: [check, { plugin: require-header, onFailure: open }]
";

    fn parsed() -> Config {
        config::parse(TEXT, Path::new("/etc/gate.yaml")).unwrap().config
    }

    #[test]
    fn every_use_and_entry_is_asked_for_with_its_place() {
        let wanted = wanted(&parsed());
        let uses: Vec<_> = wanted
            .uses
            .iter()
            .map(|it| (it.place.clone(), it.plugin.as_deref(), it.on_failure, it.at.as_str()))
            .collect();
        let closed = OnFailure::Closed;
        let service = |it: &str| Place::Service(it.to_owned());
        assert_eq!(
            uses,
            [
                (service("a"), Some("mine"), closed, "services.a.health.policy"),
                (service("b"), None, closed, "services.b.health.policy"),
                (Place::Alerts, Some("plain"), closed, "alerts.formatter"),
                (Place::Route(1, 0), Some("check"), closed, "routes[1].filters[0]"),
                (
                    Place::Route(1, 1),
                    Some("require-header"),
                    OnFailure::Open,
                    "routes[1].filters[1]"
                ),
            ]
        );
        assert_eq!(wanted.uses[0].settings, serde_json::json!({ "x": [1] }));
        let mine = &wanted.plugins[0];
        assert_eq!(mine.source, Source::File("/etc/p/mine.wasm".into()));
        assert_eq!(mine.shadow, Some(Source::File("/etc/p/next.wasm".into())));
        assert_eq!((mine.class, mine.at.as_str()), (Class::Large, "plugins.mine"));
        assert_eq!(mine.grants, ["action:alert"]);
        assert_eq!(wanted.plugins[1].source, Source::Builtin("require-header".to_owned()));
    }

    #[test]
    fn the_config_and_the_registry_know_the_same_builtins() {
        let role = |kind| match kind {
            Kind::Policy => Role::Policy,
            Kind::Formatter => Role::Formatter,
            Kind::Filter => Role::Filter,
        };
        let shipped = registry::BUILTINS.map(|(name, kind)| (name, role(kind)));
        assert_eq!(shipped, BUILTINS);
    }

    #[test]
    fn only_what_gets_worse_is_an_error() {
        let note = |message: &str, fatal| Note {
            at: "alerts.formatter".to_owned(),
            refusal: Refusal::new("settings", message),
            fatal,
        };
        let severities = |notes: &[Note], previous| {
            let found = findings(notes, previous, "gate.yaml").into_iter();
            found.map(|it| it.severity).collect::<Vec<_>>()
        };
        let notes = [note("old", true), note("new", true), note("small", false)];
        assert_eq!(severities(&notes, None), [Severity::Warning; 3]);
        let mut live = fixture::generation(fixture::config(""));
        live.plugin_notes = vec![note("old", true)];
        let expected = [Severity::Warning, Severity::Error, Severity::Warning];
        assert_eq!(severities(&notes, Some(&live)), expected);
    }

    #[test]
    fn a_setting_is_named_once() {
        let path = |at: &str, pointer: &str| {
            let refusal =
                Refusal { path: Some(pointer.to_owned()), ..Refusal::new("settings", "no") };
            super::finding(&Note { at: at.to_owned(), refusal, fatal: true }, true, "f").path
        };
        assert_eq!(path("routes[1].filters[0]", "/status"), "routes[1].filters[0].settings.status");
        assert_eq!(path("alerts.formatter.settings.a", "/a"), "alerts.formatter.settings.a");
    }

    #[test]
    fn a_pointer_is_a_path() {
        for (pointer, path) in [
            ("", ".settings"),
            ("/a/0/b", ".settings.a[0].b"),
            ("/a~1b/~0", ".settings.a/b.~"),
            ("/", ".settings."),
        ] {
            assert_eq!(below_settings(pointer), path);
        }
    }
}
