//! What differs between what was and what would have been. Pure.

use serde::Serialize;

use crate::model::health::{Health, Severity};
use crate::model::incident::{Change, Happened};

/// Differences that are shown of each sort.
pub(super) const EXAMPLES_MAX: usize = 20;

/// Everything that a replay found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) plugin: Plugin,
    pub(super) since_ms: u64,
    pub(super) notes: Vec<String>,
    /// Of a policy: by service.
    pub(super) services: Vec<Service>,
    /// Of a formatter.
    pub(super) words: Option<Sort>,
}

/// The component on trial.
#[derive(Debug, Serialize)]
pub(super) struct Plugin {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: &'static str,
    pub(super) digest: String,
}

/// What differs for one service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub(super) service: String,
    pub(super) observations: usize,
    pub(super) verdicts: Sort,
    pub(super) incidents: Sort,
    pub(super) alerts: Sort,
    /// Calls that gave no verdict; there the native rule would have judged.
    pub(super) faults: usize,
    pub(super) first_fault: Option<String>,
}

/// Differences of one sort.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sort {
    pub(super) recorded: usize,
    pub(super) candidate: usize,
    pub(super) different: usize,
    /// The first ones, each with its time.
    pub(super) examples: Vec<Example>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Example {
    pub(super) at_ms: u64,
    /// What was.
    pub(super) recorded: Option<String>,
    /// What would have been.
    pub(super) candidate: Option<String>,
}

impl Report {
    pub(super) fn is_different(&self) -> bool {
        let of = |it: &Service| {
            it.verdicts.different + it.incidents.different + it.alerts.different + it.faults
        };
        self.services.iter().any(|it| of(it) > 0)
            || self.words.as_ref().is_some_and(|it| it.different > 0)
    }
}

impl Sort {
    pub(super) fn differ(
        &mut self,
        at_ms: u64,
        recorded: Option<String>,
        candidate: Option<String>,
    ) {
        self.different += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Example { at_ms, recorded, candidate });
        }
    }
}

/// Status and code of one verdict.
pub(super) type Opinion = (Health, String);

/// Verdicts, by the time of their observations.
pub(super) fn verdicts(times: &[u64], recorded: &[Opinion], candidate: &[Opinion]) -> Sort {
    let mut sort = Sort { recorded: recorded.len(), candidate: candidate.len(), ..Sort::default() };
    let shown = |(health, code): &Opinion| format!("{} {code}", crate::cli::telling::word(health));
    for ((at, old), new) in times.iter().zip(recorded).zip(candidate) {
        if old != new {
            sort.differ(*at, Some(shown(old)), Some(shown(new)));
        }
    }
    sort
}

/// One incident, from its changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Period {
    opened_ms: u64,
    resolved_ms: Option<u64>,
    severity: Severity,
    code: String,
}

impl Period {
    fn shown(&self) -> String {
        let end = match self.resolved_ms {
            Some(at) => {
                format!("for {}", crate::cli::telling::span(at.saturating_sub(self.opened_ms)))
            }
            None => "still open".to_owned(),
        };
        let opened = crate::cli::telling::moment(self.opened_ms);
        format!("{} {} from {opened}, {end}", crate::cli::telling::word(&self.severity), self.code)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |it: &Self| it.resolved_ms.unwrap_or(u64::MAX);
        self.opened_ms <= end(other) && other.opened_ms <= end(self)
    }
}

fn periods(changes: &[Change]) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    for change in changes {
        match change.what {
            Happened::Opened => periods.push(Period {
                opened_ms: change.at_ms,
                resolved_ms: None,
                severity: change.severity,
                code: change.code.clone(),
            }),
            Happened::Resolved => {
                if let Some(last) = periods.last_mut() {
                    last.resolved_ms = Some(change.at_ms);
                }
            }
            _ => {
                if let Some(last) = periods.last_mut() {
                    last.severity = last.severity.max(change.severity);
                }
            }
        }
    }
    periods
}

/// Incidents: those that overlap are the same one, and differ when begin, end, severity or code do.
pub(super) fn incidents(recorded: &[Change], candidate: &[Change]) -> Sort {
    let (old, mut new) = (periods(recorded), periods(candidate));
    let mut sort = Sort { recorded: old.len(), candidate: new.len(), ..Sort::default() };
    for was in &old {
        match new.iter().position(|it| it.overlaps(was)) {
            Some(at) => {
                let would = new.remove(at);
                if would != *was {
                    let at_ms = was.opened_ms.min(would.opened_ms);
                    sort.differ(at_ms, Some(was.shown()), Some(would.shown()));
                }
            }
            None => sort.differ(was.opened_ms, Some(was.shown()), None),
        }
    }
    new.iter().for_each(|it| sort.differ(it.opened_ms, None, Some(it.shown())));
    sort.examples.sort_by_key(|it| it.at_ms);
    sort
}

/// A change and whether the service was in maintenance then.
pub(super) type Told<'a> = (&'a Change, bool);

/// Alerts: changes of which people are told. In maintenance nobody is; what outlives it is told at its end.
pub(super) fn alerts(recorded: &[Told<'_>], candidate: &[Told<'_>]) -> Sort {
    let (old, mut new) = (told(recorded), told(candidate));
    let mut sort = Sort { recorded: old.len(), candidate: new.len(), ..Sort::default() };
    for was in old {
        match new.iter().position(|it| *it == was) {
            Some(at) => drop(new.remove(at)),
            None => sort.differ(was.0, Some(was.1), None),
        }
    }
    new.into_iter().for_each(|(at_ms, text)| sort.differ(at_ms, None, Some(text)));
    sort.examples.sort_by_key(|it| it.at_ms);
    sort
}

fn told(changes: &[Told<'_>]) -> Vec<(u64, String)> {
    let is_told = |it: &&Told<'_>| match it.0.what {
        Happened::Unmuted => true,
        Happened::Opened
        | Happened::Updated
        | Happened::Flapping
        | Happened::Settled
        | Happened::Resolved => !it.1,
        _ => false,
    };
    let text = |it: &Change| {
        let (what, severity) =
            (crate::cli::telling::word(&it.what), crate::cli::telling::word(&it.severity));
        (it.at_ms, format!("{what} {severity} {}", it.code))
    };
    changes.iter().filter(is_told).map(|it| text(it.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::health::ServiceFacts;

    fn change(what: Happened, at_ms: u64, code: &str) -> Change {
        Change {
            what,
            at_ms,
            incident: "i".to_owned(),
            service: ServiceFacts {
                name: "a".to_owned(),
                namespace: None,
                endpoint: String::new(),
                ready: None,
                desired: None,
                labels: Vec::new(),
            },
            severity: Severity::Critical,
            old: Health::Ok,
            new: Health::Failing,
            code: code.to_owned(),
            detail: String::new(),
            issues: Vec::new(),
            channels: Vec::new(),
            by: None,
            snapshot: false,
        }
    }

    #[test]
    fn verdicts_differ_by_status_or_code() {
        let ok = (Health::Ok, "ok".to_owned());
        let late = (Health::Degraded, "late".to_owned());
        let slow = (Health::Degraded, "slow".to_owned());
        let old = [ok.clone(), late.clone(), late.clone()];
        let sort = verdicts(&[1, 2, 3], &old, &[ok, late, slow]);
        assert_eq!((sort.recorded, sort.different), (3, 1));
        assert_eq!(sort.examples[0].recorded.as_deref(), Some("degraded late"));
        assert_eq!(
            (sort.examples[0].at_ms, sort.examples[0].candidate.as_deref()),
            (3, Some("degraded slow"))
        );
        let many: Vec<_> = (0..100).map(|_| (Health::Ok, "ok".to_owned())).collect();
        let none: Vec<_> = (0..100).map(|_| (Health::Failing, "x".to_owned())).collect();
        let sort = verdicts(&(0..100).collect::<Vec<_>>(), &many, &none);
        assert_eq!((sort.different, sort.examples.len()), (100, EXAMPLES_MAX));
    }

    #[test]
    fn incidents_are_paired_by_time() {
        use Happened::{Opened, Resolved};
        let old = [
            change(Opened, 10, "x"),
            change(Resolved, 20, "ok"),
            change(Opened, 50, "x"),
            change(Resolved, 60, "ok"),
        ];
        assert_eq!(incidents(&old, &old).different, 0);
        // One begins later, one is missing, one is new.
        let new = [change(Opened, 15, "x"), change(Resolved, 20, "ok"), change(Opened, 90, "y")];
        let sort = incidents(&old, &new);
        assert_eq!((sort.recorded, sort.candidate, sort.different), (2, 2, 3));
        let sides: Vec<_> = sort
            .examples
            .iter()
            .map(|it| (it.at_ms, it.recorded.is_some(), it.candidate.is_some()))
            .collect();
        assert_eq!(sides, [(10, true, true), (50, true, false), (90, false, true)]);
    }

    #[test]
    fn in_maintenance_nobody_is_told_but_of_what_outlives_it() {
        use Happened::{Muted, Opened, Resolved, Unmuted};
        let quiet = [
            change(Opened, 10, "x"),
            change(Muted, 10, "x"),
            change(Unmuted, 20, "x"),
            change(Resolved, 30, "ok"),
        ];
        let told: Vec<Told<'_>> = quiet.iter().zip([true, true, false, false]).collect();
        let loud = [change(Opened, 10, "x"), change(Resolved, 30, "ok")];
        let loud: Vec<Told<'_>> = loud.iter().map(|it| (it, false)).collect();
        let sort = alerts(&told, &loud);
        assert_eq!((sort.recorded, sort.candidate, sort.different), (2, 2, 2));
        assert_eq!(alerts(&told, &told).different, 0);
    }
}
