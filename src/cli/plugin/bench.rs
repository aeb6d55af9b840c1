//! `headgate plugin bench`: time, memory and fuel of a call, in a fresh instance and, for filters, in a reused one.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::plugin::call::{Input, fresh, reused};
use crate::cli::plugin::run::{Call, Given};
use crate::cli::plugin::subject::Subject;
use crate::cli::plugin::{Granted, show, subject};
use crate::cli::{Output, exit};
use crate::plugin::host::{Component, Purpose};
use crate::plugin::{Fault, Refusal};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    call: Given,
    /// How many calls are timed.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    #[command(flatten)]
    granted: Granted,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    ok: bool,
    calls: u32,
    /// With a new instance for each call, as policies and formatters get it.
    fresh: Figures,
    /// In one instance, as filters get it.
    reused: Option<Figures>,
    /// Deterministic cost of one call; the same on every machine.
    fuel: Option<u64>,
}

/// Microseconds of a call, and the most memory of any.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    p50_micros: f64,
    p99_micros: f64,
    max_micros: f64,
    memory_bytes: usize,
}

/// Measures. 1: the plugin is refused or does not answer.
///
/// # Errors
/// When there is nothing to call it with, or there is no engine.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let host = subject::engine(Purpose::Serve)?;
    let out = &mut std::io::stdout().lock();
    let subject = match subject::open(&host, &cmd.file, cmd.granted.class())? {
        Ok(subject) => subject,
        Err(reasons) => return refused(out, &reasons, output),
    };
    let call = cmd.call.call(subject.component.info(), subject.seen.kind, &subject.path)?;
    match measure(cmd, &subject, &call) {
        Ok(mut report) => {
            report.fuel = fuel(cmd, &call)?;
            tell(out, &report, output)?;
            Ok(exit::OK)
        }
        Err(fault) => {
            let reason = Refusal::new("call", format!("the plugin {fault}"));
            let advice =
                show::advice(&fault).unwrap_or("give an input that it answers: --input @FILE");
            refused(out, &[reason.advice(advice)], output)
        }
    }
}

fn refused(out: &mut impl Write, reasons: &[Refusal], output: Output) -> anyhow::Result<u8> {
    match output {
        Output::Json => {
            writeln!(out, "{}", serde_json::json!({ "ok": false, "reasons": reasons }))?
        }
        Output::Text => show::refusals(out, reasons)?,
    }
    Ok(exit::FINDINGS)
}

fn measure(cmd: &Cmd, subject: &Subject, call: &Call) -> Result<Report, Fault> {
    let component = &subject.component;
    // The first calls map memory and fill caches; a gate's do so once.
    for _ in 0..cmd.calls.min(10) {
        one(component, call)?;
    }
    let mut times = Times::default();
    for _ in 0..cmd.calls {
        let (time, memory) = one(component, call)?;
        times.add(time, memory);
    }
    let reused = in_one_instance(cmd, component, call)?;
    Ok(Report { ok: true, calls: cmd.calls, fresh: times.figures(), reused, fuel: None })
}

fn one(component: &Component, call: &Call) -> Result<(Duration, usize), Fault> {
    let answer = fresh(component, &call.settings, &call.input, call.prior.as_ref());
    match answer.fault {
        Some(fault) => Err(fault),
        None => Ok((answer.spent.time, answer.spent.memory_bytes)),
    }
}

fn in_one_instance(
    cmd: &Cmd,
    component: &Component,
    call: &Call,
) -> Result<Option<Figures>, Fault> {
    let Input::Request(request) = &call.input else { return Ok(None) };
    let mut instance = component.instance(&call.settings)?;
    let mut times = Times::default();
    for _ in 0..cmd.calls {
        let answer = reused(&mut instance, component.info(), request);
        if let Some(fault) = answer.fault {
            return Err(fault);
        }
        times.add(answer.spent.time, answer.spent.memory_bytes);
    }
    Ok(Some(times.figures()))
}

/// On an engine of its own: counting makes every call slower.
fn fuel(cmd: &Cmd, call: &Call) -> anyhow::Result<Option<u64>> {
    let host = subject::engine(Purpose::Measure)?;
    let Ok(subject) = subject::open(&host, &cmd.file, cmd.granted.class())? else {
        return Ok(None);
    };
    let answer = fresh(&subject.component, &call.settings, &call.input, call.prior.as_ref());
    Ok(answer.spent.fuel)
}

#[derive(Debug, Default)]
struct Times {
    each: Vec<Duration>,
    memory_bytes: usize,
}

impl Times {
    fn add(&mut self, time: Duration, memory_bytes: usize) {
        self.each.push(time);
        self.memory_bytes = self.memory_bytes.max(memory_bytes);
    }

    fn figures(mut self) -> Figures {
        self.each.sort_unstable();
        let at = |percent: usize| {
            // Nearest rank.
            let rank = (self.each.len() * percent).div_ceil(100).max(1) - 1;
            self.each.get(rank).map_or(0.0, |it| it.as_secs_f64() * 1e6)
        };
        Figures {
            p50_micros: at(50),
            p99_micros: at(99),
            max_micros: at(100),
            memory_bytes: self.memory_bytes,
        }
    }
}

fn tell(out: &mut impl Write, report: &Report, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    writeln!(out, "{} calls", report.calls)?;
    let mut line = |name: &str, it: &Figures| {
        writeln!(
            out,
            "{name:7} p50 {:.1} us, p99 {:.1} us, max {:.1} us, memory {}",
            it.p50_micros,
            it.p99_micros,
            it.max_micros,
            show::bytes(it.memory_bytes)
        )
    };
    line("fresh", &report.fresh)?;
    if let Some(reused) = &report.reused {
        line("reused", reused)?;
    }
    if let Some(fuel) = report.fuel {
        writeln!(out, "fuel    {fuel} (the same on every machine)")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut times = Times::default();
        for micros in (1..=100).rev() {
            times.add(Duration::from_micros(micros), usize::try_from(micros).unwrap());
        }
        let figures = times.figures();
        let got = [figures.p50_micros, figures.p99_micros, figures.max_micros]
            .map(|it| it.round() as u32);
        assert_eq!((got, figures.memory_bytes), ([50, 99, 100], 100));
        let mut one = Times::default();
        one.add(Duration::from_micros(7), 0);
        let figures = one.figures();
        assert_eq!([figures.p50_micros.round(), figures.p99_micros.round()], [7.0, 7.0]);
    }
}
