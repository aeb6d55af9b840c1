//! `headgate run`: being written.

use crate::cli::{Output, exit};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Cmd {
    file: std::path::PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the command could not do its work.
pub fn run(cmd: Cmd, _output: Output) -> anyhow::Result<u8> {
    let inherited = crate::wire::listener::inherited();
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(crate::app::smoke(cmd.file, inherited)).map_err(|e| anyhow::anyhow!("{e}"))?;
    Ok(exit::OK)
}
