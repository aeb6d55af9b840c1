//! What commands that ask a gate have in common: one call, one answer, words for people about times and tables.

use std::io::Write;
use std::time::Duration;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::gate::Failure;
use crate::cli::{Output, exit};
use crate::model::UnixMs;
use crate::telemetry::escape::is_hidden;

/// How long a question may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Cells of a table are cut here.
const CELL_CHARS_MAX: usize = 120;

/// Waits for a call.
pub(super) fn block_on<T>(call: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    Ok(runtime.block_on(call))
}

/// Data to stdout: as it came, or as `text` writes it; words about failures to stderr. Gives the exit code of the call.
pub(super) fn tell(
    outcome: &Result<Value, Failure>,
    output: Output,
    text: impl FnOnce(&mut Vec<u8>, &Value) -> std::io::Result<()>,
) -> anyhow::Result<u8> {
    let mut out = Vec::new();
    match (outcome, output) {
        (Ok(answer), Output::Json) => writeln!(out, "{answer}")?,
        (Ok(answer), Output::Text) => text(&mut out, answer)?,
        (Err(failure), _) => {
            if let (Some(it), Output::Json) = (failure.problem(), output) {
                writeln!(out, "{it}")?;
            }
            let words = clean(&failure.to_string());
            writeln!(std::io::stderr(), "error: {words}").context("cannot write the output")?;
        }
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&out).and_then(|()| stdout.flush()).context("cannot write the output")?;
    Ok(outcome.as_ref().map_or_else(Failure::code, |_| exit::OK))
}

/// A part of an answer as what it must be; whoever answers may be no gate.
pub(super) fn read<T: DeserializeOwned>(answer: &Value, member: &str) -> std::io::Result<T> {
    let part = answer.get(member).unwrap_or(&Value::Null);
    T::deserialize(part).map_err(|error| {
        std::io::Error::other(format!(
            "the gate's answer is of another version: `{member}`: {error}"
        ))
    })
}

/// Nothing that a gate or a service says may steer a terminal.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|it| if is_hidden(it) { '\u{fffd}' } else { it }).collect()
}

/// The first line, in short.
pub(super) fn first_line(text: &str) -> String {
    let line = clean(text.lines().next().unwrap_or_default());
    match line.char_indices().nth(CELL_CHARS_MAX) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// `2026-11-24 06:40:00Z`.
pub(super) fn moment(at_ms: u64) -> String {
    let text = UnixMs(at_ms).rfc3339();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time}Z"),
        _ => text,
    }
}

/// A span in its two largest units: `250ms`, `12s`, `3m 12s`, `5h 2m`, `3d 4h`.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let two = |one: u64, unit: &str, rest: u64, smaller: &str| match rest {
        0 => format!("{one}{unit}"),
        rest => format!("{one}{unit} {rest}{smaller}"),
    };
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// `3m 12s ago`, or `in 5s`.
pub(super) fn relative(at_ms: u64, now_ms: u64) -> String {
    match now_ms.checked_sub(at_ms) {
        Some(ms) => format!("{} ago", span(ms)),
        None => format!("in {}", span(at_ms - now_ms)),
    }
}

/// How far a moment is from another one: `+2s`, `-12s`.
pub(super) fn offset(at_ms: u64, from_ms: u64) -> String {
    match at_ms.checked_sub(from_ms) {
        Some(ms) => format!("+{}", span(ms)),
        None => format!("-{}", span(from_ms - at_ms)),
    }
}

/// A word of an enum as JSON has it.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}

/// Rows with aligned columns, each line after `indent`; the last column is not padded.
pub(super) fn table(
    out: &mut impl Write,
    indent: &str,
    rows: &[Vec<String>],
) -> std::io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|it| it.get(column));
        cells.map(|it| it.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::from(indent);
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', pad));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (192_000, "3m 12s"),
            (3_600_000, "1h"),
            (18_120_000, "5h 2m"),
            (86_400_000, "1d"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
    }

    #[test]
    fn moments_are_told_from_both_sides() {
        assert_eq!(moment(1_795_502_400_000), "2026-11-24 06:40:00Z");
        assert_eq!(relative(1_000, 4_000), "3s ago");
        assert_eq!(relative(4_000, 1_000), "in 3s");
        assert_eq!(offset(4_000, 1_000), "+3s");
        assert_eq!(offset(1_000, 13_000), "-12s");
        // A broken clock breaks no table.
        assert!(!moment(u64::MAX).is_empty());
    }

    #[test]
    fn columns_are_aligned_by_characters_and_nothing_steers_the_terminal() {
        let mut out = Vec::new();
        let row = |cells: &[&str]| cells.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        table(&mut out, "  ", &[row(&["ü", "b"]), row(&["abc", "d"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  ü    b\n  abc  d\n");
        assert_eq!(first_line("a\u{1b}[2J\nsecond"), "a\u{fffd}[2J");
        assert_eq!(first_line(&"x".repeat(500)).len(), CELL_CHARS_MAX + 3);
    }
}
