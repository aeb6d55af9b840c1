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
