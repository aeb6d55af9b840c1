//! Metrics of the probes and of what is thought of services: labels are names from the config and closed sets of words.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::model::health::{Health, Outcome};
use crate::telemetry::exposition::{Exposition, counter, gauge};

/// Upper bounds of the buckets in microseconds; the last bucket has none.
const BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// In the order of [`Health`].
const STATES: [&str; 5] = ["unknown", "ok", "degraded", "failing", "maintenance"];

/// In the order of [`Outcome`].
const OUTCOMES: [&str; 10] = [
    "ok",
    "bad-status",
    "timeout",
    "refused",
    "reset",
    "dns",
    "tls",
    "protocol",
    "skipped",
    "other",
];

/// A histogram that one task writes and a scrape reads.
#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

fn add(to: &[AtomicU64], number: usize) {
    if let Some(it) = to.get(number) {
        it.fetch_add(1, Relaxed);
    }
}

impl Durations {
    fn record(&self, us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        add(&self.buckets, bucket);
        self.sum_us.fetch_add(us, Relaxed);
    }

    fn write(&self, mut metric: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS_US.iter().map(|it| *it as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|it| it.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|it| it.1).sum();
        let sum = self.sum_us.load(Relaxed) as f64 / 1e6;
        metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

/// What is counted of one service that is watched.
#[derive(Debug, Default)]
pub struct ServiceWatch {
    health: AtomicU8,
    flapping: AtomicBool,
    transitions: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    durations: Durations,
}

impl ServiceWatch {
    /// A probe of one endpoint has ended.
    pub fn probed(&self, outcome: Outcome, latency_us: u32) {
        add(&self.outcomes, outcome as usize);
        self.durations.record(u64::from(latency_us));
    }

    /// What is thought of the service now.
    pub fn stands(&self, health: Health, flapping: bool) {
        self.health.store(health as u8, Relaxed);
        self.flapping.store(flapping, Relaxed);
    }

    /// What is thought of it has changed.
    pub fn changed(&self) {
        self.transitions.fetch_add(1, Relaxed);
    }
}

/// All services that are watched.
#[derive(Debug, Default)]
pub struct HealthMetrics {
    services: Mutex<BTreeMap<String, Arc<ServiceWatch>>>,
    lateness: Durations,
}

impl HealthMetrics {
    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ServiceWatch>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters of a service; the same for the same name.
    pub fn service(&self, name: &str) -> Arc<ServiceWatch> {
        Arc::clone(self.services().entry(name.to_owned()).or_default())
    }

    /// A service that is watched no more is on the page no more.
    pub fn forget(&self, name: &str) {
        self.services().remove(name);
    }

    /// A probe began so long after it was due.
    pub fn late(&self, by: Duration) {
        self.lateness.record(u64::try_from(by.as_micros()).unwrap_or(u64::MAX));
    }

    /// Writes all families.
    pub(crate) fn write(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let services = self.services();
        let each = || services.iter().map(|(name, it)| (name.as_str(), it));
        page.family(
            "headgate_service_health",
            "What is thought of a service, 1 for the state that it is in",
            MetricType::Gauge,
            |metric| {
                for (name, it) in each() {
                    let now = usize::from(it.health.load(Relaxed));
                    for (number, state) in STATES.into_iter().enumerate() {
                        let labels = [("service", name), ("state", state)];
                        gauge(metric, &labels, u64::from(number == now))?;
                    }
                }
                Ok(())
            },
        )?;
        let flapping = each().map(|(name, it)| (name, u64::from(it.flapping.load(Relaxed))));
        page.gauges(
            "headgate_service_flapping",
            "Whether it changes too often",
            "service",
            flapping,
        )?;
        let changes = each().map(|(name, it)| (name, it.transitions.load(Relaxed)));
        let help = "Changes of what is thought of a service";
        page.counters("headgate_service_transitions", help, "service", changes)?;
        page.family("headgate_probes", "Probes by outcome", MetricType::Counter, |metric| {
            for (name, it) in each() {
                for (outcome, count) in OUTCOMES.into_iter().zip(&it.outcomes) {
                    let labels = [("service", name), ("outcome", outcome)];
                    counter(metric, &labels, count.load(Relaxed))?;
                }
            }
            Ok(())
        })?;
        page.family(
            "headgate_probe_duration_seconds",
            "From the beginning of a probe of one endpoint to its end",
            MetricType::Histogram,
            |metric| {
                each().try_for_each(|(name, it)| {
                    it.durations.write(metric.encode_family(&[("service", name)])?)
                })
            },
        )?;
        let help = "How long after it was due a round of probes began";
        let name = "headgate_probe_lateness_seconds";
        self.lateness.write(page.0.encode_descriptor(name, help, None, MetricType::Histogram)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;

    use super::*;

    #[test]
    fn a_service_is_on_the_page_until_it_is_forgotten() {
        let metrics = Metrics::new(1);
        let it = metrics.health().service("api");
        it.probed(Outcome::BadStatus, 900);
        it.probed(Outcome::Other, 20_000_000);
        it.stands(Health::Maintenance, true);
        it.changed();
        metrics.health().late(Duration::from_millis(40));
        let text = metrics.render();
        for line in [
            "headgate_service_health{service=\"api\",state=\"maintenance\"} 1",
            "headgate_service_health{service=\"api\",state=\"ok\"} 0",
            "headgate_service_flapping{service=\"api\"} 1",
            "headgate_service_transitions_total{service=\"api\"} 1",
            "headgate_probes_total{service=\"api\",outcome=\"bad-status\"} 1",
            "headgate_probes_total{service=\"api\",outcome=\"other\"} 1",
            "headgate_probe_duration_seconds_bucket{le=\"0.001\",service=\"api\"} 1",
            "headgate_probe_duration_seconds_count{service=\"api\"} 2",
            "headgate_probe_lateness_seconds_bucket{le=\"0.05\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        metrics.health().forget("api");
        assert!(!metrics.render().contains("service=\"api\""));
    }

    #[test]
    fn words_stand_in_the_order_of_their_types() {
        for health in
            [Health::Unknown, Health::Ok, Health::Degraded, Health::Failing, Health::Maintenance]
        {
            let word = serde_json::to_value(health).unwrap();
            assert_eq!(STATES.get(health as usize).copied(), word.as_str());
        }
        for outcome in [Outcome::Ok, Outcome::BadStatus, Outcome::Dns, Outcome::Other] {
            let word = serde_json::to_value(outcome).unwrap();
            assert_eq!(OUTCOMES.get(outcome as usize).copied(), word.as_str());
        }
    }
}
