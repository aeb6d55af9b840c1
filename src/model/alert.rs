//! What people are told: the nouns of formatters, incidents and sinks.
//!
//! Shapes and spelling follow `wit/alert-formatter.wit`.

use serde::{Deserialize, Serialize};

use crate::model::health::{Attrs, Health, ServiceFacts, Severity};

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Opened,
    Updated,
    Resolved,
    /// `headgate alert test`.
    Test,
}

/// What a formatter puts into words (`alert-formatter.event`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    pub now_ms: u64,
    pub id: String,
    pub phase: Phase,
    pub severity: Severity,
    pub service: ServiceFacts,
    pub old: Health,
    pub new: Health,
    pub code: String,
    #[serde(default)]
    pub detail: String,
    #[serde(default)]
    pub issues: Vec<String>,
    #[serde(default)]
    pub snapshot_id: Option<String>,
    #[serde(default)]
    pub gateway: String,
    #[serde(default)]
    pub extra: Attrs,
}

impl Event {
    /// Whether a formatter may keep it from going out: never what opens or ends an incident, nor a test.
    pub fn may_be_suppressed(&self) -> bool {
        match self.phase {
            Phase::Updated => true,
            Phase::Opened | Phase::Resolved | Phase::Test => false,
        }
    }
}

/// What goes to the sinks (`alert-formatter.message`); the Event Dispatcher's body is made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Message {
    pub issues: Vec<String>,
    pub channels: Vec<String>,
    #[serde(default)]
    pub channel: Option<String>,
    #[serde(default)]
    pub dedup_key: Option<String>,
    #[serde(default)]
    pub extra: Attrs,
}
