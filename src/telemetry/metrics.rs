//! Every metric, its name and its labels; counters are sharded by core and summed at scrape.

use std::sync::Arc;
use std::time::Duration;

/// All metrics of the process.
#[derive(Debug, Default)]
pub struct Metrics {}

impl Metrics {
    /// For a data path of `cores` threads.
    pub fn new(_cores: usize) -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The counters of one service; the same for the same name over all generations. Taken at build time, not per request.
    pub fn service(&self, _name: &str) -> Arc<ServiceMetrics> {
        Arc::new(ServiceMetrics::default())
    }

    /// The counters of one core. Taken once per core.
    pub fn core(&self, _core: usize) -> Arc<CoreMetrics> {
        Arc::new(CoreMetrics::default())
    }

    /// Prometheus text (OpenMetrics).
    pub fn render(&self) -> String {
        String::new()
    }
}

/// Rate, errors and duration of one service, one shard per core. Requests without a service count under `-`.
#[derive(Debug, Default)]
pub struct ServiceMetrics {}

impl ServiceMetrics {
    /// One exchange ended with `status` after `took`; `core` writes only its own shard.
    pub fn exchange(&self, _core: usize, _status: u16, _took: Duration) {}
    /// An attempt was sent again.
    pub fn retried(&self, _core: usize) {}
}

/// What one core counts; only that core writes it.
#[derive(Debug, Default)]
pub struct CoreMetrics {}

impl CoreMetrics {
    /// A downstream connection was opened.
    pub fn connection_opened(&self) {}
    /// A downstream connection was closed.
    pub fn connection_closed(&self) {}
    /// A tunnel was opened.
    pub fn tunnel_opened(&self) {}
    /// A tunnel was closed.
    pub fn tunnel_closed(&self) {}
    /// A connection was handed to another core.
    pub fn handed_over(&self) {}
    /// An upstream connection was opened (not taken from the pool).
    pub fn upstream_connected(&self) {}
    /// A refusal with this code left the gate.
    pub fn refused(&self, _code: &'static str) {}
    /// A key was admitted (last-used time and count by key name).
    pub fn key_used(&self, _name: &str) {}
    /// Access-log lines were dropped.
    pub fn access_lines_dropped(&self, _lines: u64) {}
}
