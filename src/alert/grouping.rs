//! Which notices go out together, and when. Pure.
//!
//! All that waits about one incident is one *bundle*: updates that nobody has read are folded into the newest, and into
//! the opening before them. Bundles of one service go in the order in which they began, and one that must go takes along
//! those before it, whatever they wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::alert::notice::{Notice, Why};
use crate::alert::{quiet, routing};
use crate::config::alerts::Alerts;
use crate::model::alert::Phase;
use crate::model::health::Severity;
use crate::model::incident::{Change, Incident, Snapshot};

/// How long the end of an incident waits for others of its group that look good too.
pub const HEAL_WAIT_MS: u64 = 1000;
/// How soon to look again while services look bad (or good) without a change: nobody rings for that.
pub const LOOK_AGAIN_MS: u64 = 50;
/// What one notice can hold: formatters take 64 issues, and names of services must fit into 4 KiB.
const INCIDENTS_MAX: usize = 50;
const ISSUES_MAX: usize = 64;
/// Quiet hours are looked at again after this time at the latest: the wall clock may jump.
const QUIET_LOOK_MS: u64 = 30_000;

/// A notice that waits, and since when.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub notice: Arc<Notice>,
    /// `None`: nothing is known of it any more; what stands in the notice must do.
    pub incident: Option<Arc<Incident>>,
    /// When it was seen first, by the steady clock.
    pub seen_ms: u64,
    /// Whether the outbox had no room for it, or not for all sinks, when it was tried the last time.
    pub no_room: bool,
}

/// What decides about waiting.
pub struct Circumstances<'a> {
    pub alerts: &'a Alerts,
    /// By the steady clock.
    pub now_ms: u64,
    /// By the wall clock: quiet hours.
    pub wall_ms: u64,
    /// Whether services look bad that are not incidents yet.
    pub suspects: bool,
    /// Until when the alert of an incident waits for its snapshot, by the steady clock.
    pub snapshot: &'a dyn Fn(&Incident) -> Option<u64>,
    /// Whether others that were told together with it are open and look good.
    pub healing: &'a dyn Fn(&Incident) -> bool,
}

/// One incident's part of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// Everything that it stands for; the first leads.
    pub notices: Vec<Arc<Notice>>,
    pub incident: Option<Arc<Incident>>,
    /// The newest facts.
    pub change: Change,
}

impl Member {
    /// What it is called in a list of issues.
    pub fn issues(&self) -> Vec<String> {
        match self.change.issues.is_empty() {
            true => vec![self.change.service.name.clone()],
            false => self.change.issues.clone(),
        }
    }

    pub fn lead(&self) -> Option<&Arc<Notice>> {
        self.notices.first()
    }

    /// How the snapshot stands.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.incident.as_ref()?.snapshot.as_ref()
    }
}

/// What goes out as one.
#[derive(Clone, Debug)]
pub struct Group {
    pub phase: Phase,
    pub why: Why,
    /// Empty: nobody hears of it.
    pub sinks: BTreeSet<String>,
    /// In the order of their notices.
    pub members: Vec<Member>,
}

impl Group {
    /// The one whose facts stand for all: the loudest, of equal ones the first.
    pub fn loudest(&self) -> Option<&Member> {
        self.members.iter().rev().max_by_key(|it| it.change.severity)
    }
}

/// What is due, in the order in which it goes out, and when to look again at what is not.
#[derive(Debug, Default)]
pub struct Plan {
    pub groups: Vec<Group>,
    /// By the steady clock.
    pub again_ms: Option<u64>,
}

/// Decides what goes out now.
pub fn plan(waiting: &[Waiting], now: &Circumstances<'_>) -> Plan {
    let mut services: BTreeMap<&str, Vec<Bundle<'_>>> = BTreeMap::new();
    for bundle in bundles(waiting) {
        services.entry(&bundle.newest.change.service.name).or_default().push(bundle);
    }
    let mut plan = Plan::default();
    let (mut due, mut grouped) = (Vec::new(), Vec::new());
    for bundles in services.into_values() {
        // Those that wait for room are tried again, and hold up nothing: other sinks may have some.
        let (stuck, mut bundles): (Vec<_>, Vec<_>) =
            bundles.into_iter().partition(Bundle::has_no_room);
        due.extend(stuck);
        let holds: Vec<_> = bundles.iter().map(|it| it.hold(now)).collect();
        if bundles.is_empty() {
            continue;
        }
        let first = bundles.swap_remove(0);
        match holds.iter().any(|it| matches!(it, Hold::Go)) {
            true => due.push(first),
            false => {
                for hold in &holds {
                    plan.again_ms = earlier(plan.again_ms, hold.until());
                }
                if matches!(holds.first(), Some(Hold::ForOthers(_))) {
                    grouped.push(first);
                }
            }
        }
    }
    // Whoever waits for company has it now.
    if due.iter().any(|it| it.opening.is_some()) {
        due.append(&mut grouped);
    }
    due.sort_by_key(Bundle::number);
    plan.groups = groups(&due, now);
    plan
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// Whether something goes, and if not, until when it waits (steady clock).
#[derive(Debug)]
enum Hold {
    Go,
    Until(u64),
    /// An opening that waits for nothing but other services.
    ForOthers(u64),
}

impl Hold {
    fn until(&self) -> Option<u64> {
        match self {
            Self::Go => None,
            Self::Until(at) | Self::ForOthers(at) => Some(*at),
        }
    }
}

/// What waits about one incident.
struct Bundle<'a> {
    all: Vec<&'a Waiting>,
    opening: Option<&'a Waiting>,
    end: Option<&'a Waiting>,
    newest: &'a Notice,
}

fn bundles(waiting: &[Waiting]) -> Vec<Bundle<'_>> {
    let mut by_incident: BTreeMap<&str, Vec<&Waiting>> = BTreeMap::new();
    for it in waiting {
        by_incident.entry(&it.notice.change.incident).or_default().push(it);
    }
    let mut bundles: Vec<_> = by_incident.into_values().filter_map(bundle).collect();
    bundles.sort_by_key(Bundle::number);
    bundles
}

fn bundle(all: Vec<&Waiting>) -> Option<Bundle<'_>> {
    let of = |phase| all.iter().find(move |it| it.notice.phase == phase).copied();
    let (opening, end) = (of(Phase::Opened), of(Phase::Resolved));
    let newest = &all.last()?.notice;
    Some(Bundle { opening, end, newest, all })
}

impl Bundle<'_> {
    fn number(&self) -> u64 {
        self.all.first().map_or(0, |it| it.notice.number)
    }

    fn has_no_room(&self) -> bool {
        self.all.iter().all(|it| it.no_room)
    }

    fn incident(&self) -> Option<&Arc<Incident>> {
        self.all.iter().find_map(|it| it.incident.as_ref())
    }

    /// The loudest of what waits: escalation ends the silence.
    fn severity(&self) -> Severity {
        let all = self.all.iter().map(|it| it.notice.change.severity);
        all.max().unwrap_or(Severity::Critical)
    }

    fn hold(&self, now: &Circumstances<'_>) -> Hold {
        if let Some(end) = quiet::until(now.alerts.quiet.as_ref(), self.severity(), now.wall_ms) {
            let wait = end.saturating_sub(now.wall_ms).min(QUIET_LOOK_MS);
            return Hold::Until(now.now_ms.saturating_add(wait));
        }
        let again = now.now_ms.saturating_add(LOOK_AGAIN_MS);
        if let Some(end) = self.end {
            let limit = end.seen_ms.saturating_add(HEAL_WAIT_MS);
            let heals = self.incident().is_some_and(|it| (now.healing)(it));
            return match heals && now.now_ms < limit {
                true => Hold::Until(limit.min(again)),
                false => Hold::Go,
            };
        }
        let Some(opening) = self.opening else { return Hold::Go };
        let snapshot = self.incident().and_then(|it| (now.snapshot)(it));
        if let Some(until) = snapshot.filter(|it| now.now_ms < *it) {
            return Hold::Until(until);
        }
        let group_wait = u64::try_from(now.alerts.group_wait.as_millis()).unwrap_or(u64::MAX);
        let limit = opening.seen_ms.saturating_add(group_wait);
        match now.suspects && now.now_ms < limit {
            true => Hold::ForOthers(limit.min(again)),
            false => Hold::Go,
        }
    }

    /// What the bundle says: one thing, or its beginning and its end.
    fn says(&self, now: &Circumstances<'_>) -> Vec<(Phase, Vec<&Waiting>)> {
        match (self.opening, self.end) {
            (Some(opening), Some(_)) => {
                let at_ms = opening.notice.at_ms;
                let quiet = now.alerts.quiet.as_ref();
                if quiet::until(quiet, self.severity(), at_ms).is_some() {
                    return vec![(Phase::Resolved, self.all.clone())];
                }
                let (ends, begins) =
                    self.all.iter().partition(|it| it.notice.phase == Phase::Resolved);
                vec![(Phase::Opened, begins), (Phase::Resolved, ends)]
            }
            (Some(_), None) => vec![(Phase::Opened, self.all.clone())],
            (None, Some(_)) => vec![(Phase::Resolved, self.all.clone())],
            (None, None) => {
                let heard = self.incident().is_none_or(|it| !it.telling.sinks.is_empty());
                let phase = if heard { Phase::Updated } else { Phase::Opened };
                vec![(phase, self.all.clone())]
            }
        }
    }

    /// Who hears it.
    fn sinks(&self, phase: Phase, change: &Change, now: &Circumstances<'_>) -> BTreeSet<String> {
        let mut sinks = BTreeSet::new();
        if phase != Phase::Resolved || self.opening.is_some() {
            sinks = routing::sinks(now.alerts, &change.service.name, self.severity());
        }
        if phase != Phase::Opened {
            let heard = self.incident().map(|it| it.telling.sinks.clone()).unwrap_or_default();
            let there = |it: &String| now.alerts.sinks.iter().any(|sink| sink.name == *it);
            sinks.extend(heard.into_iter().filter(there));
        }
        sinks
    }
}

/// Puts together what may go together: the beginnings first, the ends last.
fn groups(due: &[Bundle<'_>], now: &Circumstances<'_>) -> Vec<Group> {
    let mut groups: BTreeMap<(usize, Why, BTreeSet<String>), Vec<Member>> = BTreeMap::new();
    for bundle in due {
        for (phase, all) in bundle.says(now) {
            let Some(newest) = all.last() else { continue };
            let change = newest.notice.change.clone();
            let mut sinks = bundle.sinks(phase, &change, now);
            sinks.retain(|it| !all.iter().all(|one| one.notice.done.contains(it)));
            let why = match (phase, bundle.opening) {
                (Phase::Opened, Some(opening)) => opening.notice.why,
                (Phase::Resolved, _) => Why::Change,
                _ => all.iter().map(|it| it.notice.why).min().unwrap_or(Why::Change),
            };
            let notices = all.iter().map(|it| Arc::clone(&it.notice)).collect();
            let member = Member { notices, incident: bundle.incident().cloned(), change };
            groups.entry((order(phase), why, sinks)).or_default().push(member);
        }
    }
    let mut cut = Vec::new();
    for ((phase, why, sinks), members) in groups {
        let phase = PHASES.get(phase).copied().unwrap_or(Phase::Updated);
        for members in parts(members) {
            cut.push(Group { phase, why, sinks: sinks.clone(), members });
        }
    }
    cut
}

const PHASES: [Phase; 3] = [Phase::Opened, Phase::Updated, Phase::Resolved];

fn order(phase: Phase) -> usize {
    PHASES.iter().position(|it| *it == phase).unwrap_or(1)
}

/// As many at a time as one notice can hold.
fn parts(members: Vec<Member>) -> Vec<Vec<Member>> {
    let mut parts: Vec<Vec<Member>> = Vec::new();
    let mut issues = usize::MAX;
    for member in members {
        let count = member.issues().len();
        let full = parts.last().is_none_or(|it| it.len() >= INCIDENTS_MAX);
        if full || issues.saturating_add(count) > ISSUES_MAX {
            parts.push(Vec::new());
            issues = 0;
        }
        issues = issues.saturating_add(count);
        if let Some(part) = parts.last_mut() {
            part.push(member);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Circumstances, Group, HEAL_WAIT_MS, Plan, Waiting, plan};
    use crate::alert::fixture;
    use crate::alert::incidents::Incidents;
    use crate::alert::notice::Notice;
    use crate::config::alerts::{AlertRoute, Alerts, Quiet};
    use crate::model::alert::Phase;
    use crate::model::health::Severity;
    use crate::model::incident::Happened::{Flapping, Opened, Resolved, Updated};
    use crate::model::incident::{Change, Happened, Incident, incident_id};
    use proptest::prelude::*;

    /// What waits, and how the world is.
    struct World {
        book: Incidents,
        alerts: Alerts,
        seen_ms: u64,
        now_ms: u64,
        suspects: bool,
        snapshot: Vec<(&'static str, u64)>,
        healing: Vec<&'static str>,
    }

    fn world() -> World {
        let alerts = fixture::alerts(&["chat", "mail"]);
        let (book, snapshot, healing) = (Incidents::default(), Vec::new(), Vec::new());
        World { book, alerts, seen_ms: 0, now_ms: 0, suspects: false, snapshot, healing }
    }

    impl World {
        fn hear(&mut self, service: &str, what: Happened, severity: Severity) -> &mut Self {
            let change = Change { severity, ..fixture::change(service, what, 1000) };
            self.book.report(fixture::report(false, vec![change]));
            self
        }

        /// As after the alert went out.
        fn told(&mut self, service: &str, sinks: &[&str]) -> &mut Self {
            let id = incident_id(service, 1000);
            let numbers: Vec<_> = self.book.of(&id).map(|it| it.number).collect();
            numbers.into_iter().for_each(|it| self.book.remove_notice(it));
            let sinks = sinks.iter().map(|it| (*it).to_owned()).collect();
            self.book.edit(&id, |it| it.telling.sinks = sinks);
            self
        }

        fn plan(&self) -> Plan {
            let wait = |notice: &Arc<Notice>| Waiting {
                notice: Arc::clone(notice),
                incident: self.book.incidents.get(&notice.change.incident).cloned(),
                seen_ms: self.seen_ms,
                no_room: false,
            };
            let waiting: Vec<_> = self.book.notices.values().map(wait).collect();
            let until = |incident: &Incident| {
                let found = self.snapshot.iter().find(|it| it.0 == incident.service.name);
                found.map(|it| it.1)
            };
            let now = Circumstances {
                alerts: &self.alerts,
                now_ms: self.now_ms,
                wall_ms: self.now_ms,
                suspects: self.suspects,
                snapshot: &until,
                healing: &|it| self.healing.contains(&it.service.name.as_str()),
            };
            plan(&waiting, &now)
        }

        /// As the responder does; gives whether anything went.
        fn go(&mut self, heard: &mut Vec<(Phase, String, String)>) -> bool {
            let plan = self.plan();
            for group in &plan.groups {
                for member in &group.members {
                    let id = &member.change.incident;
                    heard.push((group.phase, member.change.service.name.clone(), id.clone()));
                    member.notices.iter().for_each(|it| self.book.remove_notice(it.number));
                    let sinks: Vec<_> = group.sinks.iter().cloned().collect();
                    self.book.edit(id, |it| it.telling.sinks = sinks);
                }
            }
            !plan.groups.is_empty()
        }

        /// For example `Opened a b > chat mail; Resolved c >`.
        fn says(&self) -> String {
            self.plan().groups.iter().map(say).collect::<Vec<_>>().join("; ")
        }
    }

    fn say(group: &Group) -> String {
        let names = group.members.iter().map(|it| it.change.service.name.as_str());
        let sinks = group.sinks.iter().map(String::as_str);
        let words: Vec<_> = names.chain([">"]).chain(sinks).collect();
        format!("{:?} {}", group.phase, words.join(" "))
    }

    use Severity::{Critical, Info, Warning};

    #[test]
    fn what_fails_together_is_one_notice() {
        let mut world = world();
        world.hear("a", Opened, Warning).hear("b", Opened, Critical).hear("c", Opened, Critical);
        assert_eq!(world.says(), "Opened a b c > chat mail");
        let plan = world.plan();
        assert_eq!(plan.groups[0].loudest().unwrap().change.service.name, "b");
    }

    #[test]
    fn an_opening_waits_for_others_only_while_they_look_bad() {
        let mut world = world();
        world.hear("a", Opened, Critical);
        assert_eq!(world.says(), "Opened a > chat mail", "at once");
        world.suspects = true;
        assert_eq!((world.says().as_str(), world.plan().again_ms), ("", Some(50)));
        world.now_ms = 4990;
        assert_eq!(world.plan().again_ms, Some(5000));
        world.now_ms = 5000;
        assert_eq!(world.says(), "Opened a > chat mail", "group_wait is over");
    }

    #[test]
    fn what_must_go_takes_along_what_waits_for_company() {
        let mut world = world();
        world.hear("a", Opened, Critical).hear("b", Opened, Critical);
        world.suspects = true;
        world.snapshot = vec![("b", 100)];
        assert_eq!(world.says(), "");
        world.now_ms = 5000;
        assert_eq!(world.says(), "Opened a b > chat mail");
    }

    #[test]
    fn an_alert_waits_for_its_snapshot_and_no_longer() {
        let mut world = world();
        world.hear("a", Opened, Critical).hear("b", Opened, Critical);
        world.snapshot = vec![("a", 2000)];
        assert_eq!(
            (world.says().as_str(), world.plan().again_ms),
            ("Opened b > chat mail", Some(2000))
        );
        world.now_ms = 2000;
        assert_eq!(world.says(), "Opened a b > chat mail");
    }

    #[test]
    fn an_end_takes_its_waiting_beginning_along_in_order() {
        let mut world = world();
        world.hear("a", Opened, Critical).hear("a", Resolved, Critical).hear("b", Opened, Warning);
        world.snapshot = vec![("a", 2000)];
        assert_eq!(world.says(), "Opened a b > chat mail; Resolved a > chat mail");
    }

    #[test]
    fn updates_are_folded_into_what_nobody_has_read() {
        let mut world = world();
        world.hear("a", Opened, Warning).hear("a", Updated, Critical);
        let plan = world.plan();
        assert_eq!(world.says(), "Opened a > chat mail");
        let member = &plan.groups[0].members[0];
        assert_eq!((member.notices.len(), member.change.severity), (2, Critical));
        world.told("a", &["mail"]);
        world.hear("a", Flapping, Warning).hear("a", Flapping, Info);
        assert_eq!(world.says(), "Updated a > chat mail");
        world.hear("a", Resolved, Warning);
        assert_eq!(world.says(), "Resolved a > mail", "an end goes to those who heard of it");
    }

    #[test]
    fn routes_divide_and_sinks_that_are_gone_are_left_out() {
        let mut world = world();
        world.alerts.routes = vec![
            AlertRoute { services: Vec::new(), severity: Critical, sinks: vec![0, 1] },
            AlertRoute { services: vec![String::from("c")], severity: Info, sinks: Vec::new() },
            AlertRoute { services: Vec::new(), severity: Info, sinks: vec![1] },
        ];
        world.hear("a", Opened, Critical).hear("b", Opened, Info).hear("c", Opened, Info);
        assert_eq!(world.says(), "Opened c >; Opened a > chat mail; Opened b > mail");
        world.told("a", &["chat", "gone"]).told("b", &["gone"]).told("c", &[]);
        world.hear("a", Resolved, Info).hear("b", Resolved, Info).hear("c", Resolved, Info);
        assert_eq!(world.says(), "Resolved b c >; Resolved a > chat");
    }

    #[test]
    fn whoever_was_never_told_of_it_hears_of_its_beginning() {
        let mut world = world();
        world.hear("a", Opened, Critical).told("a", &[]).hear("a", Updated, Critical);
        assert_eq!(world.says(), "Opened a > chat mail");
    }

    #[test]
    fn quiet_hours_hold_back_what_is_not_loud_and_tell_once_what_is_over() {
        let mut world = world();
        world.alerts.quiet =
            Some(Quiet { from: 0, to: 60, zone: String::from("UTC"), from_severity: Critical });
        let end = 3_600_000;
        world.hear("a", Opened, Warning).hear("b", Opened, Critical).hear("c", Opened, Warning);
        world.hear("c", Resolved, Warning);
        assert_eq!(world.says(), "Opened b > chat mail");
        assert_eq!(world.plan().again_ms, Some(30_000));
        world.now_ms = end;
        assert_eq!(world.says(), "Opened a b > chat mail; Resolved c > chat mail");
        // Escalation ends the silence.
        world.now_ms = 0;
        world.told("b", &["mail"]).hear("a", Updated, Critical);
        assert_eq!(world.says(), "Opened a > chat mail");
    }

    #[test]
    fn ends_wait_a_moment_for_others_of_their_group() {
        let mut world = world();
        world.hear("a", Opened, Critical).told("a", &["mail"]).hear("a", Resolved, Critical);
        world.healing = vec!["a"];
        assert_eq!((world.says().as_str(), world.plan().again_ms), ("", Some(50)));
        world.now_ms = HEAL_WAIT_MS;
        assert_eq!(world.says(), "Resolved a > mail");
    }

    #[test]
    fn incidents_of_one_service_go_one_after_the_other() {
        let mut world = world();
        world.hear("a", Opened, Critical).told("a", &["mail"]).hear("a", Resolved, Critical);
        let next =
            Change { incident: incident_id("a", 2000), ..fixture::change("a", Opened, 2000) };
        world.book.report(fixture::report(false, vec![next]));
        world.healing = vec!["a"];
        assert_eq!(world.says(), "Resolved a > mail", "the next one is due and takes it along");
        world.told("a", &["mail"]);
        assert_eq!(world.says(), "Opened a > chat mail");
    }

    #[test]
    fn what_one_notice_cannot_hold_is_several() {
        let mut world = world();
        for number in 0..120 {
            world.hear(&format!("s{number:03}"), Opened, Critical);
        }
        let sizes: Vec<_> = world.plan().groups.iter().map(|it| it.members.len()).collect();
        assert_eq!(sizes, [50, 50, 20]);
    }

    #[test]
    fn a_sink_that_has_it_is_not_told_again() {
        let mut world = world();
        world.hear("a", Opened, Critical);
        for notice in world.book.notices.values_mut() {
            Arc::make_mut(notice).done.push(String::from("chat"));
        }
        assert_eq!(world.says(), "Opened a > mail");
    }

    proptest! {
        /// Whatever happens in whatever order, each sink hears of every incident: first of its beginning, last of its end,
        /// of both once, and of the incidents of one service one after the other.
        #[test]
        fn nothing_is_lost_doubled_or_out_of_order(
            steps in prop::collection::vec((0_usize..3, 0_u8..5, 0_u64..3000, any::<[bool; 4]>()), 1..80),
        ) {
            let mut world = world();
            let mut open: [Option<String>; 3] = Default::default();
            let mut heard: Vec<(Phase, String, String)> = Vec::new();
            let mut began = Vec::new();
            for (at, (service, act, pass, flags)) in steps.into_iter().enumerate() {
                let at_ms = 1000 + u64::try_from(at).unwrap();
                let name = ["a", "b", "c"][service];
                let what = match (act, &open[service]) {
                    (0..3, None) => Opened,
                    (0 | 1, Some(_)) => Resolved,
                    (2, Some(_)) => Updated,
                    _ => Happened::Settled,
                };
                let id = open[service].take().unwrap_or_else(|| incident_id(name, at_ms));
                if what != Happened::Settled || world.book.incidents.contains_key(&id) {
                    let change = Change { incident: id.clone(), ..fixture::change(name, what, at_ms) };
                    world.book.report(fixture::report(false, vec![change]));
                    if what == Opened {
                        began.push((name.to_owned(), id.clone()));
                    }
                    open[service] = (what != Resolved).then_some(id);
                }
                world.now_ms += pass;
                world.suspects = flags[0];
                world.snapshot = if flags[1] { vec![("a", world.now_ms + 100)] } else { Vec::new() };
                world.healing = if flags[2] { vec!["a", "b", "c"] } else { Vec::new() };
                if flags[3] {
                    world.go(&mut heard);
                }
            }
            world.now_ms += 100_000;
            (world.snapshot, world.healing, world.suspects) = (Vec::new(), Vec::new(), false);
            while !world.book.notices.is_empty() {
                prop_assert!(world.go(&mut heard), "something waits for ever");
            }
            for (service, id) in &began {
                let phases: Vec<_> = heard.iter().filter(|it| it.2 == *id).map(|it| it.0).collect();
                let ended = phases.iter().filter(|it| **it == Phase::Resolved).count();
                let is_over = world.book.incidents[id].resolved_ms.is_some();
                prop_assert_eq!(phases[0], Phase::Opened);
                prop_assert_eq!(phases.iter().filter(|it| **it == Phase::Opened).count(), 1);
                prop_assert_eq!(ended, usize::from(is_over));
                prop_assert!(!is_over || phases.last() == Some(&Phase::Resolved));
                let order: Vec<_> = began.iter().filter(|it| it.0 == *service).map(|it| &it.1).collect();
                let mut said: Vec<_> = heard.iter().filter(|it| it.1 == *service).map(|it| &it.2).collect();
                said.dedup();
                prop_assert_eq!(said, order);
            }
        }
    }
}
