//! Plugins and their uses: sources, grants, settings, and who may be used for what.

use serde_json::Value as Json;

use super::super::decode::one_of;
use super::super::raw::{self, Opt};
use super::super::raw_plugins::{self, FilterUse, LimitClass, OnFailure, Use};
use super::super::shapes::{Anything, At, NameOr};
use super::super::tree::{NodeId, Value};
use super::super::{BUILTINS, NATIVE, Plugin, PluginSource, PluginUse, Role, defaults};
use super::{Cx, nearest, words};

/// Filters of one route.
const FILTERS_MAX: usize = 16;
/// Bytes of one use's settings, as JSON.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;
/// Mappings and lists inside each other in settings.
const SETTINGS_DEPTH_MAX: usize = 16;

/// Every name that a use may give.
#[derive(Debug)]
pub(super) struct Known {
    /// With the role where it is known before the component is looked at.
    names: Vec<(String, Option<Role>)>,
}

impl Known {
    /// The entries, also those with mistakes so that a use of one is no second mistake, then the built-in ones.
    pub(super) fn of(raw: &raw::Document, cx: &Cx<'_>) -> Self {
        let own = entries(raw).iter().map(|(name, at)| {
            let builtin = at.value.as_ref().and_then(|it| it.builtin.as_ref()?.value.as_deref());
            (cx.tree.text(name.id).to_owned(), builtin.and_then(role))
        });
        let mut names: Vec<_> = own.collect();
        for (name, role) in BUILTINS {
            if !names.iter().any(|it| it.0 == name) {
                names.push((name.to_owned(), Some(role)));
            }
        }
        Self { names }
    }

    /// Names that could stand in a place of this role.
    fn fitting(&self, wanted: Role) -> impl Iterator<Item = &str> {
        let fits = move |it: &&(String, Option<Role>)| {
            it.1.is_none_or(|role| role == wanted) && words::plugin_name(&it.0).is_ok()
        };
        self.names.iter().filter(fits).map(|it| it.0.as_str())
    }
}

fn role(builtin: &str) -> Option<Role> {
    BUILTINS.iter().find(|it| it.0 == builtin).map(|it| it.1)
}

fn entries(raw: &raw::Document) -> &[(At<String>, At<raw_plugins::Plugin>)] {
    raw.plugins.as_ref().and_then(|it| it.value.as_ref()).map_or(&[], |it| &it.0)
}

pub(super) fn plugins(raw: &raw::Document, cx: &Cx<'_>) -> Vec<Plugin> {
    entries(raw).iter().map(|(name, at)| plugin(name, at, cx)).collect()
}

fn plugin(name: &At<String>, at: &At<raw_plugins::Plugin>, cx: &Cx<'_>) -> Plugin {
    let name = cx.word(name, words::plugin_name).unwrap_or_default();
    let mut plugin = Plugin {
        name,
        source: PluginSource::Builtin(String::new()),
        sha256: None,
        large: false,
        grants: Vec::new(),
        shadow: None,
    };
    let Some(raw) = at.value.as_ref() else { return plugin };
    if let Some(source) = source(at, raw, cx) {
        plugin.source = source;
    }
    plugin.sha256 = raw.sha256.as_ref().and_then(|at| cx.word(at, words::plugin_digest));
    plugin.large = cx.or(&raw.limits, LimitClass::Default) == LimitClass::Large;
    plugin.grants = grants(raw, cx);
    plugin.shadow = raw.shadow.as_ref().and_then(|at| file(at, cx));
    if let (Some(at), true) = (&raw.shadow, plugin.shadow.as_ref() == Some(&plugin.source)) {
        let message = "the candidate is the plugin itself: nothing could differ";
        cx.push(cx.error(at.id, message).expected("another file"));
    }
    plugin
}

fn source(
    at: &At<raw_plugins::Plugin>,
    raw: &raw_plugins::Plugin,
    cx: &Cx<'_>,
) -> Option<PluginSource> {
    match (&raw.file, &raw.builtin) {
        (Some(it), None) => file(it, cx),
        (None, Some(it)) => builtin(it, cx),
        (Some(_), Some(builtin)) => {
            let message = "the plugin has both `file` and `builtin`";
            cx.push(cx.error(builtin.id, message).expected("one of them"));
            None
        }
        (None, None) => {
            cx.missing(at.id, "file", "`file: PATH` or `builtin: NAME`");
            None
        }
    }
}

fn file(at: &At<String>, cx: &Cx<'_>) -> Option<PluginSource> {
    let text = at.value.as_deref()?;
    if text.is_empty() {
        let expected = "a component's file, for example `plugins/tenant.wasm`";
        cx.push(cx.error(at.id, "the path is empty").expected(expected));
        return None;
    }
    Some(PluginSource::File(cx.path(text)))
}

fn builtin(at: &At<String>, cx: &Cx<'_>) -> Option<PluginSource> {
    let name = at.value.as_deref()?;
    if role(name).is_none() {
        let names = BUILTINS.map(|it| it.0);
        let message = format!("the gate ships no plugin `{name}`");
        let near = nearest(name, names);
        cx.push(cx.error(at.id, message).expected(one_of(&names)).nearest(near));
    }
    Some(PluginSource::Builtin(name.to_owned()))
}

fn grants(raw: &raw_plugins::Plugin, cx: &Cx<'_>) -> Vec<String> {
    let list = raw.grants.as_ref().and_then(|it| it.value.as_ref());
    let mut grants: Vec<String> = Vec::new();
    for at in list.into_iter().flat_map(|it| &it.0) {
        let Some(grant) = cx.word(at, words::grant) else { continue };
        if grants.contains(&grant) {
            cx.push(cx.warning(at.id, format!("`{grant}` stands here twice")));
        }
        grants.push(grant);
    }
    grants
}

/// Who judges a service; `at` is the place of `policy`.
pub(super) fn policy(raw: &raw::Service, service: &str, cx: &Cx<'_>, known: &Known) -> PluginUse {
    let health = raw.health.as_ref().and_then(|it| it.value.as_ref());
    let at = format!("services.{service}.health.policy");
    let default = PluginUse::builtin(defaults::POLICY, at);
    let field = health.and_then(|it| it.policy.as_ref());
    field.map_or(default.clone(), |it| using(it, default, (Role::Policy, known), cx))
}

pub(super) fn formatter(raw: &raw::Document, cx: &Cx<'_>, known: &Known) -> PluginUse {
    let alerts = raw.alerts.as_ref().and_then(|it| it.value.as_ref());
    let default = PluginUse::builtin(defaults::FORMATTER, String::from("alerts.formatter"));
    let field = alerts.and_then(|it| it.formatter.as_ref());
    field.map_or(default.clone(), |it| using(it, default, (Role::Formatter, known), cx))
}

fn using(
    at: &At<NameOr<Use>>,
    default: PluginUse,
    (role, known): (Role, &Known),
    cx: &Cx<'_>,
) -> PluginUse {
    let at_path = default.at.clone();
    let (plugin, given) = match at.value.as_ref() {
        None => return default,
        Some(NameOr::Name(name)) => (named(at.id, name, (role, known), cx), &None),
        Some(NameOr::More(raw)) => {
            let says = ("plugin", "the name of a plugin, or `native`");
            let name = cx.required(at.id, &raw.plugin, says);
            (name.and_then(|(id, name)| named(id, name, (role, known), cx)), &raw.settings)
        }
    };
    PluginUse { plugin, settings: settings(given, cx), fail_open: false, at: at_path }
}

/// Filters of a route that stands at this place in the file.
pub(super) fn filters(
    raw: &raw::Route,
    number: usize,
    cx: &Cx<'_>,
    known: &Known,
) -> Vec<PluginUse> {
    let given = raw.filters.as_ref().and_then(|at| at.value.as_ref().map(|it| (at.id, it)));
    let Some((id, list)) = given else { return Vec::new() };
    if list.0.len() > FILTERS_MAX {
        let message = format!("{} filters on one route", list.0.len());
        cx.push(cx.error(id, message).expected(format!("at most {FILTERS_MAX}")));
    }
    let uses = list.0.iter().enumerate().filter_map(|(place, at)| {
        let at_path = format!("routes[{number}].filters[{place}]");
        filter(at, at_path, cx, known)
    });
    uses.collect()
}

fn filter(
    at: &At<NameOr<FilterUse>>,
    at_path: String,
    cx: &Cx<'_>,
    known: &Known,
) -> Option<PluginUse> {
    let role = (Role::Filter, known);
    let (plugin, given, fail_open) = match at.value.as_ref()? {
        NameOr::Name(name) => (named(at.id, name, role, cx), &None, false),
        NameOr::More(raw) => {
            let name = cx.required(at.id, &raw.plugin, ("plugin", "the name of a filter plugin"));
            let plugin = name.and_then(|(id, name)| named(id, name, role, cx));
            let fail_open = cx.or(&raw.on_failure, OnFailure::Closed) == OnFailure::Open;
            (plugin, &raw.settings, fail_open)
        }
    };
    Some(PluginUse { plugin, settings: settings(given, cx), fail_open, at: at_path })
}

/// The plugin that a use names; `None` for `native`, and for a mistake (then it has been noted).
fn named(id: NodeId, name: &str, (role, known): (Role, &Known), cx: &Cx<'_>) -> Option<String> {
    let own = if role == Role::Filter { None } else { Some(NATIVE) };
    let fitting: Vec<&str> = known.fitting(role).chain(own).collect();
    let wrong = match known.names.iter().find(|it| it.0 == name) {
        _ if name == NATIVE && role != Role::Filter => return None,
        _ if name == NATIVE => String::from("a filter has no native code"),
        Some((_, Some(other))) if *other != role => {
            format!("`{name}` is {}, not {}", other.noun(), role.noun())
        }
        Some(_) => return Some(name.to_owned()),
        None => format!("there is no plugin `{name}`"),
    };
    let near = nearest(name, fitting.iter().copied());
    cx.push(cx.error(id, wrong).expected(one_of(&fitting)).nearest(near));
    None
}

/// Warns of entries that no place uses: most often a name that is spelt otherwise there.
pub(super) fn warn_unused(raw: &raw::Document, cx: &Cx<'_>, uses: &[&PluginUse]) {
    for (name, _) in entries(raw) {
        let text = cx.tree.text(name.id);
        let used = uses.iter().any(|it| it.plugin.as_deref() == Some(text));
        if !used && words::plugin_name(text).is_ok() {
            let message = format!("plugin `{text}` is used nowhere");
            let expected = "a `policy`, a `formatter` or one of `filters` that names it";
            cx.push(cx.warning(name.id, message).expected(expected));
        }
    }
}

/// Settings as JSON; an empty object where they are left out or bad (then it has been noted).
fn settings(field: &Opt<Anything>, cx: &Cx<'_>) -> Json {
    let empty = || Json::Object(serde_json::Map::new());
    let Some(at) = field else { return empty() };
    if !matches!(cx.tree.node(at.id).value, Value::Map(_)) {
        let expected = "a mapping, as the plugin's schema has it";
        cx.push(cx.error(at.id, "settings are a mapping").expected(expected));
        return empty();
    }
    let Some(json) = json(at.id, SETTINGS_DEPTH_MAX, cx) else { return empty() };
    let bytes = json.to_string().len();
    if bytes > SETTINGS_BYTES_MAX {
        let message = format!("these settings have {bytes} bytes as JSON");
        cx.push(cx.error(at.id, message).expected(format!("at most {SETTINGS_BYTES_MAX}")));
        return empty();
    }
    json
}

/// The node as JSON with all below it, or `None` and a note.
fn json(id: NodeId, depth: usize, cx: &Cx<'_>) -> Option<Json> {
    let below = |id: NodeId| match depth.checked_sub(1) {
        Some(depth) => json(id, depth, cx),
        None => {
            let expected = format!("at most {SETTINGS_DEPTH_MAX} inside each other");
            cx.push(cx.error(id, "these settings are too deep").expected(expected));
            None
        }
    };
    Some(match &cx.tree.node(id).value {
        Value::Null => Json::Null,
        Value::Bool(it) => Json::Bool(*it),
        Value::Int(it) => Json::from(*it),
        Value::Count(it) => Json::from(*it),
        // The parser lets no infinity in.
        Value::Float(it) => Json::from(*it),
        Value::Text(it) => Json::String(it.clone()),
        Value::List(ids) => ids.iter().map(|it| below(*it)).collect::<Option<_>>()?,
        Value::Map(entries) => {
            let pairs = entries.iter().map(|(key, value)| {
                let value = below(*value)?;
                Some((cx.tree.text(*key).to_owned(), value))
            });
            Json::Object(pairs.collect::<Option<_>>()?)
        }
    })
}
