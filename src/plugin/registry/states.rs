//! The saved memory of policies: one value for each service and component, so that a candidate cannot spoil the old one's.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::health::Saved;
use crate::model::unhex;
use crate::plugin::Digest;
use crate::store::journal::SavedState;

/// Values of one service that are taken over from an earlier process.
const LOADED_MAX: usize = 8;

/// Where values are kept: in memory, from where a durable store takes what has changed ([`States::drain`]).
#[derive(Debug, Default)]
pub struct States {
    values: Mutex<Values>,
}

#[derive(Debug, Default)]
struct Values {
    by_service: HashMap<String, HashMap<Digest, Value>>,
    /// Since the last drain.
    changed: BTreeSet<(String, Digest)>,
}

#[derive(Clone, Debug)]
struct Value {
    saved: Saved,
    /// From an earlier process, and nobody has asked for it yet: its component may still be being compiled.
    unclaimed: bool,
}

impl Values {
    fn insert(&mut self, service: &str, digest: Digest, saved: Saved) {
        let of_service = self.by_service.entry(service.to_owned()).or_default();
        let value = Value { saved, unclaimed: false };
        let old = of_service.insert(digest, value.clone());
        if old.is_none_or(|it| it.saved != value.saved) {
            self.changed.insert((service.to_owned(), digest));
        }
    }

    fn remove_all(&mut self, goes: impl Fn(&str, Digest, &Value) -> bool) {
        let Self { by_service, changed } = self;
        for (service, of_service) in by_service.iter_mut() {
            of_service.retain(|digest, it| {
                let goes = goes(service, *digest, it);
                if goes {
                    changed.insert((service.clone(), *digest));
                }
                !goes
            });
        }
        by_service.retain(|_, it| !it.is_empty());
    }
}

impl States {
    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a component saved for a service.
    pub fn get(&self, service: &str, digest: Digest) -> Option<Saved> {
        let mut values = self.values();
        let value = values.by_service.get_mut(service)?.get_mut(&digest)?;
        value.unclaimed = false;
        Some(value.saved.clone())
    }

    /// Takes what a verdict said of the state: `None` keeps the old value, empty bytes forget it.
    pub fn put(&self, service: &str, digest: Digest, version: u32, state: Option<&[u8]>) {
        let Some(bytes) = state else { return };
        let mut values = self.values();
        if bytes.is_empty() {
            let of_service = values.by_service.get_mut(service);
            if of_service.is_some_and(|it| it.remove(&digest).is_some()) {
                values.changed.insert((service.to_owned(), digest));
            }
        } else {
            values.insert(service, digest, Saved { version, bytes: bytes.to_vec() });
        }
    }

    /// `to` takes over from `from`: it begins with a copy, unless it has a value of its own (a roll-back returns to that).
    pub fn fork(&self, service: &str, from: Digest, to: Digest) {
        let mut values = self.values();
        let Some(of_service) = values.by_service.get(service) else { return };
        if !of_service.contains_key(&to)
            && let Some(value) = of_service.get(&from).cloned()
        {
            values.insert(service, to, value.saved);
        }
    }

    /// Drops what a component saved: it failed, or its probation ended and this is its predecessor.
    pub fn forget(&self, digest: Digest) {
        self.values().remove_all(|_, it, _| it == digest);
    }

    /// Keeps the values of these services and components alone, and those that nobody has had time to ask for.
    pub fn retain(&self, keep: impl Fn(&str, Digest) -> bool) {
        self.values().remove_all(|service, it, value| !value.unclaimed && !keep(service, it));
    }

    /// Of which components there is a value for a service, with its version and size in bytes.
    pub fn lineage(&self, service: &str) -> Vec<(Digest, u32, usize)> {
        let values = self.values();
        let mut found: Vec<_> = values
            .by_service
            .get(service)
            .into_iter()
            .flatten()
            .map(|(digest, it)| (*digest, it.saved.version, it.saved.bytes.len()))
            .collect();
        found.sort_unstable();
        found
    }

    /// Takes what an earlier process kept. A value that this one has already is newer.
    pub fn load(&self, kept: Vec<SavedState>) {
        let mut values = self.values();
        for (service, digest, saved) in kept {
            let digest = unhex(&digest).and_then(|it| it.try_into().ok()).map(Digest);
            let (Some(digest), Some(saved)) = (digest, saved) else { continue };
            if values.changed.contains(&(service.clone(), digest)) {
                continue;
            }
            let of_service = values.by_service.entry(service).or_default();
            if of_service.len() < LOADED_MAX {
                of_service.entry(digest).or_insert(Value { saved, unclaimed: true });
            }
        }
    }

    /// What has changed since the last call, for the store; `None`: it was forgotten.
    pub fn drain(&self) -> Vec<SavedState> {
        let mut values = self.values();
        let changed = std::mem::take(&mut values.changed);
        let value = |(service, digest): (String, Digest)| {
            let saved = values.by_service.get(&service).and_then(|it| it.get(&digest));
            let saved = saved.map(|it| it.saved.clone());
            (service, digest.to_string(), saved)
        };
        changed.into_iter().map(value).collect()
    }

    /// Forgets what an earlier process kept and nobody has asked for: its component acts no more.
    pub fn forget_unclaimed(&self) {
        self.values().remove_all(|_, _, value| value.unclaimed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Digest = Digest([1; 32]);
    const NEW: Digest = Digest([2; 32]);

    fn bytes(states: &States, digest: Digest) -> Option<(u32, Vec<u8>)> {
        states.get("a", digest).map(|it| (it.version, it.bytes))
    }

    #[test]
    fn a_candidate_works_on_a_copy_and_a_roll_back_finds_the_old_value() {
        let states = States::default();
        states.put("a", OLD, 3, Some(b"old"));
        states.fork("a", OLD, NEW);
        assert_eq!(bytes(&states, NEW), Some((3, b"old".to_vec())));
        states.put("a", NEW, 4, Some(b"new"));
        states.fork("a", NEW, OLD);
        assert_eq!(bytes(&states, OLD), Some((3, b"old".to_vec())));
        states.forget(OLD);
        states.fork("a", NEW, OLD);
        assert_eq!(bytes(&states, OLD), Some((4, b"new".to_vec())));
    }

    #[test]
    fn no_state_keeps_and_empty_state_forgets() {
        let states = States::default();
        states.put("a", OLD, 1, Some(b"x"));
        states.put("a", OLD, 1, None);
        assert_eq!(states.lineage("a"), [(OLD, 1, 1)]);
        states.put("a", OLD, 1, Some(b""));
        assert_eq!(bytes(&states, OLD), None);
        states.put("a", OLD, 1, Some(b"x"));
        states.put("b", NEW, 1, Some(b"x"));
        states.retain(|service, _| service == "b");
        assert_eq!((states.lineage("a").len(), states.lineage("b").len()), (0, 1));
    }

    #[test]
    fn what_changed_is_drained_once_and_loaded_by_the_next_process() {
        let states = States::default();
        states.put("a", OLD, 1, Some(b"x"));
        states.put("a", NEW, 1, Some(b"y"));
        states.put("b", OLD, 1, Some(b"z"));
        assert_eq!(states.drain().len(), 3);
        states.put("a", OLD, 1, Some(b"x"));
        assert_eq!(states.drain(), [], "the same again is no change");
        states.forget(NEW);
        states.put("b", OLD, 1, Some(b""));
        let gone = |service: &str, it: Digest| (service.to_owned(), it.to_string(), None);
        assert_eq!(states.drain(), [gone("a", NEW), gone("b", OLD)]);

        let kept = |bytes: &[u8]| Some(Saved { version: 7, bytes: bytes.to_vec() });
        let next = States::default();
        next.put("a", OLD, 8, Some(b"newer"));
        next.put("c", OLD, 8, Some(b"x"));
        next.put("c", OLD, 8, Some(b""));
        next.load(vec![
            ("a".to_owned(), OLD.to_string(), kept(b"older")),
            ("c".to_owned(), OLD.to_string(), kept(b"older")),
            ("a".to_owned(), NEW.to_string(), kept(b"kept")),
            ("a".to_owned(), "no digest".to_owned(), kept(b"kept")),
        ]);
        assert_eq!(bytes(&next, OLD), Some((8, b"newer".to_vec())));
        assert_eq!(next.get("c", OLD), None, "forgotten since");
        assert_eq!(next.lineage("a").len(), 2);
    }

    #[test]
    fn what_was_loaded_waits_for_its_component() {
        let load = || {
            let states = States::default();
            let saved = Some(Saved { version: 1, bytes: b"x".to_vec() });
            states.load(vec![("a".to_owned(), OLD.to_string(), saved)]);
            states.retain(|_, _| false);
            states
        };
        let claimed = load();
        assert_eq!(bytes(&claimed, OLD), Some((1, b"x".to_vec())));
        claimed.retain(|_, _| false);
        assert_eq!(claimed.drain(), [("a".to_owned(), OLD.to_string(), None)]);
        let unclaimed = load();
        assert_eq!(unclaimed.drain(), []);
        unclaimed.forget_unclaimed();
        assert_eq!(unclaimed.drain(), [("a".to_owned(), OLD.to_string(), None)]);
    }
}
