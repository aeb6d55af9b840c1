//! `headgate completions`: prints a completion script.

use std::io::Write as _;

use clap::CommandFactory as _;

use crate::cli::exit;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    /// Shell to complete for.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// When stdout cannot be written.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the same for every command")]
pub fn run(cmd: Cmd) -> anyhow::Result<u8> {
    std::io::stdout().write_all(&script(cmd.shell))?;
    Ok(exit::OK)
}

/// Made in memory first: the generator panics when a pipe is closed early.
fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "headgate", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::script;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_commands() {
        for shell in clap_complete::Shell::value_variants() {
            let text = String::from_utf8(script(*shell)).unwrap();
            for command in ["check", "explain", "maintenance"] {
                assert!(text.contains(command), "{shell} {command}");
            }
        }
    }
}
