//! Metrics of plugins: calls by outcome, durations from microseconds on, swaps, and the values that guests record.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::telemetry::exposition::{Exposition, counter, gauge};
use crate::telemetry::guest_metric::GUEST_BOUNDS;
pub use crate::telemetry::guest_metric::{GuestKind, GuestMetric};

/// Upper bounds of the duration buckets in nanoseconds; the last bucket has none.
const BOUNDS_NS: [u64; 13] = [
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    2_500_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
];

/// How a call ended: label `outcome` of `headgate_plugin_calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    Ok,
    Trap,
    Timeout,
    Memory,
    Data,
    InvalidOutput,
    Error,
    Settings,
    Busy,
}

const RAN: [&str; 9] =
    ["ok", "trap", "timeout", "memory", "data", "invalid-output", "error", "settings", "busy"];

/// What became of a component: label `result` of `headgate_plugin_swaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It acts in the place of another.
    Swapped,
    /// It was not let in.
    Refused,
    /// Its faults were too many.
    Quarantined,
    /// An earlier one was chosen again.
    RolledBack,
}

const SWAPS: [&str; 4] = ["swapped", "refused", "quarantined", "rolled-back"];

/// How a shadow's answer compares: label `outcome` of `headgate_plugin_shadow_calls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Agree,
    Differ,
    Fault,
}

const COMPARED: [&str; 3] = ["agree", "differ", "fault"];

/// Counters of one plugin by the operator's name.
#[derive(Debug, Default)]
pub struct PluginCounts {
    calls: [AtomicU64; RAN.len()],
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
    fallbacks: AtomicU64,
    swaps: [AtomicU64; SWAPS.len()],
    shadow: [AtomicU64; COMPARED.len()],
    memory_max: AtomicU64,
    state_bytes: AtomicU64,
    lines_dropped: AtomicU64,
    values_dropped: AtomicU64,
    actions_dropped: AtomicU64,
    suppressions_denied: AtomicU64,
}

fn add(to: &[AtomicU64], number: usize) {
    if let Some(it) = to.get(number) {
        it.fetch_add(1, Relaxed);
    }
}

impl PluginCounts {
    /// A call ended after `took`.
    pub fn called(&self, ran: Ran, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.calls, ran as usize);
        add(&self.buckets, BOUNDS_NS.partition_point(|bound| *bound < ns));
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// Native code or the fail mode acted in its place.
    pub fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Relaxed);
    }

    pub fn swapped(&self, swap: Swap) {
        add(&self.swaps, swap as usize);
    }

    pub fn compared(&self, outcome: Compared) {
        add(&self.shadow, outcome as usize);
    }

    pub fn took_memory(&self, bytes: usize) {
        self.memory_max.fetch_max(bytes as u64, Relaxed);
    }

    /// Bytes of state that a policy saved last.
    pub fn saved(&self, bytes: usize) {
        self.state_bytes.store(bytes as u64, Relaxed);
    }

    /// Log lines and metric values beyond their limits.
    pub fn dropped(&self, lines: u64, values: u64) {
        if lines > 0 {
            self.lines_dropped.fetch_add(lines, Relaxed);
        }
        if values > 0 {
            self.values_dropped.fetch_add(values, Relaxed);
        }
    }

    /// Actions that a policy proposed without the operator's grant.
    pub fn actions_dropped(&self, count: usize) {
        self.actions_dropped.fetch_add(count as u64, Relaxed);
    }

    /// A formatter would have kept back what must go out.
    pub fn suppression_denied(&self) {
        self.suppressions_denied.fetch_add(1, Relaxed);
    }
}

/// What acts under a name, for `headgate_plugin_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFact {
    pub plugin: String,
    /// `None`: native code or the fail mode acts.
    pub acting: Option<ActingFact>,
    /// Whether a component of it is put away.
    pub quarantined: bool,
}

/// The component that acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActingFact {
    pub kind: &'static str,
    pub version: String,
    pub digest: String,
}

/// A guest's metric family: help and kind are those of the first who declared it.
#[derive(Debug)]
struct Family {
    help: String,
    kind: GuestKind,
    /// By plugin and place.
    values: BTreeMap<(String, String), Arc<GuestMetric>>,
}

#[derive(Debug, Default)]
struct Table {
    plugins: BTreeMap<String, Arc<PluginCounts>>,
    guests: BTreeMap<String, Family>,
    facts: Vec<PluginFact>,
}

/// All metrics of plugins.
#[derive(Debug, Default)]
pub struct PluginMetrics {
    table: Mutex<Table>,
}

/// Endings that the text format gives a meaning of its own.
const SUFFIXES: [&str; 6] = ["_total", "_bucket", "_count", "_sum", "_info", "_created"];

/// Families of our own below `headgate_plugin_`, which no guest may fill.
const OWN: [&str; 14] = [
    "info",
    "calls",
    "call_duration_seconds",
    "fallbacks",
    "swaps",
    "shadow_calls",
    "memory_max_bytes",
    "state_bytes",
    "log_dropped",
    "metric_dropped",
    "actions_dropped",
    "suppressions_denied",
    "quarantined",
    "guest",
];

/// Name of a guest's family: without endings that would clash with those of another.
fn family_name(declared: &str) -> String {
    let mut name = declared;
    while let Some(rest) = SUFFIXES.iter().find_map(|it| name.strip_suffix(it)) {
        name = rest;
    }
    let own = OWN.contains(&name) || name.is_empty();
    if own { format!("guest_{name}") } else { name.to_owned() }
}

impl PluginMetrics {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of one plugin; the same for the same name.
    pub fn plugin(&self, name: &str) -> Arc<PluginCounts> {
        Arc::clone(self.table().plugins.entry(name.to_owned()).or_default())
    }

    /// A metric that a guest declared; `None` when another declared the same name with another kind.
    pub fn guest(
        &self,
        (name, help, kind): (&str, &str, GuestKind),
        plugin: &str,
        place: &str,
    ) -> Option<Arc<GuestMetric>> {
        let mut table = self.table();
        let family = table.guests.entry(family_name(name)).or_insert_with(|| Family {
            help: help.to_owned(),
            kind,
            values: BTreeMap::new(),
        });
        if family.kind != kind {
            return None;
        }
        let labels = (plugin.to_owned(), place.to_owned());
        let made = || Arc::new(GuestMetric::new(kind));
        Some(Arc::clone(family.values.entry(labels).or_insert_with(made)))
    }

    /// What acts now.
    pub fn set_facts(&self, facts: Vec<PluginFact>) {
        self.table().facts = facts;
    }

    /// Writes all families.
    pub(crate) fn write(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let table = self.table();
        table.calls(page)?;
        table.plain(page)?;
        table.facts(page)?;
        table.guests(page)
    }
}

type Read = fn(&PluginCounts) -> &AtomicU64;

const COUNTERS: [(&str, &str, Read); 5] = [
    ("headgate_plugin_fallbacks", "Times that something else acted", |it| &it.fallbacks),
    ("headgate_plugin_log_dropped", "Log lines beyond the limits", |it| &it.lines_dropped),
    ("headgate_plugin_metric_dropped", "Metric values dropped", |it| &it.values_dropped),
    ("headgate_plugin_actions_dropped", "Actions without a grant", |it| &it.actions_dropped),
    ("headgate_plugin_suppressions_denied", "Alerts sent in spite of the formatter", |it| {
        &it.suppressions_denied
    }),
];

const GAUGES: [(&str, &str, Read); 2] = [
    ("headgate_plugin_memory_max_bytes", "Most memory that a call took", |it| &it.memory_max),
    ("headgate_plugin_state_bytes", "State that a policy saved last", |it| &it.state_bytes),
];

impl Table {
    fn calls(&self, page: &mut Exposition<'_>) -> fmt::Result {
        self.labelled(page, ("headgate_plugin_calls", "Calls by outcome", "outcome"), |it| {
            RAN.into_iter().zip(&it.calls).collect()
        })?;
        self.labelled(page, ("headgate_plugin_swaps", "Swaps by result", "result"), |it| {
            SWAPS.into_iter().zip(&it.swaps).collect()
        })?;
        let shadow = ("headgate_plugin_shadow_calls", "Calls of shadows", "outcome");
        self.labelled(page, shadow, |it| COMPARED.into_iter().zip(&it.shadow).collect())?;
        page.family(
            "headgate_plugin_call_duration_seconds",
            "Duration of a call, the making of an instance included",
            MetricType::Histogram,
            |metric| {
                for (plugin, it) in &self.plugins {
                    let bounds = BOUNDS_NS.iter().map(|it| *it as f64 / 1e9);
                    let sum = it.sum_ns.load(Relaxed) as f64 / 1e9;
                    histogram(metric, &[("plugin", plugin)], sum, (bounds, &it.buckets))?;
                }
                Ok(())
            },
        )
    }

    /// A counter by plugin and another closed label.
    fn labelled(
        &self,
        page: &mut Exposition<'_>,
        (name, help, label): (&str, &str, &str),
        values: impl Fn(&PluginCounts) -> Vec<(&'static str, &AtomicU64)>,
    ) -> fmt::Result {
        page.family(name, help, MetricType::Counter, |metric| {
            for (plugin, it) in &self.plugins {
                for (word, value) in values(it) {
                    let labels = [("plugin", plugin.as_str()), (label, word)];
                    counter(metric, &labels, value.load(Relaxed))?;
                }
            }
            Ok(())
        })
    }

    fn plain(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let each = |read: Read| {
            let plugins = self.plugins.iter();
            plugins.map(move |(name, it)| (name.as_str(), read(it).load(Relaxed)))
        };
        for (name, help, read) in COUNTERS {
            page.counters(name, help, "plugin", each(read))?;
        }
        for (name, help, read) in GAUGES {
            page.gauges(name, help, "plugin", each(read))?;
        }
        Ok(())
    }

    fn facts(&self, page: &mut Exposition<'_>) -> fmt::Result {
        page.family("headgate_plugin", "What acts under a name", MetricType::Info, |metric| {
            for (plugin, it) in
                self.facts.iter().filter_map(|it| Some((&it.plugin, it.acting.as_ref()?)))
            {
                metric.encode_info(&[
                    ("plugin", plugin.as_str()),
                    ("kind", it.kind),
                    ("version", it.version.as_str()),
                    ("digest", it.digest.as_str()),
                ])?;
            }
            Ok(())
        })?;
        let away = self.facts.iter().map(|it| (it.plugin.as_str(), u64::from(it.quarantined)));
        page.gauges("headgate_plugin_quarantined", "Whether it is put away", "plugin", away)
    }

    fn guests(&self, page: &mut Exposition<'_>) -> fmt::Result {
        for (name, family) in &self.guests {
            let kind = match family.kind {
                GuestKind::Counter => MetricType::Counter,
                GuestKind::Gauge => MetricType::Gauge,
                GuestKind::Histogram => MetricType::Histogram,
            };
            page.family(&format!("headgate_plugin_{name}"), &family.help, kind, |metric| {
                for ((plugin, place), it) in &family.values {
                    let labels = [("plugin", plugin.as_str()), ("place", place.as_str())];
                    match family.kind {
                        GuestKind::Counter => counter(metric, &labels, it.read())?,
                        GuestKind::Gauge => gauge(metric, &labels, it.read())?,
                        GuestKind::Histogram => {
                            let bounds = GUEST_BOUNDS.into_iter();
                            histogram(metric, &labels, it.read(), (bounds, &it.buckets))?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn histogram(
    metric: &mut MetricEncoder<'_>,
    labels: &[(&str, &str)],
    sum: f64,
    (bounds, buckets): (impl Iterator<Item = f64>, &[AtomicU64]),
) -> fmt::Result {
    let counts = buckets.iter().map(|it| it.load(Relaxed));
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
    let count = buckets.iter().map(|it| it.1).sum();
    metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;

    use super::*;

    #[test]
    fn everything_of_a_plugin_is_on_the_page_once() {
        let metrics = Metrics::new(1);
        let it = metrics.plugins().plugin("slo");
        it.called(Ran::Ok, Duration::from_micros(4));
        it.called(Ran::Timeout, Duration::from_millis(100));
        it.fell_back();
        it.swapped(Swap::Quarantined);
        it.compared(Compared::Differ);
        it.took_memory(65_536);
        it.dropped(3, 0);
        let facts = ["a", "b"].map(|plugin| PluginFact {
            plugin: plugin.to_owned(),
            acting: (plugin == "a").then(|| ActingFact {
                kind: "policy",
                version: "1.0.0".to_owned(),
                digest: "abc".to_owned(),
            }),
            quarantined: plugin == "b",
        });
        metrics.plugins().set_facts(facts.to_vec());
        for (name, kind) in [
            ("burn_total", GuestKind::Counter),
            ("calls", GuestKind::Gauge),
            ("size", GuestKind::Histogram),
        ] {
            let guest = metrics.plugins().guest((name, "help", kind), "slo", "service a").unwrap();
            [0.5, 2.0, f64::NAN].into_iter().for_each(|it| guest.record(it));
        }
        let text = metrics.render();
        for line in [
            "headgate_plugin_calls_total{plugin=\"slo\",outcome=\"ok\"} 1",
            "headgate_plugin_calls_total{plugin=\"slo\",outcome=\"timeout\"} 1",
            "headgate_plugin_call_duration_seconds_bucket{le=\"0.001\",plugin=\"slo\"} 1",
            "headgate_plugin_call_duration_seconds_count{plugin=\"slo\"} 2",
            "headgate_plugin_fallbacks_total{plugin=\"slo\"} 1",
            "headgate_plugin_swaps_total{plugin=\"slo\",result=\"quarantined\"} 1",
            "headgate_plugin_shadow_calls_total{plugin=\"slo\",outcome=\"differ\"} 1",
            "headgate_plugin_memory_max_bytes{plugin=\"slo\"} 65536",
            "headgate_plugin_log_dropped_total{plugin=\"slo\"} 3",
            "headgate_plugin_info{plugin=\"a\",kind=\"policy\",version=\"1.0.0\",digest=\"abc\"} 1",
            "headgate_plugin_quarantined{plugin=\"b\"} 1",
            "headgate_plugin_burn_total{plugin=\"slo\",place=\"service a\"} 2.5",
            "headgate_plugin_guest_calls{plugin=\"slo\",place=\"service a\"} 2.0",
            "headgate_plugin_size_count{plugin=\"slo\",place=\"service a\"} 2",
        ] {
            assert!(text.lines().any(|it| it == line), "no line {line}\nin\n{text}");
        }
        let mut families: Vec<&str> = text.lines().filter(|it| it.starts_with("# TYPE")).collect();
        let all = families.len();
        families.dedup();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), all);
        assert!(!text.contains("headgate_plugin_info{plugin=\"b\""));
    }

    #[test]
    fn a_name_has_one_kind_whoever_declares_it() {
        let metrics = PluginMetrics::default();
        let first = metrics.guest(("x", "", GuestKind::Counter), "a", "alerts").unwrap();
        let again = metrics.guest(("x_total", "", GuestKind::Counter), "a", "alerts").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert!(metrics.guest(("x", "", GuestKind::Gauge), "b", "alerts").is_none());
        first.record(-1.0);
        assert!(first.read().abs() < f64::EPSILON, "a counter does not fall");
    }

    #[test]
    fn a_guests_name_clashes_with_no_other() {
        for (declared, family) in [
            ("errors", "errors"),
            ("errors_total", "errors"),
            ("size_bucket", "size"),
            ("calls_total", "guest_calls"),
            ("info", "guest_info"),
        ] {
            assert_eq!(family_name(declared), family);
        }
    }
}
