//! `headgate demo`: the gate in front of stand-ins of StockFlow, to try or to check.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Output, Usage, exit};
use crate::demo::incident;
use crate::demo::standins::Role;
use crate::demo::walk::{self, Outcome, STEPS};
use crate::demo::{Demo, Options, Real};

/// How often the demo looks whether its gate still runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    /// Take the steps, print what came of each, and end with 0 if all went well, else with 1.
    #[arg(long)]
    check: bool,
    /// A real Signal Engine in place of the stand-in, for example `http://127.0.0.1:8000`.
    #[arg(long, value_name = "URL", value_parser = url)]
    signal_engine: Option<String>,
    /// A real Market Intel in place of the stand-in.
    #[arg(long, value_name = "URL", value_parser = url)]
    market_intel: Option<String>,
    /// A real Controller in place of the stand-in.
    #[arg(long, value_name = "URL", value_parser = url)]
    controller: Option<String>,
    /// A real Kubesnap in place of the stand-in; the gate asks it for nothing by itself.
    #[arg(long, value_name = "URL", value_parser = url)]
    kubesnap: Option<String>,
    /// A real Event Dispatcher in place of the stand-in; the gate sends it no alerts.
    #[arg(long, value_name = "URL", value_parser = url)]
    event_dispatcher: Option<String>,
    /// Address of the gate [default: 127.0.0.1:8080; with --check a free port].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The key to use, for real services that know only theirs [default: a new one].
    #[arg(long, value_name = "env:NAME", value_parser = variable)]
    key: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// When the demo cannot be started.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the demo's runtime")?;
    runtime.block_on(run_async(cmd, output))
}

async fn run_async(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let key = cmd.key.as_deref().map(read_key).transpose()?;
    let shown_key = cmd.key.as_ref().map(|name| format!("${name}"));
    let port = if cmd.check { 0 } else { 8080 };
    let options = Options {
        listen: cmd.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port))),
        real: Real {
            signal_engine: cmd.signal_engine,
            market_intel: cmd.market_intel,
            controller: cmd.controller,
            kubesnap: cmd.kubesnap,
            event_dispatcher: cmd.event_dispatcher,
        },
        key,
        show_access_log: !cmd.check,
    };
    let mut demo = Demo::start(options).await.context(
        "cannot start the demo (is the port taken? --listen 127.0.0.1:0 takes a free one)",
    )?;
    let outcome = match cmd.check {
        true => check(&demo, output).await,
        false => show(&mut demo, output, shown_key).await,
    };
    demo.end().await;
    outcome
}

/// Walks and prints; the exit code says whether all went well.
async fn check(demo: &Demo, output: Output) -> anyhow::Result<u8> {
    let mut outcomes = walk::walk(demo).await?;
    outcomes.extend(incident::walk(demo).await?);
    let ok = outcomes.iter().all(|it| it.ok);
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&outcomes)?)?,
        Output::Text => {
            for (index, outcome) in outcomes.iter().enumerate() {
                writeln!(out, "{}", line(index + 1, outcome))?;
            }
            let good = outcomes.iter().filter(|it| it.ok).count();
            writeln!(out, "{good} of {} steps as expected", outcomes.len())?;
        }
    }
    Ok(if ok { exit::OK } else { exit::FINDINGS })
}

fn line(number: usize, outcome: &Outcome) -> String {
    let word = if outcome.ok { "ok  " } else { "FAIL" };
    let status = outcome.status.map_or_else(|| "no answer".to_owned(), |it| it.to_string());
    let expected = match outcome.ok {
        true => String::new(),
        false => format!(" (expected {})", outcome.expected),
    };
    let Outcome { step, request, seen, .. } = outcome;
    format!("{word} {number:>2} {step}\n        {request}\n        {status}{expected} {seen}")
}

/// Prints what to try, then waits for Ctrl-C or for the gate's end.
async fn show(demo: &mut Demo, output: Output, shown_key: Option<String>) -> anyhow::Result<u8> {
    // Before anything is shown, and once: a signal between two listeners would be lost.
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    // A supervisor ends the demo by SIGTERM; the gate must not outlive it.
    let mut told = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    // A key that was made for this demo alone is shown; one from a variable is not.
    let key = shown_key.unwrap_or_else(|| demo.key.expose_secret().to_owned());
    print_scene(demo, output, &key)?;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = interrupted.recv() => return Ok(exit::OK),
            _ = told.recv() => return Ok(exit::OK),
            _ = look.tick() => {
                if demo.gate.has_ended() {
                    anyhow::bail!("the gate has ended by itself");
                }
            }
        }
    }
}

fn print_scene(demo: &Demo, output: Output, key: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let steps =
        STEPS.iter().filter(|it| it.only_standin().is_none_or(|role| demo.standins.plays(role)));
    if output == Output::Json {
        let steps: Vec<_> = steps
            .map(|it| serde_json::json!({ "step": it.title, "curl": it.curl(demo, key) }))
            .collect();
        let failure = failure(demo).into_iter();
        let failure: Vec<_> =
            failure.map(|it| serde_json::json!({ "step": it.0, "line": it.1 })).collect();
        let services: Vec<_> = demo.standins.services.iter().map(|it| &it.url).collect();
        let scene = serde_json::json!({
            "data": demo.gate.data, "ops": demo.gate.ops, "admin": demo.gate.admin,
            "control": demo.standins.control, "services": services, "steps": steps,
            "failure": failure,
        });
        writeln!(out, "{scene}")?;
        return Ok(out.flush()?);
    }
    writeln!(out, "The gate listens on http://{} in front of:", demo.gate.data)?;
    for service in &demo.standins.services {
        let kind = if service.behaviour.is_some() { "stand-in" } else { "real" };
        writeln!(out, "  {:<16} {} ({kind})", service.role.name(), service.url)?;
    }
    writeln!(out, "\nTry, in this order:\n")?;
    for step in steps {
        writeln!(out, "  # {}\n  {}", step.title, step.curl(demo, key))?;
    }
    writeln!(out, "\nBreak a service, see what the gate does about it, and heal it:\n")?;
    for (what, line) in failure(demo) {
        writeln!(out, "  # {what}\n  {line}")?;
    }
    writeln!(out, "\nAdmin API without a key: http://{}", demo.gate.admin)?;
    writeln!(out, "Ctrl-C ends everything.")?;
    Ok(out.flush()?)
}

/// From a broken service to the end of its incident: what each line shows, and the line.
fn failure(demo: &Demo) -> Vec<(&'static str, String)> {
    let (control, admin) = (demo.standins.control, demo.gate.admin);
    let own = |endpoint: &str| format!("curl 'http://{admin}/api/admin/headgate/{endpoint}'");
    let mut lines = vec![
        ("it breaks", format!("curl -X POST 'http://{control}/signal-engine/fail?status=500'")),
        ("what the gate thinks of it, and why", own("health?service=signal-engine")),
        ("the incident", own("incidents?open=true")),
        ("the same for people", format!("headgate incidents --gate http://{admin}")),
        ("the way of its alert", own("outbox")),
    ];
    if demo.standins.plays(Role::EventDispatcher) {
        let url = format!("curl http://{control}/event-dispatcher/alerts");
        lines.push(("what has arrived", url));
    }
    if demo.standins.plays(Role::Kubesnap) {
        lines.push(("the snapshots", format!("curl http://{control}/kubesnap/snapshots")));
    }
    let healed = format!("curl -X POST http://{control}/signal-engine/recover");
    lines.push(("it heals; the incident ends, and that is told", healed));
    lines
}

fn read_key(name: &str) -> anyhow::Result<SecretString> {
    let key = std::env::var(name).ok().filter(|it| !it.is_empty());
    let missing = || Usage(format!("the variable {name} is not set; export it first"));
    Ok(SecretString::from(key.ok_or_else(missing)?))
}

/// A key is named, never given: arguments show in process lists.
fn variable(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("env:").unwrap_or_default();
    let good = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    if name.is_empty() || !name.bytes().all(good) {
        return Err("expected env:NAME, the name of a variable that holds the key".to_owned());
    }
    Ok(name.to_owned())
}

/// Only what a config would accept: plain HTTP, a host, no path.
fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").ok_or("expected http://HOST:PORT")?;
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.contains(['/', '?', '#', '"', '\\', '@', ' ']) {
        return Err("expected http://HOST:PORT without a path".to_owned());
    }
    Ok(format!("http://{rest}"))
}
