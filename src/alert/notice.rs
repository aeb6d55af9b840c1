//! A decision to tell people something: durable before it is put into words.

use serde::{Deserialize, Serialize};

use crate::model::alert::Phase;
use crate::model::incident::Change;

/// Why people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Opened, updated, flapping, settled or resolved.
    Change,
    /// It is still open.
    Reminder,
    /// The snapshot's outcome came after the alert.
    Snapshot,
    /// It outlived the maintenance that had muted it.
    OutlivedMaintenance,
}

/// One row of `Table::Notices`; the key is the number with leading zeros.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// Counts up; order of notices of one incident.
    pub number: u64,
    pub why: Why,
    pub phase: Phase,
    pub change: Change,
    /// When it was decided.
    pub at_ms: u64,
    /// Not before: quiet hours.
    #[serde(default)]
    pub not_before_ms: u64,
}
