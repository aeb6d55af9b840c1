//! `headgate replay`: what would have been different if another policy or formatter had acted; nothing is changed.
//!
//! Policies are folded over recorded observations from empty memory, with the gate's own windows and tracker; formatters
//! put recorded incidents into words, beside the words of what acts now.

mod difference;
mod fold;
mod formatter;
mod origin;
mod policy;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cli::gate::{Failure, Target};
use crate::cli::plugin::{ClassWord, json as json_argument, subject};
use crate::cli::telling::clean;
use crate::cli::{Output, Usage, exit};
use crate::model::UnixMs;
use crate::plugin::host::{Component, Purpose};
use crate::plugin::{Info, Kind};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: nothing would be different, 1: something would, 2: the component or the command line is \
    refused, 3: the gate cannot be reached, 4: it refuses the key.\n\n\
    Examples:\n  headgate replay --plugin slo.wasm --settings '{\"objective\": 0.99}' --last 6h\n  \
    headgate replay --plugin words.wasm --gate unix:/run/headgate/admin.sock\n  \
    headgate replay --plugin slo.wasm --state /var/lib/headgate -o json"
)]
pub struct Cmd {
    /// The component: a policy or a formatter.
    #[arg(long, value_name = "FILE")]
    plugin: PathBuf,
    /// How far back: 90s, 30m, 6h, 1d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    last: Duration,
    /// Only this service; may be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// Settings of the component: JSON, @FILE, or - for standard input [default: those of the service, else its example].
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// The state folder of a gate that does not run, in place of a running gate.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The config with the rules of the services, with --state [default: the rules of a config that says nothing].
    #[arg(short, long, value_name = "FILE", requires = "state")]
    config: Option<PathBuf>,
    /// Limits that the component may use.
    #[arg(long, value_enum, default_value_t = ClassWord::Default)]
    class: ClassWord,
    #[command(flatten)]
    target: Target,
}

/// The component on trial.
struct Candidate {
    component: Component,
    settings: Option<Value>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    /// The component or what belongs to it is not taken.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Gate(#[from] Failure),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Runs the command.
///
/// # Errors
/// When the component cannot be read, there is no engine, or nobody reads the output.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    use std::io::Write as _;
    let outcome = replay(&cmd);
    let err = &mut std::io::stderr();
    let code = match outcome {
        Ok(report) => {
            let mut out = std::io::stdout().lock();
            match output {
                Output::Text => show::text(&mut out, &report)?,
                Output::Json => writeln!(out, "{:#}", show::json(&report))?,
            }
            if report.is_different() { exit::FINDINGS } else { exit::OK }
        }
        Err(Stopped::Refused(text)) => {
            writeln!(err, "error: {}", clean(&text))?;
            exit::USAGE
        }
        Err(Stopped::Gate(failure)) => {
            writeln!(err, "error: {}", clean(&failure.to_string()))?;
            failure.code()
        }
        Err(Stopped::Other(error)) => return Err(error),
    };
    Ok(code)
}

fn replay(cmd: &Cmd) -> Result<difference::Report, Stopped> {
    let settings = cmd.settings.as_deref().map(|it| json_argument("--settings", it)).transpose()?;
    let host = subject::engine(Purpose::Serve).map_err(|it| Stopped::Other(it.into()))?;
    let subject = match subject::open(&host, &cmd.plugin, cmd.class.class())? {
        Ok(subject) => subject,
        Err(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            return Err(Stopped::Refused(format!(
                "a gate would not let it in: {}",
                reasons.join("; ")
            )));
        }
    };
    let candidate = Candidate { component: subject.component, settings };
    let last_ms = u64::try_from(cmd.last.as_millis()).unwrap_or(u64::MAX);
    let since_ms = UnixMs::now().0.saturating_sub(last_ms);
    match candidate.component.kind() {
        Kind::Policy => policy::replay(cmd, &candidate, since_ms),
        Kind::Formatter => formatter::replay(cmd, &candidate, since_ms),
        Kind::Filter => {
            let text = "a filter is tried on recorded requests when it is pushed: headgate plugin push --dry-run";
            Err(Stopped::Refused(text.to_owned()))
        }
    }
}

impl Candidate {
    /// Settings that it takes: what was given, else these, else its own example.
    fn settings(&self, configured: &Value) -> Result<(Value, Option<String>), Stopped> {
        if let Some(given) = &self.settings {
            return match self.complaint(given) {
                None => Ok((given.clone(), None)),
                Some(why) => Err(Stopped::Refused(format!("--settings are refused: {why}"))),
            };
        }
        let Some(why) = self.complaint(configured) else { return Ok((configured.clone(), None)) };
        let example = example(self.component.info());
        match self.complaint(&example) {
            None => {
                let note = format!(
                    "the settings of the config do not suit it ({why}); its own example is used"
                );
                Ok((example, Some(note)))
            }
            Some(own) => {
                let text =
                    format!("no settings suit it; say --settings: {why}; its example: {own}");
                Err(Stopped::Refused(text))
            }
        }
    }

    fn complaint(&self, settings: &Value) -> Option<String> {
        match self.component.check_settings(settings).outcome {
            Ok(issues) if issues.is_empty() => None,
            Ok(issues) => {
                let texts = issues.iter().map(|it| format!("{} {}", it.path, it.message));
                Some(texts.collect::<Vec<_>>().join("; "))
            }
            Err(fault) => Some(format!("it {fault}")),
        }
    }
}

fn example(info: &Info) -> Value {
    let text = info.example_config.as_deref().unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_else(|_| serde_json::json!({}))
}

fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "a span of time: 90s, 30m, 6h, 1d".to_owned();
    let unit = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit).unwrap_or(text).parse().map_err(|_| wrong())?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// A file that cannot be used, for the reason that `cause` gives.
fn unusable(file: &std::path::Path, cause: &dyn std::fmt::Display) -> anyhow::Error {
    Usage(format!("cannot use {}: {cause}", file.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_one_unit() {
        for (text, seconds) in
            [("90s", Some(90)), ("30m", Some(1800)), ("6h", Some(21_600)), ("1d", Some(86_400))]
        {
            assert_eq!(span(text).ok().map(|it| it.as_secs()), seconds, "{text}");
        }
        for bad in
            ["", "5", "h", "-1h", "1.5h", "1w", "99999999999999999999s", "9999999999999999999d"]
        {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
