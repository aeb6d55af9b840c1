//! A replay's result for people and for tools.

use std::io::Write;

use serde_json::Value;

use crate::cli::replay::Candidate;
use crate::cli::replay::difference::{EXAMPLES_MAX, Plugin, Report, Sort};
use crate::cli::telling::{clean, moment};

pub(super) fn plugin(tried: &Candidate) -> Plugin {
    let info = tried.component.info();
    Plugin {
        name: info.name.clone(),
        version: info.version.clone(),
        kind: tried.component.kind().word(),
        digest: tried.component.digest().to_string(),
    }
}

pub(super) fn json(report: &Report) -> Value {
    let mut form = serde_json::json!(report);
    form["different"] = Value::Bool(report.is_different());
    form
}

pub(super) fn text(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let Plugin { name, version, kind, digest } = &report.plugin;
    let short = digest.get(..12).unwrap_or(digest);
    writeln!(
        out,
        "{kind} {} {} ({short}), since {}",
        clean(name),
        clean(version),
        moment(report.since_ms)
    )?;
    for note in &report.notes {
        writeln!(out, "note: {}", clean(note))?;
    }
    for it in &report.services {
        writeln!(out, "{}: {} observations", clean(&it.service), it.observations)?;
        sort(out, "verdicts", &it.verdicts)?;
        sort(out, "incidents", &it.incidents)?;
        sort(out, "alerts", &it.alerts)?;
        if let Some(fault) = &it.first_fault {
            writeln!(out, "  it gave no verdict {} times; first: {}", it.faults, clean(fault))?;
        }
    }
    if let Some(words) = &report.words {
        sort(out, "messages", words)?;
    }
    let end = if report.is_different() {
        "something would be different"
    } else {
        "nothing would be different"
    };
    writeln!(out, "{end}")
}

fn sort(out: &mut impl Write, name: &str, it: &Sort) -> std::io::Result<()> {
    writeln!(
        out,
        "  {name}: {} were, {} would be, {} differ",
        it.recorded, it.candidate, it.different
    )?;
    for example in &it.examples {
        let side =
            |text: &Option<String>| text.as_deref().map_or_else(|| "nothing".to_owned(), clean);
        let (old, new) = (side(&example.recorded), side(&example.candidate));
        writeln!(out, "    {}\n      - {old}\n      + {new}", moment(example.at_ms))?;
    }
    match it.different.saturating_sub(it.examples.len()) {
        0 => Ok(()),
        more => writeln!(out, "    and {more} more after the first {EXAMPLES_MAX}"),
    }
}
