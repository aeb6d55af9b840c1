//! Where the maintenance state lives: a file that survives a crash at any moment.
//!
//! The file is replaced, never changed: temporary file, fsync, rename, fsync of the folder. A second copy of the last
//! good state stands beside it, for the day on which a hand or a disk has broken the first.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::future::Future;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::maintenance::audit::{Entry, open_regular, sync_parent};
use crate::maintenance::{Modes, Window};
use crate::model::UnixMs;

/// A future that a trait object can give.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

const VERSION: u32 = 1;

/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub modes: Modes,
    /// The change that led here. A crash between the state and its audit line is healed with it.
    pub last_change: Option<Entry>,
}

/// What a store held, and what had to be done to read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub state: State,
    /// Whether anything had been kept. To a starting gate nothing is off; to a running one it is no news.
    pub found: bool,
    /// Something an operator must hear of: the state was broken and this is the best that was left.
    pub warning: Option<String>,
}

/// Why a state could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot create the state folder {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot read the maintenance state {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write the maintenance state {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot tell whether the maintenance state {path} has reached the disk")]
    Unsure { path: PathBuf, source: std::io::Error },
    #[error("the maintenance state cannot be written as json")]
    Encode(#[source] serde_json::Error),
    #[error("the task that works on the maintenance state ended early")]
    Interrupted,
}

/// Keeps one [`State`]. A file here; a ConfigMap is another.
pub trait Store: std::fmt::Debug + Send + Sync {
    /// The state as it was last saved; an empty store gives the empty state.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>>;

    /// Keeps `state`; it is durable when this is done. After an error the old state stands.
    fn save(&self, state: State) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Forgets everything with the process (tests).
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<Option<State>>,
}

impl Store for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found = state.is_some();
        let state = state.unwrap_or_default();
        Box::pin(async move { Ok(Loaded { state, found, warning: None }) })
    }

    fn save(&self, state: State) -> BoxFuture<'_, Result<(), StoreError>> {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        Box::pin(async { Ok(()) })
    }
}

/// `maintenance.json` in a state folder.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// Makes the folder (mode 0700) if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_dir(dir: &Path) -> Result<Self, StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|source| StoreError::Folder { path: dir.to_owned(), source })?;
        Ok(Self { path: dir.join("maintenance.json") })
    }

    /// What would keep a toggle from being saved, found at the start rather than in the night on which it matters.
    pub fn obstacle(&self) -> Option<String> {
        let probe = beside(&self.path, ".probe");
        let outcome =
            write_synced(&probe, b"headgate\n").and_then(|()| std::fs::remove_file(&probe));
        let dir = self.path.parent().unwrap_or(&self.path).display();
        outcome.err().map(|error| {
            format!(
                "the state folder {dir} cannot be written ({error}): maintenance cannot be switched"
            )
        })
    }
}

impl Store for FileStore {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        let path = self.path.clone();
        Box::pin(off_the_runtime(move || load(&path)))
    }

    fn save(&self, state: State) -> BoxFuture<'_, Result<(), StoreError>> {
        let path = self.path.clone();
        Box::pin(off_the_runtime(move || save(&path, &state)))
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?
}

fn save(path: &Path, state: &State) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(&FileForm::from(state)).map_err(StoreError::Encode)?;
    text.push(b'\n');
    let (new, copy) = (beside(path, ".tmp"), beside(path, ".prev.tmp"));
    let written = write_synced(&new, &text)
        .and_then(|()| write_synced(&copy, &text))
        .and_then(|()| std::fs::rename(&copy, beside(path, ".prev")))
        // Last, because it is this name that counts: after any failure before it the old state stands.
        .and_then(|()| std::fs::rename(&new, path));
    written.map_err(|source| StoreError::Write { path: path.to_owned(), source })?;
    sync_parent(path).map_err(|source| StoreError::Unsure { path: path.to_owned(), source })
}

fn write_synced(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn load(path: &Path) -> Result<Loaded, StoreError> {
    let read = |path: &Path| {
        read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })
    };
    // No file is a gate that was never switched, or an operator who took the file away: off, whatever the copy says.
    let Some(text) = read(path)? else { return Ok(Loaded::default()) };
    let broken = match decode(&text) {
        Ok(state) => return Ok(Loaded { state, found: true, warning: None }),
        Err(error) => error,
    };
    let backup = beside(path, ".prev");
    let state = read(&backup)?.and_then(|text| decode(&text).ok());
    let used = match &state {
        Some(_) => format!("the copy {} is used", backup.display()),
        None => "there is no good copy, so maintenance is off".to_owned(),
    };
    let state = state.unwrap_or_default();
    let kept = keep_aside(path, &state);
    let path = path.display();
    let warning = format!("the maintenance state {path} is broken ({broken}); {used}; {kept}");
    Ok(Loaded { state, found: true, warning: Some(warning) })
}

/// Keeps the broken file for whoever wants to know, and puts a good one in its place for the next start. A disk that
/// does not let us is no reason not to start.
fn keep_aside(path: &Path, state: &State) -> String {
    let kept = beside(path, &format!(".corrupt-{}", modified(path)));
    if let Err(error) = std::fs::copy(path, &kept) {
        return format!("the broken file stays, as it cannot be kept aside ({error})");
    }
    let replaced = match save(path, state) {
        Ok(()) => String::new(),
        Err(error) => format!(", but could not be replaced ({error})"),
    };
    format!("the broken file is kept as {}{replaced}", kept.display())
}

/// When the file was last written, in ms: names one broken file the same at every look, so that a disk that lets us copy
/// but not replace is not filled with copies.
fn modified(path: &Path) -> u128 {
    let at = std::fs::metadata(path).and_then(|it| it.modified()).ok();
    at.and_then(|it| it.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |it| it.as_millis())
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match open_regular(path) {
        Err(it) if it.kind() == ErrorKind::NotFound => return Ok(None),
        it => it?,
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(Some(text))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0} is not known to this headgate")]
    Version(u32),
    #[error("larger than 1 MiB")]
    Size,
}

fn decode(text: &[u8]) -> Result<State, Broken> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Broken::Size);
    }
    let Head { version } = serde_json::from_slice(text)?;
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    let form: FileForm = serde_json::from_slice(text)?;
    Ok(State {
        modes: Modes {
            all: form.all.map(Window::from),
            services: windows(form.services),
            ending: windows(form.ending),
        },
        last_change: form.last_change,
    })
}

fn windows(forms: BTreeMap<String, WindowForm>) -> Vec<(String, Window)> {
    forms.into_iter().map(|(name, it)| (name, it.into())).collect()
}

/// The file. What came later is left out where it says nothing, so that an older gate reads what it could have written;
/// every other change of its fields is another version.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    version: u32,
    all: Option<WindowForm>,
    services: BTreeMap<String, WindowForm>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    ending: BTreeMap<String, WindowForm>,
    last_change: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowForm {
    since_ms: u64,
    until_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    until_healthy: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    follows: Vec<String>,
    reason: Option<String>,
    by: String,
}

impl From<&State> for FileForm {
    fn from(state: &State) -> Self {
        let forms = |windows: &[(String, Window)]| {
            windows.iter().map(|(name, it)| (name.clone(), it.into())).collect()
        };
        Self {
            version: VERSION,
            all: state.modes.all.as_ref().map(WindowForm::from),
            services: forms(&state.modes.services),
            ending: forms(&state.modes.ending),
            last_change: state.last_change.clone(),
        }
    }
}

impl From<&Window> for WindowForm {
    fn from(it: &Window) -> Self {
        Self {
            since_ms: it.since.0,
            until_ms: it.until.map(|it| it.0),
            until_healthy: it.until_healthy,
            follows: it.follows.to_vec(),
            reason: it.reason.clone(),
            by: it.by.clone(),
        }
    }
}

impl From<WindowForm> for Window {
    fn from(it: WindowForm) -> Self {
        Self {
            since: UnixMs(it.since_ms),
            until: it.until_ms.map(UnixMs),
            until_healthy: it.until_healthy,
            follows: it.follows.into(),
            reason: it.reason,
            by: it.by,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
