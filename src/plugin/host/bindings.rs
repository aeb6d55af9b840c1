//! The values of `wit/` as they cross the border: borrowed on the way in, owned on the way out.
//!
//! Written by hand, since a window is handed over without a copy of its texts that way. Each type stands for the WIT type of
//! the same name; the engine compares them, field by field, when a component is loaded.

use wasmtime::component::{ComponentType, Lift, Lower};

pub(super) type Pairs = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Severity {
    #[component(name = "info")]
    Info,
    #[component(name = "warning")]
    Warning,
    #[component(name = "critical")]
    Critical,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Health {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "ok")]
    Ok,
    #[component(name = "degraded")]
    Degraded,
    #[component(name = "failing")]
    Failing,
    #[component(name = "maintenance")]
    Maintenance,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Source {
    #[component(name = "probe")]
    Probe,
    #[component(name = "traffic")]
    Traffic,
    #[component(name = "schedule")]
    Schedule,
    #[component(name = "peer")]
    Peer,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Outcome {
    #[component(name = "ok")]
    Ok,
    #[component(name = "bad-status")]
    BadStatus,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "refused")]
    Refused,
    #[component(name = "reset")]
    Reset,
    #[component(name = "dns")]
    Dns,
    #[component(name = "tls")]
    Tls,
    #[component(name = "protocol")]
    Protocol,
    #[component(name = "skipped")]
    Skipped,
    #[component(name = "other")]
    Other,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Phase {
    #[component(name = "opened")]
    Opened,
    #[component(name = "updated")]
    Updated,
    #[component(name = "resolved")]
    Resolved,
    #[component(name = "test")]
    Test,
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Sample<'a> {
    #[component(name = "at-ms")]
    pub(super) at_ms: u64,
    pub(super) source: Source,
    pub(super) kind: &'a str,
    #[component(name = "latency-us")]
    pub(super) latency_us: u32,
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) body: Option<&'a str>,
    pub(super) extra: &'a [(String, String)],
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: Option<&'a str>,
    pub(super) endpoint: &'a str,
    pub(super) ready: Option<u32>,
    pub(super) desired: Option<u32>,
    pub(super) labels: &'a [(String, String)],
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct Input<'a> {
    #[component(name = "now-ms")]
    pub(super) now_ms: u64,
    pub(super) service: Service<'a>,
    pub(super) current: Health,
    #[component(name = "since-ms")]
    pub(super) since_ms: u64,
    pub(super) samples: Vec<Sample<'a>>,
    pub(super) seed: u64,
    pub(super) extra: &'a [(String, String)],
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Saved<'a> {
    pub(super) version: u32,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Extension {
    pub(super) kind: String,
    pub(super) params: Pairs,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Alert {
    pub(super) severity: Severity,
    pub(super) issues: Vec<String>,
    pub(super) channels: Vec<String>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Action {
    #[component(name = "snapshot")]
    Snapshot(String),
    #[component(name = "alert")]
    Alert(Alert),
    #[component(name = "ext")]
    Ext(Extension),
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Verdict {
    pub(super) status: Health,
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) actions: Vec<Action>,
    #[component(name = "next-check-ms")]
    pub(super) next_check_ms: Option<u32>,
    pub(super) state: Option<Vec<u8>>,
    pub(super) extra: Pairs,
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct Event<'a> {
    #[component(name = "now-ms")]
    pub(super) now_ms: u64,
    pub(super) id: &'a str,
    pub(super) phase: Phase,
    pub(super) severity: Severity,
    pub(super) service: Service<'a>,
    pub(super) old: Health,
    pub(super) new: Health,
    pub(super) code: &'a str,
    pub(super) detail: &'a str,
    pub(super) issues: &'a [String],
    #[component(name = "snapshot-id")]
    pub(super) snapshot_id: Option<&'a str>,
    pub(super) gateway: &'a str,
    pub(super) extra: &'a [(String, String)],
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Message {
    pub(super) issues: Vec<String>,
    pub(super) channels: Vec<String>,
    pub(super) channel: Option<String>,
    #[component(name = "dedup-key")]
    pub(super) dedup_key: Option<String>,
    pub(super) extra: Pairs,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum HeaderOp {
    #[component(name = "set")]
    Set((String, Vec<u8>)),
    #[component(name = "append")]
    Append((String, Vec<u8>)),
    #[component(name = "remove")]
    Remove(String),
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Decision {
    #[component(name = "next")]
    Next,
    #[component(name = "edit")]
    Edit(Vec<HeaderOp>),
    #[component(name = "reply")]
    Reply(Reply),
    #[component(name = "ext")]
    Ext(Extension),
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "only guests make these")]
pub(super) enum MetricKind {
    #[component(name = "counter")]
    Counter,
    #[component(name = "gauge")]
    Gauge,
    #[component(name = "histogram")]
    Histogram,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: MetricKind,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Info {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) summary: String,
    #[component(name = "config-schema")]
    pub(super) config_schema: Option<String>,
    #[component(name = "example-config")]
    pub(super) example_config: Option<String>,
    #[component(name = "state-version")]
    pub(super) state_version: u32,
    pub(super) wants: Vec<String>,
    pub(super) metrics: Vec<Metric>,
    pub(super) extra: Pairs,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Issue {
    pub(super) path: String,
    pub(super) message: String,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) passed: bool,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "only guests make these")]
pub(super) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
