//! `headgate plugin run`: one input, one answer; with `--watch` again at each save.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use notify::Watcher as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::plugin::call::{Answer, Input, fresh};
use crate::cli::plugin::{Granted, build, cases, check, show, subject, test};
use crate::cli::{Output, Usage, exit};
use crate::model::health::Saved;
use crate::plugin::host::{Host, Purpose};
use crate::plugin::{Info, Kind, Refusal};

/// Editors save in several steps.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// The plugin's folder, which is built first, or a built component.
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    what: PathBuf,
    #[command(flatten)]
    call: Given,
    /// Go on: build, run and print again whenever something is saved, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    options: build::Options,
    #[command(flatten)]
    granted: Granted,
}

/// What the plugin is called with.
#[derive(Debug, clap::Args)]
pub(super) struct Given {
    /// The window, event or request: JSON, @FILE, or - for standard input [default: the first case in tests/].
    #[arg(long, value_name = "JSON")]
    pub(super) input: Option<String>,
    /// Settings: JSON or @FILE [default: the case's, else the component's own example].
    #[arg(long, value_name = "JSON")]
    pub(super) settings: Option<String>,
    /// A policy's memory: {"version": N, "bytes": "HEX"} or @FILE.
    #[arg(long, value_name = "JSON")]
    pub(super) prior: Option<String>,
}

/// A call that can be made.
pub(super) struct Call {
    pub(super) input: Input,
    pub(super) settings: String,
    pub(super) prior: Option<Saved>,
}

/// Runs. 0: the plugin answered; 1: it did not, or does not build.
///
/// # Errors
/// When there is nothing to run or nothing to run it with, or there is no engine.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let host = subject::engine(Purpose::Serve)?;
    if !cmd.watch {
        return once(cmd, &host, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(watch(cmd, &host, output))
}

fn once(cmd: &Cmd, host: &Host, output: Output) -> anyhow::Result<u8> {
    let Some(file) = test::component(&cmd.what, false, &cmd.options)? else {
        return Ok(exit::FINDINGS);
    };
    let out = &mut std::io::stdout().lock();
    let subject = match subject::open(host, &file, cmd.granted.class())? {
        Ok(subject) => subject,
        Err(reasons) => {
            refused(out, &reasons, output)?;
            return Ok(exit::FINDINGS);
        }
    };
    let component = &subject.component;
    let call = cmd.call.call(component.info(), subject.seen.kind, &subject.path)?;
    let answer = fresh(component, &call.settings, &call.input, call.prior.as_ref());
    tell(out, &answer, component.info(), output)?;
    Ok(if answer.fault.is_none() { exit::OK } else { exit::FINDINGS })
}

fn refused(out: &mut impl Write, reasons: &[Refusal], output: Output) -> std::io::Result<()> {
    match output {
        Output::Json => writeln!(out, "{}", json!({ "ok": false, "reasons": reasons })),
        Output::Text => show::refusals(out, reasons),
    }
}

impl Given {
    /// With what is not given taken from the first case beside the component, and from the component itself.
    pub(super) fn call(&self, info: &Info, kind: Kind, file: &Path) -> anyhow::Result<Call> {
        let given = |option: &str, text: &Option<String>| {
            text.as_deref().map(|it| super::json(option, it)).transpose()
        };
        let prior = given("--prior", &self.prior)?;
        let prior = prior
            .map(|it| {
                serde_json::from_value::<Saved>(it)
                    .map_err(|error| Usage(format!("--prior: {error}")))
            })
            .transpose()?;
        let settings = given("--settings", &self.settings)?;
        let (input, case_settings, case_prior) = match given("--input", &self.input)? {
            Some(json) => (Input::read(kind, &json).map_err(Usage)?, None, None),
            None => first_case(kind, file)?,
        };
        let settings = match settings.or(case_settings) {
            Some(settings) => settings,
            None => check::example(info).map_err(|it| Usage(it.to_string()))?,
        };
        Ok(Call { input, settings: settings.to_string(), prior: prior.or(case_prior) })
    }
}

fn first_case(kind: Kind, file: &Path) -> anyhow::Result<(Input, Option<Value>, Option<Saved>)> {
    let folder = file.parent().map(|it| it.join("tests")).unwrap_or_default();
    let first = cases::read(&folder, kind)?.into_iter().next();
    let found = first.and_then(|it| {
        let step = it.steps.into_iter().next()?;
        Some((step.input, it.settings, it.prior))
    });
    let missing = || {
        let text = format!(
            "no input: {} has no case; say --input @FILE, or --input - for standard input",
            folder.display()
        );
        Usage(text).into()
    };
    found.ok_or_else(missing)
}

fn tell(out: &mut impl Write, answer: &Answer, info: &Info, output: Output) -> anyhow::Result<()> {
    let spent = answer.spent;
    match output {
        Output::Json => {
            let micros = spent.time.as_secs_f64() * 1e6;
            let document = json!({
                "ok": answer.fault.is_none(), "answer": answer.json, "said": show::said(&answer.said, info),
                "spent": { "micros": micros, "memoryBytes": spent.memory_bytes },
            });
            writeln!(out, "{document}")?;
        }
        Output::Text => {
            writeln!(out, "{}", show::clean(&serde_json::to_string_pretty(&answer.json)?))?;
            show::said_text(out, &answer.said, info)?;
            writeln!(out, "spent {}, {}", show::time(spent.time), show::bytes(spent.memory_bytes))?;
            if let Some(advice) = answer.fault.as_ref().and_then(show::advice) {
                writeln!(out, "help: {advice}")?;
            }
        }
    }
    Ok(out.flush()?)
}

async fn watch(cmd: &Cmd, host: &Host, output: Output) -> anyhow::Result<u8> {
    // Before anything is built: a signal between two listeners would be lost.
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut told = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    if cmd.call.input.as_deref() == Some("-") {
        return Err(Usage(
            "standard input can be read once; with --watch say --input @FILE".to_owned(),
        )
        .into());
    }
    let (saved, mut saves) = mpsc::channel(1);
    let _watcher = watcher(&cmd.what, saved)?;
    loop {
        if let Err(error) = once(cmd, host, output) {
            // What is wrong now may be right after the next save.
            writeln!(std::io::stderr(), "error: {error:#}")?;
        }
        writeln!(std::io::stderr(), "waiting for the next save; Ctrl-C ends")?;
        tokio::select! {
            _ = interrupted.recv() => return Ok(exit::OK),
            _ = told.recv() => return Ok(exit::OK),
            save = saves.recv() => if save.is_none() {
                anyhow::bail!("the system watches the folder no longer");
            },
        }
        tokio::time::sleep(DEBOUNCE).await;
        let _ = saves.try_recv();
    }
}

/// Watches what a build reads, and not what it writes.
fn watcher(what: &Path, saved: mpsc::Sender<()>) -> anyhow::Result<notify::RecommendedWatcher> {
    let file = what.is_file().then(|| what.file_name().map(ToOwned::to_owned)).flatten();
    let relevant = move |event: &notify::Event| {
        !matches!(event.kind, notify::EventKind::Access(_))
            && event.paths.iter().any(|path| match &file {
                Some(name) => path.file_name() == Some(name),
                None => is_source(path),
            })
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|it| relevant(&it)) {
            // Full: a save is waiting already.
            let _ = saved.try_send(());
        }
    })
    .context("the system does not tell of saved files")?;
    let parent = what.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let top = if what.is_file() { parent } else { what };
    let mut add = |path: &Path, mode| {
        watcher.watch(path, mode).with_context(|| format!("cannot watch {}", path.display()))
    };
    add(top, notify::RecursiveMode::NonRecursive)?;
    if !what.is_file() {
        for below in ["src", "tests", "wit"] {
            let path = top.join(below);
            if path.is_dir() {
                add(&path, notify::RecursiveMode::Recursive)?;
            }
        }
    }
    Ok(watcher)
}

/// Whether a change of this path is an author's.
fn is_source(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|it| it.to_str()) else { return false };
    let written = ["target", "node_modules", "Cargo.lock", "package-lock.json"];
    !written.contains(&name)
        && !name.contains(".wasm")
        && !name.starts_with('.')
        && !name.ends_with('~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_save() {
        let rows = [
            ("a/src/lib.rs", true),
            ("a/Cargo.toml", true),
            ("a/tests/first.json", true),
            ("a/plugin.js", true),
            ("a/target", false),
            ("a/node_modules", false),
            ("a/Cargo.lock", false),
            ("a/my.wasm", false),
            ("a/my.wasm.1234", false),
            ("a/src/.lib.rs.swp", false),
            ("a/src/lib.rs~", false),
        ];
        for (path, expected) in rows {
            assert_eq!(is_source(Path::new(path)), expected, "{path}");
        }
    }
}
