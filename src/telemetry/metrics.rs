//! Every metric, its name and its labels; counters are sharded by core and summed at scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::linux::process::Process;
use crate::model::UnixMs;
use crate::telemetry::alerts::AlertMetrics;
use crate::telemetry::exposition::{Exposition, counter, durations};
pub use crate::telemetry::gauges::{Gauges, ServiceGauges};
use crate::telemetry::health::HealthMetrics;
use crate::telemetry::logs;
use crate::telemetry::plugins::PluginMetrics;
pub(crate) use crate::telemetry::shard::{BOUNDS_NS, BUCKETS, Red};
use crate::telemetry::shard::{CLASSES, Counts};
pub use crate::telemetry::shard::{CoreMetrics, ServiceMetrics};

/// Media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How often a key was admitted, and when last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    pub name: String,
    pub count: u64,
    pub last: UnixMs,
}

type Source = Box<dyn Fn() -> Gauges + Send + Sync>;

/// All metrics of the process.
pub struct Metrics {
    started: UnixMs,
    /// One per core, and a last one for everything that runs elsewhere.
    cores: Vec<Arc<CoreMetrics>>,
    services: Mutex<BTreeMap<String, Arc<ServiceMetrics>>>,
    plugins: Arc<PluginMetrics>,
    alerts: Arc<AlertMetrics>,
    health: Arc<HealthMetrics>,
    source: OnceLock<Source>,
    reload: Reload,
}

#[derive(Debug, Default)]
struct Reload {
    failed: AtomicBool,
    last_success_ms: AtomicU64,
    published: AtomicU64,
    unchanged: AtomicU64,
    refused: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: UnixMs::now(),
            cores: vec![Arc::default(), Arc::default()],
            services: Mutex::default(),
            plugins: Arc::default(),
            alerts: Arc::default(),
            health: Arc::default(),
            source: OnceLock::new(),
            reload: Reload::default(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("cores", &self.cores.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// For a data path of `cores` threads.
    pub fn new(cores: usize) -> Arc<Self> {
        let cores = (0..=cores.max(1)).map(|_| Arc::default()).collect();
        Arc::new(Self { cores, ..Self::default() })
    }

    /// The counters of one service; the same for the same name over all generations. Taken at build time, not per request.
    pub fn service(&self, name: &str) -> Arc<ServiceMetrics> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get(name) {
            return Arc::clone(known);
        }
        let new = Arc::new(ServiceMetrics::new(self.cores.len()));
        services.insert(name.to_owned(), Arc::clone(&new));
        new
    }

    /// The metrics of plugins.
    pub fn plugins(&self) -> &PluginMetrics {
        &self.plugins
    }

    /// The metrics of alerts.
    pub fn alerts(&self) -> &Arc<AlertMetrics> {
        &self.alerts
    }

    /// The metrics of probes and of the services' health.
    pub fn health(&self) -> &Arc<HealthMetrics> {
        &self.health
    }

    /// The counters of one core. Taken once per core.
    pub fn core(&self, core: usize) -> Arc<CoreMetrics> {
        self.cores.get(core).map_or_else(|| self.control(), Arc::clone)
    }

    /// The counters of everything that does not run on a core (admin listener).
    pub fn control(&self) -> Arc<CoreMetrics> {
        self.cores.last().map_or_else(Arc::default, Arc::clone)
    }

    /// Says whom to ask for gauges at each scrape; only the first source counts.
    pub fn set_source(&self, source: impl Fn() -> Gauges + Send + Sync + 'static) {
        let _ = self.source.set(Box::new(source));
    }

    /// A generation was published (also the first).
    pub fn reload_published(&self, at: UnixMs) {
        self.reload.published.fetch_add(1, Relaxed);
        self.reload_succeeded(at);
    }

    /// A reload found nothing new.
    pub fn reload_unchanged(&self, at: UnixMs) {
        self.reload.unchanged.fetch_add(1, Relaxed);
        self.reload_succeeded(at);
    }

    /// A reload was refused; the last good generation stays.
    pub fn reload_refused(&self) {
        self.reload.refused.fetch_add(1, Relaxed);
        self.reload.failed.store(true, Relaxed);
    }

    fn reload_succeeded(&self, at: UnixMs) {
        self.reload.failed.store(false, Relaxed);
        self.reload.last_success_ms.store(at.0, Relaxed);
    }

    /// Uses of keys over all cores, by name.
    pub fn key_uses(&self) -> Vec<KeyUse> {
        let mut uses: BTreeMap<String, (u64, UnixMs)> = BTreeMap::new();
        for core in &self.cores {
            core.keys().each(|name, count, last| {
                let sum = uses.entry(name.to_owned()).or_insert((0, UnixMs(0)));
                *sum = (sum.0 + count, sum.1.max(last));
            });
        }
        uses.into_iter().map(|(name, (count, last))| KeyUse { name, count, last }).collect()
    }

    /// Prometheus text (OpenMetrics).
    pub fn render(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.scrape()));
        let mut text = String::with_capacity(16 * 1024);
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    fn scrape(&self) -> Scrape {
        let mut counts = Counts::default();
        let mut refusals = BTreeMap::new();
        for core in &self.cores {
            core.add_to(&mut counts);
            core.refusals().each(|code, count, _| {
                *refusals.entry(code.to_owned()).or_insert(0) += count;
            });
        }
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Scrape {
            started: self.started,
            services: services.into_iter().map(|(name, it)| (name, it.sum())).collect(),
            counts,
            refusals,
            keys: self.key_uses(),
            gauges: self.source.get().map(|source| source()),
            reload_ok: !self.reload.failed.load(Relaxed),
            reload_success: UnixMs(self.reload.last_success_ms.load(Relaxed)),
            reloads: [
                ("published", self.reload.published.load(Relaxed)),
                ("refused", self.reload.refused.load(Relaxed)),
                ("unchanged", self.reload.unchanged.load(Relaxed)),
            ],
            process: Process::now(),
            plugins: Arc::clone(&self.plugins),
            alerts: Arc::clone(&self.alerts),
            health: Arc::clone(&self.health),
        }
    }
}

/// All numbers of one scrape.
#[derive(Debug)]
struct Scrape {
    started: UnixMs,
    services: Vec<(String, Red)>,
    counts: Counts,
    refusals: BTreeMap<String, u64>,
    keys: Vec<KeyUse>,
    gauges: Option<Gauges>,
    reload_ok: bool,
    reload_success: UnixMs,
    reloads: [(&'static str, u64); 3],
    process: Process,
    plugins: Arc<PluginMetrics>,
    alerts: Arc<AlertMetrics>,
    health: Arc<HealthMetrics>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Exposition(encoder);
        self.requests(&mut page)?;
        self.connections(&mut page)?;
        self.config(&mut page)?;
        if let Some(gauges) = &self.gauges {
            gauges.show(&mut page)?;
        }
        self.keys(&mut page)?;
        self.plugins.write(&mut page)?;
        self.alerts.write(&mut page)?;
        self.health.write(&mut page)?;
        self.process(&mut page)
    }
}

impl Scrape {
    fn requests(&self, page: &mut Exposition<'_>) -> fmt::Result {
        page.family(
            "headgate_http_requests",
            "Requests that ended, by class of the status sent",
            MetricType::Counter,
            |metric| {
                for (service, red) in &self.services {
                    for (class, count) in CLASSES.into_iter().zip(red.classes) {
                        let labels = [("service", service.as_str()), ("code_class", class)];
                        counter(metric, &labels, count)?;
                    }
                }
                Ok(())
            },
        )?;
        page.family(
            "headgate_http_request_duration_seconds",
            "From the first byte of a request to the last of its response",
            MetricType::Histogram,
            |metric| {
                for (service, red) in &self.services {
                    durations(metric, &[("service", service.as_str())], red)?;
                }
                Ok(())
            },
        )?;
        let retries = self.services.iter().map(|(name, red)| (name.as_str(), red.retries));
        page.counters("headgate_retries", "Attempts sent again", "service", retries)?;
        let failed = self.services.iter().map(|(name, red)| (name.as_str(), red.connect_errors));
        page.counters(
            "headgate_upstream_connect_errors",
            "Connections to an upstream that failed or were late",
            "service",
            failed,
        )?;
        let refusals = self.refusals.iter().map(|(code, count)| (code.as_str(), *count));
        page.counters("headgate_refusals", "Refusals by the gate", "code", refusals)
    }

    fn connections(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let it = &self.counts;
        let open = it.opened.saturating_sub(it.closed);
        page.gauge("headgate_connections", "Downstream connections open now", open)?;
        page.counter(
            "headgate_connections_accepted",
            "Downstream connections accepted",
            it.opened,
        )?;
        let tunnels = it.tunnels_opened.saturating_sub(it.tunnels_closed);
        page.gauge("headgate_tunnels", "Tunnels (upgrades) open now", tunnels)?;
        page.counter("headgate_tunnels_opened", "Tunnels opened", it.tunnels_opened)?;
        page.counter("headgate_handovers", "Connections given to another core", it.handed_over)?;
        page.counter(
            "headgate_upstream_connects",
            "Upstream connections opened",
            it.upstream_connects,
        )?;
        page.counter("headgate_access_log_dropped", "Access-log lines dropped", it.access_dropped)?;
        page.counter("headgate_log_dropped", "Log events dropped", logs::events_dropped())
    }

    fn config(&self, page: &mut Exposition<'_>) -> fmt::Result {
        page.info("headgate_build", "Version", &[("version", env!("CARGO_PKG_VERSION"))])?;
        page.gauge(
            "headgate_config_last_reload_successful",
            "Whether the last reload was accepted",
            u64::from(self.reload_ok),
        )?;
        page.gauge(
            "headgate_config_last_reload_success_timestamp_seconds",
            "When a config was last accepted",
            seconds(self.reload_success),
        )?;
        let reloads = self.reloads.into_iter();
        page.counters("headgate_config_reloads", "Reloads by outcome", "outcome", reloads)
    }

    fn keys(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let counts = self.keys.iter().map(|it| (it.name.as_str(), it.count));
        page.counters("headgate_key_uses", "Requests admitted by a key", "key", counts)?;
        let last = self.keys.iter().map(|it| (it.name.as_str(), seconds(it.last)));
        page.gauges(
            "headgate_key_last_used_timestamp_seconds",
            "When a key was last admitted",
            "key",
            last,
        )
    }

    fn process(&self, page: &mut Exposition<'_>) -> fmt::Result {
        let it = &self.process;
        if let Some(cpu) = it.cpu_seconds {
            page.counter("process_cpu_seconds", "User and system CPU time", cpu)?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory", it.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory", it.virtual_bytes),
            ("process_threads", "Threads", it.threads),
            ("process_open_fds", "Open file descriptors", it.open_fds),
            ("process_max_fds", "File descriptors that are allowed", it.max_fds),
        ] {
            if let Some(value) = value {
                page.gauge(name, help, value)?;
            }
        }
        page.gauge("process_start_time_seconds", "When the gate started", seconds(self.started))?;
        let threads = it.thread_seconds.iter().map(|(name, spent)| (name.as_str(), *spent));
        page.counters("headgate_thread_cpu_seconds", "CPU time by thread", "thread", threads)
    }
}

fn seconds(at: UnixMs) -> f64 {
    at.0 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn busy() -> Arc<Metrics> {
        let metrics = Metrics::new(2);
        metrics.service("signal-engine").exchange(0, 200, Duration::from_millis(3));
        metrics.service("signal-engine").exchange(1, 502, Duration::from_secs(2));
        metrics.service("signal-engine").retried(1);
        metrics.service("signal-engine").connect_failed(0);
        metrics.service("-").exchange(0, 404, Duration::ZERO);
        for core in [0, 1, 7] {
            metrics.core(core).connection_opened();
            metrics.core(core).refused("no-route");
            metrics.core(core).key_used("stock\"flow");
        }
        metrics.core(0).refused("unauthorized");
        metrics.core(0).connection_closed();
        metrics.core(0).tunnel_opened();
        metrics.core(1).access_lines_dropped(5);
        metrics.core(1).upstream_connected();
        metrics.reload_published(UnixMs(1_795_502_400_500));
        metrics.reload_refused();
        metrics.set_source(|| Gauges {
            generation: 3,
            hash: "0123456789abcdef".to_owned(),
            services: vec![ServiceGauges {
                name: "signal-engine".to_owned(),
                in_flight: 2,
                in_flight_max: 1024,
                in_maintenance: true,
                endpoints_up: 1,
                endpoints_ejected: 1,
                endpoints_down: 2,
            }],
            connections_max: 10_000,
            draining: false,
        });
        metrics
    }

    #[test]
    fn the_sums_of_all_cores_are_shown() {
        let text = busy().render();
        for line in [
            "headgate_http_requests_total{service=\"signal-engine\",code_class=\"2xx\"} 1",
            "headgate_http_requests_total{service=\"signal-engine\",code_class=\"5xx\"} 1",
            "headgate_http_requests_total{service=\"-\",code_class=\"4xx\"} 1",
            "headgate_http_request_duration_seconds_bucket{le=\"0.0025\",service=\"signal-engine\"} 0",
            "headgate_http_request_duration_seconds_bucket{le=\"0.005\",service=\"signal-engine\"} 1",
            "headgate_http_request_duration_seconds_bucket{le=\"+Inf\",service=\"signal-engine\"} 2",
            "headgate_http_request_duration_seconds_count{service=\"signal-engine\"} 2",
            "headgate_http_request_duration_seconds_sum{service=\"signal-engine\"} 2.003",
            "headgate_retries_total{service=\"signal-engine\"} 1",
            "headgate_upstream_connect_errors_total{service=\"signal-engine\"} 1",
            "headgate_refusals_total{code=\"no-route\"} 3",
            "headgate_refusals_total{code=\"unauthorized\"} 1",
            "headgate_connections 2",
            "headgate_connections_accepted_total 3",
            "headgate_tunnels 1",
            "headgate_upstream_connects_total 1",
            "headgate_access_log_dropped_total 5",
            "headgate_config_last_reload_successful 0",
            "headgate_config_last_reload_success_timestamp_seconds 1795502400.5",
            "headgate_config_reloads_total{outcome=\"refused\"} 1",
            "headgate_generation 3",
            "headgate_config_info{hash=\"0123456789abcdef\"} 1",
            "headgate_http_requests_in_flight{service=\"signal-engine\"} 2",
            "headgate_maintenance_enabled{service=\"signal-engine\"} 1",
            "headgate_upstream_endpoints{service=\"signal-engine\",state=\"ejected\"} 1",
            "headgate_upstream_endpoints{service=\"signal-engine\",state=\"down\"} 2",
            "headgate_key_uses_total{key=\"stock\\\"flow\"} 3",
        ] {
            assert!(text.lines().any(|it| it == line), "no line {line}\nin\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("headgate_build_info{version="));
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn no_family_and_no_sample_comes_twice() {
        let text = busy().render();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            let name = match line.strip_prefix("# ") {
                Some(comment) => comment.split(' ').take(2).collect::<Vec<_>>().join(" "),
                None => line.rsplit_once(' ').unwrap().0.to_owned(),
            };
            assert!(seen.insert(name.clone()), "{name} comes twice");
        }
    }

    #[test]
    fn a_service_keeps_its_counters_over_generations() {
        let metrics = Metrics::new(1);
        assert!(Arc::ptr_eq(&metrics.service("a"), &metrics.service("a")));
        assert!(!Arc::ptr_eq(&metrics.service("a"), &metrics.service("b")));
        assert!(!Arc::ptr_eq(&metrics.core(0), &metrics.control()));
    }

    #[test]
    fn uses_of_a_key_are_summed() {
        let metrics = busy();
        let uses = metrics.key_uses();
        assert_eq!((uses.len(), uses[0].count), (1, 3));
        assert!(uses[0].last > UnixMs(1_600_000_000_000));
    }

    #[test]
    fn an_accepted_reload_ends_the_failure() {
        let metrics = busy();
        metrics.reload_unchanged(UnixMs(1));
        assert!(metrics.render().contains("headgate_config_last_reload_successful 1\n"));
    }
}
