//! Measures the gate against nginx and HAProxy, all in front of the same upstream: `cargo bench --bench proxy`.
//!
//! The proxy has a core of its own; generator and upstream share another. See CONTRIBUTING.md, "Benchmark".

mod client;
mod conf;
mod load;
mod machine;
mod peers;
mod report;
mod scenes;
mod upstream;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

use crate::load::Load;
use crate::machine::{First, Machine};
use crate::peers::Kind;
use crate::report::Report;
use crate::scenes::{NAMES, Plan, SIZES, Stage};

/// Measures the gate against nginx and HAProxy.
#[derive(Debug, Parser)]
struct Options {
    /// Short and few rounds: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only this scene (may be given several times).
    #[arg(long, value_name = "SCENE")]
    only: Vec<String>,
    /// Alternating rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests a second of the latency scene.
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Only these proxies (headgate, nginx, haproxy).
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Run before everything else on the machine (root only): for machines that are not quiet.
    #[arg(long)]
    priority: bool,
    /// Another binary of the gate; left out: built as it is shipped.
    #[arg(long)]
    gate: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench-proxy.json")]
    json: PathBuf,
    /// Given by cargo; no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn plan(&self, cores: &Machine) -> anyhow::Result<Plan> {
        let named = |it: &&Kind| self.peers.is_empty() || self.peers.iter().any(|n| n == it.name());
        let kinds: Vec<Kind> = Kind::ALL.iter().filter(named).copied().collect();
        anyhow::ensure!(!kinds.is_empty(), "--peers takes headgate, nginx, haproxy");
        let millis = |quick, full| Duration::from_millis(if self.quick { quick } else { full });
        Ok(Plan {
            kinds,
            rounds: self.rounds.unwrap_or(if self.quick { 2 } else { 5 }).max(1),
            warm: millis(200, 500),
            length: millis(700, 3000),
            rate: self.rate,
            many: cores.connections_max.min(10_000),
        })
    }

    fn scenes(&self) -> Vec<&'static str> {
        let wanted = |it: &&str| self.only.is_empty() || self.only.iter().any(|n| n == it);
        NAMES.iter().filter(|it| wanted(it)).copied().collect()
    }
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
    let gate = options.gate.clone().map_or_else(machine::build_gate, Ok)?;
    let gate = gate.canonicalize().with_context(|| format!("no {}", gate.display()))?;
    let cores = Machine::choose(gate)?;
    let plan = options.plan(&cores)?;
    let scenes = options.scenes();
    anyhow::ensure!(!scenes.is_empty(), "--only takes one of {}", NAMES.join(", "));
    let versions = plan.kinds.iter().map(|it| Ok((it.name(), it.version(&cores.gate)?)));
    let versions = versions.collect::<anyhow::Result<Vec<_>>>()?;
    machine::pin(&[cores.load])?;
    let _first = options.priority.then(First::come).transpose()?;
    let mut load = Load::new(&SIZES)?;
    let mut report = Report::default();
    let mut out = std::io::stdout();
    for name in scenes {
        writeln!(out, "running {name} ...")?;
        let stage = &mut Stage { plan: &plan, cores: &cores, load: &mut load, report: &mut report };
        stage.run(name)?;
    }
    let about = json!({
        "versions": versions.iter().map(|it| format!("{} {}", it.0, it.1)).collect::<Vec<_>>(),
        "rounds": plan.rounds, "seconds": plan.length.as_secs_f64(), "connections": plan.many,
        "rate": plan.rate, "proxy_core": cores.proxy, "load_core": cores.load,
    });
    writeln!(out, "\n{about:#}\n\n{}", report.table(&plan.kinds))?;
    std::fs::write(&options.json, serde_json::to_vec_pretty(&report.json(&about))?)?;
    writeln!(out, "all rounds: {}", options.json.display())?;
    Ok(())
}
