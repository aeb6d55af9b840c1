//! A proven component with settings that acts at one place, and what it is counted by.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::UnixMs;
use crate::plugin::facts::Facts;
use crate::plugin::host::Component;
use crate::plugin::recorder::SAMPLE_MS;
use crate::plugin::registry::Place;
use crate::plugin::registry::backing::Backing;
use crate::plugin::registry::conduct::Conduct;
use crate::plugin::registry::voice::{Speaker, Voice};
use crate::plugin::{Fault, Level, Line, Said, Spent};
use crate::telemetry::plugins::{GuestMetric, PluginCounts, Ran};

/// A proven component with its settings at one place; immutable but for its counters. Lives on over generations as long as
/// nothing of it changes.
#[derive(Debug)]
pub struct Acting {
    /// The operator's name for the plugin.
    pub plugin: String,
    pub place: Place,
    pub component: Component,
    /// JSON text as `configure` takes it.
    pub settings: Arc<str>,
    /// What the component wants and the operator grants.
    pub grants: Vec<String>,
    id: u64,
    counters: Counters,
    suspended_until: AtomicU64,
    /// When a request was last recorded.
    recorded: AtomicU64,
    shared: Shared,
}

/// How often one use of a plugin was called, and how that went.
#[derive(Debug, Default)]
struct Counters {
    calls: AtomicU64,
    faults: AtomicU64,
    fallbacks: AtomicU64,
}

/// What all uses of a plugin have in common.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) conduct: Arc<Conduct>,
    pub(crate) voice: Arc<Voice>,
    pub(crate) counts: Arc<PluginCounts>,
    /// One for each of `info.metrics`, in its order.
    pub(crate) metrics: Arc<[Option<Arc<GuestMetric>>]>,
    /// Where requests are recorded.
    pub(crate) backing: Option<Arc<Backing>>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A number that no other use and no other filter of the process has.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Relaxed)
}

impl Acting {
    pub(crate) fn new(
        plugin: String,
        place: Place,
        (component, grants): (Component, Vec<String>),
        settings: Arc<str>,
        shared: Shared,
    ) -> Self {
        Self {
            plugin,
            place,
            component,
            settings,
            grants,
            id: next_id(),
            counters: Counters::default(),
            suspended_until: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            shared,
        }
    }

    /// With counters of its own, known to no registry; for benchmarks and tests.
    pub fn alone(plugin: &str, place: Place, component: Component, settings: &str) -> Arc<Self> {
        let shared = Shared {
            conduct: Arc::new(Conduct::new(component.digest(), Arc::default())),
            voice: Arc::default(),
            counts: Arc::default(),
            metrics: Arc::default(),
            backing: None,
        };
        let grants = component.info().wants.clone();
        Arc::new(Self::new(plugin.to_owned(), place, (component, grants), settings.into(), shared))
    }

    /// Unique in the process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A call ended: counts it, and a fault also as a fall-back. Callable from data threads: atomics alone, but after a fault.
    pub fn called(&self, fault: Option<&Fault>, spent: Duration) {
        self.counters.calls.fetch_add(1, Relaxed);
        let ran = fault.map_or(Ran::Ok, ran);
        self.shared.counts.called(ran, spent);
        if fault.is_some() {
            self.counters.faults.fetch_add(1, Relaxed);
            self.fell_back();
        }
        self.shared.conduct.called(fault);
    }

    /// The same with the memory that it took.
    pub(crate) fn spent(&self, fault: Option<&Fault>, spent: Spent) {
        self.shared.counts.took_memory(spent.memory_bytes);
        self.called(fault, spent.time);
    }

    /// Something else acted in its place without a call being made: it is suspended or in quarantine.
    pub fn fell_back(&self) {
        self.counters.fallbacks.fetch_add(1, Relaxed);
        self.shared.counts.fell_back();
    }

    /// What the guest said during a call, for the log, the lines that are kept and the metrics. Never blocks; callable from
    /// data threads.
    pub fn said(&self, said: &Said) {
        for (number, value) in &said.metrics {
            if let Some(Some(metric)) = self.shared.metrics.get(*number) {
                metric.record(*value);
            }
        }
        let mut dropped = u64::from(said.lines_dropped);
        if !said.lines.is_empty() {
            dropped += self.shared.voice.speak(self.speaker(), &said.lines, UnixMs::now());
        }
        self.shared.counts.dropped(dropped, u64::from(said.metrics_dropped));
    }

    /// Tells of a call's fault where the guest's own lines stand, and within the same bounds. Never blocks; callable from
    /// data threads.
    pub fn failed(&self, fault: &Fault) {
        let line = Line { level: Level::Error, text: fault.to_string() };
        let dropped = self.shared.voice.speak(self.speaker(), &[line], UnixMs::now());
        self.shared.counts.dropped(dropped, 0);
    }

    fn speaker(&self) -> Speaker<'_> {
        let digest = self.component.digest();
        Speaker { plugin: &self.plugin, place: &self.place, digest }
    }

    /// Makes no calls until then: a filter that took too much of a core.
    pub fn suspend(&self, until: UnixMs) {
        self.suspended_until.fetch_max(until.0, Relaxed);
    }

    /// Whether no call may be made now: suspended, or its component is in quarantine and nothing has taken over yet.
    pub fn is_suspended(&self, now: UnixMs) -> bool {
        now.0 < self.suspended_until.load(Relaxed) || self.shared.conduct.is_away(now)
    }

    /// Keeps an input on which it failed for the author; JSON.
    pub fn poisoned(&self, fault: &Fault, input: String) {
        self.shared.conduct.poisoned(fault, input, UnixMs::now());
    }

    /// A filter is about to be asked about this request: keeps one now and then, on which candidates are tried. Never blocks;
    /// mostly one atomic.
    pub fn sees(&self, facts: &Facts) {
        let now = facts.now_ms;
        let due = now.saturating_sub(self.recorded.load(Relaxed)) >= SAMPLE_MS;
        if let Some(backing) = self.shared.backing.as_ref().filter(|_| due) {
            self.recorded.store(now, Relaxed);
            backing.recorder.facts(&self.place, facts, UnixMs(now));
        }
    }

    /// Whether the operator lets the component do this (`action:alert`).
    pub fn is_granted(&self, what: &str) -> bool {
        self.grants.iter().any(|it| it == what)
    }

    pub(crate) fn counts(&self) -> &PluginCounts {
        &self.shared.counts
    }

    /// Calls, faults and fall-backs so far.
    pub fn tally(&self) -> (u64, u64, u64) {
        let it = &self.counters;
        (it.calls.load(Relaxed), it.faults.load(Relaxed), it.fallbacks.load(Relaxed))
    }
}

fn ran(fault: &Fault) -> Ran {
    match fault {
        Fault::Trap { .. } => Ran::Trap,
        Fault::Timeout { .. } => Ran::Timeout,
        Fault::Memory { .. } => Ran::Memory,
        Fault::Data { .. } => Ran::Data,
        Fault::Invalid { .. } => Ran::InvalidOutput,
        Fault::Failed { .. } => Ran::Error,
        Fault::Settings(_) => Ran::Settings,
        Fault::Busy => Ran::Busy,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Alerts => f.write_str("alerts"),
            Self::Route(route, number) => write!(f, "route {route} filter {number}"),
        }
    }
}
