//! `headgate plugin new`: a folder with a small real plugin, which builds and passes its tests as it comes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use serde_json::json;

use crate::cli::plugin::KindWord;
use crate::cli::{Output, Usage, exit};
use crate::plugin::Kind;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Cmd {
    /// Name of the plugin: lower-case letters, digits and '-', beginning with a letter.
    #[arg(value_parser = name)]
    name: String,
    /// What it decides.
    #[arg(long, value_enum)]
    kind: KindWord,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder to make [default: NAME].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    #[value(alias = "javascript")]
    Js,
}

/// The interface that authors write against, as this gate has it.
const WIT: [(&str, &str); 8] = [
    ("wit/alert-formatter.wit", include_str!("../../../wit/alert-formatter.wit")),
    ("wit/health-policy.wit", include_str!("../../../wit/health-policy.wit")),
    ("wit/plugin.wit", include_str!("../../../wit/plugin.wit")),
    ("wit/request-filter.wit", include_str!("../../../wit/request-filter.wit")),
    ("wit/request.wit", include_str!("../../../wit/request.wit")),
    ("wit/telemetry.wit", include_str!("../../../wit/telemetry.wit")),
    ("wit/types.wit", include_str!("../../../wit/types.wit")),
    ("wit/worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// What the languages of one kind have in common.
struct Shared {
    schema: &'static str,
    example: &'static str,
    case: &'static str,
    wit: &'static str,
}

/// Writes the folder.
///
/// # Errors
/// When there is something already, or the folder cannot be written.
pub(super) fn run(cmd: &Cmd, output: Output) -> anyhow::Result<u8> {
    let dir = cmd.dir.clone().unwrap_or_else(|| PathBuf::from(&cmd.name));
    let files = files(&cmd.name, cmd.kind.into(), cmd.lang);
    if cmd.lang == Language::Rust && taken(&cmd.name) {
        let text = format!("no Rust package can be called {}; choose another name", cmd.name);
        return Err(Usage(text).into());
    }
    write(&dir, &files)?;
    let next = ["build", "test", "run --watch"].map(|it| format!("headgate plugin {it}"));
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => {
            let names: Vec<&str> = files.iter().map(|it| it.0).collect();
            writeln!(out, "{}", json!({ "ok": true, "dir": dir, "files": names, "next": next }))?;
        }
        Output::Text => {
            let kind = Kind::from(cmd.kind).word();
            writeln!(out, "wrote a {kind} plugin to {} ({} files)", dir.display(), files.len())?;
            writeln!(out, "next: cd {} && {}", dir.display(), next.join(" && "))?;
        }
    }
    Ok(exit::OK)
}

fn files(name: &str, kind: Kind, language: Language) -> Vec<(&'static str, String)> {
    let shared = shared(kind);
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{kind}}", kind.word())
            .replace("{{wit}}", shared.wit)
    };
    let mut files = match language {
        Language::Rust => vec![
            ("Cargo.toml", fill(include_str!("../../../templates/rust/Cargo.toml"))),
            ("src/lib.rs", fill(rust(kind))),
            ("settings.schema.json", shared.schema.to_owned()),
            ("settings.example.json", shared.example.to_owned()),
            (".gitignore", include_str!("../../../templates/rust/gitignore").to_owned()),
            ("README.md", fill(include_str!("../../../templates/rust/README.md"))),
        ],
        Language::Js => vec![
            ("package.json", fill(include_str!("../../../templates/js/package.json"))),
            ("plugin.js", fill(js(kind))),
            ("settings.js", settings_module(&shared)),
            (".gitignore", include_str!("../../../templates/js/gitignore").to_owned()),
            ("README.md", fill(include_str!("../../../templates/js/README.md"))),
        ],
    };
    files.push(("tests/first.json", shared.case.to_owned()));
    files.extend(WIT.map(|(path, text)| (path, text.to_owned())));
    files
}

fn rust(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => include_str!("../../../templates/rust/policy.rs"),
        Kind::Formatter => include_str!("../../../templates/rust/formatter.rs"),
        Kind::Filter => include_str!("../../../templates/rust/filter.rs"),
    }
}

fn js(kind: Kind) -> &'static str {
    match kind {
        Kind::Policy => include_str!("../../../templates/js/policy.js"),
        Kind::Formatter => include_str!("../../../templates/js/formatter.js"),
        Kind::Filter => include_str!("../../../templates/js/filter.js"),
    }
}

fn shared(kind: Kind) -> Shared {
    match kind {
        Kind::Policy => Shared {
            schema: include_str!("../../../templates/settings/policy/settings.schema.json"),
            example: include_str!("../../../templates/settings/policy/settings.example.json"),
            case: include_str!("../../../templates/cases/policy.json"),
            wit: "health-policy.wit",
        },
        Kind::Formatter => Shared {
            schema: include_str!("../../../templates/settings/formatter/settings.schema.json"),
            example: include_str!("../../../templates/settings/formatter/settings.example.json"),
            case: include_str!("../../../templates/cases/formatter.json"),
            wit: "alert-formatter.wit",
        },
        Kind::Filter => Shared {
            schema: include_str!("../../../templates/settings/filter/settings.schema.json"),
            example: include_str!("../../../templates/settings/filter/settings.example.json"),
            case: include_str!("../../../templates/cases/filter.json"),
            wit: "request-filter.wit",
        },
    }
}

/// The engine of JavaScript guests does not import JSON, so schema and example are a module.
fn settings_module(shared: &Shared) -> String {
    format!(
        "// What the settings may be (JSON Schema), and some that work.\n\
         export const schema = {};\n\nexport const example = {};\n",
        shared.schema.trim_end(),
        shared.example.trim_end()
    )
}

/// All or nothing is not to be had on a file system; nothing that was there before is touched.
fn write(dir: &Path, files: &[(&'static str, String)]) -> anyhow::Result<()> {
    let shown = dir.display();
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let text = format!(
                    "{shown} is there and not empty; nothing was written: choose another name or --dir DIR"
                );
                return Err(Usage(text).into());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            let text = format!("cannot make the folder {shown}: {error}; choose another --dir DIR");
            return Err(Usage(text).into());
        }
    }
    for (name, text) in files {
        let path = dir.join(name);
        let make = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::File::create_new(&path)?.write_all(text.as_bytes())
        };
        make().with_context(|| format!("cannot write {}; is the disk full?", path.display()))?;
    }
    Ok(())
}

/// As `info.name` has it.
fn name(text: &str) -> Result<String, String> {
    let first = text.bytes().next().is_some_and(|it| it.is_ascii_lowercase());
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
    if !first || text.len() > 48 || !text.bytes().all(allowed) {
        return Err(
            "1 to 48 lower-case letters, digits and '-', beginning with a letter".to_owned()
        );
    }
    Ok(text.to_owned())
}

/// Names that cargo refuses, or that the template itself depends on.
const TAKEN: &str = "abstract alloc as async await become box break build const continue core crate deps do dyn else enum \
    examples extern false final fn for gen if impl in let loop macro match mod move mut override priv \
    proc-macro pub ref return self serde serde-json static std struct super test trait true try type typeof \
    unsafe unsized use virtual where while wit-bindgen yield";

fn taken(name: &str) -> bool {
    TAKEN.split(' ').any(|it| it == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maintenance::store::tests::Folder;

    const KINDS: [Kind; 3] = [Kind::Policy, Kind::Formatter, Kind::Filter];

    #[test]
    fn every_kind_and_language_is_filled_in() {
        for kind in KINDS {
            for language in [Language::Rust, Language::Js] {
                let files = files("my-plugin", kind, language);
                for (path, text) in &files {
                    assert!(!text.contains("{{") || path.ends_with(".rs"), "{path}: {text}");
                    assert!(!text.contains("{{name}}"), "{path}");
                }
                let has = |path: &str, words: &str| {
                    files.iter().any(|it| it.0 == path && it.1.contains(words))
                };
                assert!(has("wit/worlds.wit", kind.world()) && has("README.md", kind.word()));
                let source = if language == Language::Rust { "src/lib.rs" } else { "plugin.js" };
                assert!(has(source, "my-plugin") && has("tests/first.json", "expect"));
            }
        }
    }

    #[test]
    fn the_whole_interface_is_shipped() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|it| it.unwrap().file_name().into_string().ok())
            .filter(|it| it.ends_with(".wit"))
            .map(|it| format!("wit/{it}"))
            .collect();
        there.sort();
        assert_eq!(there, WIT.map(|it| it.0));
    }

    #[test]
    fn examples_pass_their_schemas_and_readmes_have_ten_lines() {
        for kind in KINDS {
            let shared = shared(kind);
            let example: serde_json::Value = serde_json::from_str(shared.example).unwrap();
            let text = shared.schema;
            assert_eq!(crate::plugin::schema::validate(text, &example), Ok(Vec::new()), "{kind:?}");
            for language in [Language::Rust, Language::Js] {
                let files = files("a", kind, language);
                let readme = files.iter().find(|it| it.0 == "README.md").unwrap();
                assert!(readme.1.lines().count() <= 10);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_interface() {
        for bad in ["", "A", "1a", "-a", "a_b", "a b", "ä", "../a", &"a".repeat(49)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "my-policy", "a1-", &"a".repeat(48)] {
            assert!(name(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = Folder::new();
        let files = files("a", Kind::Policy, Language::Rust);
        let target = dir.path().join("a");
        write(&target, &files).unwrap();
        std::fs::write(target.join("src/lib.rs"), "mine").unwrap();
        let error = write(&target, &files).unwrap_err().to_string();
        assert!(error.contains("not empty") && error.contains("--dir"), "{error}");
        assert_eq!(std::fs::read_to_string(target.join("src/lib.rs")).unwrap(), "mine");
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(write(&file, &files).is_err());
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        write(&empty, &files).unwrap();
    }
}
