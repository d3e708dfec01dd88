//! Arguments of `scan`.

use std::path::PathBuf;

use clap::Args;

use super::BrokerArgs;
use crate::scan::ReportFormat;

/// `scan`
#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// Directory of an image, `/` for the running system, or a file; more than one may be given.
    #[arg(value_name = "PATH", required_unless_present = "processes")]
    pub(crate) paths: Vec<PathBuf>,

    /// Searches the environments of the running processes, too.
    #[arg(long)]
    pub(crate) processes: bool,

    /// Rules in the format of gitleaks (TOML), instead of those that come with the agent.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,

    /// Key of the fingerprints (16 bytes or more): under one key the same secret has the same fingerprint in every scan.
    /// Without, only within this scan.
    #[arg(long, value_name = "FILE")]
    pub(crate) fingerprint_key: Option<PathBuf>,

    /// Searches binary files, too.
    #[arg(long)]
    pub(crate) binary: bool,

    /// Largest file in bytes; larger ones are counted, and the scan is not complete.
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) max_file_size: u64,

    /// Most files; with more, the scan ends early and is not complete.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    pub(crate) max_files: u64,

    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) format: ReportFormat,

    /// Attests and tells the broker how many there are. The evidence is bound to it: the number is what this guest says of
    /// itself, not what the hardware says.
    #[arg(long)]
    pub(crate) report: bool,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}
