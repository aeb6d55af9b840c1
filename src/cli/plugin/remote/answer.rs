//! A gate's answers about plugins in words, or as they came.

use std::io::Write;

use serde_json::Value;

use crate::cli::Output;
use crate::cli::gate::Failure;
use crate::cli::plugin::show;

/// Data to `out`, words about failures to `err`; each reason of a refusal on its own line.
pub(super) fn told(
    out: &mut impl Write,
    err: &mut impl Write,
    outcome: &Result<Value, Failure>,
    output: Output,
) -> std::io::Result<()> {
    match (outcome, output) {
        (Ok(answer), Output::Json) => writeln!(out, "{answer}")?,
        (Ok(answer), Output::Text) => change_text(out, answer)?,
        (Err(failure), _) => {
            match (failure.problem(), output) {
                (Some(problem), Output::Json) => writeln!(out, "{problem}")?,
                (Some(problem), Output::Text) => {
                    for reason in list(problem, "reasons") {
                        let code = string(reason, "/code").unwrap_or_default();
                        writeln!(out, "error[{code}]: {}", reason_text(reason))?;
                        if let Some(advice) = string(reason, "/advice") {
                            writeln!(out, "  help: {advice}")?;
                        }
                    }
                }
                (None, _) => {}
            }
            writeln!(err, "error: {}", show::clean(&failure.to_string()))?;
        }
    }
    out.flush()
}

/// What was proven of a candidate, and what acts now.
fn change_text(out: &mut impl Write, answer: &Value) -> std::io::Result<()> {
    let name = string(answer, "/plugin").unwrap_or_else(|| "the component".to_owned());
    let number = answer.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let changed = answer.get("changed").and_then(Value::as_bool) == Some(true);
    let is_shadow = answer.get("shadow").and_then(Value::as_bool) == Some(true);
    match (string(answer, "/digest"), changed) {
        (Some(digest), _) if is_shadow => {
            writeln!(out, "{name}: {digest} runs beside what acts (generation {number})")?;
        }
        (Some(digest), true) => writeln!(out, "{name}: {digest} acts since generation {number}")?,
        (Some(digest), false) => {
            writeln!(
                out,
                "{name}: {digest} is taken in; what acts is unchanged (generation {number})"
            )?;
        }
        (None, _) => writeln!(out, "{name} is good; nothing was changed")?,
    }
    for warning in list(answer, "warnings") {
        writeln!(out, "  warning    {}", reason_text(warning))?;
    }
    if let Some(warning) = string(answer, "/audit_warning") {
        writeln!(out, "  warning    {warning}")?;
    }
    let proof = answer.get("proof").unwrap_or(answer);
    if let (Some(name), Some(version)) = (string(proof, "/name"), string(proof, "/version")) {
        let kind = string(proof, "/kind").unwrap_or_default();
        writeln!(out, "  component  {name} {version} ({kind})")?;
    }
    for check in list(proof, "selfTest") {
        let passed = check.get("passed").and_then(Value::as_bool) == Some(true);
        let word = if passed { "ok  " } else { "FAIL" };
        writeln!(out, "  self-test  {word} {}", string(check, "/name").unwrap_or_default())?;
    }
    if let Some(replay) = proof.get("replay") {
        replay_text(out, replay)?;
    }
    Ok(())
}

/// A finding or a reason as `place: message`, where it has a place; anything else as it came.
fn reason_text(reason: &Value) -> String {
    match (string(reason, "/path"), string(reason, "/message")) {
        (Some(path), Some(message)) if !path.is_empty() => format!("{path}: {message}"),
        (_, Some(message)) => message,
        _ => string(reason, "").unwrap_or_else(|| show::clean(&reason.to_string())),
    }
}

fn replay_text(out: &mut impl Write, replay: &Value) -> std::io::Result<()> {
    let number = |name| replay.get(name).and_then(Value::as_u64).unwrap_or_default();
    writeln!(
        out,
        "  replay     {}: {} inputs of {} needed, {} agree, {} differ",
        string(replay, "/outcome").unwrap_or_default(),
        number("inputs"),
        number("needed"),
        number("agree"),
        number("differ"),
    )?;
    for example in list(replay, "examples").filter_map(Value::as_str) {
        writeln!(out, "    {}", show::clean(example))?;
    }
    Ok(())
}

/// One plugin of the list.
pub(super) fn status_text(out: &mut impl Write, plugin: &Value) -> std::io::Result<()> {
    let text = |pointer| string(plugin, pointer).unwrap_or_else(|| "-".to_owned());
    let digest: String = text("/digest").chars().take(12).collect();
    writeln!(
        out,
        "{:20} {:9} {:11} {digest:12} {} {}",
        text("/name"),
        text("/kind"),
        text("/state"),
        text("/source"),
        text("/origin")
    )?;
    if let Some(reason) = string(plugin, "/reason") {
        writeln!(out, "  why: {reason}")?;
    }
    for used in list(plugin, "uses") {
        let number = |name| used.get(name).and_then(Value::as_u64).unwrap_or_default();
        let place = string(used, "/at").unwrap_or_default();
        let acts = string(used, "/acts").unwrap_or_default();
        let (calls, faults, fallbacks) = (number("calls"), number("faults"), number("fallbacks"));
        writeln!(
            out,
            "  {place}: {acts} acts, {calls} calls, {faults} faults, {fallbacks} fall-backs"
        )?;
    }
    if let Some(shadow) = plugin.get("shadow").filter(|it| it.is_object()) {
        let number = |name| shadow.get(name).and_then(Value::as_u64).unwrap_or_default();
        let (calls, differ, faults) = (number("calls"), number("differ"), number("faults"));
        let digest: String = string(shadow, "/digest").unwrap_or_default();
        let digest: String = digest.chars().take(12).collect();
        writeln!(out, "  shadow {digest}: {calls} calls, {differ} differ, {faults} faults")?;
        for example in list(shadow, "examples").filter_map(Value::as_str) {
            writeln!(out, "    {}", show::clean(example))?;
        }
    }
    for reason in plugin.pointer("/refused/reasons").and_then(Value::as_array).into_iter().flatten()
    {
        let code = string(reason, "/code").unwrap_or_default();
        writeln!(out, "  refused[{code}]: {}", reason_text(reason))?;
    }
    Ok(())
}

/// Lines that a plugin logged; as JSON one document a line.
pub(super) fn log_text(
    out: &mut impl Write,
    lines: &[Value],
    output: Output,
) -> std::io::Result<()> {
    for line in lines {
        if output == Output::Json {
            writeln!(out, "{line}")?;
            continue;
        }
        let text = |pointer| string(line, pointer).unwrap_or_default();
        let digest: String = text("/digest").chars().take(12).collect();
        writeln!(
            out,
            "{} {:5} {digest} {}: {}",
            text("/at"),
            text("/level"),
            text("/place"),
            text("/text")
        )?;
    }
    out.flush()
}

/// Items of a member that is a list.
pub(super) fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Text that may be shown.
pub(super) fn string(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(show::clean)
}
