//! A component on the author's machine: read, looked at, compiled and loaded as a gate would.

use std::path::{Path, PathBuf};

use crate::cli::Usage;
use crate::plugin::host::{Component, Host, HostError, Inspection, Purpose, inspect};
use crate::plugin::{Class, Refusal};

/// More than any class allows; nothing larger is read into memory.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A component that can be called.
#[derive(Debug)]
pub(in crate::cli) struct Subject {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) seen: Inspection,
    pub(in crate::cli) component: Component,
}

/// The engine with the gate's settings.
pub(in crate::cli) fn engine(purpose: Purpose) -> Result<Host, HostError> {
    Host::start(purpose)
}

/// The bytes of a component file.
///
/// # Errors
/// A [`Usage`] when the file cannot be read.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let unreadable = |error: std::io::Error| Usage(unreadable(path, &error));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    let next = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "name a built component, or build one: headgate plugin build DIR"
        }
        std::io::ErrorKind::IsADirectory => {
            "this takes a built component: headgate plugin build makes one"
        }
        _ => "check path and mode",
    };
    format!("cannot read {shown}: {error}; {next}")
}

/// From a file to something that can be called.
///
/// # Errors
/// Outer: the file cannot be read. Inner: why a gate would not let it in.
pub(in crate::cli) fn open(
    host: &Host,
    path: &Path,
    class: Class,
) -> anyhow::Result<Result<Subject, Vec<Refusal>>> {
    let bytes = read(path)?;
    Ok(load(host, &bytes, class).map(|(seen, component)| Subject {
        path: path.to_owned(),
        seen,
        component,
    }))
}

/// From bytes to something that can be called.
///
/// # Errors
/// Why a gate would not let it in.
pub(super) fn load(
    host: &Host,
    bytes: &[u8],
    class: Class,
) -> Result<(Inspection, Component), Vec<Refusal>> {
    let seen = inspect(bytes, class)?;
    let artifact = host.compile(bytes).map_err(|it| vec![it])?;
    let component = host.load(&artifact, &seen, class)?;
    Ok((seen, component))
}
