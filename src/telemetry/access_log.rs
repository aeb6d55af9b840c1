//! One line per request through a bounded ring per core to one writer; drops are counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::metrics::CoreMetrics;

/// What one line says; borrowed, formatted at once into the core's batch. Nothing secret: no query, no key, no header values but ids.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub unix_ms: u64,
    pub client: IpAddr,
    pub method: &'a str,
    /// Canonical path without the query, or as sent if it was refused before.
    pub path: &'a str,
    pub authority: &'a str,
    pub status: u16,
    /// Service, or `-`.
    pub service: &'a str,
    /// Upstream address that answered.
    pub upstream: Option<std::net::SocketAddr>,
    /// Name of the admitted key.
    pub key: Option<&'a str>,
    /// Code of the refusal, if it was one.
    pub refusal: Option<&'a str>,
    pub request_id: &'a str,
    pub took: Duration,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// The writer thread; one for the process. Flushes and ends when all [`CoreLog`]s and itself are dropped.
#[derive(Debug)]
pub struct AccessLog {}

impl AccessLog {
    /// Starts the writer on standard output.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(_json: bool) -> std::io::Result<Self> {
        Ok(Self {})
    }

    /// The ring of one core, of at most `lines` waiting lines.
    pub fn for_core(&self, _lines: usize, _metrics: Arc<CoreMetrics>) -> CoreLog {
        CoreLog {}
    }
}

/// One core's end of the log; `!Sync`, used by that core alone.
#[derive(Debug)]
pub struct CoreLog {}

impl CoreLog {
    /// Formats the line into the current batch; never waits.
    pub fn push(&mut self, _line: &Line<'_>) {}

    /// Hands the batch to the writer if there is one; called at every tick of the core's clock.
    pub fn flush(&mut self) {}
}
