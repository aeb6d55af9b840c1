//! What is known of the watched files, and the directory watches that tell when to look again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::config::TEXT_BYTES_MAX;

/// Hash of a file's content; `None`: it cannot be read.
type Content = Option<[u8; 32]>;

/// What one look found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Whether any file has another content than before.
    pub(super) changed: bool,
    /// Files that were there before and are not now, and whose absence has not been accepted.
    pub(super) missing: usize,
}

/// The watched files.
#[derive(Debug)]
pub(super) struct Eye {
    files: BTreeMap<PathBuf, Content>,
    folders: BTreeSet<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    nudge: mpsc::Sender<()>,
    trouble: Option<String>,
}

impl Eye {
    pub(super) fn new(nudge: mpsc::Sender<()>) -> Self {
        Self {
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            watcher: None,
            nudge,
            trouble: None,
        }
    }

    /// Why there are no events, if so.
    pub(super) fn poll_only(&self) -> Option<String> {
        self.trouble.clone()
    }

    /// Watches these files instead; new ones are known as they are now.
    pub(super) async fn replace(&mut self, paths: Vec<PathBuf>) {
        let known = std::mem::take(&mut self.files);
        let fresh: Vec<PathBuf> =
            paths.iter().filter(|it| !known.contains_key(*it)).cloned().collect();
        self.files = known.into_iter().filter(|it| paths.contains(&it.0)).collect();
        self.files.extend(fresh.iter().map(|it| (it.clone(), None)));
        // Armed before the first look: what changes in between is seen by one of the two.
        self.arm();
        self.files.extend(contents(fresh).await);
    }

    /// Looks at every file. With `accept`, a missing file is a change like any other.
    pub(super) async fn look(&mut self, accept: bool) -> Seen {
        let mut seen = Seen::default();
        for (path, content) in contents(self.files.keys().cloned().collect()).await {
            let Some(known) = self.files.get_mut(&path) else { continue };
            if content.is_none() && known.is_some() && !accept {
                seen.missing += 1;
            } else if *known != content {
                *known = content;
                seen.changed = true;
            }
        }
        seen
    }

    /// (Re)places the directory watches: the parent of each path and of what it leads to. Watching again what is
    /// watched is harmless, and needed where a directory was deleted and made anew.
    pub(super) fn arm(&mut self) {
        let before = self.trouble.take();
        let wanted: BTreeSet<PathBuf> = self.files.keys().flat_map(|it| folders(it)).collect();
        if self.watcher.is_none() {
            self.watcher = self.open();
        }
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&wanted) {
                // It fails where the directory itself is gone, and the watch with it.
                let _ = watcher.unwatch(gone);
            }
            for folder in &wanted {
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    self.trouble = Some(format!("{}: {}", folder.display(), reason(&error)));
                }
            }
        }
        self.folders = wanted;
        match &self.trouble {
            Some(why) if before.is_none() => {
                tracing::warn!(reason = %why, "file changes are found by polling only");
            }
            None if before.is_some() => tracing::info!("file changes are found by events again"),
            _ => {}
        }
    }

    fn open(&mut self) -> Option<RecommendedWatcher> {
        let nudge = self.nudge.clone();
        let opened = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|it| is_read(it.kind)) {
                return;
            }
            // Full: a look is due already.
            let _ = nudge.try_send(());
        });
        opened.map_err(|error| self.trouble = Some(reason(&error))).ok()
    }
}

/// Our own looks open the files: looking must not call for looking.
fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(how) if how != AccessKind::Close(AccessMode::Write))
}

/// Directories in which something happens when this file changes.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![parent(path)];
    found.extend(path.canonicalize().ok().map(|it| parent(&it)));
    found
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn reason(error: &notify::Error) -> String {
    match &error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            String::from("the limit of watches is reached (fs.inotify.max_user_watches)")
        }
        notify::ErrorKind::Io(source) => source.to_string(),
        _ => error.to_string(),
    }
}

/// The files' contents; read on the blocking pool, because a mount may hang.
async fn contents(paths: Vec<PathBuf>) -> Vec<(PathBuf, Content)> {
    let read = move || {
        paths
            .into_iter()
            .map(|path| {
                let content = content(&path);
                (path, content)
            })
            .collect()
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_default()
}

/// Hash of the content, of its first MiB for files that are too large to be read anyway.
fn content(path: &Path) -> Content {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let most = u64::try_from(TEXT_BYTES_MAX).ok()? + 1;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    let hash = Sha256::digest(&bytes).into();
    // It may have been a key.
    secrecy::zeroize::Zeroize::zeroize(&mut bytes);
    Some(hash)
}
