//! JavaScript by componentize-qjs, which embeds a small engine.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::cli::Usage;
use crate::cli::plugin::build::tool;
use crate::plugin::Kind;

const PROGRAM: &str = "componentize-qjs";

/// Name and bytes of the component; `None` when the tool has told what is wrong.
pub(super) fn build(dir: &Path) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let package = package(dir)?;
    let main = package.get("main").and_then(Value::as_str).unwrap_or("plugin.js");
    let source = std::fs::read_to_string(dir.join(main)).map_err(|error| {
        Usage(format!(
            "cannot read {}: {error}; `main` of package.json names the source",
            dir.join(main).display()
        ))
    })?;
    let kind = kind(&source).ok_or_else(|| {
        Usage(format!("{main} exports none of healthPolicy, alertFormatter and requestFilter; export one of them"))
    })?;
    let Some(program) = program(dir)? else { return Ok(None) };
    let draft = std::env::temp_dir().join(format!("headgate-plugin-{}.wasm", std::process::id()));
    let mut command = tool(program, dir)?;
    command
        .args(["--wit", "wit", "--world", kind.world(), "--js", main])
        .args(["--stub-wasi", "--sync", "--opt-size", "--minify", "--output"])
        .arg(&draft);
    let ended = command.status().with_context(|| format!("cannot run {PROGRAM}"))?;
    if !ended.success() {
        return Ok(None);
    }
    let bytes = std::fs::read(&draft).with_context(|| format!("{PROGRAM} wrote nothing"));
    let _ = std::fs::remove_file(&draft);
    Ok(Some((name_of(&package)?, bytes?)))
}

/// Name of the package.
pub(super) fn name(dir: &Path) -> anyhow::Result<String> {
    name_of(&package(dir)?)
}

fn name_of(package: &Value) -> anyhow::Result<String> {
    let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
    let allowed = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        let text =
            "package.json has no `name` that a file could have; give it one, such as \"my-plugin\"";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(name.to_owned())
}

fn package(dir: &Path) -> anyhow::Result<Value> {
    let path = dir.join("package.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))?;
    let package = serde_json::from_str(&text)
        .map_err(|error| Usage(format!("{} is no JSON: {error}", path.display())))?;
    Ok(package)
}

/// By the interface that the source exports.
fn kind(source: &str) -> Option<Kind> {
    let exports = [
        ("healthPolicy", Kind::Policy),
        ("alertFormatter", Kind::Formatter),
        ("requestFilter", Kind::Filter),
    ];
    let lines = source.lines().filter(|it| it.trim_start().starts_with("export"));
    let exported: String = lines.collect::<Vec<_>>().join("\n");
    exports.into_iter().find(|(name, _)| exported.contains(name)).map(|(_, kind)| kind)
}

/// The tool: of the folder, else of the path, else installed into the folder first. `None`: npm has told why it cannot.
fn program(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let local = Path::new("node_modules/.bin").join(PROGRAM);
    let installed = || dir.join(&local).is_file();
    if !installed() {
        if let Some(found) = on_path(PROGRAM) {
            return Ok(Some(found));
        }
        if on_path("npm").is_none() {
            let text = format!(
                "{PROGRAM} is not installed, and there is no npm to install it: install Node.js 20 or later"
            );
            return Err(Usage(text).into());
        }
        let arguments = ["install", "--ignore-scripts", "--no-audit", "--no-fund"];
        let ended = tool("npm", dir)?.args(arguments).status().context("cannot run npm")?;
        if !ended.success() {
            return Ok(None);
        }
    }
    if !installed() {
        let text = format!(
            "npm installed no {PROGRAM}; package.json needs it: npm install --save-dev {PROGRAM}"
        );
        return Err(Usage(text).into());
    }
    // Relative programs are looked up in different folders on different systems.
    Ok(Some(dir.join(local).canonicalize()?))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join(program)).find(|it| it.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_kind_is_what_the_source_exports() {
        let rows = [
            ("export const healthPolicy = {};", Some(Kind::Policy)),
            (
                "const alertFormatter = {};\nexport { alertFormatter, plugin };",
                Some(Kind::Formatter),
            ),
            ("  export const requestFilter = {}", Some(Kind::Filter)),
            ("// healthPolicy\nexport const plugin = {};", None),
            ("", None),
        ];
        for (source, expected) in rows {
            assert_eq!(kind(source), expected, "{source}");
        }
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        for bad in [
            json!({}),
            json!({ "name": "" }),
            json!({ "name": "../a" }),
            json!({ "name": "@a/b" }),
            json!({ "name": ".." }),
        ] {
            assert!(name_of(&bad).is_err(), "{bad}");
        }
        assert_eq!(name_of(&json!({ "name": "my-plugin" })).unwrap(), "my-plugin");
    }
}
