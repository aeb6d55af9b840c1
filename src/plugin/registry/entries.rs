//! What the registry remembers of each plugin between two generations.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::model::UnixMs;
use crate::plugin::alert_formatter::AlertFormatter;
use crate::plugin::health_policy::HealthPolicy;
use crate::plugin::host::Component;
use crate::plugin::registry::acting::Acting;
use crate::plugin::registry::conduct::Conduct;
use crate::plugin::registry::shadow::Comparison;
use crate::plugin::registry::sources::Origin;
use crate::plugin::registry::status::{Proof, Refused};
use crate::plugin::registry::voice::Voice;
use crate::plugin::registry::{Place, PluginSet, Wanted};
use crate::plugin::request_filter::RequestFilter;
use crate::plugin::{Class, Digest};

/// A component that may act.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) component: Component,
    pub(crate) origin: Origin,
    pub(crate) proof: Proof,
    /// What a later start would need; none where the bytes are in the binary or kept already.
    pub(crate) bytes: Option<Bytes>,
}

impl Version {
    pub(crate) fn digest(&self) -> Digest {
        self.component.digest()
    }

    pub(crate) fn class(&self) -> Class {
        self.component.class()
    }
}

/// A candidate beside what acts.
#[derive(Clone, Debug)]
pub(crate) struct Besides {
    pub(crate) component: Component,
    pub(crate) comparison: Arc<Comparison>,
    /// For a promotion.
    pub(crate) bytes: Bytes,
}

/// One plugin by the operator's name.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// What the last resolve chose; acts once that is published.
    pub(crate) chosen: Option<Arc<Version>>,
    /// What is live.
    pub(crate) acting: Option<Arc<Version>>,
    /// What was live before.
    pub(crate) previous: Option<Arc<Version>>,
    pub(crate) since: Option<UnixMs>,
    pub(crate) refused: Option<Refused>,
    pub(crate) beside: Option<Besides>,
    pub(crate) voice: Arc<Voice>,
    /// Digest of what the config names.
    pub(crate) config: Option<Digest>,
    /// The push lost against the config; it is forgotten with the next publication.
    pub(crate) retired: bool,
    /// Whether a proof is under way.
    pub(crate) verifying: bool,
    /// Whether it is to be proven once the gate has started.
    pub(crate) waits: bool,
}

/// Components in use, held weakly: what a generation still holds is used again, with its counters and instances.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) acting: HashMap<Place, Weak<Acting>>,
    pub(crate) filters: HashMap<Place, Weak<RequestFilter>>,
}

/// What is live.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    pub(crate) policies: Vec<Arc<HealthPolicy>>,
    pub(crate) formatter: Option<Arc<AlertFormatter>>,
    pub(crate) filters: Vec<Vec<Arc<RequestFilter>>>,
}

impl Live {
    pub(crate) fn of(set: &PluginSet) -> Self {
        Self {
            policies: set.policies.clone(),
            formatter: Some(Arc::clone(&set.formatter)),
            filters: set.filters.clone(),
        }
    }

    pub(crate) fn policy(&self, service: &str) -> Option<&Arc<HealthPolicy>> {
        self.policies.iter().find(|it| it.service == service)
    }

    pub(crate) fn filter(&self, route: usize, number: usize) -> Option<&Arc<RequestFilter>> {
        self.filters.get(route)?.get(number)
    }

    /// The component that acts at a place.
    pub(crate) fn at(&self, place: &Place) -> Option<&Arc<Acting>> {
        match place {
            Place::Service(name) => self.policy(name)?.component.as_ref(),
            Place::Alerts => self.formatter.as_ref()?.component.as_ref(),
            Place::Route(route, number) => self.filter(*route, *number)?.component.as_ref(),
        }
    }

    /// Every component that acts.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Acting>> {
        let policies = self.policies.iter().filter_map(|it| it.component.as_ref());
        let formatter = self.formatter.iter().filter_map(|it| it.component.as_ref());
        let filters = self.filters.iter().flatten().filter_map(|it| it.component.as_ref());
        policies.chain(formatter).chain(filters)
    }
}

/// Everything that changes, behind one lock that is never held over a call or a file.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) conducts: HashMap<Digest, Arc<Conduct>>,
    /// What the last resolve was asked for.
    pub(crate) wanted: Wanted,
    pub(crate) live: Live,
    pub(crate) made: Made,
}

impl Memory {
    pub(crate) fn entry(&mut self, plugin: &str) -> &mut Entry {
        self.entries.entry(plugin.to_owned()).or_default()
    }

    pub(crate) fn conduct(&mut self, digest: Digest, wake: &Arc<Notify>) -> Arc<Conduct> {
        let new = || Arc::new(Conduct::new(digest, Arc::clone(wake)));
        Arc::clone(self.conducts.entry(digest).or_insert_with(new))
    }

    /// The entry of a use's plugin acts with this component.
    pub(crate) fn uses_of<'m>(
        &'m self,
        plugin: &'m str,
    ) -> impl Iterator<Item = &'m crate::plugin::registry::Use> {
        self.wanted.uses.iter().filter(move |it| it.plugin.as_deref() == Some(plugin))
    }
}
