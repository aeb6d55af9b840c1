//! `headgate plugin`: what an author needs, on the gate's own engine and limits, and what an operator needs to ship it.
//!
//! ```text
//! new      a folder that builds as it comes          build    sources → NAME.wasm
//! check    would a gate let it in?                   inspect  what it is
//! test     self-test and tests/*.json                run      one input, one answer; --watch
//! bench    time, memory, fuel                        push, rollback, promote, status, logs, record: a running gate
//! ```

mod bench;
mod build;
mod call;
mod cases;
mod check;
mod compare;
mod new;
mod record;
mod remote;
mod run;
mod show;
pub(super) mod subject;
mod test;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::Value;

pub(super) use crate::cli::plugin::compare::differences;
use crate::cli::{Output, Usage};
use crate::plugin::{Class, Kind};

/// Bytes of JSON that is taken from a file or standard input.
const JSON_BYTES_MAX: u64 = 4 << 20;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write the folder of a new plugin, which builds and passes as it comes.
    New(new::Cmd),
    /// Build the plugin in a folder into NAME.wasm, and check it.
    Build(build::Cmd),
    /// Look whether a gate would let a component in, and say everything that is in its way.
    Check(check::Cmd),
    /// Show what a component is.
    Inspect(check::Inspect),
    /// Run the self-test and the cases in tests/*.json.
    Test(test::Cmd),
    /// Give it one input and show the answer.
    Run(run::Cmd),
    /// Measure time, memory and fuel of a call.
    Bench(bench::Cmd),
    /// Upload a component to a running gate, which proves it before it acts.
    Push(remote::Push),
    /// Go back to the component that acted before, or to the one that the config names.
    Rollback(remote::Rollback),
    /// Let the shadow act.
    Promote(remote::Promote),
    /// Show the plugins of a running gate.
    #[command(visible_alias = "list")]
    Status(remote::Status),
    /// Show what a plugin logged.
    Logs(remote::Logs),
    /// Make a test case of what a running gate sees of a service.
    Record(record::Cmd),
}

/// Runs the command.
///
/// # Errors
/// When the command cannot be carried out at all; what is wrong with a plugin is not an error but an exit code.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    match cmd.what {
        What::New(cmd) => new::run(&cmd, output),
        What::Build(cmd) => build::run(&cmd, output),
        What::Check(cmd) => check::run(&cmd, output),
        What::Inspect(cmd) => check::inspect(&cmd, output),
        What::Test(cmd) => test::run(&cmd, output),
        What::Run(cmd) => run::run(&cmd, output),
        What::Bench(cmd) => bench::run(&cmd, output),
        What::Push(cmd) => remote::push(&cmd, output),
        What::Rollback(cmd) => remote::rollback(&cmd, output),
        What::Promote(cmd) => remote::promote(&cmd, output),
        What::Status(cmd) => remote::status(&cmd, output),
        What::Logs(cmd) => remote::logs(&cmd, output),
        What::Record(cmd) => record::run(&cmd, output),
    }
}

/// How much the component may take.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Granted {
    /// Limits: `large` is for languages that bring an engine along, and must be granted in the gate's config too.
    #[arg(long, value_enum, default_value_t = ClassWord::Default)]
    class: ClassWord,
}

impl Granted {
    fn class(self) -> Class {
        self.class.class()
    }
}

impl ClassWord {
    pub(super) fn class(self) -> Class {
        match self {
            Self::Default => Class::Default,
            Self::Large => Class::Large,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ClassWord {
    Default,
    Large,
}

/// A kind, as the command line names it; the names of the WIT's interfaces are understood too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindWord {
    #[value(alias = "health-policy")]
    Policy,
    #[value(alias = "alert-formatter")]
    Formatter,
    #[value(alias = "request-filter")]
    Filter,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Self {
        match word {
            KindWord::Policy => Self::Policy,
            KindWord::Formatter => Self::Formatter,
            KindWord::Filter => Self::Filter,
        }
    }
}

/// JSON from the command line: the text itself, `@FILE`, or `-` for standard input.
pub(super) fn json(option: &str, text: &str) -> anyhow::Result<Value> {
    let (origin, text) = if text == "-" {
        ("standard input".to_owned(), limited(std::io::stdin().lock(), "standard input")?)
    } else if let Some(path) = text.strip_prefix('@') {
        let path = PathBuf::from(path);
        let file = std::fs::File::open(&path).map_err(|error| {
            Usage(format!("cannot read {} for {option}: {error}", path.display()))
        })?;
        let name = path.display().to_string();
        let text = limited(file, &name)?;
        (name, text)
    } else {
        (option.to_owned(), text.to_owned())
    };
    serde_json::from_str(&text).map_err(|error| {
        Usage(format!(
            "{origin} is no JSON: {error}; {option} takes JSON, @FILE, or - for standard input"
        ))
        .into()
    })
}

fn limited(from: impl std::io::Read, name: &str) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    from.take(JSON_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    if u64::try_from(text.len()).is_ok_and(|it| it > JSON_BYTES_MAX) {
        return Err(Usage(format!("{name} is larger than 4 MiB")).into());
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
