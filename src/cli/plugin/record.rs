//! `headgate plugin record`: what a running gate sees of a service becomes a case for `headgate plugin test`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::gate::{Api, Failure, Gate, Target};
use crate::cli::telling::{PATIENCE, block_on, clean, moment};
use crate::cli::{Output, Usage, exit};

const API: Api = Api { member: "windows", ask: "headgate plugin record" };

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  headgate plugin record signal-engine --file tests/outage.json --windows 6\n  \
    headgate plugin test --bless"
)]
pub(super) struct Cmd {
    /// The service.
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The case's file, which must not exist; standard output unless given.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many windows; of several, each is a step of the case.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    windows: u16,
    #[command(flatten)]
    target: Target,
}

/// Records. The case expects nothing yet: `plugin test --bless` writes down what comes.
///
/// # Errors
/// When the file cannot be written, or nobody reads the output.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let limit = cmd.windows.to_string();
    let query = [("service", cmd.service.as_str()), ("limit", limit.as_str())];
    let call = async {
        Gate::new(&cmd.target, API, PATIENCE)?.get("headgate/plugins/windows", &query).await
    };
    let made = block_on(call)?.and_then(|answer| {
        case(&cmd.service, &answer).ok_or_else(|| {
            let text = format!(
                "the gate has judged no window of {} yet: its probe has not run, or it has none",
                cmd.service
            );
            Failure::Failed { text, problem: None }
        })
    });
    let case = match made {
        Ok(case) => case,
        Err(failure) => {
            if let (Some(problem), Output::Json) = (failure.problem(), output) {
                writeln!(std::io::stdout(), "{problem}")?;
            }
            writeln!(std::io::stderr(), "error: {}", clean(&failure.to_string()))?;
            return Ok(failure.code());
        }
    };
    let Some(file) = &cmd.file else {
        writeln!(std::io::stdout(), "{case:#}")?;
        return Ok(exit::OK);
    };
    let shown = file.display();
    let unwritten = |error| {
        Usage(format!("cannot write {shown}: {error}; name a new file in a folder that is there"))
    };
    let mut written = std::fs::File::create_new(file).map_err(unwritten)?;
    writeln!(written, "{case:#}").map_err(unwritten)?;
    match output {
        Output::Text => writeln!(std::io::stdout(), "{shown}")?,
        Output::Json => writeln!(std::io::stdout(), "{}", json!({ "file": file }))?,
    }
    Ok(exit::OK)
}

fn case(service: &str, answer: &Value) -> Option<Value> {
    let windows = answer.get("windows")?.as_array()?;
    let at = windows.last()?.get("now-ms")?.as_u64()?;
    let mut case = json!({
        "name": format!("{service} at {}", moment(at)),
        "settings": answer.get("settings").cloned().unwrap_or_else(|| json!({})),
    });
    match windows.as_slice() {
        [one] => case["input"] = one.clone(),
        several => case["steps"] = several.iter().map(|it| json!({ "input": it })).collect(),
    }
    Some(case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_window_is_an_input_and_several_are_steps() {
        let answer = |count: u64| {
            let windows = (0..count)
                .map(|it| json!({ "now-ms": 1_795_502_400_000 + it }))
                .collect::<Vec<_>>();
            json!({ "settings": { "a": 1 }, "windows": windows })
        };
        assert_eq!(case("x", &answer(0)), None);
        let one = case("x", &answer(1)).unwrap();
        assert_eq!(one["input"]["now-ms"], 1_795_502_400_000_u64);
        assert_eq!(
            (&one["name"], &one["settings"]),
            (&json!("x at 2026-11-24 06:40:00Z"), &json!({ "a": 1 }))
        );
        let three = case("x", &answer(3)).unwrap();
        assert_eq!(three["steps"].as_array().unwrap().len(), 3);
        assert_eq!(three.get("input"), None);
    }
}
