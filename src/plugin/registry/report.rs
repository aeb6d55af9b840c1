//! Tells where every plugin stands, with every reason.

use std::sync::atomic::Ordering::Relaxed;

use crate::model::UnixMs;
use crate::plugin::host::Allocation;
use crate::plugin::registry::conduct::{Conduct, Standing};
use crate::plugin::registry::entries::{Entry, Memory};
use crate::plugin::registry::resolve::specs;
use crate::plugin::registry::sources::{Origin, source_text};
use crate::plugin::registry::status::{
    EngineStatus, LogEntry, PluginStatus, PoisonInput, Quarantine, Shadow, State, StateValue,
    UseStatus,
};
use crate::plugin::registry::{Place, Plugins, Spec};
use crate::plugin::request_filter::OnFailure;
use crate::plugin::{Digest, Refusal};

/// Why a component that failed too often is not let in.
pub(crate) fn quarantined(conduct: &Conduct) -> Refusal {
    let (until, reason) = match conduct.standing() {
        Standing::Quarantined { until, reason } => (until.rfc3339(), reason),
        Standing::Good | Standing::Probation { .. } => (String::new(), String::new()),
    };
    let digest = conduct.digest.short();
    Refusal::new("quarantined", format!("{digest} is in quarantine: {reason}")).advice(format!(
        "It is tried again at {until}; a component with other bytes is tried at once."
    ))
}

impl Plugins {
    /// See [`Plugins::status`].
    pub(crate) fn report(&self) -> Vec<PluginStatus> {
        self.settle(UnixMs::now());
        let mut all: Vec<PluginStatus> = self.with(|it| {
            let specs = specs(&it.wanted);
            specs.iter().map(|spec| it.status(spec)).collect()
        });
        for used in all.iter_mut().flat_map(|it| &mut it.uses) {
            if let Some(service) = used.at.strip_prefix("service ") {
                let lineage = self.backing.states.lineage(service).into_iter();
                used.state = lineage
                    .map(|(digest, version, bytes)| StateValue { digest, version, bytes })
                    .collect();
            }
        }
        all
    }

    /// Whether plugins can run here at all, and how.
    pub fn engine(&self) -> EngineStatus {
        match self.prover.engine() {
            Ok(host) => {
                let allocation = match host.allocation() {
                    Allocation::Pooled { pagemap_scan: true } => {
                        "pooled, cleaned by what was written".to_owned()
                    }
                    Allocation::Pooled { pagemap_scan: false } => "pooled".to_owned(),
                    Allocation::OnDemand { because } => format!("on demand: {because}"),
                };
                EngineStatus { error: None, allocation: Some(allocation) }
            }
            Err(error) => EngineStatus { error: Some(error.to_owned()), allocation: None },
        }
    }

    /// The last inputs on which components of a plugin failed, oldest first.
    pub fn poison(&self, plugin: &str) -> Option<Vec<PoisonInput>> {
        self.with(|it| {
            let entry = it.entries.get(plugin)?;
            let digests = it.digests(entry);
            let conducts = digests.iter().filter_map(|digest| it.conducts.get(digest));
            let mut inputs: Vec<(UnixMs, PoisonInput)> = conducts
                .flat_map(|conduct| {
                    let digest = conduct.digest;
                    conduct.poison().into_iter().map(move |it| {
                        let at = it.at.rfc3339();
                        (it.at, PoisonInput { at, digest, fault: it.fault, input: it.input })
                    })
                })
                .collect();
            inputs.sort_by_key(|it| it.0);
            Some(inputs.into_iter().map(|it| it.1).collect())
        })
    }

    /// See [`Plugins::log`].
    pub(crate) fn lines(&self, plugin: &str) -> Option<Vec<LogEntry>> {
        let voice = self.with(|it| it.entries.get(plugin).map(|it| it.voice.clone()))?;
        Some(voice.lines())
    }
}

impl Memory {
    /// All components that this plugin has to do with.
    fn digests(&self, entry: &Entry) -> Vec<Digest> {
        let versions = [&entry.acting, &entry.previous, &entry.chosen].into_iter().flatten();
        let mut digests: Vec<Digest> = versions.map(|it| it.digest()).collect();
        digests.extend(entry.config);
        digests.extend(entry.refused.as_ref().and_then(|it| it.digest));
        digests.sort_unstable();
        digests.dedup();
        digests
    }

    fn status(&self, spec: &Spec) -> PluginStatus {
        let nothing = Entry::default();
        let entry = self.entries.get(&spec.name).unwrap_or(&nothing);
        let acting = entry.acting.as_ref();
        let (state, reason) = self.state(spec, entry);
        let digests = self.digests(entry);
        let conducts = || digests.iter().filter_map(|it| self.conducts.get(it));
        PluginStatus {
            name: spec.name.clone(),
            kind: acting.map(|it| it.component.kind()),
            source: acting.map_or("none", |it| it.origin.word()),
            origin: acting.map_or_else(|| source_text(&spec.source), |it| it.origin.text()),
            state,
            reason,
            since: entry.since.map_or_else(String::new, UnixMs::rfc3339),
            digest: acting.map(|it| it.digest()),
            info: acting.map(|it| it.component.info().clone()),
            previous: entry.previous.as_ref().map(|it| it.digest()),
            refused: entry.refused.clone(),
            proof: acting.map(|it| it.proof.clone()),
            shadow: entry.beside.as_ref().map(|it| Shadow {
                digest: it.component.digest(),
                calls: it.comparison.calls.load(Relaxed),
                differ: it.comparison.differ.load(Relaxed),
                faults: it.comparison.faults.load(Relaxed),
                examples: it.comparison.examples(),
            }),
            uses: self
                .uses_of(&spec.name)
                .map(|it| self.use_status(&it.place, it.on_failure))
                .collect(),
            quarantined: conducts()
                .filter_map(|it| match it.standing() {
                    Standing::Quarantined { until, reason } => {
                        Some(Quarantine { digest: it.digest, until: until.rfc3339(), reason })
                    }
                    Standing::Good | Standing::Probation { .. } => None,
                })
                .collect(),
            poison_inputs: conducts().map(|it| it.poison().len()).sum(),
            config_digest: entry.config,
            is_pushed: acting.is_some_and(|it| matches!(it.origin, Origin::Pushed { .. })),
        }
    }

    /// Where a plugin stands, and why.
    pub(crate) fn state(&self, spec: &Spec, entry: &Entry) -> (State, Option<String>) {
        let refused = entry.refused.as_ref();
        let first = refused.and_then(|it| it.reasons.first());
        let why = first.map(ToString::to_string);
        if entry.verifying {
            return (State::Verifying, None);
        }
        if first.is_some_and(|it| it.code == "quarantined") {
            return (State::Quarantined, why);
        }
        let Some(acting) = &entry.acting else {
            return refused.map_or((State::Pending, None), |_| (State::Rejected, why.clone()));
        };
        let conduct = self.conducts.get(&acting.digest());
        match conduct.map(|it| it.standing()) {
            Some(Standing::Quarantined { reason, .. }) => (State::Quarantined, Some(reason)),
            Some(Standing::Probation { ends }) => {
                let until = format!("on probation until {} or 1000 calls", ends.rfc3339());
                (State::Probation, Some(why.map_or(until.clone(), |it| format!("{until}; {it}"))))
            }
            _ if self.uses_of(&spec.name).next().is_none() => {
                (State::Pending, Some("used by nothing".to_owned()))
            }
            _ => (State::Active, why),
        }
    }

    fn use_status(&self, place: &Place, on_failure: OnFailure) -> UseStatus {
        let acting = self.live.at(place);
        let instead = match (place, on_failure) {
            (Place::Service(_) | Place::Alerts, _) => "native",
            (Place::Route(..), OnFailure::Closed) => "closed",
            (Place::Route(..), OnFailure::Open) => "open",
        };
        let suspended = acting.is_some_and(|it| it.is_suspended(UnixMs::now()));
        let (calls, faults, fallbacks) = acting.map_or((0, 0, 0), |it| it.tally());
        UseStatus {
            at: place.to_string(),
            acts: if acting.is_some() && !suspended { "component" } else { instead },
            digest: acting.map(|it| it.component.digest()),
            calls,
            faults,
            fallbacks,
            suspended,
            state: Vec::new(),
        }
    }
}
