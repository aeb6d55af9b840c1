//! `headgate maintenance`: switches maintenance of a running gate, or asks for it.

mod show;

use std::time::Duration;

use anyhow::Context as _;

use crate::cli::Output;
use crate::cli::gate::{Api, Failure, Gate, Target};

const API: Api = Api { member: "status", ask: "headgate maintenance status" };

/// How long a toggle may take without a drain: two writes to a disk and a second for the cores.
const PATIENCE: Duration = Duration::from_secs(20);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Switch maintenance on.
    On(On),
    /// Switch maintenance off.
    Off(Off),
    /// Ask what is in maintenance.
    Status(Status),
}

#[derive(Debug, clap::Args)]
struct On {
    #[command(flatten)]
    target: Target,
    /// Only this service; may be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
    /// End by itself after this time: 90s, 30m, 2h.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// End by itself when its services are well again; for services with a probe that do not follow the mode themselves.
    #[arg(long)]
    until_healthy: bool,
    /// Why; shown in the status and kept in the audit file.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait at most this long for what still runs, then close tunnels: 30s, 2m.
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Off {
    #[command(flatten)]
    target: Target,
    /// Only this service; may be repeated.
    #[arg(long = "service", value_name = "SERVICE")]
    services: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Status {
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
///
/// # Errors
/// When there is no runtime, or nobody reads the output.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let Cmd { what } = cmd;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let outcome = runtime.block_on(call(&what));
    let (out, err) = (&mut std::io::stdout().lock(), &mut std::io::stderr().lock());
    show::outcome(out, err, &outcome, output).context("cannot write the output")?;
    Ok(show::code(&outcome))
}

async fn call(what: &What) -> Result<serde_json::Value, Failure> {
    match what {
        What::On(on) => {
            let mut query = services(&on.services);
            let options = [("ttl", &on.ttl), ("reason", &on.reason), ("drain", &on.drain)];
            for (name, value) in options {
                query.extend(value.iter().map(|it| (name, it.as_str())));
            }
            query.extend(on.until_healthy.then_some(("until", "healthy")));
            let patience = if on.drain.is_some() {
                // The gate waits for 5 minutes at most, and refuses to be asked for more.
                PATIENCE + Duration::from_mins(5)
            } else {
                PATIENCE
            };
            Gate::new(&on.target, API, patience)?.post("maintenance/on", &query).await
        }
        What::Off(off) => {
            let gate = Gate::new(&off.target, API, PATIENCE)?;
            gate.post("maintenance/off", &services(&off.services)).await
        }
        What::Status(status) => {
            Gate::new(&status.target, API, PATIENCE)?.get("maintenance/status", &[]).await
        }
    }
}

fn services(names: &[String]) -> Vec<(&'static str, &str)> {
    names.iter().map(|it| ("service", it.as_str())).collect()
}

#[cfg(test)]
mod tests;
