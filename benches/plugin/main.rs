//! Measures plugins, in the engine and in a running gate: `cargo bench --bench plugin`.
//!
//! Calls are measured in this process, everything else on the gate as it is shipped, with the load generator of
//! `benches/proxy`. See CONTRIBUTING.md, "Benchmark".

mod calls;
mod gate;
mod running;
mod table;

#[path = "../../tests/guests/assemble.rs"]
mod assemble;
#[path = "../proxy/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../proxy/load.rs"]
mod load;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../proxy/machine.rs"]
mod machine;
#[path = "../proxy/upstream.rs"]
mod upstream;

use std::io::{Write as _, stderr, stdin, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use crate::load::Load;
use crate::machine::{First, Machine};
use crate::table::Table;

/// Names of all scenes, in the order in which they run.
const NAMES: [&str; 10] = [
    "load",
    "policy",
    "formatter",
    "filter",
    "other",
    "path",
    "memory",
    "hundred",
    "swap",
    "start",
];

/// Measures plugins.
#[derive(Debug, Parser)]
struct Options {
    /// Short and few rounds: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only this scene (may be given several times).
    #[arg(long, value_name = "SCENE")]
    only: Vec<String>,
    /// Further components to measure, for example one made of JavaScript.
    #[arg(long, value_name = "FILE")]
    component: Vec<PathBuf>,
    /// Run before everything else on the machine (root only): for machines that are not quiet.
    #[arg(long)]
    priority: bool,
    /// Another binary of the gate; left out: built as it is shipped.
    #[arg(long)]
    gate: Option<PathBuf>,
    /// Where the JSON goes.
    #[arg(long, default_value = "target/bench-plugin.json")]
    json: PathBuf,
    /// Given by cargo; no meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Calls of which the quantiles are told.
    pub(crate) calls: usize,
    pub(crate) rounds: usize,
    pub(crate) swaps: usize,
    pub(crate) seconds: f64,
}

fn main() -> ExitCode {
    // The engine compiles in a child of its own program, which is this one here.
    if std::env::args().nth(1).as_deref() == Some(headgate::plugin::host::COMMAND) {
        return match headgate::plugin::host::compile_piped(stdin(), stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(refused) => told(&refused.to_string()),
        };
    }
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => told(&format!("error: {error:#}")),
    }
}

fn told(what: &str) -> ExitCode {
    let _ = writeln!(stderr(), "{what}");
    ExitCode::FAILURE
}

fn measure() -> anyhow::Result<()> {
    let options = Options::parse();
    let wanted = |it: &&str| options.only.is_empty() || options.only.iter().any(|name| name == it);
    let scenes: Vec<&str> = NAMES.iter().filter(|it| wanted(it)).copied().collect();
    anyhow::ensure!(!scenes.is_empty(), "--only takes one of {}", NAMES.join(", "));
    let gate = options.gate.clone().map_or_else(machine::build_gate, Ok)?;
    let machine = Machine::choose(gate.canonicalize()?)?;
    let effort = match options.quick {
        true => Effort { calls: 3000, rounds: 2, swaps: 100, seconds: 0.7 },
        false => Effort { calls: 30_000, rounds: 5, swaps: 1000, seconds: 3.0 },
    };
    let _first = options.priority.then(First::come).transpose()?;
    // The plugin's calls have the core that the gate would have; load and helpers are on the other.
    let mut table = Table::default();
    let mut calls = calls::Calls::new(effort, &mut table)?;
    let mut out = stdout();
    for name in scenes {
        writeln!(out, "running {name} ...")?;
        machine::pin(&machine.proxy)?;
        match name {
            "load" => calls.load()?,
            "policy" => calls.policy()?,
            "formatter" => calls.formatter()?,
            "filter" => calls.filter()?,
            "other" => calls.others(&options.component)?,
            of_gate => {
                machine::pin(&[machine.load])?;
                let mut load = Load::new(&running::SIZES)?;
                running::Stage { effort, machine: &machine, load: &mut load, table: calls.table }
                    .run(of_gate)?;
            }
        }
    }
    let about = json!({
        "engine": calls.about(), "calls": effort.calls, "rounds": effort.rounds, "swaps": effort.swaps,
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        "cores": machine.all(),
    });
    writeln!(out, "\n{about:#}\n\n{table}")?;
    std::fs::write(&options.json, serde_json::to_vec_pretty(&table.json(&about))?)?;
    writeln!(out, "all values: {}", options.json.display())?;
    Ok(())
}
