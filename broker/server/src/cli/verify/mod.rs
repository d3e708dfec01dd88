//! `countersign verify`.

use std::process::ExitCode;

/// Arguments of `countersign verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run(_args: &Args) -> ExitCode {
    ExitCode::from(super::output::USAGE)
}
