//! What a change says: code, sentence, severity, and what the policy asks for besides.

use crate::health::tracker::{Rules, Seen};
use crate::model::health::{Action, Health, Severity};
use crate::model::incident::{Change, Happened};

/// What people are told of a change for the worse.
pub(super) struct Told<'a> {
    pub(super) code: &'a str,
    pub(super) detail: String,
    pub(super) severity: Severity,
    pub(super) snapshot: bool,
}

impl<'a> Told<'a> {
    /// What the policy says.
    pub(super) fn of(seen: &Seen<'a>, severity: Severity) -> Self {
        let snapshot = seen.verdict.actions.iter().any(|it| matches!(it, Action::Snapshot(_)));
        Self { code: &seen.verdict.code, detail: seen.verdict.detail.clone(), severity, snapshot }
    }
}

pub(super) fn change(what: Happened, incident: String, old: Health, seen: &Seen<'_>) -> Change {
    let alert = seen.verdict.actions.iter().find_map(|it| match it {
        Action::Alert(alert) => Some(alert.clone()),
        Action::Snapshot(_) | Action::Ext(_) => None,
    });
    let (issues, channels) = alert.map(|it| (it.issues, it.channels)).unwrap_or_default();
    Change {
        what,
        at_ms: seen.at_ms,
        incident,
        service: seen.service.clone(),
        severity: Severity::Info,
        old,
        new: seen.verdict.status,
        code: seen.verdict.code.clone(),
        detail: seen.verdict.detail.clone(),
        issues,
        channels,
        by: seen.by.clone(),
        snapshot: false,
    }
}

/// How bad a state is among bad ones. The maintenance word is as bad as failing: nobody is served.
pub(super) fn rank(health: Health) -> u8 {
    match health {
        Health::Unknown | Health::Ok => 0,
        Health::Degraded => 1,
        Health::Failing | Health::Maintenance => 2,
    }
}

/// The operator's severity; one step quieter while the service still does its work somehow.
pub(super) fn severity_of(health: Health, rules: &Rules) -> Severity {
    match (health, rules.severity) {
        (Health::Degraded, Severity::Critical) => Severity::Warning,
        (Health::Degraded, _) => Severity::Info,
        (_, severity) => severity,
    }
}
