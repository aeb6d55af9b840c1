//! The interface that was released stays as it was, and what was built against it still loads and acts.

use std::fs;
use std::path::{Path, PathBuf};

use headgate::model::alert::Phase;
use headgate::model::health::Severity;
use headgate::plugin::facts::{Fact, Facts};
use headgate::plugin::{Kind, Said};

use super::{event, load, window};

/// The version that `wit/` has now.
const VERSION: &str = "0.1.0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a folder that end so, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<PathBuf> = entries
        .map(|it| it.expect("an entry").path())
        .filter(|it| it.extension().is_some_and(|it| it == ending))
        .collect();
    files.sort();
    files
}

/// What the compiler of components sees: no comments, no blank.
fn shape(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a text");
    let lines = text.lines().map(|it| it.split("//").next().unwrap_or_default().trim());
    lines.filter(|it| !it.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_released_interface_never_changes() {
    let wit = root().join("wit");
    let package = shape(&wit.join("plugin.wit"));
    assert!(
        package.contains(&format!("package headgate:plugin@{VERSION};")),
        "a new version of the WIT needs a folder of its own in wit/released, and its number here"
    );
    let released = wit.join("released").join(VERSION);
    let names = |folder: &Path| {
        let names = files(folder, "wit");
        names.iter().filter_map(|it| it.file_name().map(ToOwned::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(names(&wit), names(&released), "files of wit/ and of what was released");
    for name in names(&wit) {
        assert_eq!(
            shape(&wit.join(&name)),
            shape(&released.join(&name)),
            "{name:?} has another shape than {VERSION} was released with: components that exist would not load"
        );
    }
}

#[test]
fn components_of_earlier_versions_still_act() {
    let fixtures = root().join("tests/fixtures");
    let folders = fs::read_dir(&fixtures).expect("tests/fixtures");
    let versions = folders
        .map(|it| it.expect("an entry").path())
        .filter(|it| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with("wit-")));
    let mut kinds = Vec::new();
    for file in versions.flat_map(|it| files(&it, "wasm")) {
        let wasm = fs::read(&file).expect("a fixture");
        let component = load(&wasm).unwrap_or_else(|it| panic!("{}: {it:?}", file.display()));
        let example = component.info().example_config.clone().unwrap_or_else(|| "{}".to_owned());
        let settings = serde_json::from_str(&example).expect("JSON");
        assert_eq!(component.check_settings(&settings).outcome, Ok(Vec::new()), "{file:?}");
        let checks = component.self_test(&example).outcome.expect("checks");
        assert!(!checks.is_empty() && checks.iter().all(|it| it.passed), "{file:?}: {checks:?}");
        match component.kind() {
            Kind::Policy => {
                let called = component.evaluate(&example, &window(), None);
                assert!(called.outcome.is_ok(), "{file:?}: {called:?}");
            }
            Kind::Formatter => {
                let opened = event(Phase::Opened, Severity::Critical);
                let called = component.format(&example, &opened);
                assert!(called.outcome.is_ok_and(|it| it.is_some()), "{file:?}");
            }
            Kind::Filter => {
                let mut facts = Facts::default();
                facts.set(Fact::Method, b"GET");
                facts.set(Fact::Path, b"/");
                let mut instance = component.instance(&example).expect("an instance");
                assert!(instance.on_request(&mut facts, &mut Said::default()).is_ok(), "{file:?}");
            }
        }
        kinds.push(component.kind().word());
    }
    for kind in ["policy", "formatter", "filter"] {
        assert!(kinds.contains(&kind), "no fixture is a {kind}: {kinds:?}");
    }
}
