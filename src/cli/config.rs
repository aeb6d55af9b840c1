//! `headgate config`: the config's schema, and the config in effect.

use std::io::Write as _;
use std::path::PathBuf;

use crate::cli::{Output, exit, refuse};
use crate::config::{defaults, effective, parse, read, schema};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the JSON Schema of the config file.
    Schema,
    /// Print the config in effect: every value and where it comes from. Keys are shown as references, digests hidden.
    Print {
        /// Config file.
        #[arg(value_name = "FILE", default_value = defaults::FILE)]
        file: PathBuf,
    },
}

/// Prints the schema or the effective config.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    match cmd.what {
        What::Schema => {
            std::io::stdout().write_all(schema_text()?.as_bytes())?;
            Ok(exit::OK)
        }
        What::Print { file } => {
            let text = match read(&file) {
                Ok(text) => text,
                Err(finding) => return refuse(&[*finding], output, exit::USAGE),
            };
            match parse(&text, &file) {
                Ok(parsed) => {
                    let shown = match output {
                        Output::Text => effective::yaml(&parsed),
                        Output::Json => format!("{:#}\n", effective::json(&parsed)),
                    };
                    std::io::stdout().write_all(shown.as_bytes())?;
                    Ok(exit::OK)
                }
                Err(findings) => refuse(&findings, output, exit::FINDINGS),
            }
        }
    }
}

/// The schema as it is committed.
fn schema_text() -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema())?))
}

#[cfg(test)]
mod tests {
    use super::schema_text;
    use std::path::Path;

    /// `HEADGATE_BLESS=1 cargo test` writes it anew.
    #[test]
    fn the_committed_schema_is_in_step() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("headgate.schema.json");
        let text = schema_text().unwrap();
        if std::env::var_os("HEADGATE_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "headgate.schema.json is old: cargo run -- config schema > headgate.schema.json"
        );
    }
}
