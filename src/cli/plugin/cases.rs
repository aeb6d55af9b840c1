//! Cases of a plugin's `tests/*.json`: settings, inputs, and what is expected of the answers.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::cli::Usage;
use crate::cli::plugin::call::Input;
use crate::model::health::Saved;
use crate::plugin::Kind;

/// One case file may be this large.
const FILE_BYTES_MAX: u64 = 4 << 20;

const CASES_MAX: usize = 10_000;

/// A case as it is written: one input, or several steps of which each sees what the one before it saved.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    name: String,
    settings: Option<Value>,
    /// A policy's memory before the first step.
    prior: Option<Saved>,
    input: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    expect: Option<Value>,
    steps: Option<Vec<WrittenStep>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenStep {
    input: Value,
    #[serde(default, deserialize_with = "present")]
    expect: Option<Value>,
}

/// `null` is an answer too: a suppressed message.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A case that can be run.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) at: Place,
    /// `None`: the component's example.
    pub(super) settings: Option<Value>,
    pub(super) prior: Option<Saved>,
    pub(super) steps: Vec<Step>,
}

/// One call of a case.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) input: Input,
    /// `None`: any answer that is no fault.
    pub(super) expect: Option<Value>,
}

/// Where a case is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    /// In a file that holds a list.
    index: Option<usize>,
    /// Whether it is written as steps.
    steps: bool,
}

/// All cases of a folder, by file name; a missing folder has none.
///
/// # Errors
/// A [`Usage`] that names the file and what is wrong with it.
pub(super) fn read(folder: &Path, kind: Kind) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for file in files(folder)? {
        let document = document(&file)?;
        let list = match &document {
            Value::Array(list) => list.iter().enumerate().map(|(at, it)| (Some(at), it)).collect(),
            one => vec![(None, one)],
        };
        for (index, written) in list {
            let shown = file.display();
            let case = case(written, kind, &file, index)
                .map_err(|error| Usage(format!("{shown}: {}{error}", numbered(index))))?;
            cases.push(case);
        }
        if cases.len() > CASES_MAX {
            return Err(
                Usage(format!("more than {CASES_MAX} cases in {}", folder.display())).into()
            );
        }
    }
    Ok(cases)
}

fn numbered(index: Option<usize>) -> String {
    index.map(|it| format!("case {}: ", it + 1)).unwrap_or_default()
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Usage(format!("cannot read {}: {error}", folder.display())).into());
        }
    };
    let paths = entries.map(|it| it.map(|it| it.path())).collect::<Result<Vec<_>, _>>()?;
    let json = |it: &PathBuf| it.extension().is_some_and(|it| it == "json");
    let mut paths: Vec<_> = paths.into_iter().filter(json).collect();
    paths.sort();
    Ok(paths)
}

fn document(file: &Path) -> anyhow::Result<Value> {
    use std::io::Read as _;
    let shown = file.display();
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|it| it.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| Usage(format!("cannot read {shown}: {error}")))?;
    Ok(serde_json::from_str(&text)
        .map_err(|error| Usage(format!("{shown} is no JSON: {error}")))?)
}

fn case(json: &Value, kind: Kind, file: &Path, index: Option<usize>) -> Result<Case, String> {
    let written = Written::deserialize(json).map_err(|it| it.to_string())?;
    let place = Place { file: file.to_owned(), index, steps: written.steps.is_some() };
    let steps = match (written.input, written.steps) {
        (Some(input), None) => vec![WrittenStep { input, expect: written.expect }],
        (None, Some(steps)) if !steps.is_empty() && written.expect.is_none() => steps,
        (None, Some(_)) => {
            return Err(
                "`steps` is a list of {input, expect}; it is not empty, and `expect` stands within"
                    .to_owned(),
            );
        }
        _ => return Err("a case has either `input` (and `expect`) or `steps`".to_owned()),
    };
    let step = |(at, it): (usize, WrittenStep)| {
        let input =
            Input::read(kind, &it.input).map_err(|error| format!("step {}: {error}", at + 1))?;
        Ok(Step { input, expect: it.expect })
    };
    let steps = steps.into_iter().enumerate().map(step).collect::<Result<_, String>>()?;
    Ok(Case {
        name: written.name,
        at: place,
        settings: written.settings,
        prior: written.prior,
        steps,
    })
}

/// Writes these answers as what is expected, and leaves everything else of the file as it is.
///
/// # Errors
/// When the file has changed its shape meanwhile, or cannot be written.
pub(super) fn bless(place: &Place, answers: &[Value]) -> anyhow::Result<()> {
    let mut document = document(&place.file)?;
    let gone = || {
        Usage(format!("{} has changed while the cases ran; run them again", place.file.display()))
    };
    let case = match place.index {
        Some(index) => document.get_mut(index).ok_or_else(gone)?,
        None => &mut document,
    };
    let targets: Vec<&mut Value> = match case.get_mut("steps").filter(|_| place.steps) {
        Some(steps) => steps.as_array_mut().ok_or_else(gone)?.iter_mut().collect(),
        None => vec![case],
    };
    for (target, answer) in targets.into_iter().zip(answers) {
        target.as_object_mut().ok_or_else(gone)?.insert("expect".to_owned(), answer.clone());
    }
    let text = format!("{}\n", serde_json::to_string_pretty(&document)?);
    std::fs::write(&place.file, text)
        .map_err(|error| Usage(format!("cannot write {}: {error}", place.file.display())).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::store::tests::Folder;
    use serde_json::json;

    fn read_one(json: &Value, kind: Kind) -> Result<Vec<Case>, String> {
        let dir = Folder::new();
        std::fs::write(dir.path().join("a.json"), json.to_string()).unwrap();
        read(dir.path(), kind).map_err(|it| it.to_string())
    }

    #[test]
    fn the_templates_cases_are_read() {
        for (kind, text) in [
            (Kind::Policy, include_str!("../../../templates/cases/policy.json")),
            (Kind::Formatter, include_str!("../../../templates/cases/formatter.json")),
            (Kind::Filter, include_str!("../../../templates/cases/filter.json")),
        ] {
            let cases = read_one(&serde_json::from_str(text).unwrap(), kind).unwrap();
            assert!(cases.len() == 1 && cases[0].steps.iter().all(|it| it.expect.is_some()));
        }
    }

    #[test]
    fn what_is_wrong_with_a_case_is_named_with_its_file() {
        let rows = [
            (json!({ "input": {} }), "name"),
            (json!({ "name": "x" }), "either"),
            (json!({ "name": "x", "input": {}, "steps": [] }), "either"),
            (json!({ "name": "x", "steps": [] }), "not empty"),
            (json!({ "name": "x", "steps": [{ "input": {} }], "expect": 1 }), "within"),
            (json!({ "name": "x", "input": {}, "expected": 1 }), "expected"),
            (
                json!([{ "name": "x", "input": {} }, { "name": "y", "input": { "pth": "/" } }]),
                "case 2: step 1",
            ),
            (json!(1), "invalid type"),
        ];
        for (document, words) in rows {
            let error = read_one(&document, Kind::Filter).unwrap_err();
            assert!(error.contains(words) && error.contains("a.json"), "{document}: {error}");
        }
    }

    #[test]
    fn null_is_an_expectation_and_absence_is_none() {
        let event: Value =
            serde_json::from_str(include_str!("../../../templates/cases/formatter.json")).unwrap();
        let case = |expect: Option<Value>| {
            let mut case = json!({ "name": "x", "input": event["input"] });
            if let Some(expect) = expect {
                case["expect"] = expect;
            }
            read_one(&case, Kind::Formatter).unwrap().remove(0).steps.remove(0).expect
        };
        assert_eq!(case(Some(Value::Null)), Some(Value::Null));
        assert_eq!(case(None), None);
    }

    #[test]
    fn blessing_changes_nothing_but_what_is_expected() {
        let dir = Folder::new();
        let path = dir.path().join("a.json");
        let document = json!([
            { "name": "one", "input": { "path": "/" } },
            { "name": "two", "steps": [{ "input": {}, "expect": "old" }, { "input": {} }] },
        ]);
        std::fs::write(&path, document.to_string()).unwrap();
        let cases = read(dir.path(), Kind::Filter).unwrap();
        bless(&cases[1].at, &[json!("next"), json!({ "edit": [] })]).unwrap();
        let after: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut expected = document;
        expected[1]["steps"][0]["expect"] = json!("next");
        expected[1]["steps"][1]["expect"] = json!({ "edit": [] });
        assert_eq!(after, expected);
    }

    #[test]
    fn a_folder_that_is_missing_has_no_cases() {
        assert!(read(Path::new("/nowhere/at/all"), Kind::Filter).unwrap().is_empty());
    }
}
