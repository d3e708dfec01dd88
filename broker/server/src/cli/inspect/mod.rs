//! `countersign inspect`: parse a file and print what it says. Nothing is verified.

mod eventlog;
mod snp;
mod tdx;
mod tpm;

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use evidence_formats::{
    bundle::{Bundle, ItemName},
    code::{Code, Coded},
};
use serde_json::{Value, json};

use super::{
    files,
    output::{self, Format},
};

/// Arguments of `countersign inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the file holds
    #[arg(long = "type", value_enum)]
    kind: Kind,
    /// The file
    file: PathBuf,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
}

/// What can be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// SEV-SNP attestation report
    Snp,
    /// TDX quote
    Tdx,
    /// TPM quote (TPMS_ATTEST)
    TpmQuote,
    /// HCL report of Azure's paravisor
    Hcl,
    /// TCG2 event log (PC firmware profile), with its replayed PCRs
    Tcg2,
    /// CC event log, with its replayed RTMRs
    Ccel,
    /// IMA measurement list, text or binary
    Ima,
    /// SEV-SNP certificate table (GHCB)
    CertTable,
    /// Evidence bundle, JSON or CBOR
    Bundle,
}

/// A parser's refusal, kept with its code.
#[derive(Debug)]
struct Refusal {
    code: Code,
    reason: String,
}

impl<E: Coded> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self { code: error.code(), reason: output::with_sources(&error) }
    }
}

/// Runs the command: 0 parsed, 1 refused by the parser, 2 usage or unreadable file.
pub(crate) fn run(args: &Args) -> ExitCode {
    let bytes = match files::read(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => return output::fail(&error, output::USAGE),
    };
    match inspect(args.kind, &bytes) {
        Ok(value) => {
            output::print_json(&value);
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            match args.format {
                Format::Json => output::print_json(&json!({ "code": refusal.code, "reason": refusal.reason })),
                Format::Text => output::complain(&format!("{}: {}", refusal.code, refusal.reason)),
            }
            ExitCode::from(output::REFUSED)
        }
    }
}

fn inspect(kind: Kind, bytes: &[u8]) -> Result<Value, Refusal> {
    match kind {
        Kind::Snp => snp::report(bytes),
        Kind::Tdx => tdx::quote(bytes),
        Kind::TpmQuote => tpm::quote(bytes),
        Kind::Hcl => tpm::hcl(bytes),
        Kind::Tcg2 => eventlog::tcg2(bytes),
        Kind::Ccel => eventlog::ccel(bytes),
        Kind::Ima => eventlog::ima(bytes),
        Kind::CertTable => snp::cert_table(bytes),
        Kind::Bundle => bundle(bytes),
    }
}

/// Lists the items of a bundle.
fn bundle(bytes: &[u8]) -> Result<Value, Refusal> {
    let bundle = Bundle::parse(bytes)?;
    let items: serde_json::Map<_, _> = bundle
        .items()
        .map(|(name, item)| {
            (
                ItemName::as_str(name).to_owned(),
                json!({ "media_type": item.media_type.as_str(), "bytes": item.bytes.len() }),
            )
        })
        .collect();
    Ok(json!({ "items": items }))
}
