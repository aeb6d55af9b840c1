//! Which key opens what: digests compared in constant time, bad keys counted per client.

pub mod bad_keys;
mod buckets;

use sha2::{Digest as _, Sha256};

use crate::auth::buckets::Buckets;
use crate::model::{UnixMs, hex};

/// SHA-256 of a key as it is presented; the only form in which keys are kept.
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// A key on its way into a [`Keyring`]; its raw form is already forgotten.
#[derive(Clone)]
pub struct NewKey {
    /// Shown in logs and metrics; several keys may share it (rotation).
    pub name: String,
    pub scopes: Vec<String>,
    /// [`digest`] of the key.
    pub digest: [u8; 32],
    /// Not valid before.
    pub not_before: Option<UnixMs>,
    /// Not valid from then on.
    pub expires_at: Option<UnixMs>,
}

/// A key that the gate knows; only its digest is kept.
pub struct KeyEntry {
    pub name: String,
    pub scopes: Vec<String>,
    /// SHA-256 of the key; identifies it over reloads.
    pub digest: [u8; 32],
    /// Its place in the file, which finds its name again within one generation.
    pub place: usize,
    pub not_before: Option<UnixMs>,
    pub expires_at: Option<UnixMs>,
}

impl KeyEntry {
    /// Whether the key opens `scope`.
    pub fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|it| it == scope)
    }

    /// Whether the key may be used now.
    pub fn valid(&self, now: UnixMs) -> bool {
        self.not_before.is_none_or(|from| from <= now)
            && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Without the digest: that of a short key can be searched for offline.
impl std::fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyEntry")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .field("not_before", &self.not_before)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Without the digest, as for [`KeyEntry`].
impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// All keys of a generation.
///
/// The time of [`Keyring::admit`] depends on the length of what was presented and on nothing else. What an attacker
/// could learn by timing is how far a comparison got; here it never stops early, and it runs over digests, of which he
/// cannot choose the bytes. `buckets.rs` says how a thousand keys cost no more than sixteen.
#[derive(Debug, Default)]
pub struct Keyring {
    entries: Vec<KeyEntry>,
    buckets: Buckets,
}

impl Keyring {
    /// Takes the keys in file order. Of entries with one digest, the first valid one is admitted.
    pub fn build(keys: Vec<NewKey>) -> Self {
        let entries: Vec<KeyEntry> = keys
            .into_iter()
            .enumerate()
            .map(|(place, it)| KeyEntry {
                name: it.name,
                scopes: it.scopes,
                digest: it.digest,
                place,
                not_before: it.not_before,
                expires_at: it.expires_at,
            })
            .collect();
        let buckets = Buckets::build(&entries);
        Self { entries, buckets }
    }

    /// The valid key that `presented` is, or `None`: absent, malformed, unknown, not yet or no longer valid.
    /// Takes the same time for all of them.
    pub fn admit(&self, presented: Option<&[u8]>, now: UnixMs) -> Option<&KeyEntry> {
        let bytes = presented.unwrap_or_default();
        let found = self.buckets.find(&digest(bytes), now);
        // After the work, so that an empty header costs what a wrong one costs.
        if bytes.is_empty() { None } else { found.and_then(|at| self.entries.get(at)) }
    }

    /// The key with this digest, if it is still valid (tunnels ask).
    pub fn holder(&self, digest: &[u8; 32], now: UnixMs) -> Option<&KeyEntry> {
        self.entries.get(self.buckets.find(digest, now)?)
    }

    /// Name of the key in this place of the file; for logs.
    pub fn name_at(&self, place: usize) -> Option<&str> {
        self.entries.get(place).map(|it| it.name.as_str())
    }

    /// All keys in file order, for those who list them.
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// Whether there is no key at all, valid or not.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A new random key: `hg_` and 64 hex digits (256 bits of the system's randomness).
///
/// Hex, because it survives shells, YAML and double clicks unquoted; the prefix lets secret scanners find it.
///
/// # Errors
/// When the system gives no randomness.
pub fn new_key() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("hg_{}", hex(&bytes)))
}

#[cfg(test)]
mod tests;
