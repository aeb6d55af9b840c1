//! `headgate run`: runs the gate until it is told to end.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::app::origin::{Origin, as_text};
use crate::app::{Start, run as serve};
use crate::cli::{Output, Usage, exit};
use crate::config::{QuickArgs, defaults, for_upstream};
use crate::telemetry::logs::{LogError, LogFormat, init_logs};
use crate::wire::listener::inherited;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    /// Config file; without one (and without --to), `headgate.yaml` in this folder.
    #[arg(conflicts_with = "to")]
    file: Option<PathBuf>,
    /// No file at all: forward everything to this upstream.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// With --to: address of the data listener.
    #[arg(long, value_name = "ADDR", requires = "to")]
    listen: Option<String>,
    /// With --to: address of the ops listener, or `off`.
    #[arg(long, value_name = "ADDR", requires = "to")]
    ops: Option<String>,
    /// With --to: address of the admin listener, `unix:PATH`, or `off`.
    #[arg(long, value_name = "ADDR", requires = "to")]
    admin: Option<String>,
    /// With --to: every request and the admin API need this key.
    #[arg(long, value_name = "env:NAME|file:PATH", requires = "to")]
    key: Option<String>,
    /// With --to: folder for maintenance state and audit.
    #[arg(long, value_name = "DIR", requires = "to")]
    state: Option<PathBuf>,
    /// Form of log and access log: text on a terminal, JSON otherwise.
    #[arg(
        long,
        env = "HEADGATE_LOG_FORMAT",
        default_value = "auto",
        value_name = "auto|text|json"
    )]
    log_format: LogFormat,
    /// What is logged: a level, or `target=level,...`.
    #[arg(long, env = "HEADGATE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Append the access log to this file instead of standard output.
    #[arg(long, env = "HEADGATE_ACCESS_LOG", value_name = "FILE")]
    access_log: Option<PathBuf>,
}

/// How long work on the disk may take when everything else has ended.
const DISK_GOODBYE: Duration = Duration::from_secs(2);

/// Runs the gate.
///
/// # Errors
/// When it cannot start, with the next step.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    // Before any thread is started: it reads and clears environment variables.
    let inherited = inherited();
    let format = if output == Output::Json { LogFormat::Json } else { cmd.log_format };
    let _logs = match init_logs(format, &cmd.log) {
        Err(error @ LogError::Filter { .. }) => anyhow::bail!(Usage(format!("--log: {error}"))),
        other => other?,
    };
    let json = format.is_json(std::io::stdout().is_terminal());
    let origin = origin(&cmd)?;
    let start = Start { origin, inherited, access_log: cmd.access_log, json };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().context("the control side's runtime")?;
    let ended = runtime.block_on(serve(start));
    // Disk work that is under way may end; a disk that hangs must not keep the process.
    runtime.shutdown_timeout(DISK_GOODBYE);
    ended?;
    Ok(exit::OK)
}

fn origin(cmd: &Cmd) -> anyhow::Result<Origin> {
    let Some(to) = &cmd.to else {
        let file = cmd.file.clone().unwrap_or_else(|| PathBuf::from(defaults::FILE));
        if !file.exists() {
            let file = file.display();
            anyhow::bail!(Usage(format!(
                "there is no {file}; name a config file, forward everything by `headgate run --to URL`, \
                 or try `headgate demo`"
            )));
        }
        return Ok(Origin::File(file));
    };
    let config = for_upstream(&QuickArgs {
        to: to.clone(),
        listen: cmd.listen.clone(),
        ops: cmd.ops.clone(),
        admin: cmd.admin.clone(),
        key: cmd.key.clone(),
        state: cmd.state.clone(),
    })
    .map_err(|found| {
        Usage(format!("the arguments cannot be used\n{}", as_text(&found).trim_end()))
    })?;
    Ok(Origin::Flags(Box::new(config)))
}
