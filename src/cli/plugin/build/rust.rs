//! Rust by cargo, for the target without an operating system.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::Usage;
use crate::cli::plugin::build::{Options, tool, wrap};

const TARGET: &str = "wasm32-unknown-unknown";

/// Whether the standard library is there for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Std {
    Ready,
    /// Cargo makes it from its source.
    FromSource,
}

/// Name and bytes of the component; `None` when the sources do not compile, which cargo has told.
pub(super) fn build(dir: &Path, options: &Options) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let std = standard_library(dir, options)?;
    let mut cargo = tool(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), dir)?;
    cargo
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    if std == Std::FromSource {
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    let mut child = cargo.spawn().map_err(|error| missing("cargo", &error))?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut module = None;
    for line in std::io::BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo says")?;
        module = artifact(&line, dir).or(module);
    }
    if !child.wait().context("cargo cannot be waited for")?.success() {
        return Ok(None);
    }
    let Some((name, path)) = module else {
        let text = "cargo built no wasm file; Cargo.toml needs: [lib] crate-type = [\"cdylib\"]";
        return Err(Usage(text.to_owned()).into());
    };
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let component = wrap::wrap(&bytes).map_err(anyhow::Error::msg)?;
    Ok(Some((name, component)))
}

/// Name of the package, without building.
pub(super) fn name(dir: &Path) -> anyhow::Result<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let told = cargo.output().map_err(|error| missing("cargo", &error))?;
    let told: Value =
        serde_json::from_slice(&told.stdout).context("cargo does not read Cargo.toml")?;
    let name = told.pointer("/packages/0/name").and_then(Value::as_str);
    Ok(name.context("Cargo.toml names no package")?.to_owned())
}

/// The wasm file of one line of cargo's, if the line is about this package.
fn artifact(line: &str, dir: &Path) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message.get("reason")?.as_str()? != "compiler-artifact" {
        return None;
    }
    let manifest = Path::new(message.get("manifest_path")?.as_str()?);
    let ours = dir.join("Cargo.toml");
    if manifest.canonicalize().ok()? != ours.canonicalize().ok()? {
        return None;
    }
    let files = message.get("filenames")?.as_array()?;
    let file = files.iter().filter_map(Value::as_str).find(|it| it.ends_with(".wasm"))?;
    let name = message.pointer("/target/name")?.as_str()?.replace('_', "-");
    Some((name, PathBuf::from(file)))
}

fn standard_library(dir: &Path, options: &Options) -> anyhow::Result<Std> {
    if options.build_std {
        return Ok(Std::FromSource);
    }
    let libraries = asked(dir, &["--print", "target-libdir", "--target", TARGET])?;
    let ready = std::fs::read_dir(libraries.trim()).is_ok_and(|entries| {
        let name = |it: std::io::Result<std::fs::DirEntry>| it.ok()?.file_name().into_string().ok();
        entries.filter_map(name).any(|it| it.starts_with("libstd-"))
    });
    if ready {
        return Ok(Std::Ready);
    }
    let root = asked(dir, &["--print", "sysroot"])?;
    let source = Path::new(root.trim()).join("lib/rustlib/src/rust/library/std");
    let allowed = std::env::var_os("RUSTC_BOOTSTRAP").is_some();
    if source.is_dir() && allowed {
        return Ok(Std::FromSource);
    }
    let text = if source.is_dir() {
        format!(
            "the target {TARGET} is not installed: rustup target add {TARGET}; \
             or build the standard library from its source, which is here: headgate plugin build --build-std"
        )
    } else {
        format!(
            "the target {TARGET} is not installed: rustup target add {TARGET} \
             (where rustup is not to be had: install rust-src of the compiler's version, then headgate plugin build --build-std)"
        )
    };
    Err(Usage(text).into())
}

/// What the compiler says, with the flags that cargo would give it: they may name another sysroot.
fn asked(dir: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let variables = ["CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "RUSTFLAGS"];
    let flags = variables.iter().find_map(|it| std::env::var(it).ok()).unwrap_or_default();
    rustc.args(flags.split_whitespace()).args(arguments).current_dir(dir).stdin(Stdio::null());
    let said = rustc.output().map_err(|error| missing("rustc", &error))?;
    if !said.status.success() {
        let words = String::from_utf8_lossy(&said.stderr);
        anyhow::bail!("rustc does not say where its libraries are: {}", words.trim());
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

fn missing(program: &str, error: &std::io::Error) -> Usage {
    Usage(format!("cannot run {program}: {error}; install Rust (rustup), then open a new shell"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::store::tests::Folder;

    #[test]
    fn the_wasm_file_is_found_among_what_cargo_says() {
        let dir = Folder::new();
        std::fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        let manifest = dir.path().join("Cargo.toml");
        let line = |reason: &str, manifest: &Path, file: &str| {
            serde_json::json!({
                "reason": reason, "manifest_path": manifest,
                "target": { "name": "my_plugin" }, "filenames": ["/t/libmy.rlib", file],
            })
            .to_string()
        };
        let good = line("compiler-artifact", &manifest, "/t/my_plugin.wasm");
        let found = artifact(&good, dir.path());
        assert_eq!(found, Some(("my-plugin".to_owned(), PathBuf::from("/t/my_plugin.wasm"))));
        for bad in [
            line("build-finished", &manifest, "/t/my_plugin.wasm"),
            line("compiler-artifact", Path::new("/elsewhere/Cargo.toml"), "/t/other.wasm"),
            line("compiler-artifact", &manifest, "/t/libmy.so"),
            "warning: no JSON".to_owned(),
            "{}".to_owned(),
        ] {
            assert_eq!(artifact(&bad, dir.path()), None, "{bad}");
        }
    }
}
