//! Metrics of alerts: what waits, what was tried with which outcome, and how late it arrived.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use crate::telemetry::exposition::{Exposition, counter, gauge};

/// Upper bounds of `headgate_alert_delay_seconds` in milliseconds; the last bucket has none.
const BOUNDS_MS: [u64; 12] =
    [50, 100, 250, 500, 1000, 2500, 5000, 15_000, 60_000, 300_000, 3_600_000, 86_400_000];

/// How an attempt ended: label `outcome` of `headgate_alerts_attempts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempted {
    Accepted,
    /// The receiver wants it later, or is broken.
    Again,
    Refused,
    /// No answer.
    Failed,
}

const OUTCOMES: [&str; 4] = ["accepted", "again", "refused", "failed"];

/// Counters of one sink.
#[derive(Debug, Default)]
pub struct SinkCounts {
    attempts: [AtomicU64; OUTCOMES.len()],
    delivered: AtomicU64,
    died: AtomicU64,
    dropped: AtomicU64,
}

impl SinkCounts {
    pub fn attempted(&self, outcome: Attempted) {
        if let Some(it) = self.attempts.get(outcome as usize) {
            it.fetch_add(1, Relaxed);
        }
    }

    /// Refused for good, or given up.
    pub fn died(&self) {
        self.died.fetch_add(1, Relaxed);
    }

    /// By a person, or for want of room.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// What others know at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertGauges {
    pub sinks: Vec<SinkGauges>,
    pub incidents_open: usize,
    /// Name of a store and its condition: one of [`CONDITIONS`].
    pub stores: Vec<(&'static str, &'static str)>,
}

/// What waits for one sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkGauges {
    pub name: String,
    pub waiting: usize,
    pub dead: usize,
}

/// How a store can be.
pub const CONDITIONS: [&str; 4] = ["good", "waiting", "failing", "memory-only"];

type Source = Box<dyn Fn() -> AlertGauges + Send + Sync>;

/// All metrics of alerts.
#[derive(Default)]
pub struct AlertMetrics {
    sinks: Mutex<BTreeMap<String, Arc<SinkCounts>>>,
    delays: [AtomicU64; BOUNDS_MS.len() + 1],
    delay_ms: AtomicU64,
    source: OnceLock<Source>,
}

impl fmt::Debug for AlertMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertMetrics").field("sinks", &self.sinks()).finish_non_exhaustive()
    }
}

impl AlertMetrics {
    fn sinks(&self) -> MutexGuard<'_, BTreeMap<String, Arc<SinkCounts>>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of one sink; the same for the same name.
    pub fn sink(&self, name: &str) -> Arc<SinkCounts> {
        let mut sinks = self.sinks();
        if let Some(known) = sinks.get(name) {
            return Arc::clone(known);
        }
        let new = Arc::<SinkCounts>::default();
        sinks.insert(name.to_owned(), Arc::clone(&new));
        new
    }

    /// A sink has accepted an alert, so long after it was made.
    pub fn delivered(&self, sink: &str, delay: Duration) {
        self.sink(sink).delivered.fetch_add(1, Relaxed);
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.delays.get(BOUNDS_MS.partition_point(|bound| *bound < ms)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.delay_ms.fetch_add(ms, Relaxed);
    }

    /// Says whom to ask for gauges at each scrape; only the first source counts.
    pub fn set_source(&self, source: impl Fn() -> AlertGauges + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// Writes all families.
    pub(crate) fn write(&self, page: &mut Exposition<'_>) -> fmt::Result {
        self.counters(page)?;
        self.delays(page)?;
        match self.source.get() {
            Some(source) => gauges(&source(), page),
            None => Ok(()),
        }
    }

    fn counters(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let sinks = self.sinks().clone();
        let of = |read: fn(&SinkCounts) -> &AtomicU64| {
            sinks.iter().map(move |(name, it)| (name.as_str(), read(it).load(Relaxed)))
        };
        for (name, help, read) in [
            (
                "headgate_alerts_delivered",
                "Alerts that a sink has accepted",
                (|it| &it.delivered) as fn(&SinkCounts) -> &AtomicU64,
            ),
            ("headgate_alerts_refused", "Alerts refused for good or given up", |it| &it.died),
            ("headgate_alerts_dropped", "Alerts dropped by a person or for room", |it| &it.dropped),
        ] {
            page.counters(name, help, "sink", of(read))?;
        }
        page.family(
            "headgate_alerts_attempts",
            "Attempts to deliver, by outcome",
            MetricType::Counter,
            |metric| {
                for (name, it) in &sinks {
                    for (outcome, count) in OUTCOMES.into_iter().zip(&it.attempts) {
                        let labels = [("sink", name.as_str()), ("outcome", outcome)];
                        counter(metric, &labels, count.load(Relaxed))?;
                    }
                }
                Ok(())
            },
        )
    }

    fn delays(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let bounds = BOUNDS_MS.iter().map(|it| *it as f64 / 1e3).chain([f64::INFINITY]);
        let counts = self.delays.iter().map(|it| it.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, it)| it).sum();
        let sum = self.delay_ms.load(Relaxed) as f64 / 1e3;
        page.family(
            "headgate_alert_delay_seconds",
            "From the making of an alert until a sink accepted it",
            MetricType::Histogram,
            |metric| metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
        )
    }
}

fn gauges(now: &AlertGauges, page: &mut Exposition<'_>) -> fmt::Result {
    let each = |read: fn(&SinkGauges) -> usize| {
        now.sinks.iter().map(move |it| (it.name.as_str(), read(it) as u64))
    };
    page.gauges("headgate_outbox_waiting", "Alerts to be sent", "sink", each(|it| it.waiting))?;
    page.gauges(
        "headgate_outbox_dead",
        "Alerts that nobody sends again until a person says so",
        "sink",
        each(|it| it.dead),
    )?;
    page.gauge("headgate_incidents_open", "Incidents that are open", now.incidents_open as u64)?;
    page.family(
        "headgate_store_condition",
        "How a store is: 1 for the condition that it is in",
        MetricType::Gauge,
        |metric| {
            for (store, condition) in &now.stores {
                for it in CONDITIONS {
                    let labels = [("store", *store), ("condition", it)];
                    gauge(metric, &labels, u64::from(it == *condition))?;
                }
            }
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::telemetry::metrics::Metrics;

    use super::*;

    #[test]
    fn everything_of_alerts_is_on_the_page_once() {
        let metrics = Metrics::new(1);
        let alerts = metrics.alerts();
        alerts.sink("ed").attempted(Attempted::Failed);
        alerts.sink("ed").attempted(Attempted::Accepted);
        alerts.delivered("ed", Duration::from_millis(250));
        alerts.delivered("ed", Duration::from_hours(216));
        alerts.sink("hook").died();
        alerts.sink("hook").dropped();
        alerts.set_source(|| AlertGauges {
            sinks: vec![SinkGauges { name: String::from("ed"), waiting: 3, dead: 1 }],
            incidents_open: 2,
            stores: vec![("ledger", "failing")],
        });
        let text = metrics.render();
        for line in [
            "headgate_alerts_delivered_total{sink=\"ed\"} 2",
            "headgate_alerts_refused_total{sink=\"hook\"} 1",
            "headgate_alerts_dropped_total{sink=\"hook\"} 1",
            "headgate_alerts_attempts_total{sink=\"ed\",outcome=\"accepted\"} 1",
            "headgate_alerts_attempts_total{sink=\"ed\",outcome=\"failed\"} 1",
            "headgate_alerts_attempts_total{sink=\"ed\",outcome=\"refused\"} 0",
            "headgate_alert_delay_seconds_bucket{le=\"0.1\"} 0",
            "headgate_alert_delay_seconds_bucket{le=\"0.25\"} 1",
            "headgate_alert_delay_seconds_bucket{le=\"+Inf\"} 2",
            "headgate_alert_delay_seconds_sum 777600.25",
            "headgate_outbox_waiting{sink=\"ed\"} 3",
            "headgate_outbox_dead{sink=\"ed\"} 1",
            "headgate_incidents_open 2",
            "headgate_store_condition{store=\"ledger\",condition=\"failing\"} 1",
            "headgate_store_condition{store=\"ledger\",condition=\"good\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "no line {line}\nin\n{text}");
        }
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let name = line.rsplit_once(' ').map_or(line, |it| it.0);
            assert!(line.starts_with("# ") || seen.insert(name), "{name} comes twice");
        }
    }
}
