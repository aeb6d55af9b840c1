//! Observations of the last day: what windows are restored from, what candidates are replayed on. Disposable.

mod buffer;
pub mod ring;
mod rows;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::health::{Health, Sample, Saved};
use crate::store::Condition;

/// What was seen of a service at one tick, and what was thought of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Observation {
    pub at_ms: u64,
    pub service: String,
    /// Probe first, then traffic.
    pub samples: Vec<Sample>,
    /// What the policy said.
    pub status: Health,
    pub code: String,
    /// Digest of the policy; `None`: the native rule.
    #[serde(default)]
    pub by: Option<String>,
    /// Whether the gate answered for the service (maintenance).
    #[serde(default)]
    pub muted: bool,
}

/// The newest of a service that is no observation: overwritten, never piled up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latest {
    /// The tracker's state (`health::tracker::Track`) as JSON.
    pub track: serde_json::Value,
    /// The last verdict (`model::health::Verdict`) as JSON, without its state.
    pub verdict: serde_json::Value,
}

/// A policy's saved memory by service and digest (64 hex digits); `None`: it was forgotten.
pub type SavedState = (String, String, Option<Saved>);

/// Which observations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub service: Option<String>,
    /// Not older.
    pub since_ms: u64,
    /// After this one (`at_ms`, number), for paging.
    pub after: Option<(u64, u64)>,
    /// At most.
    pub limit: usize,
}

/// The disposable store. Writers never wait and never fail: what does not fit is dropped and counted.
pub trait Journal: fmt::Debug + Send + Sync {
    fn observed(&self, observation: Observation);
    fn latest(&self, service: &str, latest: Latest);
    fn saved(&self, states: Vec<SavedState>);

    /// Oldest first, with their keys. Blocks on the disk: off the runtimes.
    fn read(&self, wanted: &Wanted) -> Vec<((u64, u64), Observation)>;
    /// The newest observations of every service, at most `each` of one, oldest first: for restoring windows. Blocks.
    fn newest(&self, each: usize) -> Vec<Observation>;
    /// By service. Blocks.
    fn all_latest(&self) -> Vec<(String, Latest)>;
    /// Blocks.
    fn all_saved(&self) -> Vec<SavedState>;

    fn condition(&self) -> Condition;
    /// Observations that were dropped for want of room or a working disk.
    fn dropped(&self) -> u64;
}
