//! A decision to tell people something: durable before it is put into words.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::alert::Phase;
use crate::model::incident::Change;

/// Why people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl Why {
    /// As it stands in rows and in the event's `why`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Reminder => "reminder",
            Self::Snapshot => "snapshot",
            Self::OutlivedMaintenance => "outlived-maintenance",
        }
    }
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
    /// Sinks whose outbox has it already, while others have no room.
    #[serde(default)]
    pub done: Vec<String>,
}

impl Notice {
    /// Key of its row.
    pub fn row(&self) -> String {
        row(self.number)
    }

    /// What makes it this notice and no other: the same for every process that makes it.
    fn identity(&self) -> String {
        let Change { incident, at_ms, .. } = &self.change;
        format!("{incident}-{}-{at_ms:x}", phase_word(self.phase))
    }
}

/// Key of a notice's row.
pub fn row(number: u64) -> String {
    format!("{number:020}")
}

/// As it stands in keys.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Opened => "opened",
        Phase::Updated => "updated",
        Phase::Resolved => "resolved",
        Phase::Test => "test",
    }
}

/// The idempotency key of what these notices say to one sink, led by the first: URL-safe, at most 64 bytes, and the same
/// when it is made again after a crash. The sink is part of it, since two sinks may be one receiver.
pub fn key(lead: &Notice, all: &[&Notice], phase: Phase, sink: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(sink);
    for notice in all {
        digest.update(format!("\n{}\n{}", notice.identity(), notice.why.word()));
    }
    let digest = digest.finalize();
    let short = crate::model::hex(digest.get(..6).unwrap_or_default());
    // Ids have 20 bytes; a stranger's may not make the key longer than headers and columns allow.
    let incident: String = lead.change.incident.chars().take(24).collect();
    format!("{incident}-{}-{:x}-{short}", phase_word(phase), lead.change.at_ms)
}

#[cfg(test)]
mod tests {
    use super::{Notice, Why, key};
    use crate::alert::fixture;
    use crate::model::alert::Phase;
    use crate::model::incident::Happened;

    fn notice(why: Why, at_ms: u64) -> Notice {
        let change = fixture::change("api", Happened::Opened, at_ms);
        Notice { number: 1, why, phase: Phase::Opened, change, at_ms, done: Vec::new() }
    }

    #[test]
    fn a_key_tells_apart_what_differs_and_nothing_else() {
        let (one, later) = (notice(Why::Change, 5000), notice(Why::Change, 5001));
        let reminder = notice(Why::Reminder, 5000);
        let made = |it: &Notice, sink| key(it, &[it], it.phase, sink);
        assert_eq!(made(&one, "a"), made(&Notice { number: 9, ..one.clone() }, "a"));
        let keys = [
            made(&one, "a"),
            made(&one, "b"),
            made(&later, "a"),
            made(&reminder, "a"),
            key(&one, &[&one, &later], Phase::Opened, "a"),
            key(&one, &[&one], Phase::Resolved, "a"),
        ];
        for (number, one) in keys.iter().enumerate() {
            let safe = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
            assert!(one.len() <= 64 && one.bytes().all(safe), "{one}");
            assert!(keys.iter().skip(number + 1).all(|it| it != one), "{one}");
        }
    }
}
