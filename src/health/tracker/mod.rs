//! Verdicts become changes: rise and fall, flapping, stale maintenance. Pure.

mod stale;
mod words;

use serde::{Deserialize, Serialize};

use crate::config::health::Flap;
use crate::health::flap::{History, Rate};
use crate::health::tracker::words::{Told, change, rank, severity_of};
use crate::model::health::{Health, ServiceFacts, Severity, Verdict};
use crate::model::incident::{Change, Happened, incident_id};

/// Code of an incident that a restless service opens.
pub const FLAPPING: &str = "flapping";
/// Code of an incident of a service that says the maintenance word long after maintenance.
pub const STALE_MAINTENANCE: &str = "stale-maintenance";
/// Code with which the incident of a service ends that the config has watched no more.
pub const NOT_WATCHED: &str = "not-watched";

/// Between two changes of an open incident that make it no worse: a policy may say another code at every tick.
const CALM_MS: u64 = 60_000;
/// Who is bad again within this time has relapsed.
const RELAPSE_MS: u64 = 30 * 60_000;
/// Each relapse doubles the good verdicts that end an incident, so often at most.
const RELAPSES_MAX: u32 = 5;
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

/// Where the tracker of one service stands. Saved with every change, and beside the observations: every ten seconds, with
/// every verdict while it is undecided.
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
    /// For how long it has been said, as far as the clock can be believed.
    #[serde(default)]
    pub stale_for_ms: u64,
    /// For how long it has not been said, in the same way.
    #[serde(default)]
    pub stale_quiet_ms: u64,
    /// Verdicts in a row with the same status as the last one.
    #[serde(default)]
    pub same: u32,
    /// Verdicts in a row that say nothing.
    #[serde(default)]
    pub unknown: u32,
    /// The worst of the present row of bad verdicts, or of the last one.
    #[serde(default)]
    pub worst: Option<Health>,
    /// When the incident was last opened or updated.
    #[serde(default)]
    pub updated_ms: u64,
    /// Incidents one after the other, each begun soon after the end of the one before.
    #[serde(default)]
    pub relapses: u32,
    /// When the last incident ended; 0: there was none.
    #[serde(default)]
    pub resolved_ms: u64,
    /// Time of the last verdict.
    #[serde(default)]
    pub last_ms: u64,
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
            stale_for_ms: 0,
            stale_quiet_ms: 0,
            same: 0,
            unknown: 0,
            worst: None,
            updated_ms: 0,
            relapses: 0,
            resolved_ms: 0,
            last_ms: 0,
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

/// What a verdict counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lean {
    Good,
    Bad,
    /// It says the maintenance word, and may.
    Away,
}

impl Lean {
    fn of(health: Health) -> Option<Self> {
        match health {
            Health::Ok => Some(Self::Good),
            Health::Degraded | Health::Failing => Some(Self::Bad),
            Health::Maintenance => Some(Self::Away),
            Health::Unknown => None,
        }
    }
}

impl Track {
    /// Takes a verdict in; gives what has changed, in order.
    pub fn step(&mut self, seen: &Seen<'_>, rules: &Rules) -> Vec<Change> {
        let mut changes = Vec::new();
        self.stale(seen, rules);
        match Lean::of(seen.verdict.status) {
            None => self.nothing_said(seen, rules),
            Some(lean) => {
                self.count(lean, seen, rules);
                changes.extend(match lean {
                    Lean::Away => self.away(seen, rules),
                    Lean::Good | Lean::Bad => self.judged(lean, seen, rules),
                });
            }
        }
        self.last_ms = seen.at_ms;
        changes.extend(self.mute(seen));
        changes
    }

    /// Whether what is seen is not (yet) what is thought: worth a closer look.
    pub fn is_undecided(&self) -> bool {
        self.health != Health::Ok
            || self.flapping
            || self.open.is_some()
            || self.leaning != Health::Ok
            || self.unknown > 0
    }

    /// The service is no longer watched: what is open ends.
    pub fn removed(&mut self, at_ms: u64, service: &ServiceFacts) -> Option<Change> {
        let open = self.open.take()?;
        let old = self.health;
        *self = Self { since_ms: at_ms, ..Self::default() };
        Some(Change {
            what: Happened::Resolved,
            at_ms,
            incident: open.id,
            service: service.clone(),
            severity: open.severity,
            old,
            new: Health::Unknown,
            code: NOT_WATCHED.to_owned(),
            detail: "the service is no longer watched by this gate".to_owned(),
            issues: Vec::new(),
            channels: Vec::new(),
            by: None,
            snapshot: false,
        })
    }

    /// No opinion neither opens nor resolves; after some time the last one is worth nothing.
    fn nothing_said(&mut self, seen: &Seen<'_>, rules: &Rules) {
        self.unknown = self.unknown.saturating_add(1);
        if self.unknown >= rules.fall.max(1) && self.open.is_none() && !self.flapping {
            self.becomes(Health::Unknown, seen.at_ms);
        }
    }

    fn count(&mut self, lean: Lean, seen: &Seen<'_>, rules: &Rules) {
        self.unknown = 0;
        let (before, status) = (Lean::of(self.leaning), seen.verdict.status);
        if lean == Lean::Away && before == Some(Lean::Bad) && !seen.covered {
            return; // Nobody is served either way: the row goes on.
        }
        self.same = if self.leaning == status { self.same.saturating_add(1) } else { 1 };
        self.streak = if before == Some(lean) { self.streak.saturating_add(1) } else { 1 };
        if lean == Lean::Bad {
            let fresh = before != Some(Lean::Bad);
            let worse = self.worst.is_none_or(|it| rank(status) > rank(it));
            if fresh || worse {
                self.worst = Some(status);
            }
        }
        self.leaning = status;
        if lean != Lean::Away {
            self.history.push(lean == Lean::Good, rules.flap);
        }
    }

    /// Good verdicts in a row that end an incident: a service that breaks and heals in turn, too slowly for the rate of
    /// change, must prove itself longer each time.
    fn rise(&self, rules: &Rules) -> u32 {
        rules.rise.saturating_mul(1 << self.relapses.min(RELAPSES_MAX))
    }

    fn becomes(&mut self, health: Health, at_ms: u64) -> Health {
        let old = std::mem::replace(&mut self.health, health);
        if old != health {
            self.since_ms = at_ms;
        }
        old
    }

    fn judged(&mut self, lean: Lean, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        let rate = self.history.rate(rules.flap);
        if self.flapping {
            return if rate == Rate::Calm { self.settle(lean, seen, rules) } else { None };
        }
        if rate == Rate::High {
            return Some(self.flap(seen, rules));
        }
        match lean {
            Lean::Good => self.good(seen, rules),
            Lean::Bad | Lean::Away => self.bad(seen, rules),
        }
    }

    fn flap(&mut self, seen: &Seen<'_>, rules: &Rules) -> Change {
        self.flapping = true;
        let worst = self.worst.unwrap_or(Health::Failing);
        let detail = format!(
            "it changed between good and bad {} times in the last {} checks; now: {}",
            self.history.changes(),
            self.history.0.len(),
            seen.verdict.detail
        );
        let open = self.open.as_ref().map(|it| it.severity);
        let severity = severity_of(worst, rules).max(open.unwrap_or(Severity::Info));
        let what = if open.is_none() { Happened::Opened } else { Happened::Flapping };
        let snapshot = open.is_none() && seen.service.namespace.is_some();
        let old = self.becomes(worst, seen.at_ms);
        self.worsen(what, old, Told { code: FLAPPING, detail, severity, snapshot }, seen)
    }

    /// It has calmed down; on which side, the last row says.
    fn settle(&mut self, lean: Lean, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        if lean == Lean::Good {
            if self.streak < self.rise(rules) {
                return None;
            }
            self.flapping = false;
            let old = self.becomes(Health::Ok, seen.at_ms);
            return self.resolve(old, seen);
        }
        if self.streak < rules.fall {
            return None;
        }
        self.flapping = false;
        let severity = severity_of(seen.verdict.status, rules);
        let old = self.becomes(seen.verdict.status, seen.at_ms);
        let told = Told::of(seen, severity);
        Some(self.worsen(Happened::Settled, old, told, seen))
    }

    fn good(&mut self, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        if let Some(open) = &self.open
            && (self.streak < self.rise(rules) || self.may_be_said_by_others(open, rules))
        {
            return None;
        }
        let old = self.becomes(Health::Ok, seen.at_ms);
        self.resolve(old, seen)
    }

    fn bad(&mut self, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        if self.open.is_some() {
            return self.update(seen, rules);
        }
        if self.streak < rules.fall {
            return None;
        }
        let worst = self.worst.unwrap_or(seen.verdict.status);
        let old = self.becomes(worst, seen.at_ms);
        let told = Told::of(seen, severity_of(worst, rules));
        Some(self.worsen(Happened::Opened, old, told, seen))
    }

    /// Bad in another way: worse as soon as that has proven itself, anything else at most once in [`CALM_MS`].
    fn update(&mut self, seen: &Seen<'_>, rules: &Rules) -> Option<Change> {
        let status = seen.verdict.status;
        let severity = severity_of(status, rules);
        if self.health == Health::Maintenance && self.open.as_ref()?.code != STALE_MAINTENANCE {
            self.becomes(status, seen.at_ms); // It was away for a while, and the incident went on.
        }
        let open = self.open.as_ref()?;
        // The clock went back: the minute begins anew.
        self.updated_ms = self.updated_ms.min(seen.at_ms);
        let is_calm = seen.at_ms - self.updated_ms >= CALM_MS;
        let is_worse = severity > open.severity || rank(status) > rank(self.health);
        let changes = if is_worse {
            self.same >= rules.fall
        } else if status != self.health || severity != open.severity {
            is_calm && self.same >= rules.rise
        } else {
            is_calm && seen.verdict.code != open.code
        };
        if !changes {
            return None;
        }
        let old = self.becomes(status, seen.at_ms);
        Some(self.worsen(Happened::Updated, old, Told::of(seen, severity), seen))
    }

    /// Opens an incident, or writes into the open one what it is now.
    fn worsen(&mut self, what: Happened, old: Health, told: Told<'_>, seen: &Seen<'_>) -> Change {
        self.updated_ms = seen.at_ms;
        if self.open.is_none() {
            let ago = seen.at_ms.saturating_sub(self.resolved_ms);
            let soon = self.resolved_ms > 0 && ago < RELAPSE_MS;
            self.relapses = if soon { self.relapses.saturating_add(1) } else { 0 };
        }
        let fresh = || Open {
            id: incident_id(&seen.service.name, seen.at_ms),
            severity: told.severity,
            code: String::new(),
            muted: false,
        };
        let open = self.open.get_or_insert_with(fresh);
        open.severity = told.severity;
        told.code.clone_into(&mut open.code);
        let id = open.id.clone();
        Change {
            severity: told.severity,
            code: told.code.to_owned(),
            detail: told.detail,
            snapshot: told.snapshot,
            new: self.health,
            ..change(what, id, old, seen)
        }
    }

    fn resolve(&mut self, old: Health, seen: &Seen<'_>) -> Option<Change> {
        let open = self.open.take()?;
        self.resolved_ms = seen.at_ms;
        let new = self.health;
        Some(Change {
            severity: open.severity,
            new,
            ..change(Happened::Resolved, open.id, old, seen)
        })
    }

    fn mute(&mut self, seen: &Seen<'_>) -> Option<Change> {
        let open = self.open.as_mut().filter(|it| it.muted != seen.covered)?;
        open.muted = seen.covered;
        let what = if seen.covered { Happened::Muted } else { Happened::Unmuted };
        let (id, severity, code) = (open.id.clone(), open.severity, open.code.clone());
        Some(Change { severity, code, new: self.health, ..change(what, id, self.health, seen) })
    }
}

#[cfg(test)]
mod tests;
