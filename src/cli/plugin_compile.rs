//! `headgate plugin-compile`: the compiling child of a running gate; nobody calls it by hand.

use std::io::Write as _;

use crate::cli::exit;
use crate::plugin::host::compile_piped;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {}

/// Compiles what standard input holds.
///
/// # Errors
/// When standard error cannot be written.
pub fn run(_cmd: Cmd) -> anyhow::Result<u8> {
    match compile_piped(std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => Ok(exit::OK),
        Err(refused) => {
            writeln!(std::io::stderr(), "{refused}")?;
            Ok(exit::FINDINGS)
        }
    }
}
