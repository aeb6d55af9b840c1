//! `headgate completions`: prints a completion script.

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
/// None today; the signature is the same for every command.
pub fn run(cmd: Cmd) -> anyhow::Result<u8> {
    clap_complete::generate(
        cmd.shell,
        &mut super::Cli::command(),
        "headgate",
        &mut std::io::stdout(),
    );
    Ok(exit::OK)
}
