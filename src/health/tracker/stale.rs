//! The maintenance word: expected while the gate answers for a service, tolerated for a while after, then an incident.

use crate::health::flap::History;
use crate::health::tracker::words::Told;
use crate::health::tracker::{Open, Rules, STALE_MAINTENANCE, Seen, Track};
use crate::model::health::Health;
use crate::model::incident::{Change, Happened};

/// The maintenance word must not have been said for this part of the time that is tolerated, before its incident ends.
const QUIET: u64 = 5;

impl Track {
    /// Adds up for how long the maintenance word has been said without maintenance, by whichever of the pods. One step
    /// counts for half of what is tolerated at most, so that a clock that jumps is not believed alone.
    pub(super) fn stale(&mut self, seen: &Seen<'_>, rules: &Rules) {
        let says = seen.verdict.status == Health::Maintenance;
        let half = rules.stale_maintenance_ms.div_ceil(2);
        let passed = seen.at_ms.saturating_sub(self.last_ms).min(half);
        self.stale_quiet_ms = if says { 0 } else { self.stale_quiet_ms.saturating_add(passed) };
        if seen.covered || (!says && self.stale_quiet_ms >= half) {
            (self.stale_since_ms, self.stale_for_ms) = (None, 0);
        } else if self.stale_since_ms.is_some() {
            self.stale_for_ms = self.stale_for_ms.saturating_add(passed);
        } else if says {
            (self.stale_since_ms, self.stale_for_ms) = (Some(seen.at_ms), 0);
        }
    }

    fn is_stale(&self, rules: &Rules) -> bool {
        self.stale_since_ms.is_some() && self.stale_for_ms >= rules.stale_maintenance_ms
    }

    /// The maintenance word: expected while the gate answers for the service, tolerated for a while, then an incident.
    pub(super) fn away(&mut self, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        let old = self.becomes(Health::Maintenance, seen.at_ms);
        let is_stale = self.is_stale(rules);
        let code = self.open.as_ref().map(|it| it.code.clone());
        if seen.covered {
            let over = code.as_deref() == Some(STALE_MAINTENANCE);
            return over.then(|| self.resolve(old, seen)).flatten();
        }
        if !is_stale || code.as_deref() == Some(STALE_MAINTENANCE) {
            return None;
        }
        let what = match (code, self.flapping) {
            (None, _) => Happened::Opened,
            (Some(_), false) => Happened::Updated,
            (Some(_), true) => Happened::Settled,
        };
        (self.flapping, self.history) = (false, History::default());
        let detail = format!(
            "it still answers that it is in maintenance, {} s after the gate stopped answering for it",
            self.stale_for_ms / 1000
        );
        let told =
            Told { code: STALE_MAINTENANCE, detail, severity: rules.severity, snapshot: false };
        Some(self.worsen(what, old, told, seen))
    }

    /// With several pods behind one name, the one that still says the word need not be the one that answers now.
    pub(super) fn may_be_said_by_others(&self, open: &Open, rules: &Rules) -> bool {
        open.code == STALE_MAINTENANCE && self.stale_quiet_ms < rules.stale_maintenance_ms / QUIET
    }
}
