//! `countersign measure`: which measurement an image will have, computed offline from its files.

mod boot;
mod inputs;
mod set;
mod snp;
mod tdx;
mod uki;

use std::process::ExitCode;

use clap::Subcommand;
use evidence_formats::code::Coded;
use verifier::reference::Measurement;

use super::output;
use set::SetArgs;

/// Arguments of `countersign measure`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The result is a reference-value document: write it with --format json and give it to `countersign \
                        reference-values add`. Exit status: 0 predicted; 1 not predictable from these inputs; 2 usage or \
                        unreadable file."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    platform: Platform,
}

#[derive(Debug, Subcommand)]
enum Platform {
    /// Launch digest of an AMD SEV-SNP guest
    Snp(Box<snp::Args>),
    /// MRTD and RTMRs of an Intel TDX guest
    Tdx(Box<tdx::Args>),
    /// PCRs of a unified kernel image, or of a kernel beside the firmware
    Uki(Box<uki::Args>),
}

/// What was predicted, and from what.
struct Prediction {
    /// Alternatives of the set.
    measurements: Vec<Measurement>,
    /// What was measured: file by file, setting by setting.
    sources: Vec<String>,
    /// What the reader should know: what is not covered.
    notes: Vec<String>,
}

/// Why there is no prediction.
enum Failure {
    /// A file that cannot be read, or settings that do not fit together.
    Usage(anyhow::Error),
    /// The files do not say enough.
    Refused(anyhow::Error),
}

impl Failure {
    fn refused(error: &impl Coded) -> Self {
        Self::Refused(anyhow::anyhow!("{}: {}", error.code(), output::with_sources(error)))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Usage(error)
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (set, prediction): (&SetArgs, _) = match &args.platform {
        Platform::Snp(args) => (&args.set, snp::predict(args)),
        Platform::Tdx(args) => (&args.set, tdx::predict(args)),
        Platform::Uki(args) => (&args.set, uki::predict(args)),
    };
    match prediction.and_then(|prediction| set.report(&prediction)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => output::fail(&error, output::USAGE),
        Err(Failure::Refused(error)) => output::fail(&error, output::REFUSED),
    }
}
