//! `headgate probe`: looks at services from here and now, with their probes and their policies; no gate need run.
//!
//! Nothing of a gate's state is opened, so it works beside a running one, in its container, as a CronJob, and on a file
//! system that is read-only.

mod judge;
mod look;
mod show;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::cli::probe::judge::Judges;
use crate::cli::probe::look::{Looked, look};
use crate::cli::telling::block_on;
use crate::cli::{Output, exit, refuse};
use crate::config::{self, Config, Service, defaults};
use crate::model::health::Health;

/// Services that are looked at together.
const TOGETHER: usize = 32;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: none is failing (degraded and maintenance are said), 1: one is failing, \
    2: no such file or service, 3: nothing could be probed.\n\n\
    Examples:\n  headgate probe --all\n  headgate probe signal-engine -c /etc/headgate/headgate.yaml -o json\n  \
    kubectl exec deploy/headgate -- headgate probe --all"
)]
pub struct Cmd {
    /// Services to look at.
    #[arg(value_name = "SERVICE", required_unless_present = "all")]
    services: Vec<String>,
    /// All services that have a probe.
    #[arg(long, conflicts_with = "services")]
    all: bool,
    /// The config file.
    #[arg(short, long, value_name = "FILE", default_value = defaults::FILE)]
    config: PathBuf,
    /// Look at most so often before a service counts as failing; one that is well is looked at once.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    tries: u32,
}

/// Runs the command.
///
/// # Errors
/// When there is no runtime, or nobody reads the output.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let parsed = config::read(&cmd.config)
        .map_err(|it| vec![*it])
        .and_then(|text| config::parse(&text, &cmd.config));
    let config = match parsed {
        Ok(parsed) => parsed.config,
        // 1 would mean that a service is failing.
        Err(findings) => return refuse(&findings, output, exit::USAGE),
    };
    let chosen = match chosen(&cmd, &config) {
        Ok(chosen) => chosen,
        Err(complaint) => {
            writeln!(std::io::stderr(), "error: {complaint}")?;
            return Ok(exit::USAGE);
        }
    };
    let looked = block_on(look_at_all(&config, chosen, cmd.tries))?;
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => show::text(&mut out, &looked),
        Output::Json => writeln!(out, "{:#}", show::json(&looked)),
    }
    .context("cannot write the output")?;
    Ok(code(&looked))
}

fn chosen(cmd: &Cmd, config: &Config) -> Result<Vec<usize>, String> {
    if cmd.all {
        return Ok((0..config.services.len()).collect());
    }
    let place = |name: &String| {
        let found = config.services.iter().position(|it| it.name == *name);
        found.ok_or_else(|| unknown(name, &config.services))
    };
    cmd.services.iter().map(place).collect()
}

fn unknown(name: &str, services: &[Service]) -> String {
    let nearest = services
        .iter()
        .map(|it| (strsim::damerau_levenshtein(name, &it.name), it.name.as_str()))
        .filter(|(distance, it)| *distance <= (it.len() / 3).max(2))
        .min();
    let names: Vec<&str> = services.iter().map(|it| it.name.as_str()).collect();
    match nearest {
        Some((_, it)) => format!("there is no service {name:?}; did you mean {it}?"),
        None => format!("there is no service {name:?}; there are {}", names.join(", ")),
    }
}

/// In the order in which they were chosen.
async fn look_at_all(config: &Config, chosen: Vec<usize>, tries: u32) -> Vec<Looked> {
    let judges = Arc::new(Judges::new(config, &chosen));
    let places = Arc::new(Semaphore::new(TOGETHER));
    let mut looking = JoinSet::new();
    for (order, index) in chosen.into_iter().enumerate() {
        let Some(service) = config.services.get(index).cloned() else { continue };
        let (judges, places) = (Arc::clone(&judges), Arc::clone(&places));
        looking.spawn(async move {
            let _place = places.acquire_owned().await;
            (order, look(&service, &judges, tries).await)
        });
    }
    let mut looked = Vec::new();
    while let Some(one) = looking.join_next().await {
        looked.extend(one);
    }
    looked.sort_by_key(|it| it.0);
    looked.into_iter().map(|it| it.1).collect()
}

fn code(looked: &[Looked]) -> u8 {
    let is_failing =
        |it: &Looked| it.verdict.as_ref().is_some_and(|it| it.status == Health::Failing);
    if looked.iter().any(is_failing) {
        exit::FINDINGS
    } else if looked.iter().all(|it| it.verdict.is_none()) {
        exit::UNREACHABLE
    } else {
        exit::OK
    }
}
