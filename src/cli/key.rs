//! `headgate key`: makes keys; the gate needs to know only their digest.

use anyhow::Context as _;

use crate::auth;
use crate::cli::{Output, exit};
use crate::model::{SCOPE_ADMIN, hex};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a random key and print it with its digest; it is kept nowhere.
    New(New),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Name of the key in the config, logs and metrics.
    #[arg(long, default_value = "new-key", value_parser = word)]
    name: String,
    /// What the key opens; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", default_value = SCOPE_ADMIN, value_parser = word)]
    scopes: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// When the system gives no randomness, or nobody reads the output.
pub fn run(cmd: Cmd, output: Output) -> anyhow::Result<u8> {
    let What::New(new) = cmd.what;
    let key = auth::new_key().context("the system gives no random numbers")?;
    let digest = format!("sha256:{}", hex(&auth::digest(key.as_bytes())));
    write(std::io::stdout().lock(), &new, &key, &digest, output)
        .context("the key could not be printed; it is lost, make another")?;
    Ok(exit::OK)
}

fn write(
    mut out: impl std::io::Write,
    new: &New,
    key: &str,
    digest: &str,
    output: Output,
) -> std::io::Result<()> {
    let New { name, scopes } = new;
    let line = format!("- {{ name: {name}, key: \"{digest}\", scopes: [{}] }}", quoted(scopes));
    match output {
        Output::Text => {
            writeln!(out, "key:    {key}")?;
            writeln!(out, "digest: {digest}")?;
            writeln!(out, "config: {line}")?;
        }
        Output::Json => {
            let form = serde_json::json!({
                "name": name, "key": key, "digest": digest, "scopes": scopes, "config": line,
            });
            writeln!(out, "{form}")?;
        }
    }
    out.flush()
}

/// Quoted for YAML's flow style, where `maintenance:bypass` is easily read as something else.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|it| format!("\"{it}\"")).collect();
    words.join(", ")
}

fn word(text: &str) -> Result<String, String> {
    let allowed = |it: u8| it.is_ascii_alphanumeric() || b"._:-".contains(&it);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
        return Err("1 to 64 letters, digits, '.', '_', ':' or '-'".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: Output) -> String {
        let new = New { name: "ci".to_owned(), scopes: vec!["maintenance:bypass".to_owned()] };
        let mut out = Vec::new();
        write(&mut out, &new, "hg_00", "sha256:11", output).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_has_key_digest_and_the_line_to_paste() {
        let expected = "key:    hg_00\ndigest: sha256:11\nconfig: - { name: ci, key: \"sha256:11\", scopes: [\"maintenance:bypass\"] }\n";
        assert_eq!(printed(Output::Text), expected);
    }

    #[test]
    fn json_is_one_document() {
        let form: serde_json::Value = serde_json::from_str(&printed(Output::Json)).unwrap();
        assert_eq!(form["key"], "hg_00");
        assert_eq!(form["digest"], "sha256:11");
        assert_eq!(form["scopes"][0], "maintenance:bypass");
    }

    #[test]
    fn names_that_would_break_the_line_are_refused() {
        for bad in ["", "a b", "a\"b", "a\nb", "ü", "a,b", "{a}", &"x".repeat(65)] {
            assert!(word(bad).is_err(), "{bad:?}");
        }
        assert!(word("ci.deploy_1:x-y").is_ok());
    }
}
