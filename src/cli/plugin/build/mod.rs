//! `headgate plugin build`: runs the language's own tools, makes a component of what they give, and checks it.

mod js;
mod rust;
mod wrap;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::cli::plugin::{Granted, check};
use crate::cli::{Output, Usage, exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// The plugin's folder.
    #[arg(default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    granted: Granted,
}

/// How to build.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Options {
    /// Rust: build the standard library too, from the component rust-src; for machines without the wasm target.
    #[arg(long)]
    pub(super) build_std: bool,
}

/// Builds into `NAME.wasm` at the top of the folder; the tools' output goes to standard error.
///
/// # Errors
/// When the folder holds no plugin, or its tools are missing.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let Some(path) = build(&cmd.dir, &cmd.options)? else { return Ok(exit::FINDINGS) };
    let report = check::examine(&path, &check::Asked::of(cmd.granted.class()))?;
    check::tell(&report, output)
}

/// Builds; `None` when the sources are wrong, which their tool has told on standard error.
///
/// # Errors
/// As [`run`].
pub(super) fn build(dir: &Path, options: &Options) -> anyhow::Result<Option<PathBuf>> {
    let built = match language(dir)? {
        Language::Rust => rust::build(dir, options)?,
        Language::Js => js::build(dir)?,
    };
    let Some((name, bytes)) = built else { return Ok(None) };
    let path = dir.join(format!("{name}.wasm"));
    replace(&path, &bytes)?;
    Ok(Some(path))
}

/// Where `build` puts it, for folders that have been built.
///
/// # Errors
/// When the folder holds no plugin.
pub(super) fn product(dir: &Path) -> anyhow::Result<PathBuf> {
    let name = match language(dir)? {
        Language::Rust => rust::name(dir)?,
        Language::Js => js::name(dir)?,
    };
    Ok(dir.join(format!("{name}.wasm")))
}

enum Language {
    Rust,
    Js,
}

fn language(dir: &Path) -> anyhow::Result<Language> {
    if dir.join("Cargo.toml").is_file() {
        return Ok(Language::Rust);
    }
    if dir.join("package.json").is_file() {
        return Ok(Language::Js);
    }
    let shown = dir.display();
    let text = if dir.is_dir() {
        format!(
            "{shown} holds neither Cargo.toml nor package.json; `headgate plugin new NAME --kind KIND` makes a folder \
             that builds. A component of another language is built by its own tools: headgate plugin check FILE"
        )
    } else {
        format!("{shown} is no folder; name a plugin's folder")
    };
    Err(Usage(text).into())
}

/// A tool whose words go to standard error: standard output is the report's.
fn tool(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> anyhow::Result<Command> {
    let stderr = std::os::fd::AsFd::as_fd(&std::io::stderr())
        .try_clone_to_owned()
        .context("standard error is closed")?;
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::from(stderr));
    Ok(command)
}

/// By rename, so that a gate that watches the file never sees half of it.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension(format!("wasm.{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&draft)?;
        file.write_all(bytes)?;
        std::fs::rename(&draft, path)
    };
    write()
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&draft);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}
