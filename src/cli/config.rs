//! `headgate config`: being written.

use crate::cli::{Output, exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {}

/// Runs the command.
///
/// # Errors
/// When the command could not do its work.
pub fn run(_cmd: Cmd, _output: Output) -> anyhow::Result<u8> {
    Ok(exit::OK)
}
