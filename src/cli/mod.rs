//! The command line: one file per command; stdout is data, stderr is for people.

pub mod alert;
pub mod check;
pub mod completions;
pub mod config;
pub mod demo;
pub mod explain;
mod gate;
pub mod incidents;
pub mod key;
pub mod maintenance;
pub mod outbox;
pub mod plugin;
pub mod plugin_compile;
pub mod probe;
pub mod replay;
pub mod run;
mod telling;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::findings::{Finding, render};
use crate::plugin::host::Way;

/// Exit codes of every command.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// Done, and something was found or failed.
    pub const FINDINGS: u8 = 1;
    /// The command line is wrong (clap's own code), or a file that it names cannot be read.
    pub const USAGE: u8 = 2;
    /// The gate cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// The gate refused (key, scope).
    pub const REFUSED: u8 = 4;
}

/// The gate in front of a handful of HTTP services.
#[derive(Debug, Parser)]
#[command(name = "headgate", version, propagate_version = true)]
struct Cli {
    /// Form of the output.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON document (or one per line where a command goes on).
    Json,
}

/// The command line is wrong in a way that clap cannot see; ends with [`exit::USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gate.
    Run(run::Cmd),
    /// Check a config file and print everything that is wrong with it.
    Check(check::Cmd),
    /// Print the config schema or the effective config.
    Config(config::Cmd),
    /// Make a key.
    Key(key::Cmd),
    /// Switch maintenance on or off, or ask for it.
    Maintenance(maintenance::Cmd),
    /// Look at services from here and now; no gate need run.
    Probe(probe::Cmd),
    /// Show what would have been different with another policy or formatter.
    Replay(replay::Cmd),
    /// Send a test alert, or show what an alert would say.
    Alert(alert::Cmd),
    /// Show what has to be delivered; send it again or drop it.
    Outbox(outbox::Cmd),
    /// Show what is and was wrong with services.
    Incidents(incidents::Cmd),
    /// Show what the gate would do with a request, and why, without sending it.
    Explain(explain::Cmd),
    /// Write, build, try and ship plugins.
    Plugin(plugin::Cmd),
    /// Run the gate in front of stand-ins of StockFlow.
    Demo(demo::Cmd),
    /// Print completions for a shell.
    Completions(completions::Cmd),
    /// Compile a component from standard input to standard output; the gate's own child.
    #[command(hide = true)]
    PluginCompile(plugin_compile::Cmd),
}

/// Tells what is wrong with a config that a command cannot use: for people, or as `check -o json` does.
fn refuse(findings: &[Finding], output: Output, code: u8) -> anyhow::Result<u8> {
    match output {
        Output::Text => std::io::stderr().write_all(render(findings).as_bytes())?,
        Output::Json => {
            let document = serde_json::json!({ "ok": false, "findings": findings });
            writeln!(std::io::stdout(), "{document:#}")?;
        }
    }
    Ok(code)
}

/// Runs the command line and turns its outcome into an exit code.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    Way::this_program_compiles();
    let outcome = match cli.command {
        Command::Run(cmd) => run::run(cmd, cli.output),
        Command::Check(cmd) => check::run(cmd, cli.output),
        Command::Config(cmd) => config::run(cmd, cli.output),
        Command::Key(cmd) => key::run(cmd, cli.output),
        Command::Maintenance(cmd) => maintenance::run(cmd, cli.output),
        Command::Probe(cmd) => probe::run(cmd, cli.output),
        Command::Replay(cmd) => replay::run(cmd, cli.output),
        Command::Alert(cmd) => alert::run(cmd, cli.output),
        Command::Outbox(cmd) => outbox::run(cmd, cli.output),
        Command::Incidents(cmd) => incidents::run(cmd, cli.output),
        Command::Explain(cmd) => explain::run(cmd, cli.output),
        Command::Plugin(cmd) => plugin::run(cmd, cli.output),
        Command::Demo(cmd) => demo::run(cmd, cli.output),
        Command::Completions(cmd) => completions::run(cmd),
        Command::PluginCompile(cmd) => plugin_compile::run(cmd),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // There is nobody left to tell that standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { exit::USAGE } else { exit::FINDINGS })
        }
    }
}
