//! What reports make of incidents and notices. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::alert::notice::{Notice, Why};
use crate::health::Report;
use crate::health::tracker::{NOT_WATCHED, Track};
use crate::model::alert::Phase;
use crate::model::incident::{
    Change, Happened, Incident, Moment, Said, Snapshot, TIMELINE_MAX, Telling,
};

/// Lines at the beginning of a timeline that are never cut.
const TIMELINE_HEAD: usize = 20;
/// Samples kept as evidence.
const EVIDENCE_MAX: usize = 8;
/// Ways of being bad that people are told of in one incident; beyond that only what is more severe.
const SAID_MAX: usize = 4;
/// Incidents that are over and still kept.
const CLOSED_MAX: usize = 200;
/// How long those are kept; the newest few stay, so that a clock that jumps ahead does not take all.
const CLOSED_DAYS: u64 = 30;
const CLOSED_STAY: usize = 20;
const DAY_MS: u64 = 86_400_000;

/// Everything that the book knows.
#[derive(Debug, Default)]
pub struct Incidents {
    pub incidents: BTreeMap<String, Arc<Incident>>,
    pub tracks: BTreeMap<String, Track>,
    /// Decided and not yet put into words, by number.
    pub notices: BTreeMap<u64, Arc<Notice>>,
    /// Number of the last notice.
    pub last: u64,
    /// What differs from the ledger.
    pub touched: Touched,
}

/// What has to be written.
#[derive(Debug, Default)]
pub struct Touched {
    pub incidents: BTreeSet<String>,
    pub tracks: BTreeSet<String>,
    pub notices: BTreeSet<u64>,
}

impl Incidents {
    /// Takes a monitor's report in.
    pub fn report(&mut self, report: Report) {
        for change in &report.changes {
            self.change(change, &report);
            let now_ms = change.at_ms;
            if change.what == Happened::Resolved {
                self.cut(now_ms);
            }
        }
        self.touched.tracks.insert(report.service.clone());
        self.tracks.insert(report.service, report.track);
    }

    fn change(&mut self, change: &Change, report: &Report) {
        let known = self.incidents.get(&change.incident);
        let is_over = known.is_some_and(|it| it.resolved_ms.is_some());
        match change.what {
            Happened::Opened if is_over => drop(self.incidents.remove(&change.incident)),
            _ if is_over => return,
            // Nothing is known of its beginning: nobody has been told.
            Happened::Resolved | Happened::Settled if known.is_none() => return,
            _ => {}
        }
        let mut entry =
            self.incidents.remove(&change.incident).unwrap_or_else(|| opened(change, report));
        let incident = Arc::make_mut(&mut entry);
        take(incident, change);
        incident.muted = report.muted;
        if change.what == Happened::Muted {
            incident.muted = true;
            self.withhold(incident);
        }
        if let Some(notice) = self.notice_of(incident, change) {
            incident.told |= notice.phase != Phase::Resolved;
            say(&mut incident.telling, change);
            self.add(notice);
        }
        self.touched.incidents.insert(change.incident.clone());
        self.incidents.insert(change.incident.clone(), entry);
    }

    /// Whom it concerns is told: not in maintenance, and the end only of what they have heard of.
    fn notice_of(&self, incident: &Incident, change: &Change) -> Option<Notice> {
        let opening_waits = || self.of(&incident.id).any(|it| it.phase == Phase::Opened);
        let silent = match change.what {
            Happened::Opened | Happened::Unmuted => incident.muted,
            Happened::Updated => {
                incident.muted || incident.flapping || !is_news(&incident.telling, change)
            }
            // Words about a beginning that nobody has read yet would be two notices for one thing.
            Happened::Flapping => incident.muted || opening_waits(),
            Happened::Resolved => !incident.told,
            _ => true,
        };
        if silent {
            return None;
        }
        let phase = match change.what {
            Happened::Resolved => Phase::Resolved,
            _ if incident.told => Phase::Updated,
            _ => Phase::Opened,
        };
        let why = match change.what {
            Happened::Unmuted => Why::OutlivedMaintenance,
            _ => Why::Change,
        };
        Some(unnumbered(why, phase, change.clone()))
    }

    /// In maintenance nothing goes out but ends; what has not been put into words yet does not either.
    fn withhold(&mut self, incident: &mut Incident) {
        let waiting: Vec<_> = self.of(&incident.id).cloned().collect();
        for notice in waiting.iter().filter(|it| it.phase != Phase::Resolved) {
            if notice.phase == Phase::Opened && notice.done.is_empty() {
                incident.told = false;
            }
            self.remove_notice(notice.number);
            incident.telling.said.clear();
        }
    }

    /// The notices of an incident, in order.
    pub fn of(&self, incident: &str) -> impl Iterator<Item = &Arc<Notice>> {
        self.notices.values().filter(move |it| it.change.incident == incident)
    }

    /// Gives it a number and keeps it.
    pub fn add(&mut self, notice: Notice) {
        self.last += 1;
        let number = self.last;
        self.touched.notices.insert(number);
        self.notices.insert(number, Arc::new(Notice { number, ..notice }));
    }

    pub fn remove_notice(&mut self, number: u64) {
        if self.notices.remove(&number).is_some() {
            self.touched.notices.insert(number);
        }
    }

    /// Changes an incident that is there; gives whether it is.
    pub fn edit<T>(&mut self, incident: &str, act: impl FnOnce(&mut Incident) -> T) -> Option<T> {
        let entry = self.incidents.get_mut(incident)?;
        self.touched.incidents.insert(incident.to_owned());
        Some(act(Arc::make_mut(entry)))
    }

    /// What became of a snapshot: kept, and told once if the alert went out without it.
    pub fn snapshot(&mut self, incident: &str, snapshot: Snapshot, at_ms: u64) {
        let Some((pending, moment)) = self.edit(incident, |it| {
            let pending = it.snapshot == Some(Snapshot::Pending);
            let (what, text) = told(&snapshot);
            let moment =
                Moment { at_ms, what, health: it.health, code: it.code.clone(), text, by: None };
            note(it, moment.clone());
            it.snapshot = Some(snapshot);
            (pending, moment)
        }) else {
            return;
        };
        let opening_waits = self.of(incident).any(|it| it.phase == Phase::Opened);
        if pending && !opening_waits {
            self.follow_up(incident, moment.at_ms);
        }
    }

    /// Tells the outcome of a snapshot after the alert; of what is over or muted only the timeline does.
    pub fn follow_up(&mut self, incident: &str, at_ms: u64) {
        let Some(it) = self.incidents.get(incident) else { return };
        let outcome = it.snapshot.as_ref().is_some_and(|it| *it != Snapshot::Pending);
        if it.told && !it.muted && it.resolved_ms.is_none() && outcome {
            let notice = unnumbered(Why::Snapshot, Phase::Updated, as_it_stands(it, at_ms));
            self.add(notice);
        }
    }

    /// Tells people again of what is still open; `false` when there is nothing to tell or it is being told.
    pub fn remind(&mut self, incident: &str, at_ms: u64) -> bool {
        let Some(it) = self.incidents.get(incident) else { return false };
        if !it.told || it.muted || it.resolved_ms.is_some() || self.of(incident).next().is_some() {
            return false;
        }
        self.add(unnumbered(Why::Reminder, Phase::Updated, as_it_stands(it, at_ms)));
        true
    }

    /// Ends the incident of a service that is not watched any more.
    pub fn retire(&mut self, service: &str, at_ms: u64) {
        if self.tracks.remove(service).is_some() {
            self.touched.tracks.insert(service.to_owned());
        }
        let open = self.open().filter(|it| it.service.name == service);
        let open: Vec<_> = open.map(|it| it.id.clone()).collect();
        for incident in open {
            let Some(it) = self.incidents.get(&incident) else { continue };
            let change = Change {
                what: Happened::Resolved,
                new: crate::model::health::Health::Unknown,
                code: NOT_WATCHED.to_owned(),
                detail: String::from("the config does not have it watched any more"),
                ..as_it_stands(it, at_ms)
            };
            let track = Track::default();
            let report = Report {
                service: service.to_owned(),
                track,
                changes: Vec::new(),
                evidence: Vec::new(),
                muted: it.muted,
            };
            self.change(&change, &report);
        }
    }

    pub fn open(&self) -> impl Iterator<Item = &Arc<Incident>> {
        self.incidents.values().filter(|it| it.resolved_ms.is_none())
    }

    /// Forgets incidents that have been over for long, unless something about them is still to be told.
    fn cut(&mut self, now_ms: u64) {
        let mut over: Vec<_> = self
            .incidents
            .values()
            .filter_map(|it| Some((it.resolved_ms?, it.id.clone())))
            .collect();
        over.sort_unstable_by(|one, other| other.cmp(one));
        let oldest = now_ms.saturating_sub(CLOSED_DAYS * DAY_MS);
        for (at, (resolved_ms, id)) in over.into_iter().enumerate() {
            let stays = at < CLOSED_STAY || at < CLOSED_MAX && resolved_ms >= oldest;
            if !stays && self.of(&id).next().is_none() {
                self.incidents.remove(&id);
                self.touched.incidents.insert(id);
            }
        }
    }
}

/// Whether it is worse than all that people were told, or bad in a way that they were not told of. A service that is bad
/// in turns, now in one way and now in another, would be told of every minute otherwise.
fn is_news(telling: &Telling, change: &Change) -> bool {
    let same = |it: &Said| it.health == change.new && it.code == change.code;
    let is_louder = telling.said.iter().all(|it| it.severity < change.severity);
    is_louder || telling.said.len() < SAID_MAX && !telling.said.iter().any(same)
}

fn say(telling: &mut Telling, change: &Change) {
    if is_news(telling, change) {
        let (severity, health, code) = (change.severity, change.new, change.code.clone());
        telling.said.push(Said { severity, health, code });
    }
}

/// The number is given when it is kept.
fn unnumbered(why: Why, phase: Phase, change: Change) -> Notice {
    let at_ms = change.at_ms;
    Notice { number: 0, why, phase, change, at_ms, done: Vec::new() }
}

fn opened(change: &Change, report: &Report) -> Arc<Incident> {
    let skip = report.evidence.len().saturating_sub(EVIDENCE_MAX);
    Arc::new(Incident {
        id: change.incident.clone(),
        service: change.service.clone(),
        severity: change.severity,
        opened_ms: change.at_ms,
        resolved_ms: None,
        health: change.new,
        code: change.code.clone(),
        detail: change.detail.clone(),
        issues: change.issues.clone(),
        channels: change.channels.clone(),
        by: change.by.clone(),
        // The tracker opens an incident also because a service flaps.
        flapping: report.track.flapping,
        muted: report.muted,
        told: false,
        snapshot: None,
        telling: Telling::default(),
        evidence: report.evidence.iter().skip(skip).cloned().collect(),
        timeline: Vec::new(),
    })
}

/// Takes a change into the incident, and a line into its timeline.
fn take(incident: &mut Incident, change: &Change) {
    incident.health = change.new;
    incident.service = change.service.clone();
    match change.what {
        // What was wrong stays readable when it is over.
        Happened::Resolved => incident.resolved_ms = Some(change.at_ms),
        _ => {
            incident.severity = change.severity;
            incident.code.clone_from(&change.code);
            incident.detail.clone_from(&change.detail);
            incident.issues.clone_from(&change.issues);
            incident.channels.clone_from(&change.channels);
            incident.by.clone_from(&change.by);
        }
    }
    match change.what {
        Happened::Flapping => incident.flapping = true,
        Happened::Settled | Happened::Resolved => incident.flapping = false,
        _ => {}
    }
    let moment = Moment {
        at_ms: change.at_ms,
        what: change.what,
        health: change.new,
        code: change.code.clone(),
        text: change.detail.clone(),
        by: change.by.clone(),
    };
    note(incident, moment);
}

/// Adds a line; the first and the newest stay when there are too many.
pub fn note(incident: &mut Incident, moment: Moment) {
    incident.timeline.push(moment);
    if incident.timeline.len() > TIMELINE_MAX {
        incident.timeline.remove(TIMELINE_HEAD);
    }
}

/// A change that says how an incident stands.
fn as_it_stands(incident: &Incident, at_ms: u64) -> Change {
    Change {
        what: Happened::Updated,
        at_ms,
        incident: incident.id.clone(),
        service: incident.service.clone(),
        severity: incident.severity,
        old: incident.health,
        new: incident.health,
        code: incident.code.clone(),
        detail: incident.detail.clone(),
        issues: incident.issues.clone(),
        channels: incident.channels.clone(),
        by: incident.by.clone(),
        snapshot: false,
    }
}

/// What stands in the timeline about a snapshot.
fn told(snapshot: &Snapshot) -> (Happened, String) {
    match snapshot {
        Snapshot::Pending => (Happened::SnapshotAsked, String::from("a snapshot was asked for")),
        Snapshot::Taken { file } => (Happened::SnapshotTaken, file.clone()),
        Snapshot::Failed { reason } => (Happened::SnapshotFailed, reason.clone()),
        Snapshot::Unknown { reason } => (Happened::SnapshotUnknown, reason.clone()),
        Snapshot::Skipped { reason } => (Happened::SnapshotSkipped, reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{CLOSED_MAX, CLOSED_STAY, DAY_MS, Incidents};
    use crate::alert::fixture::{change, report};
    use crate::model::alert::Phase;
    use crate::model::health::{Health, Severity};
    use crate::model::incident::Happened::{
        self, Flapping, Muted, Opened, Resolved, Settled, Unmuted, Updated,
    };
    use crate::model::incident::{Change, Snapshot, TIMELINE_MAX, incident_id};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Reports in a row, each with its changes and whether the gate answers for the service; a `|` is the responder, which
    /// takes all that waits. What was made is told in one line.
    fn story(steps: &[(&[Happened], bool)]) -> String {
        let mut book = Incidents::default();
        let mut told = Vec::new();
        for (at, (whats, muted)) in (1000..).zip(steps) {
            if whats.is_empty() {
                told.push(String::from("|"));
                while let Some((number, _)) = book.notices.first_key_value() {
                    let number = *number;
                    book.remove_notice(number);
                }
                continue;
            }
            let last = book.last;
            let changes = whats.iter().map(|it| change("api", *it, at)).collect();
            book.report(report(*muted, changes));
            let new = book.notices.values().filter(|it| it.number > last);
            told.extend(new.map(|it| format!("{:?}/{}", it.phase, it.why.word())));
        }
        let left: Vec<_> = book.notices.values().map(|it| format!("{:?}", it.phase)).collect();
        format!("{} -> {}", told.join(" "), left.join(" "))
    }

    const RESPONDER: (&[Happened], bool) = (&[], false);

    type Story = (&'static str, &'static [(&'static [Happened], bool)], &'static str);

    fn check(stories: &[Story]) {
        for (name, steps, expected) in stories {
            assert_eq!(story(steps), *expected, "{name}");
        }
    }

    #[test]
    fn people_are_told_what_concerns_them_and_of_ends_whose_beginning_they_heard() {
        check(&[
            (
                "a plain incident",
                &[(&[Opened], false), RESPONDER, (&[Updated], false), (&[Resolved], false)],
                "Opened/change | Updated/change Resolved/change -> Updated Resolved",
            ),
            (
                "flapping from the start is one notice",
                &[
                    (&[Opened, Flapping], false),
                    RESPONDER,
                    (&[Settled], false),
                    (&[Resolved], false),
                ],
                "Opened/change | Resolved/change -> Resolved",
            ),
            (
                "flapping alone opens",
                &[(&[Flapping], false), RESPONDER, (&[Updated], false), (&[Resolved], false)],
                "Opened/change | Resolved/change -> Resolved",
            ),
            (
                "flapping later is an update, and what changes then is not told",
                &[
                    (&[Opened], false),
                    RESPONDER,
                    (&[Flapping], false),
                    (&[Updated], false),
                    (&[Settled], false),
                ],
                "Opened/change | Updated/change -> Updated",
            ),
            (
                "flapping before anybody has read of the beginning is no notice of its own",
                &[(&[Opened], false), (&[Flapping], false)],
                "Opened/change -> Opened",
            ),
            ("an end without a beginning", &[(&[Resolved], false)], " -> "),
            (
                "a beginning that was lost",
                &[(&[Updated], false), (&[Resolved], false)],
                "Opened/change Resolved/change -> Opened Resolved",
            ),
            (
                "nothing comes after the end",
                &[
                    (&[Opened], false),
                    (&[Resolved], false),
                    (&[Updated], false),
                    (&[Resolved], false),
                ],
                "Opened/change Resolved/change -> Opened Resolved",
            ),
        ]);
    }

    #[test]
    fn who_is_bad_now_in_one_way_and_now_in_another_is_no_storm() {
        let mut book = Incidents::default();
        let mut hear = |what, new, code: &str, severity, at| {
            let code = code.to_owned();
            let change = Change { new, code, severity, ..change("api", what, at) };
            let last = book.last;
            book.report(report(false, vec![change]));
            book.last - last
        };
        let mut told = hear(Opened, Health::Failing, "refused", Severity::Warning, 1000);
        for at in (1001..1100).step_by(3) {
            told += hear(Updated, Health::Failing, "timeout", Severity::Warning, at);
            told += hear(Updated, Health::Degraded, "slow", Severity::Info, at + 1);
            told += hear(Updated, Health::Failing, "refused", Severity::Warning, at + 2);
        }
        assert_eq!(told, 3, "each way once");
        for at in 1100..1200 {
            told += hear(Updated, Health::Failing, &format!("new-{at}"), Severity::Warning, at);
        }
        assert_eq!(told, 4, "a policy that always finds another word");
        told += hear(Updated, Health::Failing, "refused", Severity::Critical, 1200);
        assert_eq!(told, 5, "what is more severe is told all the same");
        assert_eq!(hear(Resolved, Health::Ok, "ok", Severity::Critical, 1201), 1);
        assert_eq!(book.incidents.values().next().unwrap().timeline.len(), TIMELINE_MAX);
    }

    #[test]
    fn in_maintenance_nothing_is_told_but_ends() {
        check(&[
            (
                "muted from the start to the end",
                &[(&[Opened], true), (&[Updated], true), (&[Resolved], true)],
                " -> ",
            ),
            (
                "outlived the maintenance",
                &[(&[Opened], true), (&[Unmuted], false), RESPONDER, (&[Resolved], false)],
                "Opened/outlived-maintenance | Resolved/change -> Resolved",
            ),
            (
                "was told before the maintenance",
                &[
                    (&[Opened], false),
                    RESPONDER,
                    (&[Muted], true),
                    (&[Updated], true),
                    (&[Unmuted], false),
                ],
                "Opened/change | Updated/outlived-maintenance -> Updated",
            ),
            (
                "ends in the maintenance",
                &[(&[Opened], false), RESPONDER, (&[Muted], true), (&[Resolved], true)],
                "Opened/change | Resolved/change -> Resolved",
            ),
            (
                "maintenance before it was put into words",
                &[(&[Opened], false), (&[Muted], true), (&[Unmuted], false)],
                "Opened/change Opened/outlived-maintenance -> Opened",
            ),
            (
                "maintenance before it was put into words, and an end in it",
                &[(&[Opened], false), (&[Muted], true), (&[Resolved], true)],
                "Opened/change -> ",
            ),
        ]);
    }

    #[test]
    fn an_incident_keeps_what_was_wrong_and_who_said_so() {
        let mut book = Incidents::default();
        book.report(report(false, vec![change("api", Opened, 1000)]));
        let degraded = Change {
            code: String::from("slow"),
            by: Some(String::from("d1")),
            ..change("api", Updated, 1001)
        };
        book.report(report(false, vec![degraded]));
        book.report(report(false, vec![change("api", Resolved, 1002)]));
        let incident = &book.incidents[&incident_id("api", 1000)];
        assert_eq!((incident.opened_ms, incident.resolved_ms), (1000, Some(1002)));
        assert_eq!((incident.code.as_str(), incident.by.as_deref()), ("slow", Some("d1")));
        let lines: Vec<_> =
            incident.timeline.iter().map(|it| (it.what, it.code.as_str())).collect();
        assert_eq!(lines, [(Opened, "refused"), (Updated, "slow"), (Resolved, "ok")]);
        let evidence: Vec<_> = incident.evidence.iter().map(|it| it.at_ms).collect();
        assert_eq!(evidence, [1, 2, 3, 4, 5, 6, 7, 8], "the newest eight");
    }

    #[test]
    fn the_beginning_and_the_end_of_a_long_timeline_stay() {
        let mut book = Incidents::default();
        book.report(report(false, vec![change("api", Opened, 0)]));
        for at in 1..300 {
            book.report(report(false, vec![change("api", Updated, at)]));
        }
        let incident = book.incidents.values().next().unwrap();
        let at: Vec<_> = incident.timeline.iter().map(|it| it.at_ms).collect();
        assert_eq!(at.len(), TIMELINE_MAX);
        assert_eq!(at[..20], (0..20).collect::<Vec<_>>());
        assert_eq!(at[20..], (220..300).collect::<Vec<_>>());
    }

    #[test]
    fn what_has_been_over_for_long_is_forgotten_and_a_jump_of_the_clock_does_not_take_all() {
        let mut book = Incidents::default();
        let mut live = |at: u64| {
            let id = incident_id("api", at);
            for what in [Opened, Resolved] {
                let change = Change { incident: id.clone(), ..change("api", what, at) };
                book.report(report(false, vec![change]));
            }
            let numbers: Vec<_> = book.notices.keys().copied().collect();
            numbers.into_iter().for_each(|it| book.remove_notice(it));
            book.incidents.len()
        };
        let most = (1..1000).map(&mut live).max();
        assert_eq!(most, Some(CLOSED_MAX));
        assert_eq!(live(31 * DAY_MS), CLOSED_STAY);
    }

    #[test]
    fn the_outcome_of_a_snapshot_follows_once_when_the_alert_went_without() {
        let taken = || Snapshot::Taken { file: String::from("a.zip") };
        let mut book = Incidents::default();
        book.report(report(false, vec![change("api", Opened, 1000)]));
        let id = incident_id("api", 1000);
        book.snapshot(&id, Snapshot::Pending, 1001);
        book.snapshot(&id, taken(), 1002);
        assert_eq!(book.of(&id).count(), 1, "the alert has not gone yet");
        book.remove_notice(1);
        book.snapshot(&id, Snapshot::Pending, 1003);
        book.snapshot(&id, taken(), 1004);
        book.snapshot(&id, taken(), 1005);
        let notices: Vec<_> = book.of(&id).map(|it| (it.phase, it.why.word(), it.at_ms)).collect();
        assert_eq!(notices, [(Phase::Updated, "snapshot", 1004)]);
        book.snapshot("nobody", taken(), 1006);
    }

    #[test]
    fn what_is_not_watched_any_more_is_over() {
        let mut book = Incidents::default();
        book.report(report(false, vec![change("api", Opened, 1000)]));
        book.retire("api", 2000);
        assert_eq!(book.open().count(), 0);
        assert!(book.tracks.is_empty());
        let last = book.notices.last_key_value().unwrap().1;
        assert_eq!((last.phase, last.change.code.as_str()), (Phase::Resolved, "not-watched"));
        book.retire("api", 2001);
        assert_eq!(book.last, 2, "once");
    }

    #[test]
    fn a_reminder_waits_for_what_is_being_told() {
        let mut book = Incidents::default();
        let id = incident_id("api", 1000);
        assert!(!book.remind(&id, 1));
        book.report(report(false, vec![change("api", Opened, 1000)]));
        assert!(!book.remind(&id, 1001), "it is about to be told");
        book.remove_notice(1);
        assert!(book.remind(&id, 1002) && !book.remind(&id, 1003));
        book.report(report(true, vec![change("api", Muted, 1004)]));
        assert!(!book.remind(&id, 1005) && book.notices.is_empty());
    }

    proptest! {
        /// Whatever monitors say: nobody hears of an end whose beginning he has not heard of, and of each once.
        #[test]
        fn ends_follow_beginnings(steps in prop::collection::vec((0_usize..7, any::<bool>(), any::<bool>()), 1..60)) {
            let all = [Opened, Updated, Flapping, Settled, Resolved, Muted, Unmuted];
            let (mut book, mut heard) = (Incidents::default(), Vec::new());
            let mut id = incident_id("api", 1000);
            for (at, (what, muted, respond)) in (1000..).zip(steps) {
                if all[what] == Opened {
                    id = incident_id("api", at);
                }
                let change = Change { incident: id.clone(), ..change("api", all[what], at) };
                book.report(report(muted, vec![change]));
                if respond {
                    let taken = std::mem::take(&mut book.notices);
                    heard.extend(taken.into_values().map(|it| (it.change.incident.clone(), it.phase)));
                }
            }
            let mut phases: BTreeMap<String, Vec<Phase>> = BTreeMap::new();
            for (incident, phase) in heard {
                phases.entry(incident).or_default().push(phase);
            }
            for phases in phases.values() {
                prop_assert_eq!(phases[0], Phase::Opened);
                let last = phases.len() - 1;
                for (at, phase) in phases.iter().enumerate().skip(1) {
                    let fits = *phase == Phase::Updated || *phase == Phase::Resolved && at == last;
                    prop_assert!(fits, "{:?}", phases);
                }
            }
        }
    }
}
