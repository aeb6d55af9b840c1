//! What a formatter is told about a group of notices. Pure.

use crate::alert::grouping::{Group, Member};
use crate::model::UnixMs;
use crate::model::alert::{Event, Phase};
use crate::model::health::Attrs;
use crate::model::incident::Snapshot;

/// What a formatter takes.
const ISSUES_MAX: usize = 64;
const VALUE_BYTES_MAX: usize = 4096;

/// The event of a group: the facts of the loudest, the issues of all. `None` for a group of nothing.
pub fn event(group: &Group, gateway: &str, now_ms: u64) -> Option<Event> {
    let loudest = group.loudest()?;
    let change = &loudest.change;
    let snapshot_id = group.members.iter().find_map(|it| match it.snapshot() {
        Some(Snapshot::Taken { file }) => Some(file.clone()),
        _ => None,
    });
    Some(Event {
        now_ms,
        id: change.incident.clone(),
        phase: group.phase,
        severity: change.severity,
        service: change.service.clone(),
        old: change.old,
        new: change.new,
        code: change.code.clone(),
        detail: change.detail.clone(),
        issues: issues(group),
        extra: extra(group, loudest, snapshot_id.is_none()),
        snapshot_id,
        gateway: gateway.to_owned(),
    })
}

/// Every service or what its policy named, each once.
fn issues(group: &Group) -> Vec<String> {
    let mut issues: Vec<String> = Vec::new();
    for issue in group.members.iter().flat_map(Member::issues) {
        if issues.len() < ISSUES_MAX && !issues.contains(&issue) {
            issues.push(issue);
        }
    }
    issues
}

fn extra(group: &Group, loudest: &Member, wants_reason: bool) -> Attrs {
    let mut extra: Attrs = Vec::new();
    let mut say = |key: &str, value: String| extra.push((key.to_owned(), cut(value)));
    say("why", group.why.word().to_owned());
    if let Some(incident) = &loudest.incident {
        say("since", UnixMs(incident.opened_ms).rfc3339());
        if incident.flapping {
            say("flapping", String::from("true"));
        }
    }
    say("policy", loudest.change.by.clone().unwrap_or_else(|| String::from("native")));
    let errors = group.members.iter().filter_map(|it| snapshot_error(it.snapshot()?));
    if let Some(error) =
        errors.into_iter().next().filter(|_| wants_reason && group.phase != Phase::Resolved)
    {
        say("snapshot-error", error);
    }
    if group.members.len() > 1 {
        let mut names: Vec<&str> = Vec::new();
        for name in group.members.iter().map(|it| it.change.service.name.as_str()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        say("services", names.join(","));
        let ids: Vec<_> = group.members.iter().map(|it| it.change.incident.as_str()).collect();
        say("incidents", ids.join(","));
        say("count", group.members.len().to_string());
    }
    extra
}

/// Why there is no file.
pub fn snapshot_error(snapshot: &Snapshot) -> Option<String> {
    Some(match snapshot {
        Snapshot::Taken { .. } => return None,
        Snapshot::Pending => String::from("asked for, no answer yet; the outcome follows"),
        Snapshot::Failed { reason } => format!("failed: {reason}"),
        Snapshot::Unknown { reason } => format!("unknown: {reason}"),
        Snapshot::Skipped { reason } => format!("not asked for: {reason}"),
    })
}

/// At a character's border.
fn cut(mut value: String) -> String {
    if value.len() > VALUE_BYTES_MAX {
        let mut end = VALUE_BYTES_MAX - '…'.len_utf8();
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
        value.push('…');
    }
    value
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{cut, event};
    use crate::alert::fixture;
    use crate::alert::grouping::{Group, Member};
    use crate::alert::incidents::Incidents;
    use crate::alert::notice::Why;
    use crate::model::alert::Phase;
    use crate::model::health::Severity;
    use crate::model::incident::{Change, Happened, Snapshot, incident_id};

    fn group(services: &[(&str, Severity)], phase: Phase) -> Group {
        let mut book = Incidents::default();
        let mut members = Vec::new();
        for (service, severity) in services {
            let issues = match *service {
                "named" => vec![String::from("disk full"), String::from("a")],
                _ => Vec::new(),
            };
            let opened = fixture::change(service, Happened::Opened, 1000);
            let change = Change { severity: *severity, issues, ..opened };
            book.report(fixture::report(false, vec![change.clone()]));
            let id = incident_id(service, 1000);
            let notices = book.of(&id).map(Arc::clone).collect();
            members.push(Member { notices, incident: book.incidents.get(&id).cloned(), change });
        }
        Group { phase, why: Why::Change, sinks: ["mail".to_owned()].into(), members }
    }

    fn with(group: &mut Group, at: usize, snapshot: Snapshot) {
        let incident = group.members[at].incident.as_mut().unwrap();
        Arc::make_mut(incident).snapshot = Some(snapshot);
    }

    #[test]
    fn the_loudest_speaks_for_all_and_each_service_is_named_once() {
        let quiet =
            [("a", Severity::Info), ("b", Severity::Critical), ("named", Severity::Warning)];
        let event = event(&group(&quiet, Phase::Opened), "edge", 5000).unwrap();
        assert_eq!((event.service.name.as_str(), event.severity), ("b", Severity::Critical));
        assert_eq!(event.issues, ["a", "b", "disk full"]);
        let extra: Vec<_> = event.extra.iter().map(|it| (it.0.as_str(), it.1.as_str())).collect();
        let ids = ["a", "b", "named"].map(|it| incident_id(it, 1000)).join(",");
        assert_eq!(
            extra,
            [
                ("why", "change"),
                ("since", "1970-01-01T00:00:01.000Z"),
                ("policy", "native"),
                ("services", "a,b,named"),
                ("incidents", ids.as_str()),
                ("count", "3"),
            ]
        );
    }

    #[test]
    fn the_snapshot_is_named_or_why_there_is_none() {
        let services = [("a", Severity::Critical), ("b", Severity::Critical)];
        let reason = || String::from("the budget is spent");
        let mut group = group(&services, Phase::Opened);
        let error = |group: &Group| {
            let event = event(group, "edge", 5000).unwrap();
            let error = event.extra.into_iter().find(|it| it.0 == "snapshot-error");
            (event.snapshot_id, error.map(|it| it.1))
        };
        assert_eq!(error(&group), (None, None));
        with(&mut group, 0, Snapshot::Skipped { reason: reason() });
        assert_eq!(error(&group).1.unwrap(), "not asked for: the budget is spent");
        with(&mut group, 1, Snapshot::Taken { file: String::from("b.zip") });
        assert_eq!(error(&group), (Some(String::from("b.zip")), None));
        with(&mut group, 1, Snapshot::Pending);
        with(&mut group, 0, Snapshot::Unknown { reason: reason() });
        assert_eq!(error(&group).1.unwrap(), "unknown: the budget is spent");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let cut = cut("é".repeat(5000));
        assert!(cut.len() <= 4096 && cut.ends_with("é…"));
    }
}
