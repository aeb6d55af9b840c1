//! A gate's answer in words, or as it came.

use std::io::Write;

use serde_json::Value;

use crate::cli::gate::Failure;
use crate::cli::{Output, exit};
use crate::telemetry::escape::is_hidden;

/// Data to `out`, words about failures to `err`.
pub(super) fn outcome(
    out: &mut impl Write,
    err: &mut impl Write,
    outcome: &Result<Value, Failure>,
    output: Output,
) -> std::io::Result<()> {
    match (outcome, output) {
        (Ok(answer), Output::Json) => writeln!(out, "{answer}")?,
        (Ok(answer), Output::Text) => text(out, answer)?,
        (Err(failure), _) => {
            if let (Some(it), Output::Json) = (failure.problem(), output) {
                writeln!(out, "{it}")?;
            }
            writeln!(err, "error: {}", clean(&failure.to_string()))?;
        }
    }
    out.flush()
}

/// Also 1 when the toggle is in force but not everything went as it should.
pub(super) fn code(outcome: &Result<Value, Failure>) -> u8 {
    let answer = match outcome {
        Err(failure) => return failure.code(),
        Ok(it) => it,
    };
    let laggards = answer.pointer("/cores/laggards").and_then(Value::as_array);
    let running = answer.pointer("/drain/still_running").and_then(Value::as_u64);
    let clean = laggards.is_none_or(Vec::is_empty)
        && running.is_none_or(|it| it == 0)
        && answer.get("warning").is_none();
    if clean { exit::OK } else { exit::FINDINGS }
}

fn text(out: &mut impl Write, answer: &Value) -> std::io::Result<()> {
    let status = string(answer, "/status").unwrap_or_default();
    let all = answer.get("all").unwrap_or(answer);
    writeln!(out, "maintenance is {status} for {}{}", subject(answer), window(all))?;
    let ending = answer.get("ending").and_then(Value::as_array);
    let ending: Vec<String> =
        ending.into_iter().flatten().filter_map(Value::as_str).map(clean).collect();
    if !ending.is_empty() {
        let names = ending.join(", ");
        writeln!(out, "  {names}: covered until it has noticed, a minute at most")?;
    }
    for service in answer.get("services").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = string(service, "/name") else { continue };
        let state = string(service, "/maintenance").unwrap_or_default();
        let running = service.get("in_flight").and_then(Value::as_u64).unwrap_or_default();
        let words = window(service.get("window").unwrap_or(&Value::Null));
        writeln!(out, "  {name}: {state}, {running} in flight{words}")?;
    }
    if let Some(cores) = answer.get("cores") {
        let number = |name| cores.get(name).and_then(Value::as_u64).unwrap_or_default();
        writeln!(out, "  {} of {} cores have seen it", number("acknowledged"), number("count"))?;
    }
    if let Some(drain) = answer.get("drain") {
        let number = |name| drain.get(name).and_then(Value::as_u64).unwrap_or_default();
        writeln!(
            out,
            "  drained: {} in flight before, {} finished, {} tunnels closed, {} still running",
            number("in_flight_before"),
            number("finished"),
            number("tunnels_closed"),
            number("still_running"),
        )?;
    }
    if let Some(warning) = string(answer, "/warning") {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}

fn subject(answer: &Value) -> String {
    let names = answer.get("services").and_then(Value::as_array);
    let names: Vec<String> =
        names.into_iter().flatten().filter_map(Value::as_str).map(clean).collect();
    if names.is_empty() { "all covered services".to_owned() } else { names.join(", ") }
}

fn window(form: &Value) -> String {
    let Some(since) = string(form, "/since") else { return String::new() };
    let healthy = form.get("until_healthy").and_then(Value::as_bool).unwrap_or_default();
    let end = match (string(form, "/until"), healthy) {
        (Some(until), false) => format!("until {until}"),
        (Some(until), true) => format!("until all is well again or {until}"),
        (None, true) => "until all is well again".to_owned(),
        (None, false) => "until it is switched off".to_owned(),
    };
    let by = string(form, "/by").map(|it| format!(", by {it}")).unwrap_or_default();
    let reason = string(form, "/reason").map(|it| format!(": {it}")).unwrap_or_default();
    format!(" since {since}, {end}{by}{reason}")
}

fn string(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(clean)
}

/// Whoever answers may be no gate: nothing of it may steer a terminal.
fn clean(text: &str) -> String {
    text.chars().map(|it| if is_hidden(it) { '\u{fffd}' } else { it }).collect()
}
