//! Keeps compiled code over restarts under the installation's own tag, and is the only place that turns bytes into code.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret as _, SecretBox};
use sha2::Sha256;
use wasmtime::Engine;

use crate::plugin::host::compile::ARTIFACT_BYTES_MAX;
use crate::plugin::{Digest, Refusal};

/// Everything in the folder together; the entries that were used longest ago go first.
const CACHE_BYTES_MAX: u64 = 512 * 1024 * 1024;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const KEY_FILE: &str = "key";
const ENTRY_SUFFIX: &str = ".bin";
const TMP_SUFFIX: &str = ".tmp";

/// Compiled code from our own compiler, this process's child or our cache (tag checked): the only bytes that are ever taken
/// for code.
#[derive(Clone)]
pub struct Artifact {
    bytes: Vec<u8>,
    /// Already taken for code, when that was tried.
    ready: Option<wasmtime::component::Component>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artifact({} bytes)", self.bytes.len())
    }
}

impl Artifact {
    /// What this crate's compiler made, here or in the child of this process.
    pub(super) fn of_our_compiler(bytes: Vec<u8>) -> Self {
        Self { bytes, ready: None }
    }

    /// For the pipe of the compiling child.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the bytes for code of this engine.
    ///
    /// # Errors
    /// When they were made by another version, for another processor or with other settings.
    pub(super) fn component(
        &self,
        engine: &Engine,
    ) -> Result<wasmtime::component::Component, Refusal> {
        match &self.ready {
            Some(ready) if Engine::same(ready.engine(), engine) => Ok(ready.clone()),
            _ => deserialize(engine, &self.bytes),
        }
    }
}

/// The one place where bytes become code.
#[allow(
    unsafe_code,
    reason = "an Artifact is made of the output of our own compiler alone: directly, by the pipe of our own child, or from \
              the cache after its HMAC under the installation's key has been checked over these very bytes in memory"
)]
fn deserialize(engine: &Engine, bytes: &[u8]) -> Result<wasmtime::component::Component, Refusal> {
    // SAFETY: see the reason above; wasmtime itself checks version, target and settings.
    let taken = unsafe { wasmtime::component::Component::deserialize(engine, bytes) };
    taken.map_err(|error| {
        Refusal::new("compile", format!("its compiled code does not fit: {error:#}"))
    })
}

/// A folder of compiled code that only this user can write.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    /// Keyed; cloned for each tag.
    mac: Hmac<Sha256>,
    /// Of the engine; part of every name, so that another version never reads these entries.
    compatibility: String,
    bytes_max: u64,
    /// Told once that nothing can be kept.
    warned: AtomicBool,
    /// Makes names of files that are being written.
    serial: AtomicU64,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} belongs to user {owner}, not to this one", path = .path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{path} can be written by others (mode {mode:o})", path = .path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{path} is no folder", path = .path.display())]
    NoFolder { path: PathBuf },
    #[error("no random bytes for the key: {0}")]
    Random(getrandom::Error),
    #[error("the key has a wrong length")]
    Key,
}

impl Cache {
    /// Opens a folder, or makes it, with its key.
    ///
    /// # Errors
    /// When it cannot be written, is not ours, or others may write it.
    pub(super) fn open(dir: &Path, compatibility: String) -> Result<Self, CacheError> {
        let at = |source| CacheError::Io { path: dir.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
        check_folder(dir)?;
        let key = key(&dir.join(KEY_FILE))?;
        let mac = Hmac::new_from_slice(key.expose_secret()).map_err(|_| CacheError::Key)?;
        let cache = Self {
            dir: dir.to_owned(),
            mac,
            compatibility,
            bytes_max: CACHE_BYTES_MAX,
            warned: AtomicBool::new(false),
            serial: AtomicU64::new(0),
        };
        cache.tidy();
        Ok(cache)
    }

    /// The code of a component, when it was kept, is whole and fits.
    pub(super) fn get(&self, digest: Digest, engine: &Engine) -> Option<Artifact> {
        let name = self.name(digest);
        let path = self.dir.join(&name);
        let mut bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return self.discard(&path, &error),
        };
        let (tag, code) = bytes.split_at(TAG_BYTES.min(bytes.len()));
        if self.tag(&name, code).verify_slice(tag).is_err() {
            return self.discard(&path, &"its tag does not match");
        }
        bytes.drain(..TAG_BYTES);
        match deserialize(engine, &bytes) {
            Ok(ready) => {
                // The time of last use decides what goes first when there is no room.
                let used =
                    File::open(&path).and_then(|it| it.set_modified(std::time::SystemTime::now()));
                drop(used);
                Some(Artifact { bytes, ready: Some(ready) })
            }
            Err(refusal) => self.discard(&path, &refusal),
        }
    }

    /// Keeps the code of a component; a disk that cannot is told of once.
    pub(super) fn put(&self, digest: Digest, artifact: &Artifact) {
        let name = self.name(digest);
        match self.write(&name, artifact.bytes()) {
            Ok(()) => self.evict(&name),
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    let dir = self.dir.display();
                    tracing::warn!(%error, %dir, "compiled plugins cannot be kept; each start compiles them again");
                }
            }
        }
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{}{ENTRY_SUFFIX}", self.compatibility)
    }

    /// Over the name too: the code of one component is never taken for another's.
    fn tag(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let beside = self.dir.join(format!("{name}.{}-{serial}{TMP_SUFFIX}", std::process::id()));
        let tag = self.tag(name, code).finalize().into_bytes();
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| file.write_all(&tag).and_then(|()| file.write_all(code)))
            .and_then(|()| fs::rename(&beside, self.dir.join(name)));
        if written.is_err() {
            // What is left of it would only take room.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Always `None`: the caller compiles.
    fn discard<T>(&self, path: &Path, because: &dyn std::fmt::Display) -> Option<T> {
        let removed = fs::remove_file(path).is_ok();
        let path = path.display();
        tracing::warn!(%because, %path, removed, "kept code of a plugin is not used; it is compiled again");
        None
    }

    /// Removes what was longest unused until the rest fits, but not the newest.
    fn evict(&self, newest: &str) {
        let mut entries = self.entries();
        let mut sum: u64 = entries.iter().map(|it| it.bytes).sum();
        entries.sort_by_key(|it| it.used);
        for entry in entries {
            if sum <= self.bytes_max {
                return;
            }
            if entry.name != newest && fs::remove_file(self.dir.join(&entry.name)).is_ok() {
                sum = sum.saturating_sub(entry.bytes);
            }
        }
    }

    /// Removes what a crash has left half written.
    fn tidy(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|it| it.ends_with(TMP_SUFFIX)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let found = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        found
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.to_owned();
                let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                let used = about.modified().ok()?;
                name.ends_with(ENTRY_SUFFIX).then_some(Entry { name, bytes: about.len(), used })
            })
            .collect()
    }
}

struct Entry {
    name: String,
    bytes: u64,
    used: std::time::SystemTime,
}

fn check_folder(dir: &Path) -> Result<(), CacheError> {
    let path = || dir.to_owned();
    let about = fs::metadata(dir).map_err(|source| CacheError::Io { path: path(), source })?;
    if !about.is_dir() {
        return Err(CacheError::NoFolder { path: path() });
    }
    check_owner(dir, &about, 0o022)
}

/// Ours, and none of these permissions of others.
fn check_owner(path: &Path, about: &fs::Metadata, forbidden: u32) -> Result<(), CacheError> {
    let path = || path.to_owned();
    if about.uid() != rustix::process::geteuid().as_raw() {
        return Err(CacheError::Foreign { path: path(), owner: about.uid() });
    }
    if about.mode() & forbidden != 0 {
        return Err(CacheError::Writable { path: path(), mode: about.mode() & 0o7777 });
    }
    Ok(())
}

/// The installation's key; made once. One that is damaged or that others could read is made anew, which forgets all entries.
fn key(path: &Path) -> Result<SecretBox<[u8; KEY_BYTES]>, CacheError> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_file() && about.len() == KEY_BYTES as u64 => {
            if check_owner(path, &about, 0o077).is_ok() {
                return read_key(path);
            }
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make_key(path),
        Err(source) => return Err(CacheError::Io { path: path.to_owned(), source }),
    }
    let at = |source| CacheError::Io { path: path.to_owned(), source };
    let shown = path.display();
    tracing::warn!(path = %shown, "the key of kept code is damaged or others can read it; a new one is made");
    fs::remove_file(path).map_err(at)?;
    make_key(path)
}

fn read_key(path: &Path) -> Result<SecretBox<[u8; KEY_BYTES]>, CacheError> {
    let at = |source| CacheError::Io { path: path.to_owned(), source };
    let mut key = [0; KEY_BYTES];
    File::open(path).and_then(|mut it| it.read_exact(&mut key)).map_err(at)?;
    let secret = SecretBox::new(Box::new(key));
    key.zeroize();
    Ok(secret)
}

fn make_key(path: &Path) -> Result<SecretBox<[u8; KEY_BYTES]>, CacheError> {
    let at = |source| CacheError::Io { path: path.to_owned(), source };
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(CacheError::Random)?;
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut it| it.write_all(&key).and_then(|()| it.sync_all()));
    let secret = SecretBox::new(Box::new(key));
    key.zeroize();
    match written {
        Ok(()) => Ok(secret),
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_key(path),
        Err(source) => Err(at(source)),
    }
}

/// At most what an entry may have.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let limit = (ARTIFACT_BYTES_MAX + TAG_BYTES) as u64;
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    if len > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any entry"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// A folder of its own, gone afterwards.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("cache-{}-{next}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn cache(&self) -> Cache {
            Cache::open(&self.0.join("cache"), "v1".to_owned()).unwrap()
        }

        fn mode(&self, name: &str, mode: u32) {
            let path = self.0.join(name);
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn entry(&self) -> PathBuf {
            let found = fs::read_dir(self.0.join("cache")).unwrap().flatten();
            let mut found = found.filter(|it| it.path().extension().is_some_and(|it| it == "bin"));
            let entry = found.next().unwrap().path();
            assert!(found.next().is_none());
            entry
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn code(engine: &Engine) -> Artifact {
        crate::plugin::host::compile::compile_here(engine, b"\0asm\x0d\0\x01\0").unwrap()
    }

    #[test]
    fn what_was_put_comes_back_and_over_a_restart() {
        let (dir, engine, digest) = (Dir::new(), Engine::default(), Digest::of(b"a"));
        let cache = dir.cache();
        assert!(cache.get(digest, &engine).is_none());
        cache.put(digest, &code(&engine));
        assert_eq!(cache.get(digest, &engine).unwrap().bytes(), code(&engine).bytes());
        assert!(dir.cache().get(digest, &engine).unwrap().component(&engine).is_ok());
        assert!(cache.get(Digest::of(b"b"), &engine).is_none());
        for (name, mode) in [("cache", 0o700), ("cache/key", 0o600)] {
            let about = fs::metadata(dir.0.join(name)).unwrap();
            assert_eq!(about.mode() & 0o777, mode, "{name}");
        }
        assert_eq!(fs::metadata(dir.entry()).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn any_change_of_an_entry_is_seen_and_removes_it() {
        let (dir, engine, digest) = (Dir::new(), Engine::default(), Digest::of(b"a"));
        let cache = dir.cache();
        cache.put(digest, &code(&engine));
        let good = fs::read(dir.entry()).unwrap();
        let flip = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            bytes
        };
        let (middle, last) = (good.len() / 2, good.len() - 1);
        for bad in [
            Vec::new(),
            good[..5].to_vec(),
            good[..TAG_BYTES].to_vec(),
            good[..last].to_vec(),
            [&good[..], b"x"].concat(),
            flip(0),
            flip(TAG_BYTES),
            flip(middle),
            flip(last),
        ] {
            cache.put(digest, &code(&engine));
            fs::write(dir.entry(), &bad).unwrap();
            let path = dir.entry();
            assert!(cache.get(digest, &engine).is_none(), "{} bytes", bad.len());
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_entry_is_good_for_its_own_component_and_engine_alone() {
        let (dir, engine) = (Dir::new(), Engine::default());
        let (one, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let cache = dir.cache();
        cache.put(one, &code(&engine));
        fs::copy(dir.entry(), dir.0.join("cache").join(cache.name(other))).unwrap();
        assert!(cache.get(other, &engine).is_none());
        // Rightly tagged code of other settings is tried, found not to fit, and removed.
        let mut config = wasmtime::Config::new();
        config.consume_fuel(true);
        let fuel = Engine::new(&config).unwrap();
        assert!(cache.get(one, &fuel).is_none());
        assert!(cache.get(one, &engine).is_none());
        let later = Cache::open(&dir.0.join("cache"), "v2".to_owned()).unwrap();
        cache.put(one, &code(&engine));
        assert!(later.get(one, &engine).is_none());
        assert!(cache.get(one, &engine).is_some());
    }

    #[test]
    fn a_damaged_or_shown_key_is_made_anew_and_forgets_all() {
        for damage in [
            (|dir: &Dir| fs::write(dir.0.join("cache/key"), b"short").unwrap()) as fn(&Dir),
            |dir| dir.mode("cache/key", 0o644),
            |dir| fs::remove_file(dir.0.join("cache/key")).unwrap(),
            |dir| {
                fs::rename(dir.0.join("cache/key"), dir.0.join("moved")).unwrap();
                std::os::unix::fs::symlink(dir.0.join("moved"), dir.0.join("cache/key")).unwrap();
            },
        ] {
            let (dir, engine, digest) = (Dir::new(), Engine::default(), Digest::of(b"a"));
            dir.cache().put(digest, &code(&engine));
            damage(&dir);
            let cache = dir.cache();
            assert!(cache.get(digest, &engine).is_none());
            cache.put(digest, &code(&engine));
            assert!(dir.cache().get(digest, &engine).is_some());
        }
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let dir = Dir::new();
        drop(dir.cache());
        for mode in [0o770, 0o707, 0o720] {
            dir.mode("cache", mode);
            let error = Cache::open(&dir.0.join("cache"), String::new()).unwrap_err();
            assert!(matches!(error, CacheError::Writable { .. }), "{error}");
        }
        fs::write(dir.0.join("file"), b"").unwrap();
        assert!(Cache::open(&dir.0.join("file"), String::new()).is_err());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.0.join("cache"), Some(1), None).unwrap();
            let error = Cache::open(&dir.0.join("cache"), String::new()).unwrap_err();
            assert!(matches!(error, CacheError::Foreign { owner: 1, .. }), "{error}");
        }
    }

    #[test]
    fn the_longest_unused_entries_go_first() {
        let (dir, engine) = (Dir::new(), Engine::default());
        let artifact = code(&engine);
        let each = (artifact.bytes().len() + TAG_BYTES) as u64;
        let cache = Cache { bytes_max: each * 2, ..dir.cache() };
        let digests = [b"a", b"b", b"c"].map(|it| Digest::of(it));
        let age = |digest: Digest, seconds: u64| {
            let file =
                File::options().write(true).open(cache.dir.join(cache.name(digest))).unwrap();
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
            file.set_modified(then).unwrap();
        };
        cache.put(digests[0], &artifact);
        cache.put(digests[1], &artifact);
        age(digests[0], 500);
        age(digests[1], 300);
        // Used just now, so that the other one is the oldest.
        assert!(cache.get(digests[0], &engine).is_some());
        cache.put(digests[2], &artifact);
        let kept = digests.map(|it| cache.get(it, &engine).is_some());
        assert_eq!(kept, [true, false, true]);
        // One that is larger than all the room stays: it was just asked for.
        let cache = Cache { bytes_max: 1, ..dir.cache() };
        cache.put(digests[1], &artifact);
        assert_eq!(digests.map(|it| cache.get(it, &engine).is_some()), [false, true, false]);
    }

    #[test]
    fn what_a_crash_left_is_removed_and_a_lost_folder_means_no_cache() {
        let (dir, engine, digest) = (Dir::new(), Engine::default(), Digest::of(b"a"));
        let cache = dir.cache();
        let left = dir.0.join("cache/x.bin.7-0.tmp");
        fs::write(&left, b"half").unwrap();
        drop(dir.cache());
        assert!(!left.exists());
        fs::remove_dir_all(dir.0.join("cache")).unwrap();
        cache.put(digest, &code(&engine));
        assert!(cache.get(digest, &engine).is_none());
        assert!(cache.warned.load(Ordering::Relaxed));
    }
}
