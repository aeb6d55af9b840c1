//! What the admin API and the tools tell about plugins.

use serde::Serialize;

use crate::plugin::{Check, Digest, Info, Kind, Refusal};

/// One plugin by the operator's name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    pub name: String,
    pub kind: Option<Kind>,
    /// `builtin`, `file`, `pushed`, `kept` (the last good one, after a restart) or `none`: where the acting bytes come from.
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
    /// Components of this plugin that are put away.
    pub quarantined: Vec<Quarantine>,
    /// Inputs on which it failed that are kept for the author.
    pub poison_inputs: usize,
    /// Digest of what the config names.
    pub config_digest: Option<Digest>,
    /// Whether a push acts instead of what the config names.
    pub is_pushed: bool,
}

/// A component that is put away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    pub digest: Digest,
    /// When it is tried again.
    pub until: String,
    pub reason: String,
}

/// Whether plugins can run here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineStatus {
    /// Why they cannot; native code acts everywhere.
    pub error: Option<String>,
    /// How memory for instances is had.
    pub allocation: Option<String>,
}

/// An input on which a component failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoisonInput {
    pub at: String,
    pub digest: Digest,
    pub fault: String,
    /// JSON, as `headgate plugin run` reads it; cut when it is long.
    pub input: String,
}

/// A value that a policy saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateValue {
    /// The component that it belongs to.
    pub digest: Digest,
    /// Layout of the bytes, in the words of the component that wrote them.
    pub version: u32,
    pub bytes: usize,
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
    /// Saved state by component; policies alone.
    pub state: Vec<StateValue>,
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
