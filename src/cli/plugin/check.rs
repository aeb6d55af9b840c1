//! `headgate plugin check` and `inspect`: what a component is, and everything that keeps a gate from letting it in.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::cli::plugin::{Granted, KindWord, json, show, subject};
use crate::cli::{Output, exit};
use crate::plugin::host::{Component, Inspection, Purpose, inspect as look};
use crate::plugin::{Check, Class, Digest, Fault, Info, Kind, Refusal};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Settings to try: JSON or @FILE [default: the component's own example].
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// The kind that it must be.
    #[arg(long, value_enum)]
    kind: Option<KindWord>,
    #[command(flatten)]
    granted: Granted,
}

/// Arguments of `inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The component.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    granted: Granted,
}

/// What is asked of a component.
pub(super) struct Asked {
    class: Class,
    kind: Option<Kind>,
    settings: Option<Value>,
}

impl Asked {
    /// With its own example settings.
    pub(super) fn of(class: Class) -> Self {
        Self { class, kind: None, settings: None }
    }
}

/// What was found out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    ok: bool,
    file: PathBuf,
    digest: Digest,
    bytes: usize,
    #[serde(flatten)]
    seen: Option<Seen>,
    info: Option<Info>,
    self_test: Vec<Check>,
    /// Not in the way, but better otherwise.
    notes: Vec<String>,
    reasons: Vec<Refusal>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    kind: Kind,
    world: &'static str,
    wit_version: String,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl From<Inspection> for Seen {
    fn from(seen: Inspection) -> Self {
        let Inspection { kind, wit_version, imports, exports, .. } = seen;
        Self { kind, world: kind.world(), wit_version, imports, exports }
    }
}

/// Checks. 0: a gate would let it in; 1: it would not, and these are all the reasons.
///
/// # Errors
/// When the file or the settings cannot be read, or there is no engine.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let settings = cmd.settings.as_deref().map(|it| json("--settings", it)).transpose()?;
    let kind = cmd.kind.map(Kind::from);
    let asked = Asked { class: cmd.granted.class(), kind, settings };
    tell(&examine(&cmd.file, &asked)?, output)
}

/// Shows what a component is. 0 as soon as it could be loaded.
///
/// # Errors
/// As [`run`].
pub(super) fn inspect(cmd: &Inspect, output: Output) -> anyhow::Result<u8> {
    let mut report = Report::of(&cmd.file, &subject::read(&cmd.file)?);
    report.load(&cmd.file, &Asked::of(cmd.granted.class()))?;
    report.ok = report.reasons.is_empty();
    tell(&report, output)
}

/// Takes a component through everything but replay.
///
/// # Errors
/// When the file cannot be read, or there is no engine.
pub(super) fn examine(file: &Path, asked: &Asked) -> anyhow::Result<Report> {
    let mut report = Report::of(file, &subject::read(file)?);
    if let Some(component) = report.load(file, asked)? {
        report.settings(&component, asked.settings.as_ref());
    }
    report.ok = report.reasons.is_empty();
    Ok(report)
}

impl Report {
    fn of(file: &Path, bytes: &[u8]) -> Self {
        Self {
            ok: false,
            file: file.to_owned(),
            digest: Digest::of(bytes),
            bytes: bytes.len(),
            seen: None,
            info: None,
            self_test: Vec::new(),
            notes: notes(bytes),
            reasons: Vec::new(),
        }
    }

    fn load(&mut self, file: &Path, asked: &Asked) -> anyhow::Result<Option<Component>> {
        let bytes = subject::read(file)?;
        let seen = match look(&bytes, asked.class) {
            Ok(seen) => seen,
            Err(reasons) => {
                self.reasons = reasons;
                return Ok(None);
            }
        };
        if let Some(wanted) = asked.kind.filter(|it| *it != seen.kind) {
            self.reasons.push(wrong_kind(wanted, seen.kind));
        }
        let host = subject::engine(Purpose::Serve)?;
        self.seen = Some(seen.into());
        match subject::load(&host, &bytes, asked.class) {
            Ok((_, component)) => {
                self.info = Some(component.info().clone());
                Ok(Some(component))
            }
            Err(reasons) => {
                self.reasons.extend(reasons);
                Ok(None)
            }
        }
    }

    /// Both are asked even if one fails: an author wants to hear everything at once.
    fn settings(&mut self, component: &Component, given: Option<&Value>) {
        let own = example(component.info());
        let own = match own {
            Ok(own) => own,
            Err(refusal) => {
                self.reasons.push(refusal);
                Value::Object(serde_json::Map::new())
            }
        };
        self.try_settings(component, &own, "its example settings");
        if let Some(given) = given {
            self.try_settings(component, given, "these settings");
        }
        let settings = given.unwrap_or(&own).to_string();
        match component.self_test(&settings).outcome {
            Ok(checks) => self.self_tested(checks),
            // Said already, with each issue.
            Err(Fault::Settings(_)) => {}
            Err(fault) => self.reasons.push(faulted("self-test", "the self-test", &fault)),
        }
        if component.info().config_schema.is_none() {
            self.notes.push(
                "it has no config-schema: operators learn of a wrong setting only from `configure`"
                    .to_owned(),
            );
        }
    }

    fn try_settings(&mut self, component: &Component, settings: &Value, what: &str) {
        match component.check_settings(settings).outcome {
            Ok(issues) => self.reasons.extend(issues.into_iter().map(|it| Refusal {
                path: Some(it.path.clone()),
                ..Refusal::new("settings", format!("{what}: {}: {}", place(&it.path), it.message))
            })),
            Err(fault) => self.reasons.push(faulted("settings", "configure", &fault)),
        }
    }

    fn self_tested(&mut self, checks: Vec<Check>) {
        if checks.is_empty() {
            let refusal = Refusal::new("self-test", "the self-test has no case");
            self.reasons.push(refusal.advice(
                "give at least one golden case: a gate lets nothing in that proves nothing",
            ));
        }
        for check in checks.iter().filter(|it| !it.passed) {
            let text = format!("the self-test's case {:?} failed: {}", check.name, check.message);
            self.reasons.push(Refusal::new("self-test", text));
        }
        self.self_test = checks;
    }
}

fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the whole" } else { pointer }
}

fn wrong_kind(wanted: Kind, is: Kind) -> Refusal {
    let text = format!("it is a {}, not a {}", is.word(), wanted.word());
    Refusal::new("wrong-world", text).advice(format!("build it for the world {}", wanted.world()))
}

fn faulted(code: &'static str, what: &str, fault: &Fault) -> Refusal {
    let refusal = Refusal::new(code, format!("{what} {fault}"));
    match show::advice(fault) {
        Some(advice) => refusal.advice(advice),
        None => refusal,
    }
}

/// Settings that the component says are good; `{}` where it names none.
pub(super) fn example(info: &Info) -> Result<Value, Refusal> {
    let Some(text) = &info.example_config else {
        return Ok(Value::Object(serde_json::Map::new()));
    };
    serde_json::from_str(text).map_err(|error| {
        Refusal::new("describe", format!("its example-config is no JSON: {error}"))
            .advice("give the settings as one JSON text")
    })
}

/// What a look at the bytes shows that does not keep it out.
fn notes(bytes: &[u8]) -> Vec<String> {
    let named = wasmparser::Parser::new(0).parse_all(bytes).map_while(Result::ok).any(
        |it| matches!(it, wasmparser::Payload::CustomSection(section) if section.name() == "name"),
    );
    if named || !bytes.starts_with(b"\0asm") {
        return Vec::new();
    }
    vec!["it has no names of functions, so a trap cannot say where: build with strip = \"debuginfo\", not strip = true".to_owned()]
}

/// Prints a report and gives its exit code.
///
/// # Errors
/// When nobody reads the output.
pub(super) fn tell(report: &Report, output: Output) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(report)?)?,
        Output::Text => text(&mut out, report)?,
    }
    out.flush()?;
    Ok(if report.ok { exit::OK } else { exit::FINDINGS })
}

fn text(out: &mut impl std::io::Write, report: &Report) -> std::io::Result<()> {
    writeln!(out, "{}: {} bytes, sha256 {}", report.file.display(), report.bytes, report.digest)?;
    if let Some(seen) = &report.seen {
        writeln!(
            out,
            "  kind     {} (world {}, headgate:plugin@{})",
            seen.kind.word(),
            seen.world,
            seen.wit_version
        )?;
        writeln!(out, "  imports  {}", list(&seen.imports))?;
    }
    if let Some(info) = &report.info {
        writeln!(
            out,
            "  plugin   {} {}: {}",
            show::clean(&info.name),
            show::clean(&info.version),
            show::clean(&info.summary)
        )?;
        writeln!(out, "  wants    {}", list(&info.wants))?;
        let metrics: Vec<String> = info.metrics.iter().map(|it| it.name.clone()).collect();
        writeln!(out, "  metrics  {}", list(&metrics))?;
        let extra: Vec<String> = info.extra.iter().map(|(key, it)| format!("{key}={it}")).collect();
        writeln!(out, "  extra    {}", list(&extra))?;
        if let Some(example) = &info.example_config {
            writeln!(out, "  example  {}", show::clean(example.trim()))?;
        }
    }
    for check in &report.self_test {
        writeln!(
            out,
            "  {} {}",
            if check.passed { "ok  " } else { "FAIL" },
            show::clean(&check.name)
        )?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    show::refusals(out, &report.reasons)?;
    match report.reasons.len() {
        0 => writeln!(out, "good: a gate lets it in"),
        1 => writeln!(out, "1 reason against it"),
        many => writeln!(out, "{many} reasons against it"),
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { show::clean(&words.join(", ")) }
}
