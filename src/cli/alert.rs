//! `headgate alert`: a test alert to the receivers, and the words that an event would get.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::gate::{Api, Gate, Target};
use crate::cli::plugin::json as json_argument;
use crate::cli::telling::{PATIENCE, block_on, clean, table, tell};
use crate::cli::{Output, exit};
use crate::model::UnixMs;

const TEST: Api = Api { member: "tested", ask: "headgate outbox list" };
const PREVIEW: Api = Api { member: "parcels", ask: "headgate alert preview" };

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Send a test alert and wait for the receivers' answers.
    Test(Test),
    /// Show what an alert would say and who would get it; sends nothing.
    Preview(Preview),
}

#[derive(Debug, clap::Args)]
struct Test {
    /// Only to this sink; may be repeated.
    #[arg(long = "sink", value_name = "SINK")]
    sinks: Vec<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Preview {
    /// For this incident.
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    incident: Option<String>,
    /// For this event: JSON, @FILE, or - for standard input [default: a made-up one].
    #[arg(long, value_name = "JSON")]
    event: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs the command. 1: a receiver did not accept.
///
/// # Errors
/// When there is no runtime, nobody reads the output, or the event cannot be read.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    match &cmd.what {
        What::Test(cmd) => test(cmd, output),
        What::Preview(cmd) => preview(cmd, output),
    }
}

fn test(cmd: &Test, output: Output) -> anyhow::Result<u8> {
    let query: Vec<_> = cmd.sinks.iter().map(|it| ("sink", it.as_str())).collect();
    let call = async {
        Gate::new(&cmd.target, TEST, PATIENCE)?.post("headgate/alerts/test", &query).await
    };
    let outcome = block_on(call)?;
    let code = tell(&outcome, output, tested)?;
    let accepted =
        outcome.is_ok_and(|it| it.get("accepted").and_then(Value::as_bool) == Some(true));
    Ok(if code == exit::OK && !accepted { exit::FINDINGS } else { code })
}

fn tested(out: &mut Vec<u8>, answer: &Value) -> std::io::Result<()> {
    let each = answer.get("tested").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<_> = each
        .map(|it| {
            let accepted = it.get("accepted").and_then(Value::as_bool) == Some(true);
            let text = |name| clean(it.get(name).and_then(Value::as_str).unwrap_or_default());
            vec![if accepted { "ok" } else { "FAIL" }.to_owned(), text("sink"), text("detail")]
        })
        .collect();
    table(out, "", &rows)
}

fn preview(cmd: &Preview, output: Output) -> anyhow::Result<u8> {
    let event = match (&cmd.incident, &cmd.event) {
        (Some(_), _) => Value::Null,
        (None, Some(text)) => json_argument("--event", text)?,
        (None, None) => made_up(),
    };
    let call = async {
        let gate = Gate::new(&cmd.target, PREVIEW, PATIENCE)?;
        match &cmd.incident {
            Some(id) => gate.post("headgate/alerts/preview", &[("incident", id)]).await,
            None => gate.post_json("headgate/alerts/preview", &[], &event).await,
        }
    };
    tell(&block_on(call)?, output, previewed)
}

fn made_up() -> Value {
    json!({
        "now-ms": UnixMs::now().0,
        "id": "preview",
        "phase": "opened",
        "severity": "critical",
        "service": { "name": "example" },
        "old": "ok",
        "new": "failing",
        "code": "bad-status",
        "detail": "status 503 is not expected",
        "issues": ["example"],
    })
}

fn previewed(out: &mut Vec<u8>, answer: &Value) -> std::io::Result<()> {
    let message = answer.get("message").filter(|it| !it.is_null());
    let Some(message) = message else {
        return writeln!(
            out,
            "nothing would go out: the formatter keeps it back, or there is no sink"
        );
    };
    let texts = |form: &Value, name: &str| {
        let list = form.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(clean).collect::<Vec<_>>()
    };
    for issue in texts(message, "issues") {
        writeln!(out, "issue     {issue}")?;
    }
    writeln!(out, "channels  {}", texts(message, "channels").join(", "))?;
    if let Some(channel) = message.get("channel").and_then(Value::as_str) {
        writeln!(out, "channel   {}", clean(channel))?;
    }
    for pair in message.get("extra").and_then(Value::as_array).into_iter().flatten() {
        let text =
            |index: usize| clean(pair.get(index).and_then(Value::as_str).unwrap_or_default());
        writeln!(out, "{}: {}", text(0), text(1))?;
    }
    let parcels = answer.get("parcels").and_then(Value::as_array);
    let sinks: Vec<_> = parcels
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("sink").and_then(Value::as_str).map(clean))
        .collect();
    match sinks.is_empty() {
        true => writeln!(out, "to        nobody: no sink and no route would take it"),
        false => writeln!(out, "to        {}", sinks.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_says_what_and_to_whom() {
        let answer = json!({
            "message": { "issues": ["a is down"], "channels": ["email", "slack"], "channel": "ops",
                "extra": [["text", "down\u{1b}[0m"]] },
            "parcels": [{ "sink": "dispatcher" }, { "sink": "hook" }],
        });
        let mut out = Vec::new();
        previewed(&mut out, &answer).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "issue     a is down\nchannels  email, slack\nchannel   ops\ntext: down\u{fffd}[0m\n\
             to        dispatcher, hook\n"
        );
        let mut out = Vec::new();
        previewed(&mut out, &json!({ "message": null, "parcels": [] })).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("nothing would go out"));
    }

    #[test]
    fn the_made_up_event_is_one() {
        assert!(serde_json::from_value::<crate::model::alert::Event>(made_up()).is_ok());
    }
}
