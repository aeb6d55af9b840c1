//! Who switched what, when and why: an append-only file of JSON lines.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::model::UnixMs;

/// Beyond this the file becomes the old one, and the old one is forgotten.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// How much of the end of a file is read to show the last entries.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// Entries that memory keeps when there is no file.
const MEMORY_ENTRIES_MAX: usize = 1000;

/// One change, as one line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// RFC 3339 in UTC, for people.
    pub at: String,
    /// The same in ms since the Unix epoch.
    pub at_ms: u64,
    pub action: Action,
    /// Name of the key, `admin-listener` or `headgate`.
    pub by: String,
    /// Services it was about; empty: all covered ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// End by ttl, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of the request that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Plugin that it was about, with the digest that acts afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Whether anything was different afterwards.
    pub changed: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[serde(rename = "maintenance.on")]
    MaintenanceOn,
    #[serde(rename = "maintenance.off")]
    MaintenanceOff,
    #[serde(rename = "maintenance.expired")]
    MaintenanceExpired,
    #[serde(rename = "config.reload")]
    ConfigReload,
    #[serde(rename = "plugin.push")]
    PluginPush,
    #[serde(rename = "plugin.rollback")]
    PluginRollback,
    #[serde(rename = "plugin.promote")]
    PluginPromote,
    #[serde(rename = "outbox.retry")]
    OutboxRetry,
    #[serde(rename = "outbox.drop")]
    OutboxDrop,
    #[serde(rename = "alert.test")]
    AlertTest,
}

impl Entry {
    /// An entry about all services, with no reason and no request.
    pub fn new(action: Action, by: &str, at: UnixMs) -> Self {
        Self {
            at: at.rfc3339(),
            at_ms: at.0,
            action,
            by: by.to_owned(),
            services: Vec::new(),
            until: None,
            reason: None,
            request_id: None,
            plugin: None,
            changed: true,
        }
    }
}

/// Why the audit file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot write the audit file {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot read the audit file {path}")]
    Read { path: PathBuf, source: std::io::Error },
}

/// The audit trail; its calls block.
#[derive(Debug)]
pub struct Audit {
    /// `None`: in memory.
    path: Option<PathBuf>,
    bytes_max: u64,
    /// Appends and rotations are one at a time; the entries when there is no file.
    memory: Mutex<Vec<Entry>>,
}

impl Audit {
    /// Appends to `audit.jsonl` in `dir`, which exists; the file is made by the first entry.
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            path: Some(dir.join("audit.jsonl")),
            bytes_max: FILE_BYTES_MAX,
            memory: Mutex::default(),
        }
    }

    /// Keeps the last 1,000 entries, and forgets them with the process.
    pub fn in_memory() -> Self {
        Self { path: None, bytes_max: FILE_BYTES_MAX, memory: Mutex::default() }
    }

    /// Adds an entry; on the disk when it returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, entry: &Entry) -> Result<(), AuditError> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.path else {
            if memory.len() >= MEMORY_ENTRIES_MAX {
                memory.remove(0);
            }
            memory.push(entry.clone());
            return Ok(());
        };
        append(path, entry, self.bytes_max)
            .map_err(|source| AuditError::Write { path: path.clone(), source })
    }

    /// The last `limit` entries that can be read, newest first. Torn and foreign lines are passed over.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn tail(&self, limit: usize) -> Result<Vec<Entry>, AuditError> {
        let Some(path) = &self.path else {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(memory.iter().rev().take(limit).cloned().collect());
        };
        let mut entries = Vec::new();
        for path in [path.clone(), old_path(path)] {
            if entries.len() < limit {
                let newer = last_entries(&path, limit - entries.len())
                    .map_err(|source| AuditError::Read { path, source })?;
                entries.extend(newer);
            }
        }
        Ok(entries)
    }
}

fn append(path: &Path, entry: &Entry, bytes_max: u64) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    let mut file = open(path)?;
    let held = file.metadata()?.len();
    if held > 0 && held + line.len() as u64 > bytes_max {
        drop(file);
        std::fs::rename(path, old_path(path))?;
        file = open(path)?;
    } else if held > 0 && last_byte(&mut file)? != b'\n' {
        // A crash tore the last line: it must not swallow this one.
        line.insert(0, b'\n');
    }
    file.write_all(&line)?;
    file.sync_all()?;
    if held == 0 || held + line.len() as u64 > bytes_max {
        sync_parent(path)?;
    }
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

fn last_byte(file: &mut File) -> std::io::Result<u8> {
    let mut byte = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// Opens a file to read. Asked before opening: opening a pipe would wait for its writer, with the state locked.
pub(super) fn open_regular(path: &Path) -> std::io::Result<File> {
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() && !kind.is_dir() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(path)
}

/// Makes a new name in the folder durable.
pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn old_path(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

fn last_entries(path: &Path, limit: usize) -> std::io::Result<Vec<Entry>> {
    let mut file = match open_regular(path) {
        Err(it) if it.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        it => it?,
    };
    let held = file.metadata()?.len();
    file.seek(SeekFrom::Start(held.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut text)?;
    // A line cut by the start of the tail does not parse and is passed over like a torn one.
    let entries = text.rsplit(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok());
    Ok(entries.take(limit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::store::tests::Folder;

    fn entry(number: u64) -> Entry {
        Entry {
            reason: Some(format!("line\nbreak \"{number}\"")),
            ..Entry::new(Action::MaintenanceOn, "ci", UnixMs(number))
        }
    }

    fn numbers(audit: &Audit, limit: usize) -> Vec<u64> {
        audit.tail(limit).unwrap().into_iter().map(|it| it.at_ms).collect()
    }

    #[test]
    fn entries_come_back_newest_first_after_a_restart() {
        let dir = Folder::new();
        let audit = Audit::in_dir(dir.path());
        assert!(numbers(&audit, 5).is_empty());
        (0..4).for_each(|it| audit.append(&entry(it)).unwrap());
        let again = Audit::in_dir(dir.path());
        assert_eq!(numbers(&again, 3), [3, 2, 1]);
        assert_eq!(again.tail(9).unwrap().last(), Some(&entry(0)));
        assert_eq!(
            std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap().lines().count(),
            4
        );
    }

    #[test]
    fn a_torn_last_line_loses_itself_alone() {
        let dir = Folder::new();
        let audit = Audit::in_dir(dir.path());
        (0..2).for_each(|it| audit.append(&entry(it)).unwrap());
        let path = dir.path().join("audit.jsonl");
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|it| *it == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            audit.append(&entry(7)).unwrap();
            // Without its line break alone the line is whole.
            let expected = if cut == whole.len() - 1 { vec![7, 1, 0] } else { vec![7, 0] };
            assert_eq!(numbers(&audit, 9), expected, "cut at {cut}");
        }
    }

    #[test]
    fn rotation_keeps_one_old_file_and_the_tail_spans_both() {
        let dir = Folder::new();
        let mut audit = Audit::in_dir(dir.path());
        audit.bytes_max = 1000;
        (0..40).for_each(|it| audit.append(&entry(it)).unwrap());
        let held: Vec<u64> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|it| it.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(held.len(), 2);
        assert!(held.iter().all(|it| *it <= 1000), "{held:?}");
        let shown = numbers(&audit, 100);
        assert!(shown.len() > 6);
        assert!(shown.windows(2).all(|it| it[0] == it[1] + 1), "{shown:?}");
        assert_eq!(shown.first(), Some(&39));
    }

    #[test]
    fn the_tail_of_a_large_or_foreign_file_is_bounded_and_never_fails() {
        let dir = Folder::new();
        let audit = Audit::in_dir(dir.path());
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, vec![b'x'; 3 << 20]).unwrap();
        assert!(numbers(&audit, 9).is_empty());
        audit.append(&entry(1)).unwrap();
        assert_eq!(numbers(&audit, 9), [1]);
    }

    #[test]
    fn memory_is_bounded() {
        let audit = Audit::in_memory();
        (0..1500).for_each(|it| audit.append(&entry(it)).unwrap());
        let shown = numbers(&audit, 5000);
        assert_eq!((shown.len(), shown.first(), shown.last()), (1000, Some(&1499), Some(&500)));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_with_its_path() {
        let audit = Audit::in_dir(Path::new("/proc/nowhere"));
        let error = audit.append(&entry(1)).unwrap_err();
        assert!(error.to_string().contains("/proc/nowhere/audit.jsonl"));
    }
}
