//! What the admin API and the tools tell about plugins.

use serde::Serialize;

use crate::plugin::{Check, Digest, Info, Kind, Refusal};

/// One plugin by the operator's name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    pub name: String,
    pub kind: Option<Kind>,
    /// `builtin`, `file` or `pushed`: where the acting bytes come from.
    pub source: &'static str,
    /// File, or when it was pushed and by whom.
    pub origin: String,
    pub state: State,
    /// Why it is in that state.
    pub reason: Option<String>,
    pub since: String,
    /// What acts.
    pub digest: Option<Digest>,
    pub info: Option<Info>,
    /// What acted before.
    pub previous: Option<Digest>,
    /// The last candidate that was not let in.
    pub refused: Option<Refused>,
    pub proof: Option<Proof>,
    pub shadow: Option<Shadow>,
    pub uses: Vec<UseStatus>,
}

/// Where a plugin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Known, used by nothing or not looked at yet.
    Pending,
    /// Being compiled and proven.
    Verifying,
    /// Acts on probation.
    Probation,
    Active,
    /// Nothing good is known; native code or the fail mode acts.
    Rejected,
    /// Its faults were too many; something else acts.
    Quarantined,
}

/// A candidate that was not let in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    pub digest: Option<Digest>,
    pub at: String,
    pub reasons: Vec<Refusal>,
}

/// What a component went through before it was let in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    pub digest: Digest,
    pub kind: Kind,
    pub name: String,
    pub version: String,
    pub compiled: bool,
    pub self_test: Vec<Check>,
    pub replay: Replay,
}

/// What recorded inputs showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    pub outcome: ReplayOutcome,
    pub inputs: usize,
    pub needed: usize,
    pub agree: usize,
    pub differ: usize,
    /// The first few differences: input, old, new; for people.
    pub examples: Vec<String>,
}

/// Whether recorded inputs speak for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayOutcome {
    /// Enough inputs; deterministic; the differences are told.
    Passed,
    /// Fewer inputs than needed: says nothing.
    InsufficientEvidence,
    /// There is no earlier one to compare with; determinism alone was tried.
    NothingToCompare,
    /// The second run gave something else.
    NonDeterministic,
    /// The candidate failed on a recorded input.
    Faulted,
}

/// A candidate beside the active one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shadow {
    pub digest: Digest,
    pub calls: u64,
    pub differ: u64,
    pub faults: u64,
    pub examples: Vec<String>,
}

/// One use.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UseStatus {
    /// `service NAME`, `alerts` or `route N`.
    pub at: String,
    /// What acts there now: `component`, `native`, `closed`, `open`.
    pub acts: &'static str,
    pub digest: Option<Digest>,
    pub calls: u64,
    pub faults: u64,
    pub fallbacks: u64,
    pub suspended: bool,
}

/// One line that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEntry {
    pub at: String,
    pub digest: Digest,
    pub place: String,
    pub level: crate::plugin::Level,
    pub text: String,
}
