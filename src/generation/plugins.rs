//! What a config asks of the plugin registry, and what the registry's notes are as findings.

use std::sync::Arc;

use crate::config::{Config, Plugin, PluginSource, PluginUse, Route};
use crate::generation::Generation;
use crate::plugin::registry::{Place, Source, Spec, Use, Wanted};
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

/// The filters of a route; the gate's own routes have none.
pub fn filters<'g>(generation: &'g Generation, route: &Route) -> &'g [Arc<RequestFilter>] {
    let of = route.number.and_then(|it| generation.plugins.filters.get(it));
    of.map_or(&[], Vec::as_slice)
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
