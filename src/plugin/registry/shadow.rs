//! A candidate that runs beside what acts, on the same input and without effect; what differs is counted and shown.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::alert::{Event, Message};
use crate::model::health::{Verdict, Window};
use crate::plugin::facts::Facts;
use crate::plugin::host::{Component, FilterDecision};
use crate::plugin::registry::states::States;
use crate::plugin::{Digest, Fault, Said};
use crate::telemetry::plugins::{Compared, PluginCounts};

/// Differences that are shown.
const EXAMPLES: usize = 8;

/// What all runs of one candidate showed.
#[derive(Debug, Default)]
pub struct Comparison {
    pub(crate) calls: AtomicU64,
    pub(crate) differ: AtomicU64,
    pub(crate) faults: AtomicU64,
    examples: Mutex<Vec<String>>,
}

/// A candidate at one place.
#[derive(Clone, Debug)]
pub struct Beside {
    pub(crate) component: Component,
    pub(crate) settings: Arc<str>,
    pub(crate) comparison: Arc<Comparison>,
    pub(crate) counts: Arc<PluginCounts>,
}

impl Comparison {
    pub(crate) fn examples(&self) -> Vec<String> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn compared(&self, outcome: Compared, example: impl FnOnce() -> String) {
        self.calls.fetch_add(1, Relaxed);
        match outcome {
            Compared::Agree => return,
            Compared::Differ => self.differ.fetch_add(1, Relaxed),
            Compared::Fault => self.faults.fetch_add(1, Relaxed),
        };
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }
}

impl Beside {
    pub(crate) fn digest(&self) -> Digest {
        self.component.digest()
    }

    /// Judges the same window with the candidate's own state.
    pub(crate) fn judge(
        &self,
        service: &str,
        window: &Window,
        acted: &Result<Verdict, Fault>,
        states: &States,
    ) {
        let digest = self.digest();
        let prior = states.get(service, digest);
        let called = self.component.evaluate(&self.settings, window, prior.as_ref());
        let new = called.outcome;
        if let Ok(verdict) = &new {
            let version = self.component.info().state_version;
            states.put(service, digest, version, verdict.state.as_deref());
        }
        self.compare(&format!("{service} at {}", window.now_ms), acted, &new, verdict_text);
    }

    /// Puts the same event into words.
    pub(crate) fn format(&self, event: &Event, acted: &Result<Option<Message>, Fault>) {
        let new = self.component.format(&self.settings, event).outcome;
        self.compare(&format!("{} {:?}", event.id, event.phase), acted, &new, message_text);
    }

    /// Decides about a request that the acting filter has decided about, in an instance of its own; off the data threads.
    pub(crate) fn decide(&self, facts: &mut Facts, acted: &Result<FilterDecision, Fault>) {
        let made = self.component.instance(&self.settings);
        let new = made.and_then(|mut it| it.on_request(facts, &mut Said::default()));
        self.compare(&format!("request at {}", facts.now_ms), acted, &new, |it| format!("{it:?}"));
    }

    fn compare<T>(
        &self,
        input: &str,
        acted: &Result<T, Fault>,
        new: &Result<T, Fault>,
        text: impl Fn(&T) -> String,
    ) {
        let (old_text, new_text) = (outcome_text(acted, &text), outcome_text(new, &text));
        let outcome = match new {
            Err(_) => Compared::Fault,
            Ok(_) if old_text == new_text => Compared::Agree,
            Ok(_) => Compared::Differ,
        };
        self.counts.compared(outcome);
        self.comparison.compared(outcome, || format!("{input}: {old_text} → {new_text}"));
    }
}

/// An outcome as people compare it.
pub(crate) fn outcome_text<T>(outcome: &Result<T, Fault>, text: impl Fn(&T) -> String) -> String {
    match outcome {
        Ok(it) => text(it),
        Err(fault) => format!("fault: {fault}"),
    }
}

/// What of a verdict matters to the host; words and state may differ between versions.
pub(crate) fn verdict_text(verdict: &Verdict) -> String {
    let status = serde_json::to_value(verdict.status).unwrap_or_default();
    let status = status.as_str().unwrap_or_default().to_owned();
    match verdict.actions.len() {
        0 => format!("{status} {}", verdict.code),
        _ => {
            let actions = serde_json::to_string(&verdict.actions).unwrap_or_default();
            format!("{status} {} {actions}", verdict.code)
        }
    }
}

/// A message as text.
pub(crate) fn message_text(message: &Option<Message>) -> String {
    match message {
        Some(it) => serde_json::to_string(it).unwrap_or_default(),
        None => "suppressed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::plugin::facts::Facts;
    use crate::plugin::registry::{
        Place, PluginStatus, Plugins, PushOptions, Source, Spec, Use, Wanted, builtin,
    };
    use crate::plugin::request_filter::{CoreFilters, Filtered, OnFailure};
    use crate::plugin::{Class, Digest};
    use crate::telemetry::metrics::Metrics;

    fn wanted() -> Wanted {
        let spec = Spec {
            name: "mine".to_owned(),
            source: Source::Builtin("require-header".to_owned()),
            pin: None,
            class: Class::Default,
            grants: Vec::new(),
            shadow: None,
            at: "plugins.mine".to_owned(),
        };
        let used = Use {
            place: Place::Route(0, 0),
            plugin: Some("mine".to_owned()),
            settings: json!({ "header": "x-tenant" }),
            on_failure: OnFailure::Closed,
            at: "routes[0].filters[0]".to_owned(),
        };
        Wanted { plugins: vec![spec], uses: vec![used] }
    }

    fn status(plugins: &Plugins) -> PluginStatus {
        plugins.status().into_iter().find(|it| it.name == "mine").unwrap()
    }

    #[test]
    fn a_filter_in_the_shadow_is_asked_too_and_its_answer_has_no_effect() {
        let plugins = Plugins::open(None, Metrics::new(1));
        let wanted = wanted();
        let before = plugins.resolve(&wanted);
        plugins.published(&before.set);
        // Other bytes that do the same: a custom section is added.
        let acts = builtin::find("require-header").unwrap().wasm;
        let candidate = [acts, &[0, 3, 1, b'v', 1]].concat();
        let shadow = PushOptions { shadow: true, ..PushOptions::default() };
        plugins.push("mine", &candidate, &shadow).unwrap();

        let proven = plugins.resolve(&wanted);
        plugins.published(&proven.set);
        let filters = &proven.set.filters[0];
        let answer = CoreFilters::default().run(filters, &mut Facts::default());

        assert_ne!(before.set.hash, proven.set.hash);
        assert!(matches!(answer, Filtered::Reply { .. }), "{answer:?}");
        let digest = filters[0].component.as_ref().map(|it| it.component.digest());
        assert_eq!(digest, Some(Digest::of(acts)));
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while status(&plugins).shadow.unwrap().calls == 0 {
            assert!(tokio::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let shadow = status(&plugins).shadow.unwrap();
        assert_eq!((shadow.digest, shadow.calls), (Digest::of(&candidate), 1));
        assert_eq!((shadow.differ, shadow.faults), (0, 0), "{shadow:?}");
    }
}
