//! Maintenance: which services answer for themselves and which the gate answers for.
//!
//! Transitions are pure (`on`, `off`, `expire`, `recover`, `release`); [`switch::Switch`] makes them durable, one at a
//! time. A service whose pods follow the mode themselves goes on saying the maintenance word until they are restarted, so
//! its coverage outlives its maintenance for a while: it is *ending*.

pub mod audit;
pub mod recovery;
pub mod store;
pub mod switch;

use std::sync::Arc;

use crate::model::UnixMs;

/// Who ends a window that ends by itself.
pub const BY_ITSELF: &str = "headgate";

/// How long a service that follows the mode itself may be covered after its maintenance.
pub const LINGER_MS: u64 = 60_000;

/// How far clocks may be apart: the coarse one of a core is behind, and time is corrected by steps.
const LAG_MS: u64 = 5_000;

/// One maintenance that is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub since: UnixMs,
    /// End by ttl; from then on it is off, whoever looks.
    pub until: Option<UnixMs>,
    /// Ends by itself when what it is about is well again ([`recovery`]).
    pub until_healthy: bool,
    /// Services it is about that follow the mode themselves; shared, as every refusal has a copy of the window.
    pub follows: Arc<[String]>,
    pub reason: Option<String>,
    /// Name of the key, `admin-listener` or `headgate`.
    pub by: String,
}

impl Window {
    /// Whether it is still on.
    pub fn running(&self, now: UnixMs) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whole seconds until its end, rounded up; `None` without a ttl.
    pub fn remaining_seconds(&self, now: UnixMs) -> Option<u64> {
        self.until.map(|until| until.0.saturating_sub(now.0).div_ceil(1000))
    }

    /// Whether its ttl is over and `service` may not have noticed yet: known here without anybody's doing, so that no
    /// request slips through between the end and the task that enters it.
    fn lingers(&self, service: &str, now: UnixMs) -> bool {
        let over = self.until.and_then(|it| now.0.checked_sub(it.0));
        over.is_some_and(|it| it < LINGER_MS) && self.follows.iter().any(|it| it == service)
    }

    /// As that of an ending: whether it lasts. If far more than [`LINGER_MS`] is left, the clock was set back.
    fn lasts(&self, now: UnixMs) -> bool {
        let left = self.until.and_then(|it| it.0.checked_sub(now.0));
        left.is_some_and(|it| (1..=LINGER_MS + LAG_MS).contains(&it))
    }
}

/// What a toggle is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All covered services.
    All,
    /// These, by name; not empty.
    Services(Vec<String>),
}

/// What is in maintenance: immutable, published as a part of the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// All covered services.
    pub all: Option<Window>,
    /// Single services by name.
    pub services: Vec<(String, Window)>,
    /// Services whose maintenance is over but which are covered until they have noticed it, with the window that was;
    /// its `until` is the end of that.
    pub ending: Vec<(String, Window)>,
}

impl Modes {
    /// The window that covers `service` now (the caller has checked that the service is covered at all).
    pub fn covers(&self, service: &str, now: UnixMs) -> Option<&Window> {
        self.on_for(service, now).or_else(|| self.after(service, now).map(|it| it.0))
    }

    /// The window, if `service` is covered although its maintenance is over.
    pub fn ending(&self, service: &str, now: UnixMs) -> Option<&Window> {
        let is_on = self.on_for(service, now).is_some();
        self.after(service, now).map(|it| it.0).filter(|_| !is_on)
    }

    /// Services that are covered although their maintenance is over.
    pub fn all_ending(&self, now: UnixMs) -> Vec<String> {
        let windows = self.all.iter().chain(self.services.iter().map(|it| &it.1));
        let followers = windows.flat_map(|it| it.follows.iter());
        let mut names: Vec<String> =
            followers.chain(self.ending.iter().map(|it| &it.0)).cloned().collect();
        names.sort();
        names.dedup();
        names.retain(|it| self.ending(it, now).is_some());
        names
    }

    fn on_for(&self, service: &str, now: UnixMs) -> Option<&Window> {
        self.everywhere(now).or_else(|| self.single(service).filter(|it| it.running(now)))
    }

    /// What covers `service` after its maintenance, and until when: the longest.
    fn after(&self, service: &str, now: UnixMs) -> Option<(&Window, UnixMs)> {
        let over = [self.all.as_ref(), self.single(service)].into_iter().flatten();
        let over = over.filter(|it| it.lingers(service, now)).map(|it| (it, LINGER_MS));
        let ending = self.ending.iter().filter(|it| it.0 == service).map(|it| &it.1);
        let ending = ending.filter(|it| it.lasts(now)).map(|it| (it, 0));
        let ends = over.chain(ending).filter_map(|(window, more)| {
            Some((window, UnixMs(window.until?.0.saturating_add(more))))
        });
        ends.max_by_key(|it| it.1)
    }

    /// The window of all covered services, if it is on.
    pub fn everywhere(&self, now: UnixMs) -> Option<&Window> {
        self.all.as_ref().filter(|it| it.running(now))
    }

    fn single(&self, service: &str) -> Option<&Window> {
        self.services.iter().find(|it| it.0 == service).map(|it| &it.1)
    }

    /// Maintenance begins, or goes on with a new end: a window that is on keeps its start and who began it, and its
    /// reason unless there is a new one. The end is always the new one: `on` without ttl means until `off`. What was
    /// ending is on again.
    #[must_use]
    pub fn on(&self, scope: &Scope, window: &Window) -> Self {
        let now = window.since;
        let mut next = self.clone();
        match scope {
            Scope::All => {
                next.all = Some(extended(self.everywhere(now), window));
                next.ending.clear();
            }
            Scope::Services(names) => {
                for name in names {
                    let old = self.single(name).filter(|it| it.running(now));
                    let mut window = extended(old, window);
                    window.follows =
                        window.follows.iter().filter(|it| *it == name).cloned().collect();
                    next.services.retain(|it| it.0 != *name);
                    next.services.push((name.clone(), window));
                    next.ending.retain(|it| it.0 != *name);
                }
            }
        }
        next.services.sort_by(|a, b| a.0.cmp(&b.0));
        next
    }

    /// Maintenance ends; for [`Scope::All`] every window does, those of single services too: who switches
    /// everything off expects everything to be off. Those in `follows` that were covered are ending from now on.
    #[must_use]
    pub fn off(&self, scope: &Scope, follows: &[String], now: UnixMs) -> Self {
        let next = match scope {
            Scope::All => Self { ending: self.ending.clone(), ..Self::default() },
            Scope::Services(names) => {
                let mut next = self.clone();
                next.services.retain(|it| !names.contains(&it.0));
                next
            }
        };
        next.after_ending_of(self, follows, now)
    }

    /// Without the windows whose ttl is over and the endings that are, and what those windows were about.
    pub fn expire(&self, now: UnixMs) -> (Self, Vec<Scope>) {
        let (running, over): (Vec<_>, Vec<_>) =
            self.services.iter().cloned().partition(|it| it.1.running(now));
        let all = self.everywhere(now).cloned();
        let mut ended = Vec::new();
        if self.all.is_some() && all.is_none() {
            ended.push(Scope::All);
        }
        if !over.is_empty() {
            ended.push(Scope::Services(over.into_iter().map(|it| it.0).collect()));
        }
        let ending = self.ending.iter().filter(|it| it.1.lasts(now)).cloned().collect();
        let next = Self { all, services: running, ending };
        (next.after_ending_of(self, &[], now), ended)
    }

    /// Without the window that began at `since` and was to end when what it is about is well again; `None` when there is
    /// no such window any more. Of [`Scope::All`] only the window of all ends.
    pub fn recover(&self, scope: &Scope, since: UnixMs, now: UnixMs) -> Option<Self> {
        let fits = |it: &Window| it.until_healthy && it.since == since;
        let mut next = self.clone();
        match scope {
            Scope::All => next.all = next.all.filter(|it| !fits(it)),
            Scope::Services(names) => {
                next.services.retain(|it| !(names.contains(&it.0) && fits(&it.1)));
            }
        }
        (next != *self).then(|| next.after_ending_of(self, &[], now))
    }

    /// Without the endings of these services: they have noticed.
    #[must_use]
    pub fn release(&self, names: &[String]) -> Self {
        let mut next = self.clone();
        next.ending.retain(|it| !names.contains(&it.0));
        next
    }

    /// With an ending for everyone who follows the mode and was covered in `before` for longer than here.
    fn after_ending_of(mut self, before: &Self, follows: &[String], now: UnixMs) -> Self {
        let windows = before.all.iter().chain(before.services.iter().map(|it| &it.1));
        let mut names: Vec<&String> =
            windows.flat_map(|it| it.follows.iter()).chain(follows).collect();
        names.sort();
        names.dedup();
        for name in names {
            let on = before.on_for(name, now);
            let was = on.map(|it| (it, UnixMs(now.0.saturating_add(LINGER_MS))));
            let Some((was, end)) = was.or_else(|| before.after(name, now)) else { continue };
            let covered_until = self.after(name, now).map(|it| it.1);
            if self.on_for(name, now).is_some() || covered_until.is_some_and(|it| it >= end) {
                continue;
            }
            let follows = Arc::default();
            let window = Window { until: Some(end), until_healthy: false, follows, ..was.clone() };
            self.ending.retain(|it| it.0 != *name);
            self.ending.push((name.clone(), window));
        }
        self.ending.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }

    /// When the next window ends by ttl, or the next ending is over, whether that is past or not.
    pub fn next_expiry(&self) -> Option<UnixMs> {
        let single = self.services.iter().chain(&self.ending).map(|it| &it.1);
        self.all.iter().chain(single).filter_map(|it| it.until).min()
    }
}

fn extended(old: Option<&Window>, new: &Window) -> Window {
    match old {
        None => new.clone(),
        Some(old) => Window {
            since: old.since,
            by: old.by.clone(),
            reason: new.reason.clone().or_else(|| old.reason.clone()),
            ..new.clone()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn window(since: u64, until: Option<u64>) -> Window {
        Window {
            since: UnixMs(since),
            until: until.map(UnixMs),
            by: format!("at {since}"),
            ..Window::default()
        }
    }

    fn one(name: &str) -> Scope {
        Scope::Services(vec![name.to_owned()])
    }

    #[test]
    fn repeating_on_keeps_start_and_actor_and_takes_the_new_end() {
        let first = Window { reason: Some("move".to_owned()), ..window(10, Some(100)) };
        let modes = Modes::default().on(&Scope::All, &first);

        let longer = modes.on(&Scope::All, &window(50, None)).all.unwrap();
        assert_eq!(longer.since, UnixMs(10));
        assert_eq!(longer.by, "at 10");
        assert_eq!(longer.until, None);
        assert_eq!(longer.reason.as_deref(), Some("move"));

        let other = Window { reason: Some("disk".to_owned()), ..window(50, Some(60)) };
        assert_eq!(modes.on(&Scope::All, &other).all.unwrap().reason.as_deref(), Some("disk"));

        let later = modes.on(&Scope::All, &window(100, None)).all.unwrap();
        assert_eq!(later, window(100, None), "an expired window is not continued");
    }

    #[test]
    fn off_for_all_ends_single_services_too() {
        let modes =
            Modes::default().on(&one("a"), &window(1, None)).on(&Scope::All, &window(1, None));
        assert_eq!(modes.off(&Scope::All, &[], UnixMs(2)), Modes::default());
        assert!(
            modes.off(&one("a"), &[], UnixMs(2)).covers("a", UnixMs(2)).is_some(),
            "all covers it still"
        );
    }

    #[test]
    fn remaining_seconds_round_up() {
        let it = window(0, Some(10_001));
        assert_eq!(it.remaining_seconds(UnixMs(0)), Some(11));
        assert_eq!(it.remaining_seconds(UnixMs(9_001)), Some(1));
        assert_eq!(it.remaining_seconds(UnixMs(10_001)), Some(0));
        assert_eq!(it.remaining_seconds(UnixMs(99_999)), Some(0));
        assert_eq!(window(0, None).remaining_seconds(UnixMs(0)), None);
    }

    fn follower(since: u64, until: Option<u64>) -> Window {
        Window { follows: Arc::new(["f".to_owned()]), ..window(since, until) }
    }

    #[test]
    fn who_follows_the_mode_is_covered_for_a_minute_more() {
        let follows = [String::from("f")];
        let on = Modes::default().on(&Scope::All, &follower(1_000, None));
        let off = on.off(&Scope::All, &follows, UnixMs(5_000));
        assert!(off.everywhere(UnixMs(5_000)).is_none(), "it is off");
        assert_eq!(off.all_ending(UnixMs(5_000)), ["f"]);
        assert!(off.covers("other", UnixMs(5_000)).is_none());
        let window = off.covers("f", UnixMs(5_000)).unwrap();
        assert_eq!((window.since, window.until), (UnixMs(1_000), Some(UnixMs(65_000))));
        assert!(off.covers("f", UnixMs(64_999)).is_some());
        assert!(off.covers("f", UnixMs(65_000)).is_none());
        assert_eq!(off.off(&Scope::All, &follows, UnixMs(9_000)), off, "it is not prolonged");
        assert_eq!(off.release(&follows), Modes::default());
        assert_eq!(off.expire(UnixMs(64_999)), (off.clone(), Vec::new()));
        assert_eq!(off.expire(UnixMs(65_000)), (Modes::default(), Vec::new()));
        // A core's clock may be behind the one that ended it.
        assert!(off.covers("f", UnixMs(4_990)).is_some());
        // A clock that was set back by an hour does not cover it for an hour.
        let off = on.off(&Scope::All, &follows, UnixMs(3_600_000));
        let past = UnixMs(5_000);
        assert!(off.covers("f", past).is_none());
        assert_eq!(off.expire(past).0, Modes::default());
    }

    #[test]
    fn a_ttl_leaves_no_gap_before_the_ending() {
        let on = Modes::default().on(&one("f"), &follower(0, Some(100)));
        assert!(on.ending("f", UnixMs(99)).is_none());
        assert!(on.ending("f", UnixMs(100)).is_some());
        let (ending, ended) = on.expire(UnixMs(130));
        assert_eq!(ended, [one("f")]);
        for modes in [&on, &ending] {
            assert_eq!(modes.all_ending(UnixMs(130)), ["f"]);
            assert!(modes.covers("f", UnixMs(60_099)).is_some());
            assert!(modes.covers("f", UnixMs(60_100)).is_none());
        }
        assert_eq!(on.expire(UnixMs(60_100)), (Modes::default(), vec![one("f")]));
    }

    #[test]
    fn a_new_on_takes_the_ending_away() {
        let follows = [String::from("f")];
        let off = |modes: Modes| modes.off(&Scope::All, &follows, UnixMs(10));
        let ending = off(Modes::default().on(&one("f"), &follower(0, None)));
        for scope in [Scope::All, one("f")] {
            let again = ending.on(&scope, &follower(20, None));
            assert!(again.ending.is_empty() && again.all_ending(UnixMs(20)).is_empty());
            assert_eq!(again.covers("f", UnixMs(20)).unwrap().since, UnixMs(20));
        }
        assert_eq!(ending.on(&one("g"), &window(20, None)).all_ending(UnixMs(20)), ["f"]);
    }

    #[test]
    fn only_the_window_that_was_to_end_with_health_recovers() {
        let healthy = Window { until_healthy: true, ..window(10, None) };
        let modes = Modes::default().on(&one("a"), &healthy).on(&one("b"), &window(10, None));
        assert_eq!(modes.recover(&one("b"), UnixMs(10), UnixMs(99)), None);
        assert_eq!(modes.recover(&one("a"), UnixMs(11), UnixMs(99)), None, "another window");
        assert_eq!(modes.recover(&Scope::All, UnixMs(10), UnixMs(99)), None);
        let after = modes.recover(&one("a"), UnixMs(10), UnixMs(99)).unwrap();
        assert!(after.covers("a", UnixMs(99)).is_none() && after.covers("b", UnixMs(99)).is_some());
        // `on` without it means until `off`.
        let longer = modes.on(&one("a"), &window(20, None));
        assert_eq!(longer.recover(&one("a"), UnixMs(10), UnixMs(99)), None);
        let all = Modes::default().on(&Scope::All, &healthy);
        assert_eq!(all.recover(&Scope::All, UnixMs(10), UnixMs(99)), Some(Modes::default()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        On(Option<u8>, Option<u64>),
        Off(Option<u8>),
        Expire,
        Release,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let name = proptest::option::of(0_u8..3);
        let ttl = proptest::option::of(prop_oneof![1_u64..20, 1_u64..80_000]);
        let step = prop_oneof![
            (name.clone(), ttl).prop_map(|(it, ttl)| Step::On(it, ttl)),
            name.prop_map(Step::Off),
            Just(Step::Expire),
            Just(Step::Release),
            prop_oneof![0_u64..15, 0_u64..70_000].prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..60)
    }

    fn scope(name: Option<u8>) -> Scope {
        name.map_or(Scope::All, |it| one(&it.to_string()))
    }

    /// Service 1 follows the mode itself.
    const FOLLOWER: u8 = 1;

    /// The naive model: a map from a name (or everything) to the time at which it ends, and until when the follower is
    /// covered after that.
    #[derive(Clone, Debug, Default)]
    struct Model {
        ends: BTreeMap<Option<u8>, u64>,
        linger: u64,
    }

    impl Model {
        fn is_on(&self, name: u8, now: u64) -> bool {
            let end = |it| self.ends.get(&it).is_some_and(|end| now < *end);
            end(None) || end(Some(name))
        }

        /// A window about the follower ends at `at`.
        fn ended(&mut self, at: u64) {
            self.linger = self.linger.max(at + LINGER_MS);
        }

        /// Ends by ttl count from the moment that they come, whoever looks when.
        fn pass(&mut self, from: u64, to: u64) {
            let over: Vec<u64> = [None, Some(FOLLOWER)]
                .iter()
                .filter_map(|it| self.ends.get(it).copied())
                .filter(|end| from < *end && *end <= to)
                .collect();
            over.into_iter().for_each(|it| self.ended(it));
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_of_ends(steps in steps()) {
            let (mut modes, mut now) = (Modes::default(), 1_000_000);
            let mut model = Model::default();
            let follows = [FOLLOWER.to_string()];
            for step in steps {
                match step {
                    Step::On(name, ttl) => {
                        let until = ttl.map(|it| now + it);
                        let window = Window { follows: Arc::new(follows.clone()), ..window(now, until) };
                        modes = modes.on(&scope(name), &window);
                        model.ends.insert(name, until.unwrap_or(u64::MAX));
                        if name.is_none_or(|it| it == FOLLOWER) {
                            model.linger = 0;
                        }
                    }
                    Step::Off(name) => {
                        let was = model.is_on(FOLLOWER, now);
                        modes = modes.off(&scope(name), &follows, UnixMs(now));
                        match name {
                            None => model.ends.clear(),
                            name => drop(model.ends.remove(&name)),
                        }
                        if was && !model.is_on(FOLLOWER, now) {
                            model.ended(now);
                        }
                    }
                    Step::Expire => {
                        let (next, ended) = modes.expire(UnixMs(now));
                        let over = model.ends.values().any(|it| *it <= now);
                        prop_assert_eq!(over, !ended.is_empty());
                        prop_assert!(ended.is_empty() || next != modes);
                        prop_assert_eq!(next.expire(UnixMs(now)), (next.clone(), Vec::new()));
                        modes = next;
                        model.ends.retain(|_, end| now < *end);
                    }
                    Step::Release => {
                        modes = modes.expire(UnixMs(now)).0.release(&follows);
                        model.ends.retain(|_, end| now < *end);
                        model.linger = 0;
                    }
                    Step::Pass(ms) => {
                        model.pass(now, now + ms);
                        now += ms;
                    }
                }
                for name in 0_u8..4 {
                    let on = model.is_on(name, now);
                    let lingers = name == FOLLOWER && now < model.linger;
                    let at = UnixMs(now);
                    prop_assert_eq!(modes.covers(&name.to_string(), at).is_some(), on || lingers);
                    prop_assert_eq!(modes.ending(&name.to_string(), at).is_some(), lingers && !on);
                }
                let ending = !model.is_on(FOLLOWER, now) && now < model.linger;
                prop_assert_eq!(!modes.all_ending(UnixMs(now)).is_empty(), ending);
                let first = model.ends.values().copied().filter(|it| *it < u64::MAX).min();
                prop_assert!(first.is_none_or(|it| modes.next_expiry().is_some_and(|next| next.0 <= it)));
                let mut names: Vec<_> = modes.services.iter().map(|it| &it.0).collect();
                names.dedup();
                prop_assert_eq!(names.len(), modes.services.len(), "a service has one window");
                prop_assert!(modes.ending.len() <= 1);
            }
        }
    }
}
