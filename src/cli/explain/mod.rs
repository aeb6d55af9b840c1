//! `headgate explain`: what the gate would do with a request, and why, without sending it.

mod report;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::auth::digest;
use crate::cli::explain::report::{Notes, Report};
use crate::cli::{Output, Usage, exit, refuse};
use crate::config::secret::{self, Resolved};
use crate::config::{self, Config, KeySource, defaults, findings};
use crate::generation::build::{Built, Sources, build};
use crate::generation::{Gate, Generation};
use crate::maintenance::{Modes, Window};
use crate::model::{Coverage, UnixMs};
use crate::proxy::decide::{Decision, decide_before};
use crate::proxy::forward_auth;
use crate::proxy::reject::Reject;
use crate::semantics::forwarded;
use crate::semantics::head::{HeadError, Parsed, RequestHead, Storage, parse_request};
use crate::semantics::path::canonical;
use crate::telemetry::metrics::Metrics;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 0: it would be forwarded or answered, 1: refused, 2: no such file, key or service.\n\n\
    Examples:\n  headgate explain GET /api/RELIANCE.NS\n  \
    headgate explain POST /api/admin/top-stocks --as stockflow\n  \
    headgate explain GET '/api/x/..%2fadmin/trigger-cron' --maintenance on -o json"
)]
pub struct Cmd {
    /// Method of the request, for example GET.
    method: String,
    /// Its URL or path, taken as it stands: nothing is normalised on the way.
    url: String,
    /// A header field of the request, `Name: value`; can be repeated.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The config file.
    #[arg(long, value_name = "FILE", default_value = defaults::FILE)]
    config: PathBuf,
    /// Who connects to the gate: a trusted proxy's address makes X-Forwarded-* count.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    peer: IpAddr,
    /// Send the key of this name, without knowing it.
    #[arg(long = "as", value_name = "KEY")]
    as_key: Option<String>,
    /// Pretend that maintenance is on: `on` for all covered services, or a service; can be repeated.
    #[arg(long, value_name = "on|SERVICE")]
    maintenance: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the config cannot be used, or an argument names nothing in it.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let text = match std::fs::read_to_string(&cmd.config) {
        Ok(text) => text,
        Err(error) => {
            let file = cmd.config.display();
            complain(&format!("error: {file}: {error}; name a config with --config FILE\n"))?;
            return Ok(exit::USAGE);
        }
    };
    let parsed = match config::parse(&text, &cmd.config) {
        Ok(parsed) => parsed,
        Err(found) => return refuse(&found, output, exit::FINDINGS),
    };
    let report = explain(&cmd, parsed.config, UnixMs::now())?;
    let mut out = std::io::stdout().lock();
    match output {
        Output::Text => write!(out, "{report}")?,
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
    }
    Ok(if report.is_refused() { exit::FINDINGS } else { exit::OK })
}

fn complain(text: &str) -> anyhow::Result<()> {
    std::io::stderr().write_all(text.as_bytes()).context("standard error cannot be written")
}

fn explain(cmd: &Cmd, mut config: Config, now: UnixMs) -> anyhow::Result<Report> {
    let stand_in = cmd.as_key.as_deref().map(|name| stand_in(&mut config, name)).transpose()?;
    let modes = modes(&cmd.maintenance, &config, now)?;
    let (generation, unread) = dry_build(config, &cmd.config, now)?;
    let bytes = request(cmd, stand_in.as_deref())?;
    let gate = Gate { generation: Arc::new(generation), modes: Arc::new(modes) };
    let mut report = judge(&gate, cmd.peer, &bytes, now);
    report.warnings.extend(unread);
    Ok(report)
}

/// Parses and decides as the data path does.
fn judge(gate: &Gate, peer: IpAddr, bytes: &[u8], now: UnixMs) -> Report {
    let mut storage = Storage::default();
    let generation = &gate.generation;
    let head = match parse_request(bytes, &mut storage, &generation.head_limits) {
        Ok(Parsed::Whole(head, _)) => head,
        Ok(Parsed::Partial) => {
            return Report::unread(&generation.config, &Reject::Head(UNFINISHED));
        }
        Err(error) => return Report::unread(&generation.config, &Reject::Head(error)),
    };
    let client = forwarded::client(peer, &generation.config.trusted_proxies, &head);
    let mut notes = Notes::new(&generation.config, head.api_key.is_some());
    let decision = decide_before(gate, &head, &client, now, &mut notes);
    let mut report = notes.conclude(&decision, &head, &client);
    if let Decision::Forward(forward) = &decision {
        report.asks(generation, &head, forward);
    }
    match decision {
        Decision::ForwardAuth => match forward_auth::answer(gate, &head, &client, now) {
            Ok(_) => report.why = "a trusted proxy asks about a request that may pass".to_owned(),
            Err(denied) => report.refused(&generation.config, &denied.reject),
        },
        Decision::Refuse(Reject::NoRoute) => report.warnings.extend(missing_prefix(gate, &head)),
        _ => {}
    }
    report
}

/// The usual slip with a prefix: the path would be routed with it.
fn missing_prefix(gate: &Gate, head: &RequestHead<'_>) -> Option<String> {
    let prefix = gate.generation.config.prefix.as_str();
    let path = format!("{prefix}{}", canonical(head.raw_path).ok()?);
    let routed = gate.generation.routes.owner(head.authority, &path, head.method).is_some()
        || path.starts_with(gate.generation.admin.prefix.as_str());
    (!prefix.is_empty() && routed)
        .then(|| format!("the deployment has the prefix {prefix}: did you mean {path}?"))
}

/// What a client would hear that stops in the midst of a head.
const UNFINISHED: HeadError =
    HeadError { status: 400, code: "unfinished", detail: "the head has no end" };

/// The request as a client would send it.
fn request(cmd: &Cmd, key: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let (host, target) = host_and_target(&cmd.url);
    // As every client sends a URL without a path.
    let slash = if target.is_empty() || target.starts_with('?') { "/" } else { "" };
    let mut text = format!("{} {slash}{target} HTTP/1.1\r\n", cmd.method);
    let has_host = cmd.headers.iter().any(|it| is_named(it, "host"));
    if !has_host {
        text.push_str(&format!("Host: {host}\r\n"));
    }
    for field in &cmd.headers {
        if !field.contains(':') {
            bail!(Usage(format!("-H {field:?} has no colon: write 'Name: value'")));
        }
        text.push_str(field);
        text.push_str("\r\n");
    }
    if let Some(key) = key {
        text.push_str(&format!("X-API-KEY: {key}\r\n"));
    }
    text.push_str("\r\n");
    Ok(text.into_bytes())
}

/// Only what begins as a URL has a host of its own: `/api/admin/x?next=http://other/` is a path.
fn host_and_target(url: &str) -> (&str, &str) {
    for scheme in ["http://", "https://"] {
        if url.get(..scheme.len()).is_some_and(|it| it.eq_ignore_ascii_case(scheme)) {
            let rest = url.get(scheme.len()..).unwrap_or_default();
            return rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
        }
    }
    ("localhost", url)
}

fn is_named(field: &str, name: &str) -> bool {
    field.split_once(':').is_some_and(|it| it.0.eq_ignore_ascii_case(name))
}

/// Gives the key another value, which the request then presents.
fn stand_in(config: &mut Config, name: &str) -> anyhow::Result<String> {
    let value = format!("stand-in-for-{name}");
    match config.keys.iter_mut().find(|it| it.name == name) {
        Some(key) => key.source = KeySource::Digest(digest(value.as_bytes())),
        None => {
            let known = names(config);
            bail!(Usage(format!(
                "--as {name}: the config has no key of this name (it has {known})"
            )))
        }
    }
    Ok(value)
}

fn names(config: &Config) -> String {
    let names: Vec<&str> = config.keys.iter().map(|it| it.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn modes(wanted: &[String], config: &Config, now: UnixMs) -> anyhow::Result<Modes> {
    let window = || Window { since: now, by: "explain".to_owned(), ..Window::default() };
    let mut modes = Modes::default();
    for name in wanted {
        match config.services.iter().find(|it| it.name == *name) {
            Some(it) if it.coverage == Coverage::Exempt => {
                bail!(Usage(format!(
                    "--maintenance {name}: this service is exempt from maintenance"
                )))
            }
            Some(_) => modes.services.push((name.clone(), window())),
            None if name == "on" => modes.all = Some(window()),
            None => bail!(Usage(format!(
                "--maintenance {name}: the config has no service of this name"
            ))),
        }
    }
    Ok(modes)
}

/// A generation that connects to nothing. A key that cannot be read here (its place is where the gate runs) is one
/// that no request can present; the second value tells which.
fn dry_build(
    config: Config,
    file: &Path,
    now: UnixMs,
) -> anyhow::Result<(Generation, Vec<String>)> {
    let unread = std::cell::RefCell::new(Vec::new());
    let read = |source: &KeySource| {
        secret::read(source).or_else(|error| {
            let mut unread = unread.borrow_mut();
            unread.push(format!("{error}; `--as NAME` stands in for a key"));
            let place = u8::try_from(unread.len()).unwrap_or(u8::MAX);
            Ok(Resolved::Digest([place; 32]))
        })
    };
    let metrics = Metrics::new(1);
    let sources = Sources {
        read: &read,
        endpoints: &|_| Arc::default(),
        metrics: &metrics,
        plugins: &crate::plugin::registry::native,
        now,
        file: &file.display().to_string(),
    };
    match build(config, b"", None, &sources) {
        Ok(Built { generation, .. }) => Ok((generation, unread.take())),
        Err(found) => bail!("the config cannot be built\n{}", findings::render(&found)),
    }
}

#[cfg(test)]
mod tests;
