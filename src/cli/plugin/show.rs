//! Words that the plugin commands have in common: refusals, faults, logs, differences.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::plugin::compare::Difference;
use crate::plugin::{Fault, Info, Level, Refusal, Said};
use crate::telemetry::escape::is_hidden;

/// Nothing that a plugin or a stranger's gate says may steer a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|it| if is_hidden(it) && it != '\n' { '\u{fffd}' } else { it }).collect()
}

/// One reason a line, its advice below it.
pub(super) fn refusals(out: &mut impl Write, reasons: &[Refusal]) -> std::io::Result<()> {
    for reason in reasons {
        writeln!(out, "error[{}]: {}", reason.code, clean(&reason.message))?;
        if let Some(advice) = &reason.advice {
            writeln!(out, "  help: {}", clean(advice))?;
        }
    }
    Ok(())
}

/// What an author can do about a fault.
pub(super) fn advice(fault: &Fault) -> Option<&'static str> {
    match fault {
        Fault::Trap { .. } => Some(
            "a panic logs its message in a panic hook that calls telemetry.log; the templates have one",
        ),
        Fault::Timeout { .. } => {
            Some("do less work a call; `headgate plugin bench` shows what it takes")
        }
        Fault::Memory { .. } => {
            Some("ask for less, or try --class large, which the gate's config must then grant")
        }
        Fault::Data { .. } => Some("hand over less: shorter texts, fewer list items"),
        Fault::Invalid { .. } => Some("the limits of each answer stand in wit/"),
        Fault::Settings(_) => {
            Some("try the settings: headgate plugin check FILE --settings @settings.json")
        }
        Fault::Busy => Some("try again when the machine has less to do"),
        Fault::Failed { .. } => None,
    }
}

/// What a guest said, as JSON.
pub(super) fn said(said: &Said, info: &Info) -> Value {
    let metrics: Vec<Value> = said
        .metrics
        .iter()
        .map(|(index, value)| {
            let name = info.metrics.get(*index).map_or("?", |it| it.name.as_str());
            json!([name, value])
        })
        .collect();
    json!({
        "lines": said.lines, "linesDropped": said.lines_dropped,
        "metrics": metrics, "metricsDropped": said.metrics_dropped,
    })
}

/// What a guest said, for people.
pub(super) fn said_text(out: &mut impl Write, said: &Said, info: &Info) -> std::io::Result<()> {
    for line in &said.lines {
        writeln!(out, "log {:5} {}", level(line.level), clean(&line.text))?;
    }
    for (index, value) in &said.metrics {
        let name = info.metrics.get(*index).map_or("?", |it| it.name.as_str());
        writeln!(out, "metric {name} {value}")?;
    }
    if said.lines_dropped > 0 {
        writeln!(out, "log: {} more lines were over the limit of a call", said.lines_dropped)?;
    }
    if said.metrics_dropped > 0 {
        writeln!(
            out,
            "metric: {} values were not declared, not finite or over the limit",
            said.metrics_dropped
        )?;
    }
    Ok(())
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// Each difference in three lines: where, what was expected, what came.
pub(super) fn differences(out: &mut impl Write, found: &[Difference]) -> std::io::Result<()> {
    for it in found {
        let place = if it.path.is_empty() { "the answer" } else { &it.path };
        let came =
            it.came.as_ref().map_or_else(|| "nothing".to_owned(), |it| clean(&it.to_string()));
        writeln!(out, "       {place}\n         - {}\n         + {came}", it.expected)?;
    }
    Ok(())
}

/// A time for people: `12.3 us`, `4.56 ms`.
pub(super) fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        it if it < 1000.0 => format!("{it:.1} us"),
        it if it < 1_000_000.0 => format!("{:.2} ms", it / 1e3),
        it => format!("{:.2} s", it / 1e6),
    }
}

/// Bytes for people.
pub(super) fn bytes(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        _ => format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20),
    }
}
