//! `headgate outbox`: what has to be delivered, sent again or given up by hand.

use std::io::Write;

use serde_json::Value;

use crate::cli::Output;
use crate::cli::gate::{Api, Gate, Target};
use crate::cli::telling::{PATIENCE, block_on, clean, first_line, moment, relative, table, tell};
use crate::model::UnixMs;

const LIST: Api = Api { member: "parcels", ask: "headgate outbox list" };
const CHANGE: Api = Api { member: "count", ask: "headgate outbox list" };

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what waits and what lies dead.
    List(List),
    /// Send again: one, or all that are dead.
    Retry(Chosen),
    /// Delete without delivering: one, or all that are dead.
    Drop(Chosen),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only for this sink.
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Only what was refused for good or given up.
    #[arg(long)]
    dead: bool,
    /// Only this one, with the words that go out.
    #[arg(long, value_name = "N", requires = "sink")]
    number: Option<u64>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").args(["number", "dead"]).required(true))]
struct Chosen {
    /// For this sink.
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// This one.
    #[arg(long, value_name = "N", requires = "sink")]
    number: Option<u64>,
    /// All that are dead.
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
///
/// # Errors
/// When there is no runtime, or nobody reads the output.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    match &cmd.what {
        What::List(cmd) => list(cmd, output),
        What::Retry(cmd) => change(cmd, "headgate/outbox/retry", "sent again", output),
        What::Drop(cmd) => change(cmd, "headgate/outbox/drop", "dropped", output),
    }
}

fn list(cmd: &List, output: Output) -> anyhow::Result<u8> {
    let (limit, number) = (cmd.limit.to_string(), cmd.number.map(|it| it.to_string()));
    let mut query = vec![("limit", limit.as_str())];
    query.extend(cmd.sink.as_deref().map(|it| ("sink", it)));
    query.extend(cmd.dead.then_some(("dead", "true")));
    query.extend(number.as_deref().map(|it| ("number", it)));
    let call =
        async { Gate::new(&cmd.target, LIST, PATIENCE)?.get("headgate/outbox", &query).await };
    let now = UnixMs::now().0;
    tell(&block_on(call)?, output, |out, answer| match cmd.number {
        Some(_) => writeln!(out, "{:#}", answer.get("parcels").unwrap_or(&Value::Null)),
        None => shown(out, answer, now),
    })
}

fn change(cmd: &Chosen, endpoint: &str, done: &str, output: Output) -> anyhow::Result<u8> {
    let number = cmd.number.map(|it| it.to_string());
    let mut query = Vec::new();
    query.extend(cmd.sink.as_deref().map(|it| ("sink", it)));
    query.extend(number.as_deref().map(|it| ("number", it)));
    query.extend(cmd.dead.then_some(("dead", "true")));
    let call = async { Gate::new(&cmd.target, CHANGE, PATIENCE)?.post(endpoint, &query).await };
    tell(&block_on(call)?, output, |out, answer| {
        writeln!(out, "{} {done}", answer.get("count").and_then(Value::as_u64).unwrap_or(0))?;
        match answer.get("audit_warning").and_then(Value::as_str) {
            Some(warning) => writeln!(out, "warning: {}", clean(warning)),
            None => Ok(()),
        }
    })
}

fn shown(out: &mut impl Write, answer: &Value, now: u64) -> std::io::Result<()> {
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let heads = ["SINK", "KIND", "WAITING", "DEAD", "DELIVERED", "NEXT TRY", "REASON"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(list("sinks").iter().map(|it| sink(it, now)));
    table(out, "", &rows)?;
    let parcels = list("parcels");
    if parcels.is_empty() {
        return writeln!(out, "nothing waits");
    }
    let heads = [
        "NUMBER", "SINK", "PHASE", "SERVICE", "CODE", "SINCE", "STATE", "TRIES", "NEXT TRY",
        "REASON",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(parcels.iter().map(|it| parcel(it, now)));
    table(out, "", &rows)?;
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or(0);
    writeln!(out, "{} of {total}", parcels.len())
}

fn text(form: &Value, name: &str) -> String {
    match form.get(name) {
        Some(Value::String(text)) => first_line(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn time(form: &Value, name: &str, now: u64) -> String {
    form.get(name).and_then(Value::as_u64).map_or("-".to_owned(), |it| relative(it, now))
}

fn sink(form: &Value, now: u64) -> Vec<String> {
    let mut row =
        ["name", "kind", "waiting", "dead", "delivered"].map(|it| text(form, it)).to_vec();
    row.extend([time(form, "nextTryMs", now), text(form, "reason")]);
    row
}

fn parcel(form: &Value, now: u64) -> Vec<String> {
    let mut row = ["number", "sink", "phase", "service", "code"].map(|it| text(form, it)).to_vec();
    let created = form.get("created-ms").and_then(Value::as_u64).map_or("-".to_owned(), moment);
    row.extend([created, text(form, "state"), text(form, "attempts")]);
    let due = form.get("next-try-ms").and_then(Value::as_u64).is_some_and(|it| it <= now);
    // Others go first, or the sink itself waits: its own line says until when.
    row.push(if due { "in turn".to_owned() } else { time(form, "next-try-ms", now) });
    let reason = if form.get("reason").is_some() { "reason" } else { "error" };
    row.push(text(form, reason));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sinks_and_parcels_are_two_tables() {
        let answer = json!({
            "sinks": [{ "name": "ops", "kind": "webhook", "waiting": 1, "dead": 1, "delivered": 7,
                "nextTryMs": 1_795_502_405_000_u64, "reason": "status 503" }],
            "parcels": [
                { "number": 12, "sink": "ops", "phase": "opened", "service": "a", "code": "refused",
                  "created-ms": 1_795_502_400_000_u64, "state": "waiting", "attempts": 3,
                  "next-try-ms": 1_795_502_405_000_u64, "error": "status\u{1b} 503" },
                { "number": 13, "sink": "ops", "phase": "resolved", "service": "a", "code": "ok",
                  "created-ms": 1_795_502_400_000_u64, "state": "dead", "attempts": 1, "at-ms": 5,
                  "reason": "status 422" },
                { "number": 14, "sink": "ops", "phase": "opened", "service": "b", "code": "refused",
                  "created-ms": 1_795_502_400_000_u64, "state": "waiting", "attempts": 0,
                  "next-try-ms": 0, "error": null },
            ],
            "total": 3,
        });
        let mut out = Vec::new();
        shown(&mut out, &answer, 1_795_502_400_000).unwrap();
        let said = String::from_utf8(out).unwrap();
        for line in [
            "ops   webhook  1        1     7          in 5s     status 503\n",
            "12      ops   opened    a        refused  2026-11-24 06:40:00Z  waiting  3      in 5s     status\u{fffd} 503\n",
            "13      ops   resolved  a        ok       2026-11-24 06:40:00Z  dead     1      -         status 422\n",
            "14      ops   opened    b        refused  2026-11-24 06:40:00Z  waiting  0      in turn   -\n",
            "3 of 3\n",
        ] {
            assert!(said.contains(line), "{line}{said}");
        }
        let mut out = Vec::new();
        shown(&mut out, &json!({}), 0).unwrap();
        assert!(String::from_utf8(out).unwrap().ends_with("nothing waits\n"));
    }
}
