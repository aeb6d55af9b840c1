//! A folder of small files that survive the process, or memory where nothing is to be kept.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Where components and notes about them are kept, by file name.
#[derive(Debug)]
pub(crate) enum Shelf {
    Disk(PathBuf),
    Memory(Mutex<BTreeMap<String, Bytes>>),
}

impl Shelf {
    /// The folder `name` below the state folder, made when something is first written.
    pub(crate) fn open(state: Option<&Path>, name: &str) -> Self {
        state.map_or_else(|| Self::Memory(Mutex::default()), |it| Self::Disk(it.join(name)))
    }

    /// A file's bytes; `None` when there is none.
    ///
    /// # Errors
    /// The file system's, and `FileTooLarge` beyond `max` bytes.
    pub(crate) fn read(&self, name: &str, max: usize) -> io::Result<Option<Bytes>> {
        match self {
            Self::Disk(dir) => match read(&dir.join(name), max) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(it) if it.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(it) => Err(it),
            },
            Self::Memory(files) => {
                Ok(files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
            }
        }
    }

    /// Writes a file whole or not at all: it is on the disk when this returns.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Disk(dir) => write(dir, name, bytes),
            Self::Memory(files) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
                files.insert(name.to_owned(), bytes);
                Ok(())
            }
        }
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) fn remove(&self, name: &str) {
        match self {
            Self::Disk(dir) => match fs::remove_file(dir.join(name)) {
                Err(it) if it.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = name, error = %it, "a kept plugin cannot be removed");
                }
                _ => {}
            },
            Self::Memory(files) => {
                files.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
            }
        }
    }
}

/// A file of at most `max` bytes. The limit is kept while reading: a size that was asked for before may be another's.
///
/// # Errors
/// The file system's; `FileTooLarge`; `InvalidInput` for what is no file (a FIFO would block).
pub(crate) fn read(path: &Path, max: usize) -> io::Result<Bytes> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > max {
        let message = format!("is larger than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes.into())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let draft = dir.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let options =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let mut file = options.open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, dir.join(name))?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        // What is left of a failed write is of no use to anybody.
        let _ = fs::remove_file(&draft);
    }
    written
}

/// A name that is safe as the beginning of a file's, and different for different names.
pub(crate) fn file_stem(plugin: &str) -> String {
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-' || it == '_';
    if (1..=64).contains(&plugin.len()) && plugin.chars().all(plain) {
        plugin.to_owned()
    } else {
        format!("x.{}", crate::plugin::Digest::of(plugin.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_bounded_when_read() {
        let dir = std::env::temp_dir().join(format!("headgate-shelf-{}", std::process::id()));
        for shelf in [Shelf::open(Some(&dir), "good"), Shelf::open(None, "good")] {
            assert_eq!(shelf.read("a", 10).unwrap(), None);
            shelf.write("a", b"long long").unwrap();
            shelf.write("a", b"short").unwrap();
            assert_eq!(shelf.read("a", 5).unwrap().as_deref(), Some(&b"short"[..]));
            shelf.remove("a");
            shelf.remove("a");
            assert_eq!(shelf.read("a", 5).unwrap(), None);
        }
        let shelf = Shelf::open(Some(&dir), "good");
        shelf.write("a", b"short").unwrap();
        assert_eq!(shelf.read("a", 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(dir.join("good")).unwrap().count(), 1);
        assert_eq!(read(&dir, 4).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn no_name_leaves_the_folder_and_no_two_meet() {
        for (name, plain) in [("slo-2", true), ("", false), ("../a", false), ("A", false)] {
            assert_eq!(file_stem(name) == name, plain, "{name}");
            assert!(!file_stem(name).contains('/'));
        }
        assert_ne!(file_stem("A"), file_stem("a"));
        assert!(file_stem(&"a".repeat(500)).len() < 100);
    }
}
