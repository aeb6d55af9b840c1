//! What an author does first, in each language and for each kind: new, build, test, check, run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::gateway::TempDir;
use crate::support::peers::{find, skip};

const KINDS: [&str; 3] = ["policy", "formatter", "filter"];

/// A plugin's folder, and what its tools need to be told.
struct Author {
    dir: TempDir,
    name: String,
    env: Vec<(&'static str, PathBuf)>,
    more: &'static [&'static str],
}

impl Author {
    fn folder(&self) -> String {
        self.dir.0.join(&self.name).display().to_string()
    }

    fn component(&self) -> String {
        self.dir.0.join(&self.name).join(format!("{}.wasm", self.name)).display().to_string()
    }

    /// Runs `headgate plugin ... -o json`, which must end well, and reads its document.
    #[track_caller]
    fn does(&self, arguments: &[&str]) -> Value {
        let output = self.ran(arguments);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    fn ran(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_headgate"))
            .args(["-o", "json", "plugin"])
            .args(arguments)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .output()
            .expect("the binary starts")
    }

    /// From nothing to an accepted answer.
    fn goes_all_the_way(&self, kind: &str, language: &str, prepare: impl Fn(&Path)) {
        let folder = self.folder();
        self.does(&["new", &self.name, "--kind", kind, "--lang", language, "--dir", &folder]);
        prepare(Path::new(&folder));
        let again = self.ran(&["new", &self.name, "--kind", kind, "--dir", &folder]);
        assert_eq!(again.status.code(), Some(2), "nothing is overwritten");

        let build: Vec<&str> =
            ["build", &folder].into_iter().chain(self.more.iter().copied()).collect();
        let report = self.does(&build);
        assert_eq!(
            (&report["ok"], &report["kind"]),
            (&Value::Bool(true), &Value::from(kind)),
            "{report}"
        );
        assert!(!report.to_string().contains("wasi:"), "{report}");

        let report = self.does(&["test", &folder, "--no-build"]);
        assert_eq!(report["cases"].as_array().map(Vec::len), Some(1), "{report}");
        assert_eq!(report["selfTest"].as_array().map(Vec::len), Some(1), "{report}");

        let component = self.component();
        let answer = self.does(&["run", &component])["answer"].clone();
        match kind {
            "policy" => assert_eq!(answer["status"], "failing", "{answer}"),
            "formatter" => assert!(answer["issues"][0].is_string(), "{answer}"),
            _ => assert_eq!(answer, "next"),
        }
        let measured = self.does(&["bench", &component, "--calls", "5"]);
        assert!(measured["fuel"].as_u64().is_some_and(|it| it > 0), "{measured}");
        self.notices_what_is_wrong(&component);
    }

    fn notices_what_is_wrong(&self, component: &str) {
        let cases = self.dir.0.join("wrong");
        fs::create_dir_all(&cases).expect("a temp folder");
        let first = Path::new(&self.folder()).join("tests/first.json");
        let text = fs::read_to_string(first).expect("the template's case");
        let wrong = ["\"failing\"", "\"Runbook: ", "403"]
            .iter()
            .find_map(|it| {
                let expected = text.rfind(it)?;
                let (before, after) = text.split_at(expected);
                let after = after
                    .replacen("failing", "ok", 1)
                    .replacen("Runbook", "Help", 1)
                    .replacen("403", "404", 1);
                Some(format!("{before}{after}"))
            })
            .expect("each case expects one of these");
        fs::write(cases.join("wrong.json"), wrong).expect("a temp folder");
        let cases = cases.display().to_string();
        let output = self.ran(&["test", component, "--cases", &cases]);
        let report = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(report.contains("not as expected"), "{report}");

        let blessed = self.ran(&["test", component, "--cases", &cases, "--bless"]);
        assert_eq!(blessed.status.code(), Some(0), "{}", String::from_utf8_lossy(&blessed.stdout));
        self.does(&["test", component, "--cases", &cases]);

        let output = self.ran(&["check", component, "--settings", r#"{"nonsense": 1, "more": 2}"#]);
        let report = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(
            report.contains("nonsense") && report.contains("more"),
            "all reasons at once: {report}"
        );
    }
}

/// Where scripts keep what they have fetched.
fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|it| PathBuf::from(it).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_default().join("headgate")
}

fn target() -> PathBuf {
    let own = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}

#[test]
fn a_rust_plugin_goes_from_new_to_an_accepted_answer() {
    let test = "a_rust_plugin_goes_from_new_to_an_accepted_answer";
    let version = Command::new("rustc").arg("-V").output().expect("rustc").stdout;
    let version =
        String::from_utf8_lossy(&version).split_whitespace().nth(1).unwrap_or_default().to_owned();
    let kept = format!("rust-src-{version}/library");
    let places = [cache().join(&kept), target().join("plugins").join(&kept)];
    let Some(sources) = places.into_iter().find(|it| it.join("Cargo.lock").is_file()) else {
        return skip(test, "the sources of the standard library (scripts/build-plugins)");
    };
    for kind in KINDS {
        let author = Author {
            dir: TempDir::new(),
            name: format!("my-{kind}"),
            // Shared, so that the standard library is built once.
            env: vec![
                ("CARGO_TARGET_DIR", target().join("authors")),
                ("__CARGO_TESTS_ONLY_SRC_ROOT", sources.clone()),
            ],
            more: &["--build-std"],
        };
        author.goes_all_the_way(kind, "rust", |_| {});
    }
}

#[test]
fn a_javascript_plugin_goes_from_new_to_an_accepted_answer() {
    let test = "a_javascript_plugin_goes_from_new_to_an_accepted_answer";
    if find("node", test).is_none() {
        return;
    }
    let places = [cache().join("js/node_modules"), target().join("js/node_modules")];
    let Some(modules) = places.into_iter().find(|it| it.join(".bin/componentize-qjs").exists())
    else {
        return skip(test, "componentize-qjs (scripts/setup)");
    };
    for kind in KINDS {
        let (dir, name) = (TempDir::new(), format!("my-{kind}"));
        let author = Author { dir, name, env: Vec::new(), more: &[] };
        author.goes_all_the_way(kind, "js", |folder| {
            std::os::unix::fs::symlink(&modules, folder.join("node_modules"))
                .expect("a temp folder");
        });
    }
}
