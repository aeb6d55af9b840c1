//! `headgate incidents`: what is and was wrong with services; one with its timeline and evidence.

use std::io::Write;

use serde_json::Value;

use crate::cli::Output;
use crate::cli::gate::{Api, Gate, Target};
use crate::cli::telling::{
    PATIENCE, block_on, clean, first_line, moment, offset, read, relative, span, table, tell, word,
};
use crate::model::UnixMs;
use crate::model::health::{Health, Sample};
use crate::model::incident::{Incident, Moment, Snapshot};

const LIST: Api = Api { member: "incidents", ask: "headgate incidents" };
const ONE: Api = Api { member: "incident", ask: "headgate incidents" };

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  headgate incidents --open\n  headgate incidents 019ac1f2a00-1f2e3d4c"
)]
pub struct Cmd {
    /// Show this one with timeline and evidence.
    #[arg(value_name = "ID", conflicts_with_all = ["open", "service", "limit"])]
    id: Option<String>,
    /// Only those that are not over.
    #[arg(long)]
    open: bool,
    /// Only of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
///
/// # Errors
/// When there is no runtime, nobody reads the output, or the answer is no gate's.
#[expect(clippy::needless_pass_by_value, reason = "all commands are called alike")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let now = UnixMs::now().0;
    if let Some(id) = &cmd.id {
        let endpoint = format!("headgate/incidents/{}", crate::cli::gate::encoded(id));
        let call = async { Gate::new(&cmd.target, ONE, PATIENCE)?.get(&endpoint, &[]).await };
        return tell(&block_on(call)?, output, |out, answer| {
            one(out, &read(answer, "incident")?, now)
        });
    }
    let limit = cmd.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(cmd.service.as_deref().map(|it| ("service", it)));
    query.extend(cmd.open.then_some(("open", "true")));
    let call =
        async { Gate::new(&cmd.target, LIST, PATIENCE)?.get("headgate/incidents", &query).await };
    tell(&block_on(call)?, output, |out, answer| list(out, answer, now))
}

fn list(out: &mut impl Write, answer: &Value, now: u64) -> std::io::Result<()> {
    let incidents: Vec<Brief> = read(answer, "incidents")?;
    if incidents.is_empty() {
        return writeln!(out, "no incidents");
    }
    let heads = ["ID", "SERVICE", "SEVERITY", "CODE", "OPENED", "STATE", "SNAPSHOT"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(incidents.iter().map(|Brief(it)| {
        vec![
            clean(&it.id),
            clean(&it.service.name),
            word(&it.severity),
            brief(it),
            moment(it.opened_ms),
            state(it, now),
            it.snapshot.as_ref().map_or("-".to_owned(), snapshot),
        ]
    }));
    table(out, "", &rows)?;
    let number = |name| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    writeln!(out, "{} open, {} in all", number("open"), number("total"))
}

/// An incident as the list has it: without its timeline.
#[derive(Debug)]
struct Brief(Incident);

impl<'de> serde::Deserialize<'de> for Brief {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(from)?;
        if let Some(form) = value.as_object_mut() {
            form.entry("timeline").or_insert_with(|| Value::Array(Vec::new()));
        }
        Incident::deserialize(value).map(Self).map_err(serde::de::Error::custom)
    }
}

fn state(it: &Incident, now: u64) -> String {
    let mut words = match it.resolved_ms {
        Some(at) => format!("over after {}", span(at.saturating_sub(it.opened_ms))),
        None => format!("open for {}", span(now.saturating_sub(it.opened_ms))),
    };
    if it.flapping {
        words.push_str(", flapping");
    }
    if it.muted {
        words.push_str(", muted");
    }
    words
}

fn snapshot(it: &Snapshot) -> String {
    match it {
        Snapshot::Pending => "asked for".to_owned(),
        Snapshot::Taken { file } => format!("taken: {}", clean(file)),
        Snapshot::Failed { reason } => format!("failed: {}", first_line(reason)),
        Snapshot::Unknown { reason } => format!("unknown: {}", first_line(reason)),
        Snapshot::Skipped { reason } => format!("skipped: {}", first_line(reason)),
    }
}

fn by(digest: Option<&String>) -> String {
    digest.map_or_else(
        || "native rule".to_owned(),
        |it| format!("component {}", clean(it.get(..12).unwrap_or(it))),
    )
}

/// What is wrong or, once that is over, what was: code and sentence stay those of the bad time, the health does not.
fn verdict(it: &Incident) -> String {
    let (code, detail) = (clean(&it.code), clean(&it.detail));
    if it.resolved_ms.is_none() {
        return format!("{} {code}: {detail}", word(&it.health));
    }
    let bad = |line: &&Moment| line.code == it.code && line.health != Health::Ok;
    let bad = it.timeline.iter().rfind(bad).map_or("bad".to_owned(), |line| word(&line.health));
    format!("was {bad} ({code}): {detail}")
}

/// The same in a word; the list has no timeline.
fn brief(it: &Incident) -> String {
    match it.resolved_ms {
        None => format!("{} {}", word(&it.health), clean(&it.code)),
        Some(_) => format!("was {}", clean(&it.code)),
    }
}

fn one(out: &mut impl Write, it: &Incident, now: u64) -> std::io::Result<()> {
    writeln!(out, "incident {}", clean(&it.id))?;
    let mut facts = vec![
        ("service", clean(&it.service.name)),
        ("severity", word(&it.severity)),
        ("verdict", verdict(it)),
        ("judged by", by(it.by.as_ref())),
        ("opened", format!("{}, {}", moment(it.opened_ms), relative(it.opened_ms, now))),
        ("state", state(it, now)),
    ];
    if let Some(namespace) = &it.service.namespace {
        facts.insert(1, ("namespace", clean(namespace)));
    }
    if let Some(at) = it.resolved_ms {
        facts.push(("resolved", format!("{}, {}", moment(at), relative(at, now))));
    }
    if let Some(it) = &it.snapshot {
        facts.push(("snapshot", snapshot(it)));
    }
    if !it.issues.is_empty() {
        facts.push(("issues", clean(&it.issues.join(", "))));
    }
    let rows: Vec<_> = facts.into_iter().map(|(name, text)| vec![name.to_owned(), text]).collect();
    table(out, "  ", &rows)?;
    writeln!(out, "timeline")?;
    let rows: Vec<_> = it.timeline.iter().map(|line| timeline(line, it.opened_ms)).collect();
    table(out, "  ", &rows)?;
    writeln!(out, "evidence")?;
    if it.evidence.is_empty() {
        return writeln!(out, "  none");
    }
    let rows: Vec<_> = it.evidence.iter().map(|seen| evidence(seen, it.opened_ms)).collect();
    table(out, "  ", &rows)
}

fn timeline(it: &Moment, opened_ms: u64) -> Vec<String> {
    let acted = it.by.as_ref().map(|_| format!(" [{}]", by(it.by.as_ref()))).unwrap_or_default();
    vec![
        moment(it.at_ms),
        offset(it.at_ms, opened_ms),
        word(&it.what),
        word(&it.health),
        clean(&it.code),
        format!("{}{acted}", first_line(&it.text)),
    ]
}

fn evidence(it: &Sample, opened_ms: u64) -> Vec<String> {
    let mut row = vec![moment(it.at_ms), offset(it.at_ms, opened_ms)];
    row.extend(seen(it));
    row
}

/// Kind, outcome, status, latency and the body's first line.
pub(super) fn seen(it: &Sample) -> [String; 5] {
    let body = it.body.as_deref().map(first_line).unwrap_or_default();
    let address = it.extra.iter().find(|it| it.0 == "error").map(|it| first_line(&it.1));
    [
        clean(&it.kind),
        word(&it.outcome),
        it.status.map_or("-".to_owned(), |it| it.to_string()),
        format!("{}.{} ms", it.latency_us / 1000, it.latency_us % 1000 / 100),
        address.unwrap_or(body),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a gate tells it; fields that it has besides are no matter here.
    fn incident() -> Incident {
        let opened_ms = 1_795_502_400_000_u64;
        let told = serde_json::json!({
            "id": "019ac-1f2e",
            "service": { "name": "market-intel", "namespace": "default" },
            "severity": "critical",
            "opened-ms": opened_ms,
            "resolved-ms": opened_ms + 300_000,
            "health": "ok",
            "code": "refused",
            "detail": "connection refused",
            "issues": ["market-intel"],
            "muted": true,
            "told": true,
            "snapshot": { "state": "taken", "file": "kubesnap.zip" },
            "evidence": [{
                "at-ms": opened_ms - 2_000, "source": "probe", "kind": "http", "latency-us": 1_250,
                "outcome": "bad-status", "status": 503, "body": "oh\u{1b}[2J no\nmore",
            }],
            "timeline": [{
                "at-ms": opened_ms + 2_000, "what": "snapshot-taken", "health": "failing",
                "code": "refused", "text": "kubesnap.zip", "by": "ab".repeat(32),
            }],
        });
        serde_json::from_value(told).unwrap()
    }

    #[test]
    fn one_incident_reads_from_the_top() {
        let mut out = Vec::new();
        one(&mut out, &incident(), 1_795_502_400_000 + 360_000).unwrap();
        let said = String::from_utf8(out).unwrap();
        for line in [
            "incident 019ac-1f2e\n",
            "  opened     2026-11-24 06:40:00Z, 6m ago\n",
            "  verdict    was failing (refused): connection refused\n",
            "  state      over after 5m, muted\n",
            "  resolved   2026-11-24 06:45:00Z, 1m ago\n",
            "  snapshot   taken: kubesnap.zip\n",
            "  2026-11-24 06:40:02Z  +2s  snapshot-taken  failing  refused  kubesnap.zip [component abababababab]\n",
            "  2026-11-24 06:39:58Z  -2s  http  bad-status  503  1.2 ms  oh\u{fffd}[2J no\n",
        ] {
            assert!(said.contains(line), "{line}{said}");
        }
    }

    #[test]
    fn the_list_needs_no_timeline() {
        let mut form = serde_json::to_value(incident()).unwrap();
        form.as_object_mut().unwrap().remove("timeline");
        let answer = serde_json::json!({ "incidents": [form], "open": 0, "total": 1 });
        let mut out = Vec::new();
        list(&mut out, &answer, 1_795_502_400_000).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert!(said.contains("  was refused  ") && said.ends_with("0 open, 1 in all\n"), "{said}");
        let wrong = serde_json::json!({ "incidents": [{ "id": 1 }] });
        assert!(list(&mut Vec::new(), &wrong, 0).is_err());
    }
}
