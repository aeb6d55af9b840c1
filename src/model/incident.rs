//! What goes wrong with a service for a while: the nouns of tracker, incidents and notices.

use serde::{Deserialize, Serialize};

use crate::model::health::{Health, Sample, ServiceFacts, Severity};

/// What happened to an incident, or to the way of its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Happened {
    /// The service stopped being well; the incident began.
    Opened,
    /// It is bad in another way now: other code or other severity.
    Updated,
    /// It changes its state so often that further changes are not told.
    Flapping,
    /// It stopped doing so, and the incident goes on.
    Settled,
    /// The service is well again; the incident is over.
    Resolved,
    /// Maintenance began: nothing is sent until it ends.
    Muted,
    /// Maintenance ended while the incident was open.
    Unmuted,
    /// Kubesnap was asked.
    SnapshotAsked,
    SnapshotTaken,
    SnapshotFailed,
    /// No answer in time: there may be a snapshot.
    SnapshotUnknown,
    /// Not asked: cool-down, budget or another one under way.
    SnapshotSkipped,
    /// A notice was put into the outbox.
    Noticed,
    /// A sink has accepted a notice.
    Delivered,
    /// A sink refused a notice for good.
    DeadLettered,
    /// A notice was dropped by a person or for want of room.
    Dropped,
}

/// One line of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Moment {
    pub at_ms: u64,
    pub what: Happened,
    pub health: Health,
    /// The verdict's code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// Digest of the policy or formatter that acted; `None`: native code.
    #[serde(default)]
    pub by: Option<String>,
}

/// A diagnostic snapshot, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Snapshot {
    /// Asked for, no answer yet.
    Pending,
    Taken {
        file: String,
    },
    Failed {
        reason: String,
    },
    /// A time-out says nothing about whether one was taken.
    Unknown {
        reason: String,
    },
    Skipped {
        reason: String,
    },
}

/// One period in which a service is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Incident {
    /// URL-safe, at most 64 bytes; follows from service and start ([`incident_id`]).
    pub id: String,
    pub service: ServiceFacts,
    pub severity: Severity,
    pub opened_ms: u64,
    #[serde(default)]
    pub resolved_ms: Option<u64>,
    /// As it is now.
    pub health: Health,
    pub code: String,
    pub detail: String,
    /// What the policy named; may be empty.
    #[serde(default)]
    pub issues: Vec<String>,
    /// Channels that the policy wished for; may be empty.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Digest of the policy that judged last; `None`: the native rule.
    #[serde(default)]
    pub by: Option<String>,
    #[serde(default)]
    pub flapping: bool,
    /// In maintenance: recorded, not sent.
    #[serde(default)]
    pub muted: bool,
    /// Whether a notice of its beginning was made: only then is there one of its end.
    #[serde(default)]
    pub told: bool,
    #[serde(default)]
    pub snapshot: Option<Snapshot>,
    /// Who has been told, and when.
    #[serde(default)]
    pub telling: Telling,
    /// What was seen when it opened, oldest first, at most 8.
    #[serde(default)]
    pub evidence: Vec<Sample>,
    /// Oldest first; the middle is cut when there is too much ([`TIMELINE_MAX`]).
    pub timeline: Vec<Moment>,
}

/// Who has been told of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Telling {
    /// Names of the sinks that a notice was made for: they hear of its end too.
    #[serde(default)]
    pub sinks: Vec<String>,
    /// What the incidents that were told in one notice share.
    #[serde(default)]
    pub group: Option<String>,
    /// When the last notice went into the outbox, by a clock that does not jump.
    #[serde(default)]
    pub last_ms: Option<u64>,
    /// What notices were made of, each kind once.
    #[serde(default)]
    pub said: Vec<Said>,
}

/// In which way a service was bad when people were told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Said {
    pub severity: Severity,
    pub health: Health,
    pub code: String,
}

/// Lines of a timeline.
pub const TIMELINE_MAX: usize = 100;

/// The id of the incident of a service that began then: the same on every replica and after a restart.
pub fn incident_id(service: &str, opened_ms: u64) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(format!("{service}\n{opened_ms}"));
    let short = digest.get(..4).unwrap_or_default();
    format!("{opened_ms:011x}-{}", crate::model::hex(short))
}

/// What the tracker concluded from one verdict: a line of the timeline with all that notices need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// `Opened`, `Updated`, `Flapping`, `Settled`, `Resolved`, `Muted` or `Unmuted`.
    pub what: Happened,
    pub at_ms: u64,
    /// Of the incident that it is about.
    pub incident: String,
    pub service: ServiceFacts,
    pub severity: Severity,
    pub old: Health,
    pub new: Health,
    pub code: String,
    pub detail: String,
    #[serde(default)]
    pub issues: Vec<String>,
    #[serde(default)]
    pub channels: Vec<String>,
    /// Digest of the policy; `None`: the native rule.
    #[serde(default)]
    pub by: Option<String>,
    /// Whether the policy, as far as it is granted, or the gate's own rule wants a snapshot.
    #[serde(default)]
    pub snapshot: bool,
}
