//! Decisions that can be replaced while the gate runs: health policies, alert formatters and request filters.
//!
//! ```text
//! registry      bytes of a plugin to what may act: proof, swap, probation, quarantine, roll-back
//!   host        the sandbox; the only folder that knows the engine
//! health_policy   window → verdict      component, else the native threshold rule
//! alert_formatter event → message       component, else the native plain text
//! request_filter  request → decision    component per core, else the route's fail mode
//! ```
//!
//! A guest's fault is a [`Fault`], never a verdict about a service.

pub mod limits;
pub mod facts;
pub mod schema;
pub mod host;
pub mod threshold;
pub mod plain;
pub mod health_policy;
pub mod alert_formatter;
pub mod request_filter;
pub mod budget;
pub mod spares;
pub mod recorder;
pub mod registry;
pub mod workers;
#[cfg(test)]
mod agreement;

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::hex;

/// What a component is for: one world of `wit/worlds.wit` each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// World `health-policy-plugin`.
    Policy,
    /// World `alert-formatter-plugin`.
    Formatter,
    /// World `request-filter-plugin`.
    Filter,
}

impl Kind {
    /// As the command line, config and metrics name it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Formatter => "formatter",
            Self::Filter => "filter",
        }
    }

    /// Its world in `wit/worlds.wit`.
    pub fn world(self) -> &'static str {
        match self {
            Self::Policy => "health-policy-plugin",
            Self::Formatter => "alert-formatter-plugin",
            Self::Filter => "request-filter-plugin",
        }
    }
}

/// SHA-256 of a component's bytes; what a plugin *is*, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// First 12 hex digits, for logs and tables.
    pub fn short(&self) -> String {
        hex(self.0.get(..6).unwrap_or_default())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

/// How much a component may take; the numbers are in [`limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// What compiled languages need.
    #[default]
    Default,
    /// Granted by the operator: Python's and JavaScript's engines need more instances, memory and bytes.
    Large,
}

/// What a component says about itself (`plugin.info`), after the host has looked at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Info {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub config_schema: Option<String>,
    pub example_config: Option<String>,
    pub state_version: u32,
    pub wants: Vec<String>,
    pub metrics: Vec<DeclaredMetric>,
    /// What else it says, for people: `homepage`, `license`, `security`.
    pub extra: Vec<(String, String)>,
}

/// A metric that a component may emit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeclaredMetric {
    pub name: String,
    pub help: String,
    pub kind: MetricKind,
}

/// Kind of a declared metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// Something wrong with a component's settings; `path` is a JSON pointer into them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    pub path: String,
    pub message: String,
}

/// One golden case of a component's self-test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub message: String,
}

/// One reason why a component is not let in, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable slug: `too-large`, `wrong-digest`, `precompiled`, `not-a-component`, `wrong-world`, `import`, `compile`,
    /// `describe`, `settings`, `self-test`, `non-deterministic`, `quarantined`, `file`, ...
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do; a sentence.
    pub advice: Option<String>,
    /// JSON pointer into the settings, for `settings`.
    pub path: Option<String>,
}

impl Refusal {
    /// Without advice.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: None, path: None }
    }

    /// The same with what to do about it.
    pub fn advice(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.advice {
            Some(advice) => write!(f, " ({advice})"),
            None => Ok(()),
        }
    }
}

/// Why a call gave no usable answer. The caller falls back; a fault says nothing about a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The guest trapped; with the functions it was in, innermost first.
    #[error("trapped: {message}")]
    Trap { message: String },
    /// The call took more CPU time than it may.
    #[error("took more than {budget:?} of CPU time")]
    Timeout { budget: Duration },
    /// The guest asked for more memory than it may have.
    #[error("asked for more than {limit} bytes of memory")]
    Memory { limit: usize },
    /// The guest handed over more data than it may (`hostcall_fuel`).
    #[error("handed over more data than {limit} bytes")]
    Data { limit: usize },
    /// The answer breaks the contract (a code that is no slug, a header that is none, ...).
    #[error("gave an answer that breaks the contract: {what}")]
    Invalid { what: String },
    /// The guest itself answered with an error.
    #[error("answered with an error: {message}")]
    Failed { message: String },
    /// `configure` did not take the settings that it took when it was proven.
    #[error("did not take its settings: {}", .0.first().map_or("", |it| it.message.as_str()))]
    Settings(Vec<Issue>),
    /// No thread or instance was free in time.
    #[error("no place was free in time")]
    Busy,
}

impl Fault {
    /// Label `outcome` of the metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Timeout { .. } => "timeout",
            Self::Memory { .. } => "memory",
            Self::Data { .. } => "data",
            Self::Invalid { .. } => "invalid-output",
            Self::Failed { .. } => "error",
            Self::Settings(_) => "settings",
            Self::Busy => "busy",
        }
    }
}

/// What came of a call, what it took and what the guest said meanwhile.
#[derive(Clone, Debug)]
pub struct Called<T> {
    pub outcome: Result<T, Fault>,
    pub spent: Spent,
    pub said: Said,
}

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spent {
    /// Wall clock, instantiation included where there was one.
    pub time: Duration,
    /// Largest sum of all linear memories.
    pub memory_bytes: usize,
    /// Deterministic cost; only with an engine that counts it (`plugin bench`).
    pub fuel: Option<u64>,
}

/// What a guest said through `telemetry`, cut to its limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    pub lines: Vec<Line>,
    /// Lines beyond the limit of a call.
    pub lines_dropped: u32,
    /// Index into `info.metrics`, and the value.
    pub metrics: Vec<(usize, f64)>,
    /// Values for metrics that were not declared, or beyond the limit of a call.
    pub metrics_dropped: u32,
}

/// One line that a guest logged; control characters are already escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub level: Level,
    pub text: String,
}

/// Level of a guest's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}
