//! Measures what watching services costs: CPU, punctuality, and the way from a failed probe to the alert.
//!
//! The gate has a core of its own; services, receivers and the load share another. See CONTRIBUTING.md, "Benchmark".

mod alerting;
mod config;
mod field;
mod outbox;
mod path;
mod probing;
mod process;

#[path = "../proxy/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../proxy/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with the other benchmarks")]
#[path = "../proxy/machine.rs"]
mod machine;
#[path = "../plugin/table.rs"]
mod table;
#[path = "../proxy/upstream.rs"]
mod upstream;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

use crate::machine::{First, Machine};
use crate::table::Table;

/// Names of all scenes, in the order in which they run.
const NAMES: [&str; 4] = ["probing", "alerting", "outbox", "path"];

/// Measures what watching services costs.
#[derive(Debug, Parser)]
struct Options {
    /// Short and few rounds: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only this scene (may be given several times).
    #[arg(long, value_name = "SCENE")]
    only: Vec<String>,
    /// Services that are watched.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Requests a second of the scene `path`.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Run before everything else on the machine (root only): for machines that are not quiet.
    #[arg(long)]
    priority: bool,
    /// Another binary of the gate; left out: built as it is shipped.
    #[arg(long)]
    gate: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench-health.json")]
    json: PathBuf,
    /// Given by cargo; no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What scenes work with, and how much they do.
pub(crate) struct Stage {
    pub(crate) machine: Machine,
    pub(crate) table: Table,
    pub(crate) services: usize,
    pub(crate) rate: u64,
    /// How long windows are filled, how long nothing is counted yet, and how long it is counted.
    pub(crate) fill: Duration,
    pub(crate) warm: Duration,
    pub(crate) length: Duration,
    pub(crate) episodes: usize,
    pub(crate) alerts: usize,
    pub(crate) rounds: usize,
}

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> anyhow::Result<()> {
    let options = Options::parse();
    let wanted = |it: &&str| options.only.is_empty() || options.only.iter().any(|name| name == it);
    let scenes: Vec<&str> = NAMES.iter().filter(|it| wanted(it)).copied().collect();
    anyhow::ensure!(!scenes.is_empty(), "--only takes one of {}", NAMES.join(", "));
    let gate = options.gate.clone().map_or_else(machine::build_gate, Ok)?;
    let gate = gate.canonicalize().with_context(|| format!("no {}", gate.display()))?;
    let machine = Machine::choose(gate)?;
    machine::pin(&[machine.load])?;
    let _first = options.priority.then(First::come).transpose()?;
    let pick = |quick, full| if options.quick { quick } else { full };
    let mut stage = Stage {
        machine,
        table: Table::default(),
        services: options.services,
        rate: options.rate,
        fill: Duration::from_secs(pick(15, 75)),
        warm: Duration::from_secs(pick(12, 30)),
        length: Duration::from_secs(pick(20, 70)),
        episodes: usize::try_from(pick(10, 60))?,
        alerts: usize::try_from(pick(2000, 10_000))?,
        rounds: usize::try_from(pick(2, 5))?,
    };
    let mut out = std::io::stdout();
    for name in scenes {
        writeln!(out, "running {name} ...")?;
        stage.run(name).with_context(|| format!("scene {name}"))?;
    }
    let about = json!({
        "services": stage.services, "seconds": stage.length.as_secs(), "episodes": stage.episodes,
        "alerts": stage.alerts, "rounds": stage.rounds, "rate": stage.rate,
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "gate_core": stage.machine.proxy, "load_core": stage.machine.load,
    });
    writeln!(out, "\n{about:#}\n\n{}", stage.table)?;
    std::fs::write(&options.json, serde_json::to_vec_pretty(&stage.table.json(&about))?)?;
    writeln!(out, "all values: {}", options.json.display())?;
    Ok(())
}

impl Stage {
    fn run(&mut self, name: &str) -> anyhow::Result<()> {
        match name {
            "probing" => self.probing(),
            "alerting" => self.alerting(),
            "outbox" => self.outbox(),
            "path" => self.path(),
            other => anyhow::bail!("no scene {other:?}"),
        }
    }
}

/// Waits; nothing else is to be done on this thread.
pub(crate) fn rest(length: Duration) {
    let end = machine::now_ns() + u64::try_from(length.as_nanos()).unwrap_or(0);
    loop {
        let left = end.saturating_sub(machine::now_ns());
        if left == 0 {
            return;
        }
        // It may return early.
        std::thread::park_timeout(Duration::from_nanos(left));
    }
}

/// The value below which a share of these lie; they are sorted.
pub(crate) fn share(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1) as f64;
    values.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}
