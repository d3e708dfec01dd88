//! `countersign serve`.

use std::{path::PathBuf, process::ExitCode};

/// Arguments of `countersign serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file (TOML); `countersign init` writes one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    super::output::complain(&args.config.display().to_string());
    ExitCode::from(super::output::USAGE)
}
