//! The software TEE as a program: see `softtee help`.
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use evidence_formats::bytes::ReportData;
use evidence_formats::snp::ProductLine;
use softtee::amd::{AmdPki, SecureProcessor};
use softtee::pem;
use softtee::tsm::{Guest, GuestState, ReportRequest, SimulatedGuest, StateSource, TsmMount};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};

/// A software TEE with a made-up PKI, for tests and demonstrations. Nothing that it signs is secret or secure.
#[derive(Debug, Parser)]
#[command(name = "softtee", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write trust anchors and endorsements (VEK certificates, revocation lists).
    Pki {
        /// Directory to write to: DIR/trust-anchors.pem and DIR/endorsements/.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Endorse this guest only, instead of healthy guests of every product line.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        /// The time at which revocation lists are fresh (RFC 3339); default: now.
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Serve a directory as configfs-tsm until SIGTERM or SIGINT.
    Tsm {
        /// Existing directory; becomes what /sys/kernel/config/tsm/report is elsewhere.
        #[arg(long, value_name = "DIR")]
        mount: PathBuf,
        /// The guest's state, TOML or JSON (*.json), read again for each report; default: a healthy Milan guest.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
    /// Make one report.
    Report {
        /// The guest's state, TOML or JSON (*.json); default: a healthy Milan guest.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        /// What the report carries: 128 hex digits.
        #[arg(long, value_name = "HEX")]
        report_data: ReportData,
        /// What to write.
        #[arg(long, value_enum, default_value_t = Format::Raw)]
        format: Format,
        /// Where to; default: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The report alone.
    Raw,
    /// The host's certificate table alone.
    CertTable,
    /// The evidence bundle, JSON.
    Bundle,
    /// The evidence bundle, CBOR.
    BundleCbor,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Pki { out, state, at } => write_pki(&out, state.as_deref(), at.as_deref()),
        Command::Tsm { mount, state } => serve(&mount, source(state)),
        Command::Report { state, report_data, format, out } => {
            let bytes = report(source(state), &report_data, format)?;
            match out {
                Some(path) => write(&path, &bytes),
                None => std::io::stdout().write_all(&bytes).context("expected to write to standard output"),
            }
        }
    }
}

fn source(state: Option<PathBuf>) -> StateSource {
    state.map_or_else(|| StateSource::Fixed(Box::default()), StateSource::File)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("expected to write {}", path.display()))
}

fn write_pki(out: &Path, state: Option<&Path>, at: Option<&str>) -> Result<()> {
    let now = match at {
        Some(text) => OffsetDateTime::parse(text, &Rfc3339).context("expected a time such as 2026-06-01T00:00:00Z")?,
        None => OffsetDateTime::now_utc(),
    };
    let endorsements = out.join("endorsements");
    std::fs::create_dir_all(&endorsements).with_context(|| format!("expected to make {}", endorsements.display()))?;

    let anchors: String = ProductLine::ALL
        .iter()
        .flat_map(|product| AmdPki::new(*product).anchors())
        .map(|der| pem::certificate(&der))
        .collect();
    write(&out.join("trust-anchors.pem"), anchors.as_bytes())?;

    let processors = match state {
        Some(path) => vec![GuestState::from_file(path)?.snp.processor()],
        None => ProductLine::ALL
            .into_iter()
            .flat_map(|product| [SecureProcessor::new(product), SecureProcessor::new(product).with_vlek()])
            .collect(),
    };
    for processor in processors {
        let product = processor.pki.product.name().to_lowercase();
        let kind = format!("{:?}", processor.kind).to_lowercase();
        write(&endorsements.join(format!("{product}-{kind}.der")), &processor.vek().der())?;
        let crl = processor.pki.sign_crl(&processor.pki.crl(now));
        write(&endorsements.join(format!("{product}-crl.der")), &crl)?;
    }
    Ok(())
}

fn report(source: StateSource, report_data: &ReportData, format: Format) -> Result<Vec<u8>> {
    let state = source.load()?;
    let request =
        ReportRequest { inblob: report_data.as_bytes().to_vec(), privilege_level: state.snp.vmpl, from_svsm: false };
    let mut guest = SimulatedGuest::new(source);
    let blobs = guest.report(&request).map_err(|errno| std::io::Error::from_raw_os_error(errno.code()))?;
    Ok(match format {
        Format::Raw => blobs.outblob,
        Format::CertTable => blobs.auxblob,
        Format::Bundle => blobs.to_bundle(state.provider)?.to_json()?,
        Format::BundleCbor => blobs.to_bundle(state.provider)?.to_cbor()?,
    })
}

#[tokio::main(flavor = "current_thread")]
async fn serve(directory: &Path, source: StateSource) -> Result<()> {
    let state = source.load()?;
    // Before the mount: a signal that comes in between must still unmount.
    let mut terminate = signal(SignalKind::terminate()).context("expected to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("expected to listen for SIGINT")?;
    let mount = TsmMount::new(directory, source)
        .with_context(|| format!("expected to mount over {} (needs root and /dev/fuse)", directory.display()))?;
    let provider = state.provider.name();
    writeln!(std::io::stdout(), "softtee: {provider} reports in {}", directory.display())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    mount.unmount().context("expected to unmount")
}
