//! `headgate run`: runs the gate until it is told to end.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::app::origin::Origin;
use crate::app::{Start, run as serve};
use crate::cli::{Output, exit};
use crate::telemetry::logs::{LogFormat, init_logs};
use crate::wire::listener::inherited;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    /// Config file; without one, `headgate.yaml` in this folder.
    file: Option<PathBuf>,
    /// Form of log and access log: text on a terminal, JSON otherwise.
    #[arg(long, default_value = "auto", value_name = "auto|text|json")]
    log_format: LogFormat,
    /// What is logged: a level, or `target=level,...`.
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log: String,
    /// Append the access log to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
}

/// Runs the gate.
///
/// # Errors
/// When it cannot start, with the next step.
pub fn run(cmd: Cmd, _output: Output) -> anyhow::Result<u8> {
    // Before any thread is started: it reads and clears environment variables.
    let inherited = inherited();
    let _logs = init_logs(cmd.log_format, &cmd.log)?;
    let json = cmd.log_format.is_json(std::io::stdout().is_terminal());
    let origin = Origin::File(cmd.file.unwrap_or_else(|| PathBuf::from("headgate.yaml")));
    let start = Start { origin, inherited, access_log: cmd.access_log, json };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("the control side's runtime")?;
    runtime.block_on(serve(start))?;
    Ok(exit::OK)
}
