//! Resolves everything that a config asks for: decides about the plugins in parallel, and makes one set of what acts.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::plugin::alert_formatter::AlertFormatter;
use crate::plugin::health_policy::HealthPolicy;
use crate::plugin::plain::Plain;
use crate::plugin::registry::acting::{Acting, Shared, next_id};
use crate::plugin::registry::decide::Decided;
use crate::plugin::registry::entries::Version;
use crate::plugin::registry::prove::settings_text;
use crate::plugin::registry::shadow::Beside;
use crate::plugin::registry::{
    Note, Place, PluginSet, Plugins, Proven, Source, Spec, Use, Wanted, builtin,
};
use crate::plugin::request_filter::RequestFilter;
use crate::plugin::threshold::Threshold;
use crate::plugin::workers::{THREAD_STACK, unbroken};
use crate::plugin::{Class, Issue, MetricKind, Refusal};
use crate::telemetry::plugins::GuestKind;

impl Plugins {
    /// See [`Plugins::resolve`].
    pub(crate) fn resolve_all(&self, wanted: &Wanted) -> Proven {
        self.with(|it| it.wanted = wanted.clone());
        let specs = specs(wanted);
        let decided = self.decide_all(&specs, wanted);
        self.with(|it| {
            for one in &decided {
                let entry = it.entry(&one.spec.name);
                entry.chosen.clone_from(&one.version);
                entry.beside.clone_from(&one.beside);
            }
        });
        let mut assembly = Assembly { plugins: self, decided: &decided, notes: Vec::new() };
        let set = assembly.set(wanted);
        let notes = decided.iter().flat_map(|it| it.notes.iter().cloned());
        let mut all: Vec<Note> = notes.chain(assembly.notes).collect();
        all.dedup();
        Proven { set, notes: all }
    }

    /// Decides about every plugin on threads that have room for a guest's stack.
    fn decide_all(&self, specs: &[Spec], wanted: &Wanted) -> Vec<Decided> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<(usize, Decided)>> = Mutex::default();
        let work = || {
            while let Some((number, spec)) =
                Some(next.fetch_add(1, Relaxed)).and_then(|it| Some((it, specs.get(it)?)))
            {
                let uses = uses_of(wanted, &spec.name);
                let decided = unbroken(|| self.decide(spec, &uses))
                    .unwrap_or_else(|it| broken(spec, &uses, &it));
                done.lock().unwrap_or_else(PoisonError::into_inner).push((number, decided));
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for number in 0..cores.min(specs.len()) {
                let thread = thread::Builder::new()
                    .name(format!("prove-{number}"))
                    .stack_size(THREAD_STACK)
                    .spawn_scoped(scope, work);
                if let Err(error) = thread {
                    tracing::error!(%error, "no thread to prove plugins can be had");
                }
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|it| it.0);
        let left = specs.get(done.len()..).unwrap_or_default().iter();
        let busy = crate::plugin::Fault::Busy;
        let left = left.map(|it| broken(it, &uses_of(wanted, &it.name), &busy)).collect::<Vec<_>>();
        done.into_iter().map(|it| it.1).chain(left).collect()
    }

    /// What all uses of a component under one name count by.
    fn shared(&self, plugin: &str, place: &Place, version: &Version) -> Shared {
        let (conduct, voice) = self.with(|it| {
            let conduct = it.conduct(version.digest(), &self.wake);
            (conduct, Arc::clone(&it.entry(plugin).voice))
        });
        let metrics = self.metrics.plugins();
        let place = place.to_string();
        let guests = version.component.info().metrics.iter().map(|it| {
            let kind = match it.kind {
                MetricKind::Counter => GuestKind::Counter,
                MetricKind::Gauge => GuestKind::Gauge,
                MetricKind::Histogram => GuestKind::Histogram,
            };
            metrics.guest((&it.name, &it.help, kind), plugin, &place)
        });
        Shared {
            conduct,
            voice,
            counts: metrics.plugin(plugin),
            metrics: guests.collect(),
            backing: Some(Arc::clone(&self.backing)),
        }
    }
}

/// A plugin about which nothing could be decided.
fn broken(spec: &Spec, uses: &[&Use], fault: &crate::plugin::Fault) -> Decided {
    let refusal = Refusal::new("compile", format!("could not be proven: {fault}"));
    Decided {
        spec: spec.clone(),
        version: None,
        fits: vec![false; uses.len()],
        beside: None,
        notes: vec![Note { at: spec.at.clone(), refusal, fatal: false }],
    }
}

fn uses_of<'w>(wanted: &'w Wanted, plugin: &str) -> Vec<&'w Use> {
    wanted.uses.iter().filter(|it| it.plugin.as_deref() == Some(plugin)).collect()
}

/// Every plugin that is declared, and the built-in ones that are used without an entry.
pub(crate) fn specs(wanted: &Wanted) -> Vec<Spec> {
    let mut specs = wanted.plugins.clone();
    let used: BTreeSet<&str> = wanted.uses.iter().filter_map(|it| it.plugin.as_deref()).collect();
    for name in used {
        if !specs.iter().any(|it| it.name == name) && builtin::find(name).is_some() {
            specs.push(implied(name));
        }
    }
    specs
}

/// A built-in plugin without an entry. It is the gate's own code and does nothing behind the operator's back: all is granted.
fn implied(name: &str) -> Spec {
    Spec {
        name: name.to_owned(),
        source: Source::Builtin(name.to_owned()),
        pin: None,
        class: Class::Default,
        grants: ["action:snapshot", "action:alert", "header:*"].map(str::to_owned).to_vec(),
        shadow: None,
        at: format!("plugins.{name}"),
    }
}

/// What a component wants and the operator grants. A wanted `header:*` stands for each header that the operator names; his
/// own `header:*` for all but credentials.
pub(crate) fn granted(wants: &[String], grants: &[String]) -> Vec<String> {
    let any = wants.iter().any(|it| it == "header:*");
    let mut granted: Vec<String> = Vec::new();
    for grant in grants.iter().map(|it| it.to_ascii_lowercase()) {
        let header = grant.strip_prefix("header:");
        let asked = wants.iter().any(|it| it.eq_ignore_ascii_case(&grant));
        if asked || (any && header.is_some()) {
            granted.push(grant);
        } else if grant == "header:*" {
            let wanted = wants.iter().map(|it| it.to_ascii_lowercase());
            let named =
                |it: &String| it.strip_prefix("header:").is_some_and(|it| !is_credential(it));
            granted.extend(wanted.filter(named));
        }
    }
    granted.sort_unstable();
    granted.dedup();
    granted
}

/// Headers that a star never covers.
fn is_credential(header: &str) -> bool {
    ["authorization", "proxy-authorization", "cookie", "x-api-key"].contains(&header)
}

/// Makes the set.
struct Assembly<'a> {
    plugins: &'a Plugins,
    decided: &'a [Decided],
    notes: Vec<Note>,
}

impl Assembly<'_> {
    fn set(&mut self, wanted: &Wanted) -> PluginSet {
        let mut hash = Sha256::new();
        let mut set = PluginSet {
            policies: Vec::new(),
            formatter: Arc::new(AlertFormatter::native(Plain::default())),
            filters: Vec::new(),
            hash: [0; 32],
        };
        for (number, used) in wanted.uses.iter().enumerate() {
            let acting = self.acting(wanted, number, used);
            add_to_hash(&mut hash, used, acting.as_deref());
            match &used.place {
                Place::Service(service) => {
                    set.policies.push(Arc::new(self.policy(service, used, acting)));
                }
                Place::Alerts => set.formatter = Arc::new(self.formatter(used, acting)),
                Place::Route(route, _) => {
                    if set.filters.len() <= *route {
                        set.filters.resize_with(route + 1, Vec::new);
                    }
                    let filter = self.filter(used, acting);
                    set.filters
                        .get_mut(*route)
                        .into_iter()
                        .for_each(|it| it.push(Arc::clone(&filter)));
                }
            }
        }
        for it in self.decided.iter().filter_map(|it| it.beside.as_ref()) {
            hash.update(it.component.digest().0);
        }
        set.hash = hash.finalize().into();
        set
    }

    fn decided(&self, used: &Use) -> Option<&Decided> {
        self.decided.iter().find(|it| Some(it.spec.name.as_str()) == used.plugin.as_deref())
    }

    /// The component of a use: the same one as before when nothing of it has changed.
    fn acting(&mut self, wanted: &Wanted, number: usize, used: &Use) -> Option<Arc<Acting>> {
        let plugin = used.plugin.as_ref()?;
        let Some(decided) = self.decided(used) else {
            self.notes.push(Note { at: used.at.clone(), refusal: unknown(plugin), fatal: true });
            return None;
        };
        let before = wanted.uses.iter().take(number);
        let nth = before.filter(|it| it.plugin.as_ref() == Some(plugin)).count();
        let version = decided.version.as_ref().filter(|_| decided.fits.get(nth) == Some(&true))?;
        let settings = settings_text(&used.settings);
        let grants = granted(&version.component.info().wants, &decided.spec.grants);
        let known = self.plugins.with(|it| it.made.acting.get(&used.place)?.upgrade());
        let same = |it: &Arc<Acting>| {
            it.plugin == *plugin
                && it.component.digest() == version.digest()
                && it.component.class() == version.class()
                && *it.settings == *settings
                && it.grants == grants
        };
        if let Some(known) = known.filter(same) {
            return Some(known);
        }
        let shared = self.plugins.shared(plugin, &used.place, version);
        let component = (version.component.clone(), grants);
        let place = used.place.clone();
        let new = Acting::new(plugin.clone(), place.clone(), component, settings.into(), shared);
        let new = Arc::new(new);
        self.plugins.with(|it| it.made.acting.insert(place, Arc::downgrade(&new)));
        Some(new)
    }

    /// Counts for a plugin in whose place native code acts.
    fn missing(
        &self,
        used: &Use,
        acting: Option<&Arc<Acting>>,
    ) -> Option<Arc<crate::telemetry::plugins::PluginCounts>> {
        let plugin = used.plugin.as_ref().filter(|_| acting.is_none())?;
        Some(self.plugins.metrics.plugins().plugin(plugin))
    }

    fn beside(&self, used: &Use) -> Option<Beside> {
        let beside = self.decided(used)?.beside.as_ref()?;
        Some(Beside {
            component: beside.component.clone(),
            settings: settings_text(&used.settings).into(),
            comparison: Arc::clone(&beside.comparison),
            counts: self.plugins.metrics.plugins().plugin(used.plugin.as_deref()?),
        })
    }

    fn policy(&mut self, service: &str, used: &Use, acting: Option<Arc<Acting>>) -> HealthPolicy {
        let native = self.native(used, "threshold", Threshold::new);
        HealthPolicy {
            service: service.to_owned(),
            missing: self.missing(used, acting.as_ref()),
            component: acting,
            native,
            beside: self.beside(used),
            backing: Some(Arc::clone(&self.plugins.backing)),
        }
    }

    fn formatter(&mut self, used: &Use, acting: Option<Arc<Acting>>) -> AlertFormatter {
        let native = self.native(used, "plain", Plain::new);
        AlertFormatter {
            missing: self.missing(used, acting.as_ref()),
            component: acting,
            native,
            beside: self.beside(used),
            backing: Some(Arc::clone(&self.plugins.backing)),
        }
    }

    /// Native code with the use's settings where these are meant for it or for its twin; else with its defaults.
    fn native<T: Default>(
        &mut self,
        used: &Use,
        twin: &str,
        new: impl Fn(&serde_json::Value) -> Result<T, Vec<Issue>>,
    ) -> T {
        let for_twin =
            self.decided(used).is_some_and(|it| it.spec.source == Source::Builtin(twin.to_owned()));
        if used.plugin.is_some() && !for_twin {
            return T::default();
        }
        let none = serde_json::Value::Object(serde_json::Map::new());
        let settings = if used.settings.is_null() { &none } else { &used.settings };
        new(settings).unwrap_or_else(|issues| {
            // The component says the same of its own accord.
            if used.plugin.is_none() {
                self.notes.extend(issues.into_iter().map(|it| native_issue(used, it)));
            }
            T::default()
        })
    }

    fn filter(&self, used: &Use, acting: Option<Arc<Acting>>) -> Arc<RequestFilter> {
        let headers: Vec<String> = acting
            .iter()
            .flat_map(|it| it.grants.iter().filter_map(|it| it.strip_prefix("header:")))
            .map(str::to_owned)
            .collect();
        let plugin = used.plugin.clone().unwrap_or_default();
        let known = self.plugins.with(|it| it.made.filters.get(&used.place)?.upgrade());
        let beside = self.beside(used);
        let same = |it: &Arc<RequestFilter>| {
            it.plugin == plugin
                && it.on_failure == used.on_failure
                && it.headers == headers
                && it.component.as_ref().map(|it| it.id()) == acting.as_ref().map(|it| it.id())
                && it.candidate() == beside.as_ref().map(Beside::digest)
        };
        if let Some(known) = known.filter(same) {
            return known;
        }
        let missing = self.missing(used, acting.as_ref());
        let filter = RequestFilter::new(next_id(), plugin, acting, used.on_failure, headers)
            .backed_by(&self.plugins.backing)
            .missed_by(missing)
            .beside(beside);
        // Here already, so that the first requests find instances. A fault is the first request's to meet: it counts there.
        if let Err(fault) = filter.prepare() {
            tracing::warn!(plugin = filter.plugin, %fault, "no instance of the filter can be made");
        }
        let filter = Arc::new(filter);
        let place = used.place.clone();
        self.plugins.with(|it| it.made.filters.insert(place, Arc::downgrade(&filter)));
        filter
    }
}

fn native_issue(used: &Use, issue: Issue) -> Note {
    let refusal = Refusal { path: Some(issue.path), ..Refusal::new("settings", issue.message) };
    let at = crate::plugin::registry::decide::settings_at(&used.at, refusal.path.as_deref());
    Note { at, refusal, fatal: true }
}

fn unknown(plugin: &str) -> Refusal {
    let known: Vec<String> =
        builtin::BUILTINS.iter().map(|it| format!("{} ({})", it.name, it.kind.word())).collect();
    Refusal::new("unknown-plugin", format!("there is no plugin `{plugin}`"))
        .advice(format!("Declare it under `plugins`, or use a built-in one: {}.", known.join(", ")))
}

fn add_to_hash(hash: &mut Sha256, used: &Use, acting: Option<&Acting>) {
    let digest = acting.map_or([0; 32], |it| it.component.digest().0);
    let grants = acting.map_or_else(String::new, |it| it.grants.join(","));
    let mode = format!("{:?}", used.on_failure);
    let parts = [
        used.place.to_string(),
        used.plugin.clone().unwrap_or_default(),
        settings_text(&used.settings),
        grants,
        mode,
    ];
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(digest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_and_granted_is_had() {
        for (wants, grants, had) in [
            (&["header:x-a"][..], &["header:x-a", "header:x-b"][..], &["header:x-a"][..]),
            (&["header:x-a"], &["header:X-A"], &["header:x-a"]),
            (&["header:*"], &["header:x-a", "header:cookie"], &["header:cookie", "header:x-a"]),
            (&["header:*"], &["header:*"], &["header:*"]),
            (&["header:x-a", "header:cookie"], &["header:*"], &["header:x-a"]),
            (&["header:x-a"], &[], &[]),
            (&[], &["header:x-a", "action:alert"], &[]),
            (&["action:alert", "action:snapshot"], &["action:alert"], &["action:alert"]),
            (&["header:*"], &["action:alert"], &[]),
        ] {
            let owned = |of: &[&str]| of.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            assert_eq!(granted(&owned(wants), &owned(grants)), owned(had), "{wants:?} {grants:?}");
        }
    }

    #[test]
    fn built_in_plugins_need_no_entry_and_an_entry_wins() {
        let used = |plugin: &str| Use {
            place: Place::Alerts,
            plugin: Some(plugin.to_owned()),
            settings: serde_json::Value::Null,
            on_failure: crate::plugin::request_filter::OnFailure::Closed,
            at: "alerts.formatter".to_owned(),
        };
        let mut wanted = Wanted { plugins: Vec::new(), uses: vec![used("plain"), used("mine")] };
        assert_eq!(specs(&wanted), [implied("plain")]);
        let own = Spec { source: Source::File("x.wasm".into()), ..implied("plain") };
        wanted.plugins.push(own.clone());
        assert_eq!(specs(&wanted), [own]);
    }
}
