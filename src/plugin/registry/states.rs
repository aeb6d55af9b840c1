//! The saved memory of policies: one value for each service and component, so that a candidate cannot spoil the old one's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::health::Saved;
use crate::plugin::Digest;

/// Where values are kept. In memory; a durable store can stand behind these few functions.
#[derive(Debug, Default)]
pub struct States {
    values: Mutex<HashMap<String, HashMap<Digest, Saved>>>,
}

impl States {
    fn values(&self) -> MutexGuard<'_, HashMap<String, HashMap<Digest, Saved>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a component saved for a service.
    pub fn get(&self, service: &str, digest: Digest) -> Option<Saved> {
        self.values().get(service)?.get(&digest).cloned()
    }

    /// Takes what a verdict said of the state: `None` keeps the old value, empty bytes forget it.
    pub fn put(&self, service: &str, digest: Digest, version: u32, state: Option<&[u8]>) {
        let Some(bytes) = state else { return };
        let mut values = self.values();
        let of_service = values.entry(service.to_owned()).or_default();
        if bytes.is_empty() {
            of_service.remove(&digest);
        } else {
            of_service.insert(digest, Saved { version, bytes: bytes.to_vec() });
        }
    }

    /// `to` takes over from `from`: it begins with a copy, unless it has a value of its own (a roll-back returns to that).
    pub fn fork(&self, service: &str, from: Digest, to: Digest) {
        let mut values = self.values();
        let Some(of_service) = values.get_mut(service) else { return };
        if !of_service.contains_key(&to)
            && let Some(value) = of_service.get(&from).cloned()
        {
            of_service.insert(to, value);
        }
    }

    /// Drops what a component saved: it failed, or its probation ended and this is its predecessor.
    pub fn forget(&self, digest: Digest) {
        let mut values = self.values();
        for of_service in values.values_mut() {
            of_service.remove(&digest);
        }
        values.retain(|_, it| !it.is_empty());
    }

    /// Keeps the values of these services and components alone.
    pub fn retain(&self, keep: impl Fn(&str, Digest) -> bool) {
        let mut values = self.values();
        for (service, of_service) in values.iter_mut() {
            of_service.retain(|digest, _| keep(service, *digest));
        }
        values.retain(|_, it| !it.is_empty());
    }

    /// Of which components there is a value for a service, with its version and size in bytes.
    pub fn lineage(&self, service: &str) -> Vec<(Digest, u32, usize)> {
        let values = self.values();
        let mut found: Vec<_> = values
            .get(service)
            .into_iter()
            .flatten()
            .map(|(digest, it)| (*digest, it.version, it.bytes.len()))
            .collect();
        found.sort_unstable();
        found
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
}
