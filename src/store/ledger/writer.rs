//! The ledger's thread: opens the file, writes what differs, and does not give up.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, StorageBackend as _, TableDefinition,
};
use tokio::time::Instant;

use crate::model::UnixMs;
use crate::store::Table;
use crate::store::crash::crash_point;
use crate::store::file::{Opened, Opening, Trouble, guarded, trouble};
use crate::store::ledger::Shared;
use crate::store::ledger::core::{Key, Taken};

/// How often a file that another process holds is tried.
const HELD_RETRY: Duration = Duration::from_millis(50);

/// Between two attempts on a disk that refuses: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A file is compacted at the start when it is larger than this and than [`COMPACT_TIMES`] its rows.
const COMPACT_BYTES: u64 = 8 * 1024 * 1024;
const COMPACT_TIMES: u64 = 4;

/// Largest file that is read into memory when it cannot be opened for writing.
const COPY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the file is, besides the owners' tables.
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("headgate-ledger");
const FORMAT_KEY: &str = "format";
const FORMAT_NOW: u64 = 1;

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    opening: Opening,
    open: Option<Opened>,
    /// Before the next attempt after the one that fails now.
    delay: Duration,
    /// Whether a file was set aside since the disk was last good.
    broke: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, opening: Opening) -> Self {
        Self { shared, opening, open: None, delay: RETRY.0, broke: false }
    }

    /// Until the store is dropped, or the file turns out to be none of ours.
    pub(super) fn run(mut self) {
        while self.next() {}
        self.close();
        // Before it is said: whoever reads the condition after the end sees it.
        let mut core = self.shared.core();
        core.ended = true;
        self.shared.ended.notify_all();
    }

    /// One step; false at the end.
    fn next(&mut self) -> bool {
        if self.open.is_none() {
            return match self.open() {
                Ok(()) => true,
                Err(trouble) => self.pause(trouble),
            };
        }
        let mut core = self.shared.core();
        while core.is_saved() {
            if core.stop {
                return false;
            }
            let woken = self.shared.work.wait(core);
            core = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let taken = core.take_unsaved();
        drop(core);
        self.commit(taken)
    }

    /// Opens the file and reads its rows.
    fn open(&mut self) -> Result<(), Trouble> {
        let mut opened = self.opening.open(begin)?;
        let rows = guarded(|| read(&opened.db))?;
        let mut core = self.shared.core();
        let begun_anew = opened.fresh && core.loaded;
        core.load(rows);
        if begun_anew {
            core.all_unsaved();
        }
        let bytes = u64::try_from(core.bytes()).unwrap_or(u64::MAX);
        // Changes that wait are on the disk only after the commit.
        let news = core.is_saved() && core.is_good();
        drop(core);
        self.shared.ready.send_replace(true);
        if news {
            self.recovered();
        }
        let size = fs::metadata(&self.opening.path).map_or(0, |it| it.len());
        if size > COMPACT_BYTES && size > bytes.saturating_mul(COMPACT_TIMES) {
            guarded(|| opened.db.compact().map_err(trouble))?;
            tracing::info!(path = %self.opening.path.display(), from = size, "the ledger was compacted");
        }
        self.open = Some(opened);
        Ok(())
    }

    fn recovered(&mut self) {
        (self.delay, self.broke) = (RETRY.0, false);
        tracing::info!(path = %self.opening.path.display(), "the ledger is open and on the disk");
    }

    /// Writes; false at the end.
    fn commit(&mut self, taken: Taken) -> bool {
        let Some(opened) = &self.open else { return true };
        if self.opening.is_elsewhere(opened.identity) {
            self.moved_away(taken);
            return true;
        }
        crash_point("commit-before");
        match guarded(|| write(&opened.db, &taken)) {
            Ok(()) => {
                crash_point("commit-after");
                let news = self.shared.core().is_good();
                taken.answer(&Ok(()));
                if news {
                    self.recovered();
                }
                true
            }
            Err(trouble) => {
                self.shared.core().put_back(taken);
                self.close();
                // Whether the file itself is broken shows when it is opened again.
                self.pause(match trouble {
                    Trouble::Held | Trouble::Disk(_) => trouble,
                    Trouble::Denied(it) | Trouble::Broken(it) | Trouble::Foreign(it) => {
                        Trouble::Disk(it)
                    }
                })
            }
        }
    }

    /// The file was removed or replaced while it was open: what is written to it would be lost with the process.
    fn moved_away(&mut self, taken: Taken) {
        tracing::warn!(
            path = %self.opening.path.display(),
            "the ledger's file was removed or replaced; all rows are written again"
        );
        let mut core = self.shared.core();
        core.put_back(taken);
        core.all_unsaved();
        drop(core);
        self.close();
    }

    /// Closes the file: after an error redb wants it to be opened again.
    fn close(&mut self) {
        let Some(opened) = self.open.take() else { return };
        let closed = guarded(|| {
            drop(opened);
            Ok(())
        });
        if let Err(trouble) = closed {
            tracing::warn!(?trouble, "the ledger's file could not be closed");
        }
    }

    /// Deals with what is in the way and waits; false at the end.
    fn pause(&mut self, trouble: Trouble) -> bool {
        let first = !self.shared.core().loaded;
        match trouble {
            Trouble::Held => {
                if self.shared.core().is_held() {
                    tracing::info!(path = %self.opening.path.display(), "another process holds the ledger");
                }
                self.sleep(HELD_RETRY)
            }
            Trouble::Broken(reason) => self.begin_anew(&reason),
            Trouble::Foreign(reason) | Trouble::Denied(reason) if first => {
                self.give_up(&reason);
                false
            }
            Trouble::Disk(reason) | Trouble::Foreign(reason) | Trouble::Denied(reason) => {
                self.fail(&reason)
            }
        }
    }

    /// Sets a broken file aside. What is in memory is written to the new one.
    fn begin_anew(&mut self, reason: &str) -> bool {
        let path = self.opening.path.display().to_string();
        // The disk, or something beside us, breaks file after file: no use hurrying.
        if std::mem::replace(&mut self.broke, true) && !self.sleep(self.delay) {
            return false;
        }
        match self.opening.set_aside() {
            Ok(aside) => {
                let mut core = self.shared.core();
                let rows = match core.loaded {
                    true => "its rows were in memory and are written to a new file",
                    false => "incidents and undelivered alerts in it are not known any more",
                };
                let message = format!(
                    "{path} is broken ({reason}), set aside as {}: {rows}",
                    aside.display()
                );
                tracing::error!("{message}");
                core.lost(message);
                core.all_unsaved();
                true
            }
            Err(error) => {
                self.fail(&format!("it is broken ({reason}) and cannot be renamed: {error}"))
            }
        }
    }

    /// Nothing will outlive the process; what an earlier one wrote is known if it can be read.
    fn give_up(&mut self, reason: &str) {
        let reason = format!(
            "{} cannot be used: {reason}; remove what is in the way, or make it and its folder writable, and restart",
            self.opening.path.display()
        );
        tracing::error!("incidents and alerts do not outlive this process: {reason}");
        let rows = copied(&self.opening.path);
        let mut core = self.shared.core();
        core.load(rows);
        core.only_memory(reason);
        drop(core);
        self.shared.ready.send_replace(true);
    }

    /// The disk refuses: changes wait in memory.
    fn fail(&mut self, reason: &str) -> bool {
        let delay = self.delay;
        self.delay = delay.saturating_mul(2).min(RETRY.1);
        let reason = format!(
            "{} cannot be written: {reason}; changes wait in memory",
            self.opening.path.display()
        );
        if !self.shared.core().loaded {
            let rows = copied(&self.opening.path);
            self.shared.core().load(rows);
            self.shared.ready.send_replace(true);
        }
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let at = UnixMs(UnixMs::now().0.saturating_add(millis));
        if self.shared.core().is_failing(&reason, Instant::now() + delay, at) {
            tracing::error!("{reason}");
        }
        self.sleep(delay)
    }

    /// False when the store is dropped meanwhile.
    fn sleep(&self, span: Duration) -> bool {
        let until = Instant::now() + span;
        let mut core = self.shared.core();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if core.stop || left.is_zero() {
                return !core.stop;
            }
            let waited = self.shared.work.wait_timeout(core, left);
            core = waited.map_or_else(|it| it.into_inner().0, |it| it.0);
        }
    }
}

/// The rows of a file that cannot be opened for writing: of a copy in memory. Empty when even that is not possible.
fn copied(path: &Path) -> Vec<(Key, Vec<u8>)> {
    let regular = fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() <= COPY_BYTES_MAX);
    if !regular {
        return Vec::new();
    }
    let rows = guarded(|| {
        let bytes = fs::read(path).map_err(|it| Trouble::Disk(it.to_string()))?;
        let copy = InMemoryBackend::new();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        copy.set_len(length).map_err(|it| Trouble::Disk(it.to_string()))?;
        copy.write(0, &bytes).map_err(|it| Trouble::Disk(it.to_string()))?;
        drop(bytes);
        let mut builder = Database::builder();
        builder.set_check_integrity_on_open(true);
        read(&builder.create_with_backend(copy).map_err(trouble)?)
    });
    rows.unwrap_or_else(|trouble| {
        tracing::warn!(path = %path.display(), ?trouble, "the ledger's rows cannot be read either");
        Vec::new()
    })
}

/// Marks a new file as ours.
fn begin(db: &Database) -> Result<(), Trouble> {
    let mut change = db.begin_write().map_err(trouble)?;
    change.set_quick_repair(true);
    change.open_table(FORMAT).map_err(trouble)?.insert(FORMAT_KEY, FORMAT_NOW).map_err(trouble)?;
    change.commit().map_err(trouble)
}

/// All rows.
fn read(db: &Database) -> Result<Vec<(Key, Vec<u8>)>, Trouble> {
    let look = db.begin_read().map_err(trouble)?;
    let format = match look.open_table(FORMAT) {
        Ok(it) => it.get(FORMAT_KEY).map_err(trouble)?.map(|it| it.value()),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(it) => return Err(trouble(it)),
    };
    if format != Some(FORMAT_NOW) {
        let found = format.map_or("none".to_owned(), |it| it.to_string());
        return Err(Trouble::Foreign(format!(
            "its format is {FORMAT_NOW} for this version, and {found} in the file"
        )));
    }
    let mut rows = Vec::new();
    for table in Table::ALL {
        let found = match look.open_table(definition(table)) {
            Ok(it) => it,
            Err(redb::TableError::TableDoesNotExist(_)) => continue,
            Err(it) => return Err(trouble(it)),
        };
        for row in found.iter().map_err(trouble)? {
            let (key, value) = row.map_err(trouble)?;
            rows.push(((table, key.value().to_owned()), value.value().to_vec()));
        }
    }
    Ok(rows)
}

/// One transaction.
fn write(db: &Database, taken: &Taken) -> Result<(), Trouble> {
    let mut change = db.begin_write().map_err(trouble)?;
    change.set_quick_repair(true);
    for of_table in taken.rows.chunk_by(|a, b| a.0.0 == b.0.0) {
        let Some(((table, _), _)) = of_table.first() else { continue };
        let mut rows = change.open_table(definition(*table)).map_err(trouble)?;
        for ((_, key), value) in of_table {
            match value {
                Some(value) => rows.insert(key.as_str(), &value[..]).map(drop),
                None => rows.remove(key.as_str()).map(drop),
            }
            .map_err(trouble)?;
        }
    }
    change.commit().map_err(trouble)
}
