//! Verdicts become changes: rise and fall, flapping, stale maintenance. Pure.

use serde::{Deserialize, Serialize};

use crate::config::health::Flap;
use crate::health::flap::History;
use crate::model::health::{Health, ServiceFacts, Severity, Verdict};
use crate::model::incident::Change;

/// The operator's rules for one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub rise: u32,
    pub fall: u32,
    pub flap: Flap,
    pub severity: Severity,
    /// How long the maintenance word may be said after `off`, in milliseconds.
    pub stale_maintenance_ms: u64,
}

/// An incident that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Open {
    pub id: String,
    pub severity: Severity,
    pub code: String,
    /// Whether it has been muted, and not been unmuted.
    pub muted: bool,
}

/// Where the tracker of one service stands. Saved with every change, and about once a second beside the observations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Track {
    /// What the gate thinks of the service (after hysteresis).
    pub health: Health,
    pub since_ms: u64,
    /// What the last verdicts in a row say, and how many they are.
    pub leaning: Health,
    pub streak: u32,
    pub history: History,
    pub flapping: bool,
    pub open: Option<Open>,
    /// When the maintenance word was first said while the gate did not answer for the service.
    #[serde(default)]
    pub stale_since_ms: Option<u64>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            health: Health::Unknown,
            since_ms: 0,
            leaning: Health::Unknown,
            streak: 0,
            history: History::default(),
            flapping: false,
            open: None,
            stale_since_ms: None,
        }
    }
}

/// One verdict and its circumstances.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    pub at_ms: u64,
    pub service: &'a ServiceFacts,
    pub verdict: &'a Verdict,
    /// Digest of the policy; `None`: the native rule.
    pub by: Option<String>,
    /// Whether the gate answers for the service now.
    pub covered: bool,
}

impl Track {
    /// Takes a verdict in; gives what has changed, in order.
    pub fn step(&mut self, seen: &Seen<'_>, rules: &Rules) -> Vec<Change> {
        let _ = (seen, rules);
        Vec::new()
    }
}
