//! `headgate plugin push`, `rollback`, `promote`, `status` and `logs`: what a running gate does with its plugins.

mod answer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::gate::{Api, Failure, Gate, Target};
use crate::cli::plugin::remote::answer::{list, log_text, status_text, string, told};
use crate::cli::plugin::subject;
use crate::cli::{Output, Usage, exit};
use crate::model::unhex;
use crate::plugin::Digest;

const PUSH: &str = "headgate/plugins/push";
const ROLLBACK: &str = "headgate/plugins/rollback";
const PROMOTE: &str = "headgate/plugins/promote";
const LIST: &str = "headgate/plugins";
const LOGS: &str = "headgate/plugins/logs";

const API: Api = Api { member: "", ask: "headgate plugin status" };

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a change may take: compiling has a minute, self-test and replay of each use come on top.
const PATIENCE_PROOF: Duration = Duration::from_mins(3);

/// How often `logs --follow` asks.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub(super) struct Push {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The plugin's name in the gate's config.
    #[arg(long, value_name = "NAME")]
    plugin: String,
    /// Run it beside the active one without effect.
    #[arg(long)]
    shadow: bool,
    /// Prove it and tell, change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Push only if the file's SHA-256 is this.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    sha256: Option<Digest>,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    /// The plugin's name in the gate's config.
    #[arg(long, value_name = "NAME")]
    plugin: String,
    /// To the one that acted before, or to what the config names (the push is forgotten).
    #[arg(long, value_enum, default_value_t = To::Previous)]
    to: To,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Previous,
    Config,
}

/// Arguments of `promote`.
#[derive(Debug, clap::Args)]
pub(super) struct Promote {
    /// The plugin's name in the gate's config.
    #[arg(long, value_name = "NAME")]
    plugin: String,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Only this plugin.
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Logs {
    /// The plugin's name in the gate's config.
    #[arg(long, value_name = "NAME")]
    plugin: String,
    /// Go on with new lines until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

/// Uploads; the gate proves before it lets act.
///
/// # Errors
/// When the file cannot be read, or nobody reads the output.
pub(super) fn push(cmd: &Push, output: Output) -> anyhow::Result<u8> {
    let bytes = subject::read(&cmd.file)?;
    let digest = Digest::of(&bytes);
    if cmd.sha256.is_some_and(|it| it != digest) {
        let text = format!("{} has sha256 {digest}; nothing was pushed", cmd.file.display());
        return Err(Usage(text).into());
    }
    let digest = digest.to_string();
    // The digest goes along in any case: bytes that were damaged on the way are refused.
    let mut query = vec![("plugin", cmd.plugin.as_str()), ("sha256", digest.as_str())];
    query.extend(cmd.shadow.then_some(("shadow", "true")));
    query.extend(cmd.dry_run.then_some(("dryRun", "true")));
    let outcome = block_on(async {
        Gate::new(&cmd.target, API, PATIENCE_PROOF)?.upload(PUSH, &query, bytes).await
    })?;
    done(&outcome, output)
}

/// Goes back.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn rollback(cmd: &Rollback, output: Output) -> anyhow::Result<u8> {
    let to = match cmd.to {
        To::Previous => "previous",
        To::Config => "config",
    };
    let query = [("plugin", cmd.plugin.as_str()), ("to", to)];
    let call = async { Gate::new(&cmd.target, API, PATIENCE_PROOF)?.post(ROLLBACK, &query).await };
    done(&block_on(call)?, output)
}

/// Lets the shadow act.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn promote(cmd: &Promote, output: Output) -> anyhow::Result<u8> {
    let query = [("plugin", cmd.plugin.as_str())];
    let call = async { Gate::new(&cmd.target, API, PATIENCE_PROOF)?.post(PROMOTE, &query).await };
    done(&block_on(call)?, output)
}

/// Shows the plugins.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn status(cmd: &Status, output: Output) -> anyhow::Result<u8> {
    let call = async { Gate::new(&cmd.target, API, PATIENCE)?.get(LIST, &[]).await };
    let outcome = block_on(call)?.and_then(|it| only(it, cmd.plugin.as_deref()));
    let out = &mut std::io::stdout().lock();
    match (&outcome, output) {
        (Ok(answer), Output::Text) => {
            for plugin in list(answer, "plugins") {
                status_text(out, plugin)?;
            }
            Ok(exit::OK)
        }
        _ => done(&outcome, output),
    }
}

/// Shows what a plugin logged.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn logs(cmd: &Logs, output: Output) -> anyhow::Result<u8> {
    block_on(async {
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
        let mut told = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let gate = match Gate::new(&cmd.target, API, PATIENCE) {
            Ok(gate) => gate,
            Err(failure) => return done(&Err(failure), output),
        };
        let query = [("plugin", cmd.plugin.as_str())];
        let mut shown: Vec<Value> = Vec::new();
        loop {
            let answer = match gate.get(LOGS, &query).await {
                Ok(answer) => answer,
                failed => return done(&failed, output),
            };
            let lines: Vec<Value> = list(&answer, "lines").cloned().collect();
            log_text(&mut std::io::stdout().lock(), added(&shown, &lines), output)?;
            shown = lines;
            if !cmd.follow {
                return Ok(exit::OK);
            }
            tokio::select! {
                _ = interrupted.recv() => return Ok(exit::OK),
                _ = told.recv() => return Ok(exit::OK),
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
            }
        }
    })?
}

fn block_on<T>(call: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    Ok(runtime.block_on(call))
}

/// Prints what the gate answered; its reasons one by one.
fn done(outcome: &Result<Value, Failure>, output: Output) -> anyhow::Result<u8> {
    let (out, err) = (&mut std::io::stdout().lock(), &mut std::io::stderr().lock());
    told(out, err, outcome, output).context("cannot write the output")?;
    Ok(outcome.as_ref().map_or_else(Failure::code, |_| exit::OK))
}

/// The lines that are new: the gate keeps the last ones, so the list grows at its end and shrinks at its beginning.
fn added<'l>(shown: &[Value], lines: &'l [Value]) -> &'l [Value] {
    let kept =
        (0..=shown.len()).filter_map(|gone| shown.get(gone..)).find(|it| lines.starts_with(it));
    lines.get(kept.map_or(0, <[Value]>::len)..).unwrap_or_default()
}

/// Only this plugin of an answer that lists all.
fn only(mut answer: Value, name: Option<&str>) -> Result<Value, Failure> {
    let Some(name) = name else { return Ok(answer) };
    let plugins = answer.get_mut("plugins").and_then(Value::as_array_mut);
    let known = plugins.map(|plugins| {
        let all: Vec<String> = plugins.iter().filter_map(|it| string(it, "/name")).collect();
        plugins.retain(|it| it.get("name").and_then(Value::as_str) == Some(name));
        (plugins.is_empty(), all)
    });
    match known {
        Some((false, _)) => Ok(answer),
        Some((true, all)) => Err(Failure::Failed {
            text: format!("the gate has no plugin {name}; it has {}", all.join(", ")),
            problem: None,
        }),
        None => {
            Err(Failure::Failed { text: "the gate lists no plugins".to_owned(), problem: None })
        }
    }
}

fn digest(text: &str) -> Result<Digest, String> {
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    let bytes: Option<[u8; 32]> = unhex(text).and_then(|it| it.try_into().ok());
    bytes.map(Digest).ok_or_else(|| "64 hex digits, as sha256sum prints them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn following_shows_each_line_once() {
        let line = |number: i32| json!({ "text": number.to_string() });
        let lines = |range: std::ops::Range<i32>| range.map(line).collect::<Vec<_>>();
        let rows = [
            (lines(0..0), lines(0..3), lines(0..3)),
            (lines(0..3), lines(0..3), lines(0..0)),
            (lines(0..3), lines(0..5), lines(3..5)),
            (lines(0..3), lines(2..5), lines(3..5)),
            (lines(0..3), lines(7..9), lines(7..9)),
            (lines(0..3), lines(0..0), lines(0..0)),
        ];
        for (shown, now, expected) in rows {
            assert_eq!(added(&shown, &now), expected, "{shown:?} {now:?}");
        }
    }

    #[test]
    fn digests_are_taken_as_sha256sum_prints_them() {
        let hex = "ab".repeat(32);
        assert_eq!(digest(&hex), Ok(Digest([0xab; 32])));
        assert_eq!(digest(&format!("sha256:{hex}")), Ok(Digest([0xab; 32])));
        for bad in ["", "ab", &"zz".repeat(32), &format!("{hex}ab")] {
            assert!(digest(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_reason_of_a_refusal_is_told_and_none_steers_the_terminal() {
        let problem = json!({ "detail": "refused", "reasons": [
            { "code": "import", "message": "imports wasi:cli", "advice": "build for wasm32-unknown-unknown" },
            { "code": "self-test", "message": "a\u{1b}[2J" },
        ] });
        let failure =
            Failure::Failed { text: "the gate refused".to_owned(), problem: Some(problem) };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        told(&mut out, &mut err, &Err(failure), Output::Text).unwrap();
        let out = String::from_utf8(out).unwrap();
        for words in ["error[import]", "help: build for", "error[self-test]"] {
            assert!(out.contains(words), "{out}");
        }
        assert!(!out.contains('\u{1b}'));
        assert_eq!(String::from_utf8(err).unwrap(), "error: the gate refused\n");
    }

    #[test]
    fn each_reason_is_told_with_its_place_and_a_shadow_is_not_said_to_act() {
        let reasons = json!([
            { "code": "settings", "message": "is missing", "path": "/header" },
            { "code": "settings", "message": "must be an object", "path": "" },
        ]);
        let answer = |shadow: bool| {
            json!({ "plugin": "a", "digest": "ab", "generation": 3, "changed": true, "shadow": shadow,
                "warnings": [{ "path": "keys[0]", "message": "opens nothing", "line": 7 }, "plain"] })
        };
        let failure =
            Failure::Failed { text: String::new(), problem: Some(json!({ "reasons": reasons })) };
        let rows: [(Result<Value, Failure>, &[&str]); 3] = [
            (
                Err(failure),
                &["error[settings]: /header: is missing\n", "error[settings]: must be an object\n"],
            ),
            (
                Ok(answer(false)),
                &["a: ab acts since generation 3\n", " keys[0]: opens nothing\n", " plain\n"],
            ),
            (Ok(answer(true)), &["a: ab runs beside what acts (generation 3)\n"]),
        ];
        for (outcome, expected) in rows {
            let mut out = Vec::new();
            told(&mut out, &mut Vec::new(), &outcome, Output::Text).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert!(expected.iter().all(|it| out.contains(it)), "{out}");
        }
    }

    #[test]
    fn one_plugin_of_the_list_is_shown_or_the_names_are() {
        let answer = json!({ "plugins": [{ "name": "a" }, { "name": "b" }] });
        assert_eq!(
            only(answer.clone(), Some("b")).ok(),
            Some(json!({ "plugins": [{ "name": "b" }] }))
        );
        assert_eq!(only(answer.clone(), None).ok(), Some(answer.clone()));
        let Err(Failure::Failed { text, .. }) = only(answer, Some("c")) else {
            panic!("no such plugin")
        };
        assert!(text.contains("a, b"), "{text}");
    }
}
