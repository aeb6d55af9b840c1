//! Components that outlive the process: what was pushed, and the last ones that did well.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{UnixMs, unhex};
use crate::plugin::limits::Limits;
use crate::plugin::registry::shelf::{Shelf, file_stem};
use crate::plugin::{Class, Digest, Kind};

/// Good components that are kept of each plugin.
const GOOD: usize = 2;

/// Bytes of a note.
const NOTE_BYTES: usize = 64 * 1024;

/// What is known of a pushed component besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushNote {
    pub(crate) plugin: String,
    #[serde(with = "digest_text")]
    pub(crate) digest: Digest,
    pub(crate) at: u64,
    /// Key or user that pushed; `None` when the admin API could not tell.
    #[serde(default)]
    pub(crate) by: Option<String>,
    /// Digest of what the config named then; `None` when that could not be read.
    #[serde(default, with = "digest_option")]
    pub(crate) config_digest: Option<Digest>,
    /// What the config named then, as text.
    pub(crate) config_source: String,
}

/// One component that has acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoodNote {
    #[serde(with = "digest_text")]
    pub(crate) digest: Digest,
    /// When it began to act.
    pub(crate) at: u64,
    /// Whether its probation is behind it.
    pub(crate) passed: bool,
}

/// Pushed candidates run beside what acts under a name of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Active,
    Shadow,
}

impl Slot {
    fn file(self, plugin: &str) -> String {
        let stem = file_stem(plugin);
        match self {
            Self::Active => format!("{stem}.json"),
            // A dot cannot be in a plain stem.
            Self::Shadow => format!("{stem}.shadow.json"),
        }
    }
}

/// Both shelves.
#[derive(Debug)]
pub(crate) struct Kept {
    pushed: Shelf,
    good: Shelf,
    /// A push, a roll-back and the end of a probation come from different threads, and each reads before it writes.
    changing: Mutex<()>,
}

fn wasm_file(plugin: &str, digest: Digest) -> String {
    format!("{}.{}.wasm", file_stem(plugin), digest.short())
}

impl Kept {
    pub(crate) fn open(state: Option<&Path>) -> Self {
        let [pushed, good] = ["pushed", "good"].map(|it| Shelf::open(state, it));
        Self { pushed, good, changing: Mutex::default() }
    }

    /// One change at a time.
    fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was pushed for a plugin, when it is whole.
    pub(crate) fn pushed(&self, plugin: &str, slot: Slot) -> Option<(PushNote, Bytes)> {
        let note: PushNote = note(&self.pushed, &slot.file(plugin))?;
        let bytes = whole(&self.pushed, plugin, note.digest)?;
        (note.plugin == plugin).then_some((note, bytes))
    }

    /// Keeps a push. The note is renamed into place last, and the bytes' name holds their digest: a crash leaves the old push or the new.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn push(&self, slot: Slot, new: &PushNote, wasm: &[u8]) -> io::Result<()> {
        let _alone = self.change();
        let old: Option<PushNote> = note(&self.pushed, &slot.file(&new.plugin));
        self.pushed.write(&wasm_file(&new.plugin, new.digest), wasm)?;
        let text = serde_json::to_vec_pretty(new).map_err(io::Error::other)?;
        self.pushed.write(&slot.file(&new.plugin), &text)?;
        if let Some(old) = old.filter(|it| it.digest != new.digest) {
            self.drop_bytes(&new.plugin, old.digest);
        }
        Ok(())
    }

    /// Forgets a push.
    pub(crate) fn forget(&self, plugin: &str, slot: Slot) -> Option<PushNote> {
        let _alone = self.change();
        let old: PushNote = note(&self.pushed, &slot.file(plugin))?;
        self.pushed.remove(&slot.file(plugin));
        self.drop_bytes(plugin, old.digest);
        Some(old)
    }

    /// Removes bytes that no note names any more.
    fn drop_bytes(&self, plugin: &str, digest: Digest) {
        let named = [Slot::Active, Slot::Shadow].into_iter().any(|slot| {
            note::<PushNote>(&self.pushed, &slot.file(plugin)).is_some_and(|it| it.digest == digest)
        });
        if !named {
            self.pushed.remove(&wasm_file(plugin, digest));
        }
    }

    /// What has acted, newest first.
    pub(crate) fn good(&self, plugin: &str) -> Vec<GoodNote> {
        note(&self.good, &Slot::Active.file(plugin)).unwrap_or_default()
    }

    /// The bytes of one of them, when they are whole.
    pub(crate) fn good_bytes(&self, plugin: &str, digest: Digest) -> Option<Bytes> {
        whole(&self.good, plugin, digest)
    }

    /// Keeps what acts now; bytes may be left out for what is kept already.
    pub(crate) fn acted(&self, plugin: &str, new: GoodNote, wasm: Option<&[u8]>) {
        let _alone = self.change();
        let mut notes = self.good(plugin);
        let known = notes.iter().any(|it| it.digest == new.digest);
        let same =
            notes.first().is_some_and(|it| it.digest == new.digest && it.passed == new.passed);
        if same || (!known && wasm.is_none()) {
            return;
        }
        notes.retain(|it| it.digest != new.digest);
        notes.insert(0, new);
        let dropped = thin(&mut notes);
        let stored = match wasm.filter(|_| !known) {
            Some(wasm) => self.good.write(&wasm_file(plugin, notes_digest(&notes)), wasm),
            None => Ok(()),
        };
        if let Err(error) = stored.and_then(|()| self.write_good(plugin, &notes)) {
            tracing::warn!(plugin, %error, "the last good component cannot be kept");
            return;
        }
        dropped.into_iter().for_each(|it| self.good.remove(&wasm_file(plugin, it)));
    }

    /// Forgets one that did badly after all.
    pub(crate) fn failed(&self, plugin: &str, digest: Digest) {
        let _alone = self.change();
        let mut notes = self.good(plugin);
        let before = notes.len();
        notes.retain(|it| it.digest != digest);
        if notes.len() == before {
            return;
        }
        if let Err(error) = self.write_good(plugin, &notes) {
            tracing::warn!(plugin, %error, "a failed component cannot be forgotten");
            return;
        }
        self.good.remove(&wasm_file(plugin, digest));
    }

    fn write_good(&self, plugin: &str, notes: &[GoodNote]) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(notes).map_err(io::Error::other)?;
        self.good.write(&Slot::Active.file(plugin), &text)
    }
}

fn notes_digest(notes: &[GoodNote]) -> Digest {
    notes.first().map_or(Digest([0; 32]), |it| it.digest)
}

/// Keeps the newest, and among them one whose probation is behind it when there is one.
fn thin(notes: &mut Vec<GoodNote>) -> Vec<Digest> {
    let mut dropped = Vec::new();
    while notes.len() > GOOD {
        let passed = notes.iter().filter(|it| it.passed).count();
        let may_go = |it: &GoodNote| !it.passed || passed > 1;
        // The first one acts.
        let Some(last) = (1..notes.len()).rev().find(|it| notes.get(*it).is_some_and(may_go))
        else {
            break;
        };
        dropped.push(notes.remove(last).digest);
    }
    dropped
}

fn note<T: serde::de::DeserializeOwned>(shelf: &Shelf, file: &str) -> Option<T> {
    let text = match shelf.read(file, NOTE_BYTES) {
        Ok(text) => text?,
        Err(error) => {
            tracing::warn!(file, %error, "a note about a kept plugin cannot be read");
            return None;
        }
    };
    let read = serde_json::from_slice(&text);
    read.inspect_err(|error| tracing::warn!(file, %error, "a note about a kept plugin is damaged"))
        .ok()
}

fn whole(shelf: &Shelf, plugin: &str, digest: Digest) -> Option<Bytes> {
    let max = Limits::of(Kind::Policy, Class::Large).component_bytes;
    let bytes = shelf.read(&wasm_file(plugin, digest), max).ok().flatten()?;
    let whole = Digest::of(&bytes) == digest;
    if !whole {
        tracing::warn!(plugin, ?digest, "a kept component is damaged and not used");
    }
    whole.then_some(bytes)
}

fn parse(text: &str) -> Option<Digest> {
    unhex(text)?.try_into().ok().map(Digest)
}

pub(crate) mod digest_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::plugin::Digest;

    pub(crate) fn serialize<S: Serializer>(it: &Digest, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(it)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(from)?;
        super::parse(&text).ok_or_else(|| serde::de::Error::custom("64 hex digits"))
    }
}

mod digest_option {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::plugin::Digest;

    pub(super) fn serialize<S: Serializer>(it: &Option<Digest>, out: S) -> Result<S::Ok, S::Error> {
        match it {
            Some(it) => out.collect_str(it),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|it| super::parse(&it).ok_or_else(|| serde::de::Error::custom("64 hex digits")))
            .transpose()
    }
}

/// When something was kept, for people.
pub(crate) fn when(at: u64) -> String {
    UnixMs(at).rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(wasm: &[u8]) -> PushNote {
        PushNote {
            plugin: "slo".to_owned(),
            digest: Digest::of(wasm),
            at: 5,
            by: None,
            config_digest: Some(Digest([7; 32])),
            config_source: "file slo.wasm".to_owned(),
        }
    }

    #[test]
    fn a_push_survives_reopening_and_is_forgotten_whole() {
        let dir = std::env::temp_dir().join(format!("headgate-kept-{}", std::process::id()));
        let kept = Kept::open(Some(&dir));
        kept.push(Slot::Active, &push(b"one"), b"one").unwrap();
        kept.push(Slot::Active, &push(b"two"), b"two").unwrap();
        kept.push(Slot::Shadow, &push(b"two"), b"two").unwrap();
        let again = Kept::open(Some(&dir));
        let (note, bytes) = again.pushed("slo", Slot::Active).unwrap();
        assert_eq!((note, &bytes[..]), (push(b"two"), &b"two"[..]));
        assert_eq!(again.pushed("other", Slot::Active), None);
        again.forget("slo", Slot::Active).unwrap();
        assert!(again.pushed("slo", Slot::Active).is_none());
        // The shadow names the same bytes.
        assert!(again.pushed("slo", Slot::Shadow).is_some());
        again.forget("slo", Slot::Shadow).unwrap();
        assert_eq!(std::fs::read_dir(dir.join("pushed")).unwrap().count(), 0);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn many_at_once_leave_one_push_that_is_whole() {
        let dir = std::env::temp_dir().join(format!("headgate-many-{}", std::process::id()));
        let kept = Kept::open(Some(&dir));
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let kept = &kept;
                scope.spawn(move || {
                    for number in 0..20_u8 {
                        let wasm = [thread, number];
                        let digest = Digest::of(&wasm);
                        kept.push(Slot::Active, &push(&wasm), &wasm).unwrap();
                        let note = GoodNote { digest, at: 1, passed: false };
                        kept.acted("slo", note, Some(&wasm));
                    }
                });
            }
        });
        assert!(kept.pushed("slo", Slot::Active).is_some());
        let good = kept.good("slo");
        assert_eq!(good.len(), GOOD);
        assert!(good.iter().all(|it| kept.good_bytes("slo", it.digest).is_some()));
        let files = |of: &str| std::fs::read_dir(dir.join(of)).unwrap().count();
        assert_eq!((files("pushed"), files("good")), (2, GOOD + 1));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn damaged_bytes_and_notes_are_not_used() {
        let kept = Kept::open(None);
        kept.push(Slot::Active, &push(b"one"), b"other").unwrap();
        assert_eq!(kept.pushed("slo", Slot::Active), None);
        kept.pushed.write("slo.json", b"{").unwrap();
        assert_eq!(kept.pushed("slo", Slot::Active), None);
    }

    #[test]
    fn the_last_two_good_ones_are_kept_and_one_that_has_passed_with_them() {
        let kept = Kept::open(None);
        let acted = |wasm: &[u8], at, passed| {
            let note = GoodNote { digest: Digest::of(wasm), at, passed };
            kept.acted("slo", note, Some(wasm));
        };
        let names = || -> Vec<u64> { kept.good("slo").iter().map(|it| it.at).collect() };
        acted(b"1", 1, true);
        acted(b"2", 2, false);
        acted(b"3", 3, false);
        assert_eq!(names(), [3, 1]);
        assert!(kept.good_bytes("slo", Digest::of(b"1")).is_some());
        assert!(kept.good_bytes("slo", Digest::of(b"2")).is_none());
        acted(b"3", 3, true);
        acted(b"4", 4, false);
        assert_eq!(names(), [4, 3]);
        kept.failed("slo", Digest::of(b"4"));
        assert_eq!(names(), [3]);
        assert!(kept.good_bytes("slo", Digest::of(b"4")).is_none());
    }
}
