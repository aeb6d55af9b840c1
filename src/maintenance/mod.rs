//! Maintenance: which services answer for themselves and which the gate answers for.
//!
//! Transitions are pure (`on`, `off`, `expire`); [`switch::Switch`] makes them durable, one at a time.

pub mod audit;
pub mod store;
pub mod switch;

use crate::model::UnixMs;

/// Who ends a window when its ttl is over.
pub const BY_TTL: &str = "headgate";

/// One maintenance that is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub since: UnixMs,
    /// End by ttl; from then on it is off, whoever looks.
    pub until: Option<UnixMs>,
    pub reason: Option<String>,
    /// Name of the key, `admin-listener` or `headgate` (ttl).
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
}

impl Modes {
    /// The window that covers `service` now (the caller has checked that the service is covered at all).
    pub fn covers(&self, service: &str, now: UnixMs) -> Option<&Window> {
        self.everywhere(now).or_else(|| self.single(service).filter(|it| it.running(now)))
    }

    /// The window of all covered services, if it is on.
    pub fn everywhere(&self, now: UnixMs) -> Option<&Window> {
        self.all.as_ref().filter(|it| it.running(now))
    }

    fn single(&self, service: &str) -> Option<&Window> {
        self.services.iter().find(|it| it.0 == service).map(|it| &it.1)
    }

    /// Maintenance begins, or goes on with a new end: a window that is on keeps its start and who began it, and its
    /// reason unless there is a new one. The end is always the new one: `on` without ttl means until `off`.
    #[must_use]
    pub fn on(&self, scope: &Scope, window: &Window) -> Self {
        let now = window.since;
        let mut next = self.clone();
        match scope {
            Scope::All => next.all = Some(extended(self.everywhere(now), window)),
            Scope::Services(names) => {
                for name in names {
                    let old = self.single(name).filter(|it| it.running(now));
                    let window = extended(old, window);
                    next.services.retain(|it| it.0 != *name);
                    next.services.push((name.clone(), window));
                }
            }
        }
        next.services.sort_by(|a, b| a.0.cmp(&b.0));
        next
    }

    /// Maintenance ends; for [`Scope::All`] every window does, those of single services too: who switches
    /// everything off expects everything to be off.
    #[must_use]
    pub fn off(&self, scope: &Scope) -> Self {
        match scope {
            Scope::All => Self::default(),
            Scope::Services(names) => {
                let mut next = self.clone();
                next.services.retain(|it| !names.contains(&it.0));
                next
            }
        }
    }

    /// Without the windows whose ttl is over, and what those were about.
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
        (Self { all, services: running }, ended)
    }

    /// When the next window ends by ttl, whether that is over or not.
    pub fn next_expiry(&self) -> Option<UnixMs> {
        self.all.iter().chain(self.services.iter().map(|it| &it.1)).filter_map(|it| it.until).min()
    }
}

fn extended(old: Option<&Window>, new: &Window) -> Window {
    match old {
        None => new.clone(),
        Some(old) => Window {
            until: new.until,
            reason: new.reason.clone().or_else(|| old.reason.clone()),
            ..old.clone()
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
            reason: None,
            by: format!("at {since}"),
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
        assert_eq!(modes.off(&Scope::All), Modes::default());
        assert!(modes.off(&one("a")).covers("a", UnixMs(2)).is_some(), "all covers it still");
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

    #[derive(Clone, Debug)]
    enum Step {
        On(Option<u8>, Option<u64>),
        Off(Option<u8>),
        Expire,
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let name = proptest::option::of(0_u8..3);
        let step = prop_oneof![
            (name.clone(), proptest::option::of(1_u64..20)).prop_map(|(it, ttl)| Step::On(it, ttl)),
            name.prop_map(Step::Off),
            Just(Step::Expire),
            (0_u64..15).prop_map(Step::Pass),
        ];
        proptest::collection::vec(step, 0..60)
    }

    fn scope(name: Option<u8>) -> Scope {
        name.map_or(Scope::All, |it| one(&it.to_string()))
    }

    proptest! {
        /// The naive model: a map from a name (or everything) to the time at which it ends.
        #[test]
        fn behaves_as_a_map_of_ends(steps in steps()) {
            let (mut modes, mut now) = (Modes::default(), 1000);
            let mut model: BTreeMap<Option<u8>, u64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::On(name, ttl) => {
                        let until = ttl.map(|it| now + it);
                        modes = modes.on(&scope(name), &window(now, until));
                        model.insert(name, until.unwrap_or(u64::MAX));
                    }
                    Step::Off(None) => {
                        modes = modes.off(&Scope::All);
                        model.clear();
                    }
                    Step::Off(name) => {
                        modes = modes.off(&scope(name));
                        model.remove(&name);
                    }
                    Step::Expire => {
                        let (next, ended) = modes.expire(UnixMs(now));
                        let over = model.values().any(|it| *it <= now);
                        prop_assert_eq!(over, !ended.is_empty());
                        prop_assert_eq!(next == modes, ended.is_empty());
                        modes = next;
                        model.retain(|_, end| now < *end);
                    }
                    Step::Pass(ms) => now += ms,
                }
                for name in 0_u8..4 {
                    let on = [None, Some(name)].iter().any(|it| model.get(it).is_some_and(|end| now < *end));
                    prop_assert_eq!(modes.covers(&name.to_string(), UnixMs(now)).is_some(), on);
                }
                let first = model.values().copied().filter(|it| *it < u64::MAX).min();
                prop_assert_eq!(modes.next_expiry(), first.map(UnixMs));
                let mut names: Vec<_> = modes.services.iter().map(|it| &it.0).collect();
                names.dedup();
                prop_assert_eq!(names.len(), modes.services.len(), "a service has one window");
            }
        }
    }
}
