//! The command lines of `headgate plugin`: what they take, and what they say to mistakes.

use clap::Parser as _;

use super::*;
use crate::cli::exit;
use crate::maintenance::store::tests::Folder;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    cmd: Cmd,
}

fn parsed(line: &str) -> Result<Cmd, clap::Error> {
    let words = ["plugin"].into_iter().chain(line.split_whitespace());
    Line::try_parse_from(words).map(|it| it.cmd)
}

/// The exit code, or the error's words.
fn ran(line: &str) -> Result<u8, String> {
    let cmd = parsed(line).map_err(|it| it.to_string())?;
    run(cmd, Output::Json).map_err(|it| {
        assert!(it.is::<Usage>(), "{it} is no usage error");
        it.to_string()
    })
}

#[test]
fn what_is_no_command_line_is_refused_with_what_would_be() {
    let digits = format!("push a.wasm --plugin a --sha256 {}", "z".repeat(64));
    let rows = [
        ("new", "<NAME>"),
        ("new a", "--kind"),
        ("new A --kind policy", "lower-case"),
        ("new a --kind policies", "policy"),
        ("new a --kind policy --lang cobol", "rust"),
        ("check a.wasm --kind x", "filter"),
        ("check a.wasm --class huge", "large"),
        ("bench a.wasm --calls 0", "1..=1000000"),
        ("push a.wasm", "--plugin"),
        (&digits, "64 hex digits"),
        ("rollback --plugin a --to yesterday", "previous"),
        ("nonsense", "unrecognized"),
    ];
    for (line, words) in rows {
        let error = parsed(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
}

#[test]
fn what_is_a_command_line_is_taken() {
    for line in [
        "new a --kind health-policy --lang javascript",
        "new a --kind filter --dir elsewhere",
        "build",
        "build x --build-std",
        "check a.wasm --settings {} --kind formatter --class large",
        "inspect a.wasm",
        "test",
        "test x --bless --no-build",
        "run --watch",
        "run a.wasm --input - --settings @x --prior {}",
        "bench a.wasm --calls 10",
        "push a.wasm --plugin a --gate unix:/run/x --key env:KEY --shadow --dry-run",
        "rollback --plugin a --to config",
        "promote --plugin a",
        "list",
        "status --plugin a",
        "logs --plugin a --follow",
    ] {
        assert!(parsed(line).is_ok(), "{line}");
    }
}

#[test]
fn mistakes_with_files_say_what_to_do() {
    let dir = Folder::new();
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::create_dir(at("full")).unwrap();
    std::fs::write(at("full/mine"), "").unwrap();
    std::fs::write(at("x.json"), "{").unwrap();
    let rows = [
        (format!("new a --kind policy --dir {}", at("full")), "not empty"),
        (format!("new fn --kind policy --dir {}", at("fn")), "another name"),
        (format!("build {}", at("empty")), "headgate plugin new"),
        (format!("build {}", at("nowhere")), "is no folder"),
        (format!("check {}", at("nowhere.wasm")), "headgate plugin build"),
        (format!("check {}", at("empty")), "built component"),
        (format!("check {} --settings @{}", at("x.json"), at("x.json")), "is no JSON"),
        (format!("check {} --settings @{}", at("x.json"), at("nowhere")), "cannot read"),
        (format!("check {} --settings {{", at("x.json")), "--settings"),
        (format!("push {} --plugin a", at("nowhere.wasm")), "cannot read"),
        (
            format!("push {} --plugin a --sha256 {}", at("x.json"), "0".repeat(64)),
            "nothing was pushed",
        ),
    ];
    for (line, words) in rows {
        let error = ran(&line).unwrap_err();
        assert!(error.contains(words), "{line}: {error}");
    }
    assert!(!dir.path().join("fn").exists());
}

#[test]
fn a_gate_that_is_not_there_is_told_by_the_exit_code() {
    let dir = Folder::new();
    let gate = format!("--gate unix:{}", dir.path().join("none.sock").display());
    std::fs::write(dir.path().join("a.wasm"), "x").unwrap();
    let file = dir.path().join("a.wasm").display().to_string();
    for line in [
        format!("push {file} --plugin a {gate}"),
        format!("rollback --plugin a {gate}"),
        format!("promote --plugin a {gate}"),
        format!("status {gate}"),
        format!("logs --plugin a {gate}"),
    ] {
        assert_eq!(ran(&line), Ok(exit::UNREACHABLE), "{line}");
    }
    assert_eq!(ran("status --key hg_01234567890123456789"), Ok(exit::USAGE));
}
