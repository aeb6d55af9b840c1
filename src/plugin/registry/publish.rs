//! What happens when a set becomes live: probation, lineage of state, what is kept; and the end of probation and quarantine.

use std::sync::Arc;
use std::time::Duration;

use crate::model::UnixMs;
use crate::plugin::Digest;
use crate::plugin::registry::conduct::{Conduct, Standing};
use crate::plugin::registry::entries::{Live, Memory, Version};
use crate::plugin::registry::kept::{GoodNote, Slot};
use crate::plugin::registry::sources::Origin;
use crate::plugin::registry::status::State;
use crate::plugin::registry::{Place, PluginSet, Plugins};
use crate::telemetry::plugins::{ActingFact, PluginFact, Swap};

/// Longest sleep between two looks at what is due.
const LOOK: Duration = Duration::from_secs(60);

/// A plugin whose component is another one than before.
struct Change {
    plugin: String,
    new: Arc<Version>,
    old: Option<Digest>,
    services: Vec<String>,
}

impl Plugins {
    /// See [`Plugins::published`].
    pub(crate) fn publish(&self, set: &PluginSet) {
        let now = UnixMs::now();
        let changes = self.with(|it| it.go_live(set, now));
        for change in &changes {
            self.begin(change, now);
        }
        self.forget_failures();
        self.settle(now);
        self.clear_away();
        self.keep_conduct();
        self.tell_metrics();
    }

    /// A component's first moment in action.
    fn begin(&self, change: &Change, now: UnixMs) {
        let digest = change.new.digest();
        let conduct = self.with(|it| it.conduct(digest, &self.wake));
        let good = self.kept.good(&change.plugin);
        let proven = matches!(change.new.origin, Origin::Builtin(_))
            || good.iter().any(|it| it.digest == digest && it.passed);
        let returned = conduct.is_quarantined();
        if !proven || returned {
            conduct.watch(now);
        }
        if let Some(old) = change.old {
            for service in &change.services {
                self.backing.states.fork(service, old, digest);
            }
            let counts = self.metrics.plugins().plugin(&change.plugin);
            counts.swapped(Swap::Swapped);
        }
        let note = GoodNote { digest, at: now.0, passed: proven };
        self.kept.acted(&change.plugin, note, change.new.bytes.as_deref());
        tracing::info!(
            plugin = change.plugin,
            digest = digest.short(),
            version = change.new.proof.version,
            source = change.new.origin.word(),
            probation = !proven || returned,
            "a plugin's component acts"
        );
    }

    /// What lost or failed is kept no longer.
    fn forget_failures(&self) {
        let (retired, failed) = self.with(|it| {
            let lost = it.entries.iter_mut().filter_map(|(name, entry)| {
                std::mem::take(&mut entry.retired).then(|| name.clone())
            });
            let retired: Vec<String> = lost.collect();
            let away = it.conducts.values().filter(|it| it.is_quarantined());
            let failed: Vec<Digest> = away.map(|it| it.digest).collect();
            (retired, failed)
        });
        for plugin in retired {
            if let Some(push) = self.kept.forget(&plugin, Slot::Active) {
                tracing::info!(plugin, digest = push.digest.short(), "a push no longer counts");
            }
        }
        let names = self.with(|it| it.entries.keys().cloned().collect::<Vec<_>>());
        for digest in failed {
            self.backing.states.forget(digest);
            names.iter().for_each(|it| self.kept.failed(it, digest));
        }
    }

    /// Ends probations whose time has come.
    pub(crate) fn settle(&self, now: UnixMs) {
        let conducts = self.with(|it| it.conducts.values().cloned().collect::<Vec<_>>());
        let passed: Vec<Digest> =
            conducts.iter().filter(|it| it.settle(now)).map(|it| it.digest).collect();
        if passed.is_empty() {
            return;
        }
        let settled = self.with(|it| it.settled(&passed));
        for (plugin, version, previous) in settled {
            let note = GoodNote { digest: version.digest(), at: now.0, passed: true };
            self.kept.acted(&plugin, note, version.bytes.as_deref());
            let elsewhere = |it: Digest| self.with(|memory| memory.is_acting(it));
            if let Some(previous) = previous.filter(|it| !elsewhere(*it)) {
                self.backing.states.forget(previous);
            }
            tracing::info!(
                plugin,
                digest = version.digest().short(),
                "a component is off probation"
            );
        }
    }

    /// Drops components, states and inputs that nobody can use any more.
    fn clear_away(&self) {
        let used = self.forget_components();
        let now = UnixMs::now();
        self.with(|it| {
            it.conducts.retain(|digest, it| used.contains(digest) || it.is_remembered(now));
            it.made.acting.retain(|_, it| it.strong_count() > 0);
            it.made.filters.retain(|_, it| it.strong_count() > 0);
        });
        let places =
            self.with(|it| it.wanted.uses.iter().map(|it| it.place.clone()).collect::<Vec<_>>());
        self.backing.recorder.retain(|it| places.contains(it));
        let services: Vec<&str> = places
            .iter()
            .filter_map(|it| match it {
                Place::Service(name) => Some(name.as_str()),
                Place::Alerts | Place::Route(..) => None,
            })
            .collect();
        self.backing
            .states
            .retain(|service, digest| services.contains(&service) && used.contains(&digest));
    }

    /// Drops compiled components that nobody can come back to; what can be.
    pub(crate) fn forget_components(&self) -> std::collections::HashSet<Digest> {
        let used = self.with(|it| it.used());
        self.prover.retain(|it| used.contains(&it));
        used
    }

    fn tell_metrics(&self) {
        let facts = self.with(|it| {
            let specs = crate::plugin::registry::resolve::specs(&it.wanted).into_iter();
            let facts = specs.filter_map(|spec| {
                let entry = it.entries.get(&spec.name)?;
                Some(PluginFact {
                    acting: entry.acting.as_ref().map(|it| ActingFact {
                        kind: it.component.kind().word(),
                        version: it.proof.version.clone(),
                        digest: it.digest().short(),
                    }),
                    quarantined: it.state(&spec, entry).0 == State::Quarantined,
                    plugin: spec.name,
                })
            });
            facts.collect()
        });
        self.metrics.plugins().set_facts(facts);
    }

    /// See [`Plugins::changed`].
    pub(crate) async fn wait_for_change(&self) {
        loop {
            let now = UnixMs::now();
            self.settle(now);
            if self.is_due(now) {
                return;
            }
            let sleep = self.with(|it| it.next_look(now));
            tokio::select! {
                () = self.wake.notified() => return,
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Whether a quarantine is over whose component has not been tried again; each is told once.
    fn is_due(&self, now: UnixMs) -> bool {
        self.with(|it| {
            let mut due = it.conducts.values().map(|it| it.take_due(now)).collect::<Vec<_>>();
            due.retain(|it| *it);
            !due.is_empty()
        })
    }
}

impl Memory {
    /// Takes a set as live; what has changed by it.
    fn go_live(&mut self, set: &PluginSet, now: UnixMs) -> Vec<Change> {
        let before = std::mem::replace(&mut self.live, Live::of(set));
        let mut changes = Vec::new();
        for (name, entry) in &mut self.entries {
            let acts =
                self.live.all().find(|it| it.plugin == *name).map(|it| it.component.digest());
            let used = self.wanted.uses.iter().any(|it| it.plugin.as_ref() == Some(name));
            // A set may be older than the last proof. What nobody uses is ready, which is as good as acting.
            let known = [entry.chosen.clone(), entry.acting.clone(), entry.previous.clone()];
            let chosen = match acts {
                Some(acts) => known.into_iter().flatten().find(|it| it.digest() == acts),
                None => entry.chosen.clone().filter(|_| !used),
            };
            let old = entry.acting.as_ref().map(|it| it.digest());
            let new = chosen.as_ref().map(|it| it.digest());
            if old == new {
                continue;
            }
            entry.since = Some(now);
            if let Some(acting) = entry.acting.take() {
                entry.previous = Some(acting);
            }
            entry.acting.clone_from(&chosen);
            let Some(new) = chosen else { continue };
            let services = before
                .policies
                .iter()
                .filter(|it| it.component.as_ref().is_some_and(|it| it.plugin == *name));
            let services = services.map(|it| it.service.clone()).collect();
            let old = old.or(entry.previous.as_ref().map(|it| it.digest()));
            changes.push(Change { plugin: name.clone(), new, old, services });
        }
        let wanted = crate::plugin::registry::resolve::specs(&self.wanted);
        self.entries.retain(|name, _| wanted.iter().any(|it| it.name == *name));
        changes
    }

    /// Plugins that act with components whose probation has just ended, and what acted before them.
    fn settled(&self, passed: &[Digest]) -> Vec<(String, Arc<Version>, Option<Digest>)> {
        let acting = self.entries.iter().filter_map(|(name, entry)| {
            let version = entry.acting.clone().filter(|it| passed.contains(&it.digest()))?;
            Some((name.clone(), version, entry.previous.as_ref().map(|it| it.digest())))
        });
        acting.collect()
    }

    fn is_acting(&self, digest: Digest) -> bool {
        let mut acting = self.entries.values().filter_map(|it| it.acting.as_ref());
        acting.any(|it| it.digest() == digest)
    }

    /// Components that somebody can still come back to.
    fn used(&self) -> std::collections::HashSet<Digest> {
        let entries = self.entries.values();
        let versions = entries.flat_map(|it| [&it.acting, &it.previous, &it.chosen]);
        let besides = self.entries.values().filter_map(|it| it.beside.as_ref());
        let besides = besides.map(|it| it.component.digest());
        versions.flatten().map(|it| it.digest()).chain(besides).collect()
    }

    fn next_look(&self, now: UnixMs) -> Duration {
        let due = self.conducts.values().filter_map(|it: &Arc<Conduct>| match it.standing() {
            Standing::Good => None,
            Standing::Probation { ends } => Some(ends),
            Standing::Quarantined { until, .. } => Some(until),
        });
        let next = due.filter(|it| *it > now).min();
        let wait = next.map_or(LOOK, |it| Duration::from_millis(it.0.saturating_sub(now.0)));
        wait.clamp(Duration::from_millis(1), LOOK)
    }
}
