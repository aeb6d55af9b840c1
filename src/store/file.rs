//! One redb file: how it is opened, what its failures mean, and how a broken one is set aside.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, Database, StorageBackend};

/// Most files that are set aside; the oldest go.
const BROKEN_MAX: u32 = 4;

/// Why a file cannot be used, by what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Another process holds it: wait.
    Held,
    /// The disk refuses, which may pass: try again.
    Disk(String),
    /// The process may not: no use trying at the start.
    Denied(String),
    /// The bytes are broken: begin anew.
    Broken(String),
    /// It is something else: leave it alone.
    Foreign(String),
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// When it is on the disk.
    Disk,
    /// When the kernel has it: survives the end of the process, but not of the machine.
    Kernel,
}

/// How to open.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    pub(crate) sync: Sync,
    pub(crate) cache_bytes: usize,
    /// Verify the checksum of every page: redb may panic on pages that it trusts.
    pub(crate) verify: bool,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<faults::Faults>,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) db: Database,
    /// Device and inode: whether the path still leads here.
    pub(crate) identity: (u64, u64),
    /// Whether there was nothing before.
    pub(crate) fresh: bool,
}

impl Opening {
    pub(crate) fn new(path: PathBuf, sync: Sync, cache_bytes: usize) -> Self {
        Self {
            path,
            sync,
            cache_bytes,
            verify: true,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        }
    }

    /// Opens the file, or makes it (mode 0600 in a folder with mode 0700) and lets `begin` mark it as ours. Blocks, but
    /// does not wait for another process.
    ///
    /// # Errors
    /// See [`Trouble`]; a panic of redb is [`Trouble::Broken`].
    pub(crate) fn open(&self, begin: Begin) -> Result<Opened, Trouble> {
        let fresh = self.is_missing()?;
        if fresh {
            self.make(begin)?;
        }
        let file = self.file(&self.path).map_err(|it| io_trouble(&it))?;
        let found = file.metadata().map_err(|it| io_trouble(&it))?;
        if is_blank(&file) {
            return Err(Trouble::Broken("its first bytes are all zero".to_owned()));
        }
        let db = self.database(file)?;
        Ok(Opened { db, identity: (found.dev(), found.ino()), fresh })
    }

    fn is_missing(&self) -> Result<bool, Trouble> {
        match fs::metadata(&self.path) {
            // A FIFO would be opened, a device be written to.
            Ok(it) if !it.is_file() => Err(Trouble::Foreign("it is not a regular file".to_owned())),
            // It was made whole, so something has emptied it.
            Ok(it) if it.len() == 0 => Err(Trouble::Broken("it is empty".to_owned())),
            Ok(_) => Ok(false),
            Err(it) if it.kind() == ErrorKind::NotFound => Ok(true),
            Err(it) => Err(io_trouble(&it)),
        }
    }

    /// Makes the file under another name first: whatever ends the process, it is there whole or not at all.
    fn make(&self, begin: Begin) -> Result<(), Trouble> {
        let draft = self.beside(".new");
        let made = guarded(|| {
            if let Some(dir) = self.path.parent() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
                made.map_err(|it| io_trouble(&it))?;
            }
            remove(&draft).map_err(|it| io_trouble(&it))?;
            let db = self.database(self.file(&draft).map_err(|it| io_trouble(&it))?)?;
            begin(&db)?;
            db.close().map_err(trouble)?;
            self.put_in_place(&draft).map_err(|it| io_trouble(&it))
        });
        // What is left of a failure is of no use to anybody.
        let _ = remove(&draft);
        made
    }

    fn put_in_place(&self, draft: &Path) -> io::Result<()> {
        match fs::hard_link(draft, &self.path) {
            // Another process was faster: its file is as good.
            Err(it) if it.kind() == ErrorKind::AlreadyExists => {}
            // A file system without links.
            Err(_) => fs::rename(draft, &self.path)?,
            Ok(()) => {}
        }
        self.path.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        #[cfg(test)]
        self.faults.check()?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(path)
    }

    fn database(&self, file: File) -> Result<Database, Trouble> {
        guarded(|| {
            let backend = Disk {
                file: FileBackend::new(file).map_err(trouble)?,
                sync: self.sync,
                #[cfg(test)]
                faults: std::sync::Arc::clone(&self.faults),
            };
            let mut builder = Database::builder();
            builder.set_cache_size(self.cache_bytes);
            builder.set_check_integrity_on_open(self.verify);
            builder.create_with_backend(backend).map_err(trouble)
        })
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Whether the path leads to another file than the one that is open, or to none.
    pub(crate) fn is_elsewhere(&self, identity: (u64, u64)) -> bool {
        fs::metadata(&self.path).map_or(true, |it| (it.dev(), it.ino()) != identity)
    }

    /// Renames the file to `NAME.broken-N`; the oldest beyond a few are removed.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn set_aside(&self) -> io::Result<PathBuf> {
        let name = |number: u32| self.beside(&format!(".broken-{number}"));
        let exists = |number: &u32| fs::symlink_metadata(name(*number)).is_ok();
        // Numbers only grow, and there are few files: the highest is within reach of the lowest.
        let first = (1..=u32::MAX).take(SEARCH_MAX).find(exists).unwrap_or(1);
        let mut next = first;
        while exists(&next) {
            next = next.saturating_add(1);
        }
        fs::rename(&self.path, name(next))?;
        for old in first..=next.saturating_sub(BROKEN_MAX) {
            let _ = fs::remove_file(name(old));
        }
        Ok(name(next))
    }
}

/// Marks a new file as ours, in one transaction.
pub(crate) type Begin = fn(&Database) -> Result<(), Trouble>;

/// Removes a file that need not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(it) if it.kind() != ErrorKind::NotFound => Err(it),
        _ => Ok(()),
    }
}

/// How far the first number of a file that was set aside is looked for.
const SEARCH_MAX: usize = 1_000;

/// Whether a file begins with nothing but zeros, as after a crash of the machine: redb would take it for another program's.
fn is_blank(file: &File) -> bool {
    use std::os::unix::fs::FileExt as _;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).is_ok() && head.iter().all(|it| *it == 0)
}

/// Runs what calls redb: it may panic on bytes that are broken.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Trouble::Broken(format!("reading it failed: {text}")))
    })
}

/// What an error of redb means.
pub(crate) fn trouble(error: impl Into<redb::Error>) -> Trouble {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Trouble::Held,
        redb::Error::Io(it) => io_trouble(&it),
        redb::Error::Corrupted(it) => Trouble::Broken(it),
        it @ (redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }) => Trouble::Foreign(it.to_string()),
        // Among them what follows from an earlier error: the file has to be opened again.
        it => Trouble::Disk(it.to_string()),
    }
}

fn io_trouble(error: &io::Error) -> Trouble {
    let mut text = error.to_string();
    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        text.push_str(" (free some there)");
    }
    match error.kind() {
        // What redb says of a file without its mark.
        ErrorKind::InvalidData => Trouble::Foreign(text),
        ErrorKind::UnexpectedEof => Trouble::Broken("it is shorter than it should be".to_owned()),
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory => Trouble::Denied(text),
        _ => Trouble::Disk(text),
    }
}

/// redb's own file, but for the wait for the disk.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    sync: Sync,
    #[cfg(test)]
    faults: std::sync::Arc<faults::Faults>,
}

impl Disk {
    /// Fails when a test says so.
    #[cfg(test)]
    fn check(&self) -> io::Result<()> {
        self.faults.check()
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make it fail")]
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        match self.sync {
            Sync::Disk => self.file.sync_data(),
            Sync::Kernel => Ok(()),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// A disk that fails when a test says so.
#[cfg(test)]
pub(crate) mod faults {
    use std::io;
    use std::sync::atomic::{AtomicI32, Ordering};

    /// The error number of every write; none at zero.
    #[derive(Debug, Default)]
    pub(crate) struct Faults(AtomicI32);

    impl Faults {
        pub(crate) fn set(&self, errno: i32) {
            self.0.store(errno, Ordering::SeqCst);
        }

        pub(super) fn check(&self) -> io::Result<()> {
            match self.0.load(Ordering::SeqCst) {
                0 => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}
