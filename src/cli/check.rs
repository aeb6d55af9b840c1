//! `headgate check`: everything that is wrong with config files, offline.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::{Output, exit};
use crate::config::findings::{Finding, Severity, render};
use crate::config::{Authority, Parsed, defaults, parse, read};
use crate::generation::plugins::{finding, wanted};
use crate::health::probe::Prober;
use crate::plugin::registry::{Plugins, Spec, Use};
use crate::telemetry::metrics::Metrics;

/// What a probe needs.
const PROBE: &str = "a probe that can be made where the gate runs";

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    /// Config files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fail on warnings too.
    #[arg(long)]
    strict: bool,
    /// Look at the config alone: do not load the plugins that it names.
    #[arg(long)]
    no_plugins: bool,
}

/// What became of one file.
struct Checked {
    findings: Vec<Finding>,
    readable: bool,
}

/// Checks every file and proves the plugins that it names. Findings go to stdout, the verdict in one line to stderr. Exit code 0: good; 1: something was
/// found (warnings only with `--strict`); 2: a file cannot be read.
///
/// # Errors
/// When stdout cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the same for every command")]
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let checked: Vec<Checked> = cmd.files.iter().map(|it| check(it, !cmd.no_plugins)).collect();
    let code = code(&checked, cmd.strict);
    let findings: Vec<Finding> = checked.into_iter().flat_map(|it| it.findings).collect();
    let mut stdout = std::io::stdout().lock();
    match output {
        Output::Text => stdout.write_all(render(&findings).as_bytes())?,
        Output::Json => {
            let document = json!({ "ok": code == exit::OK, "findings": findings });
            writeln!(stdout, "{document:#}")?;
        }
    }
    stdout.flush()?;
    if output == Output::Text {
        writeln!(std::io::stderr(), "{}", verdict(cmd.files.len(), &findings))?;
    }
    Ok(code)
}

fn check(path: &Path, with_plugins: bool) -> Checked {
    match read(path) {
        Err(finding) => Checked { findings: vec![*finding], readable: false },
        Ok(text) => {
            let findings = match parse(&text, path) {
                Ok(parsed) => {
                    let mut found = unprobed(&parsed, path);
                    found.extend(if with_plugins { prove(parsed, path) } else { parsed.warnings });
                    found
                }
                Err(findings) => findings,
            };
            Checked { findings, readable: true }
        }
    }
}

/// Warnings about probes that cannot be made here: roots that cannot be read, a name that no certificate can have. They may be
/// there where the gate runs, and a gate serves without.
fn unprobed(parsed: &Parsed, path: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &parsed.config.services {
        let Some(probe) = &service.watching.probe else { continue };
        let make = |it: &Authority| Prober::new(probe, (it.host.clone(), it.port)).err();
        let Some(reason) = service.upstreams.iter().find_map(make) else { continue };
        let mut found = Finding {
            severity: Severity::Warning,
            path: format!("services.{}.health.probe.tls", service.name),
            line: 0,
            ..Finding::whole(path, format!("the service cannot be probed: {reason}"), PROBE)
        };
        parsed.origins.locate(&mut found);
        findings.push(found);
    }
    findings
}

/// The warnings, and whatever keeps a plugin from acting. Nothing that acted before stands in for one here, so all of it
/// is an error. Nothing is kept.
fn prove(parsed: Parsed, path: &Path) -> Vec<Finding> {
    let Parsed { config, warnings: mut findings, origins, .. } = parsed;
    let mut wanted = wanted(&config);
    wanted.uses.retain(|it| !is_plain(it, &wanted.plugins));
    if wanted.uses.is_empty() && wanted.plugins.is_empty() {
        return findings;
    }
    let file = path.display().to_string();
    let proven = Plugins::open(None, Metrics::new(1)).resolve(&wanted);
    for note in &proven.notes {
        let mut found = finding(note, true, &file);
        origins.locate(&mut found);
        findings.push(found);
    }
    findings
}

/// Whether it is a default that the gate's own tests prove, so that most checks need no engine.
fn is_plain(it: &Use, own: &[Spec]) -> bool {
    let plugin = it.plugin.as_deref();
    let default = [defaults::POLICY, defaults::FORMATTER].map(Some).contains(&plugin);
    let bare = it.settings.as_object().is_none_or(serde_json::Map::is_empty);
    default && bare && !own.iter().any(|own| Some(own.name.as_str()) == plugin)
}

fn code(checked: &[Checked], strict: bool) -> u8 {
    let found = |it: &Finding| strict || it.severity == Severity::Error;
    if checked.iter().any(|it| !it.readable) {
        return exit::USAGE;
    }
    if checked.iter().flat_map(|it| &it.findings).any(found) { exit::FINDINGS } else { exit::OK }
}

fn verdict(files: usize, findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|it| it.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let of =
        |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    format!("{}: {}, {}", of(files, "file"), of(errors, "error"), of(warnings, "warning"))
}

#[cfg(test)]
mod tests {
    use super::{Cmd, check, code, run, verdict};
    use crate::cli::Output;
    use std::path::{Path, PathBuf};

    fn in_tests(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    #[test]
    fn exit_codes_say_good_found_or_unreadable() {
        let good = "examples/standalone.yaml";
        let warned = "tests/config/warnings-only.yaml";
        let bad = "tests/config/three-typos.yaml";
        for (files, strict, expected) in [
            (&[good][..], false, 0),
            (&[good], true, 0),
            (&[warned], false, 0),
            (&[warned], true, 1),
            (&[good, bad], false, 1),
            (&[bad, "nowhere.yaml"], false, 2),
            (&["examples"], false, 2),
        ] {
            let checked: Vec<_> = files.iter().map(|it| check(&in_tests(it), false)).collect();
            assert_eq!(code(&checked, strict), expected, "{files:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do() {
        let found = &check(Path::new("nowhere.yaml"), true).findings;
        assert!(found[0].message.contains("cannot be read") && found[0].expected.is_some());
    }

    #[test]
    fn a_probe_that_cannot_be_made_is_told_with_its_line() {
        let name = format!("headgate-unprobed-{}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let text = "services:\n  app:\n    upstreams: [http://127.0.0.1:1]\n    health: { probe: { http: /h, tls: { ca: nope.pem } } }\n\
            routes: [ { path: /, service: app, access: public } ]\n";
        std::fs::write(&path, text).unwrap();
        let found = check(&path, true).findings;
        std::fs::remove_file(&path).unwrap();
        assert!(found[0].message.contains("nope.pem"), "{found:?}");
        assert_eq!((found.len(), found[0].line), (1, 4), "{found:?}");
    }

    #[test]
    fn the_verdict_counts() {
        let found = check(&in_tests("tests/config/three-typos.yaml"), true).findings;
        assert_eq!(verdict(1, &found), "1 file: 3 errors, 0 warnings");
    }

    #[test]
    fn the_command_gives_its_code() {
        let files = vec![in_tests("examples/stockflow.yaml")];
        let cmd = Cmd { files, strict: true, no_plugins: true };
        assert_eq!(run(cmd, Output::Json).unwrap(), 0);
    }
}
