//! `countersign serve`.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

use super::output;
use crate::{daemon, hardening};

/// Arguments of `countersign serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file (TOML); `countersign init` writes one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What is logged (JSON lines on stderr)
    #[arg(long, value_enum, default_value = "info")]
    log: Level,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    /// Only what needs an operator
    Error,
    /// And what may soon
    Warn,
    /// And one line for each request and decision
    Info,
    /// And details
    Debug,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    start_logging(args.log);
    output::finish(serve(args), output::USAGE)
}

fn serve(args: &Args) -> Result<()> {
    hardening::harden().context("the process could not be protected")?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(daemon::run(&args.config))
}

fn start_logging(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .with_max_level(level)
        .with_writer(io::stderr)
        .init();
}
