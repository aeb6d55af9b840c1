//! `headgate plugin test`: the self-test and the cases of `tests/*.json`, each run more than once.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::plugin::call::{Answer, Input, fault_json, fresh, reused};
use crate::cli::plugin::cases::{self, Case};
use crate::cli::plugin::compare::{Difference, differences};
use crate::cli::plugin::{Granted, build, check, show, subject};
use crate::cli::{Output, exit};
use crate::model::health::Saved;
use crate::plugin::host::{Component, Purpose};
use crate::plugin::{Check, Refusal};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// The plugin's folder, which is built first, or a built component.
    #[arg(default_value = ".", value_name = "DIR|FILE")]
    what: PathBuf,
    /// Folder of the cases [default: tests/ beside the component].
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Write what came into the cases as what is expected.
    #[arg(long)]
    bless: bool,
    /// Take the folder's component as it is.
    #[arg(long)]
    no_build: bool,
    #[command(flatten)]
    options: build::Options,
    #[command(flatten)]
    granted: Granted,
}

/// What came of everything.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    ok: bool,
    file: PathBuf,
    reasons: Vec<Refusal>,
    self_test: Vec<Check>,
    cases: Vec<CaseReport>,
}

/// What came of one case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CaseReport {
    name: String,
    file: PathBuf,
    ok: bool,
    problems: Vec<Problem>,
    /// Of each step.
    answers: Vec<Value>,
}

/// What is wrong with the answer of one step.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    /// Counted from 1; 0: before the first.
    step: usize,
    message: String,
    #[serde(skip)]
    fault: bool,
    differences: Vec<Difference>,
}

impl Problem {
    fn new(step: usize, message: String) -> Self {
        Self { step, message, fault: false, differences: Vec::new() }
    }
}

/// Runs the tests. 0: all is as expected.
///
/// # Errors
/// When there is nothing to test, a case cannot be read, or there is no engine.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let Some(file) = component(&cmd.what, cmd.no_build, &cmd.options)? else {
        return Ok(exit::FINDINGS);
    };
    let host = subject::engine(Purpose::Serve)?;
    let mut report = Report {
        ok: false,
        file: file.clone(),
        reasons: Vec::new(),
        self_test: Vec::new(),
        cases: Vec::new(),
    };
    match subject::open(&host, &file, cmd.granted.class())? {
        Err(reasons) => report.reasons = reasons,
        Ok(subject) => {
            let beside = file.parent().map(|it| it.join("tests")).unwrap_or_default();
            let folder = cmd.cases.clone().unwrap_or(beside);
            let cases = cases::read(&folder, subject.component.kind())?;
            report.fill(&subject.component, &cases);
            if cmd.bless {
                report.bless(&cases)?;
            }
        }
    }
    report.ok = report.reasons.is_empty() && report.cases.iter().all(|it| it.ok);
    let out = &mut std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Output::Text => report.text(out)?,
    }
    Ok(if report.ok { exit::OK } else { exit::FINDINGS })
}

/// The component of a folder or a file; `None`: it does not build, which its tools have told.
pub(super) fn component(
    what: &std::path::Path,
    as_it_is: bool,
    options: &build::Options,
) -> anyhow::Result<Option<PathBuf>> {
    if what.is_file() {
        return Ok(Some(what.to_owned()));
    }
    if as_it_is {
        return build::product(what).map(Some);
    }
    build::build(what, options)
}

impl Report {
    fn fill(&mut self, component: &Component, cases: &[Case]) {
        let own = check::example(component.info()).unwrap_or_else(|refusal| {
            self.reasons.push(refusal);
            json!({})
        });
        match component.self_test(&own.to_string()).outcome {
            Ok(checks) => self.self_test = checks,
            Err(fault) => {
                self.reasons.push(Refusal::new("self-test", format!("the self-test {fault}")));
            }
        }
        for check in self.self_test.iter().filter(|it| !it.passed) {
            let text = format!("the self-test's case {:?} failed: {}", check.name, check.message);
            self.reasons.push(Refusal::new("self-test", text));
        }
        self.cases = cases.iter().map(|it| run_case(component, it, &own)).collect();
    }

    /// What came is right by decree, but no fault, and nothing that does not repeat.
    fn bless(&mut self, cases: &[Case]) -> anyhow::Result<()> {
        for (case, report) in cases.iter().zip(&mut self.cases) {
            report.problems.retain(|it| it.differences.is_empty() || it.fault);
            report.ok = report.problems.is_empty();
            if report.ok {
                cases::bless(&case.at, &report.answers)?;
            }
        }
        Ok(())
    }

    fn text(&self, out: &mut impl Write) -> std::io::Result<()> {
        for check in &self.self_test {
            let word = if check.passed { "ok  " } else { "FAIL" };
            writeln!(out, "{word} self-test: {}", show::clean(&check.name))?;
        }
        for case in &self.cases {
            writeln!(out, "{} {}", if case.ok { "ok  " } else { "FAIL" }, show::clean(&case.name))?;
            for problem in &case.problems {
                let step = if case.answers.len() > 1 {
                    format!("step {}: ", problem.step)
                } else {
                    String::new()
                };
                writeln!(
                    out,
                    "     {} {step}{}",
                    case.file.display(),
                    show::clean(&problem.message)
                )?;
                show::differences(out, &problem.differences)?;
            }
        }
        show::refusals(out, &self.reasons)?;
        let good = self.cases.iter().filter(|it| it.ok).count();
        writeln!(out, "{} of {} cases as expected", good, self.cases.len())?;
        if self.cases.is_empty() {
            writeln!(
                out,
                "note: no cases; put one into tests/NAME.json: {{\"name\": ..., \"input\": ..., \"expect\": ...}}"
            )?;
        }
        Ok(())
    }
}

fn run_case(component: &Component, case: &Case, own: &Value) -> CaseReport {
    let settings = case.settings.as_ref().unwrap_or(own);
    let mut problems = Vec::new();
    match component.check_settings(settings).outcome {
        Ok(issues) => problems.extend(issues.into_iter().map(|it| {
            Problem::new(0, format!("the settings are refused: {}: {}", it.path, it.message))
        })),
        Err(fault) => {
            let message = format!("the settings could not be tried: the plugin {fault}");
            problems.push(Problem::new(0, message));
        }
    }
    let mut answers = Vec::new();
    if problems.is_empty() {
        let text = settings.to_string();
        let first = steps(component, case, &text);
        let second = steps(component, case, &text);
        problems.extend(judge(case, &first));
        problems.extend(unrepeated(
            &first,
            &second,
            "not deterministic: the same input again gave another answer",
        ));
        if let Some(third) = in_one_instance(component, case, &text) {
            let message = "hidden state: an instance that was called before gave another answer than a fresh one";
            problems.extend(unrepeated(&first, &third, message));
        }
        answers = first.into_iter().map(|it| it.json).collect();
    }
    let ok = problems.is_empty();
    CaseReport { name: case.name.clone(), file: case.at.file.clone(), ok, problems, answers }
}

/// Each step in a fresh instance; a policy is given what the step before it saved.
fn steps(component: &Component, case: &Case, settings: &str) -> Vec<Answer> {
    let mut prior = case.prior.clone();
    let version = component.info().state_version;
    let mut answers = Vec::with_capacity(case.steps.len());
    for step in &case.steps {
        let answer = fresh(component, settings, &step.input, prior.as_ref());
        if let Some(bytes) = answer.state.clone() {
            prior = Some(Saved { version, bytes }).filter(|it| !it.bytes.is_empty());
        }
        answers.push(answer);
    }
    answers
}

/// All steps of a filter in one instance, twice over; the second time counts. `None` for the other kinds, which always
/// get a fresh one.
fn in_one_instance(component: &Component, case: &Case, settings: &str) -> Option<Vec<Answer>> {
    let requests: Vec<_> = case
        .steps
        .iter()
        .filter_map(|it| match &it.input {
            Input::Request(request) => Some(request),
            Input::Window(_) | Input::Event(_) => None,
        })
        .collect();
    if requests.is_empty() {
        return None;
    }
    let mut instance = component.instance(settings).ok()?;
    for request in &requests {
        if reused(&mut instance, component.info(), request).fault.is_some() {
            // A fault ends the instance; that the fresh one gave it too is judged by its answer.
            return None;
        }
    }
    Some(requests.iter().map(|it| reused(&mut instance, component.info(), it)).collect())
}

fn judge(case: &Case, answers: &[Answer]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, (step, answer)) in case.steps.iter().zip(answers).enumerate() {
        let found = match (&step.expect, &answer.fault) {
            (Some(expect), _) => differences(expect, &answer.json),
            (None, Some(_)) => Vec::new(),
            (None, None) => continue,
        };
        let message = match &answer.fault {
            Some(fault) if step.expect.is_none() || !found.is_empty() => {
                let advice = show::advice(fault).map(|it| format!(" ({it})")).unwrap_or_default();
                format!("the plugin {fault}{advice}")
            }
            _ if found.is_empty() => continue,
            _ => "the answer is not as expected".to_owned(),
        };
        let fault = answer.fault.is_some();
        problems.push(Problem { step: index + 1, message, fault, differences: found });
    }
    problems
}

fn unrepeated(first: &[Answer], again: &[Answer], message: &str) -> Option<Problem> {
    let pairs = first.iter().zip(again);
    let (index, (first, again)) =
        pairs.enumerate().find(|(_, (first, again))| !first.repeats(again))?;
    let shown =
        |it: &Answer| it.fault.as_ref().map_or_else(|| it.json.clone(), fault_json).to_string();
    let message = format!("{message}: {} and {}", shown(first), shown(again));
    Some(Problem::new(index + 1, message))
}
