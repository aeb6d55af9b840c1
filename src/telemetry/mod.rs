//! Logs, access log and metrics.

pub mod access_log;
pub mod alerts;
pub mod escape;
mod exposition;
mod gauges;
mod guest_metric;
pub mod health;
mod line;
pub mod logs;
pub mod metrics;
pub mod plugins;
mod shard;

pub use logs::{LogError, LogFormat, LogGuard, init_logs};
