//! The software TEE as a program: see `softtee help`.
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use evidence_formats::bytes::{LaunchDigest, ReportData};
use evidence_formats::snp::ProductLine;
use softtee::amd::{AmdPki, SecureProcessor};
use softtee::corim::CorimPublisher;
use softtee::intel::{IntelPki, PckCa, TdxPlatform};
use softtee::paravisor::Paravisor;
use softtee::pem;
use softtee::services::{Faults, Services};
use softtee::swtpm::{SwTpm, TpmPki};
use softtee::tsm::{
    Extensions, Guest, GuestState, Provider, RegisterMount, ReportRequest, SimulatedGuest, StateSource, TsmMount,
};
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
    /// Write trust anchors and endorsements (VEK certificates, revocation lists, TCB info, QE identity).
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
        /// Existing directory; becomes the directory of a TD's measurement registers.
        #[arg(long, value_name = "DIR")]
        registers: Option<PathBuf>,
        /// The guest's state, TOML or JSON (*.json), read again for each report; default: a healthy SNP guest on Milan.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
    /// Run a TPM (swtpm) with certificates of softtee's manufacturer on the socket DIR/tpm until SIGTERM or SIGINT.
    Swtpm {
        /// Directory of its state: made and certified when it is new, kept afterwards.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Serve a guest's TPM behind a paravisor, and the cloud's metadata service, until SIGTERM or SIGINT. Needs swtpm.
    Paravisor {
        /// Existing directory: DIR/tpm becomes the TPM's socket, DIR/metadata holds the address of the metadata service,
        /// DIR/boot-log the firmware's event log.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The guest's state, TOML or JSON (*.json), read again for each report; default: a healthy SNP guest on Milan.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
    /// Write the event log of a TDX guest's boot.
    EventLog {
        /// The guest's state, TOML or JSON (*.json); default: a healthy guest.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        /// Where to; default: standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write CoRIM manifests of a made-up publisher: a good one, and one for each way in which an import is refused.
    Corim {
        /// Directory to write to: DIR/signer.pem and the manifests.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Id of the reference set.
        #[arg(long)]
        id: String,
        /// The launch digest, 96 hex digits.
        #[arg(long, value_name = "HEX")]
        launch: LaunchDigest,
    },
    /// Serve what AMD, Intel and Azure serve, for every chip and platform of the made-up PKI, until killed.
    Kds {
        /// Where to listen.
        #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// What goes wrong, TOML.
        #[arg(long, value_name = "FILE")]
        faults: Option<PathBuf>,
    },
    /// Make one report.
    Report {
        /// The guest's state, TOML or JSON (*.json); default: a healthy SNP guest on Milan.
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
        Command::Tsm { mount, registers, state } => serve(&mount, registers.as_deref(), source(state)),
        Command::Paravisor { dir, state } => paravisor(&dir, source(state)),
        Command::Swtpm { dir } => serve_tpm(&dir),
        Command::Report { state, report_data, format, out } => {
            deliver(out, &report(source(state), &report_data, format)?)
        }
        Command::Corim { out, id, launch } => corim(&out, &id, launch),
        Command::Kds { listen, faults } => serve_documents(listen, faults.as_deref()),
        Command::EventLog { state, out } => deliver(out, &source(state).load()?.tdx.event_log().to_bytes()),
    }
}

fn deliver(out: Option<PathBuf>, bytes: &[u8]) -> Result<()> {
    match out {
        Some(path) => write(&path, bytes),
        None => std::io::stdout().write_all(bytes).context("expected to write to standard output"),
    }
}

fn corim(out: &Path, id: &str, launch: LaunchDigest) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let publisher = CorimPublisher::new("publisher", now);
    std::fs::create_dir_all(out)?;
    write(&out.join("signer.pem"), publisher.root_pem().as_bytes())?;
    for (name, bytes) in softtee::corim::cases(&publisher, id, launch, now) {
        write(&out.join(name), &bytes)?;
    }
    Ok(())
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

    let mut anchors: Vec<Vec<u8>> =
        ProductLine::ALL.iter().flat_map(|product| AmdPki::new(*product).anchors()).collect();
    anchors.push(IntelPki::new().root.der());
    anchors.extend(TpmPki::new().anchors());
    let anchors: String = anchors.iter().map(|der| pem::certificate(der)).collect();
    write(&out.join("trust-anchors.pem"), anchors.as_bytes())?;

    let state = state.map(GuestState::from_file).transpose()?;
    for (name, bytes) in endorsements_of(state.as_ref(), now) {
        write(&endorsements.join(name), &bytes)?;
    }
    Ok(())
}

/// Endorsements of one guest, or of healthy guests of every kind.
fn endorsements_of(state: Option<&GuestState>, now: OffsetDateTime) -> Vec<(String, Vec<u8>)> {
    match state {
        Some(GuestState { provider: Provider::SevGuest, snp, .. }) => snp_endorsements(&snp.processor(), now).into(),
        Some(GuestState { provider: Provider::TdxGuest, tdx, .. }) => tdx_endorsements(&tdx.platform(), now),
        None => {
            let processors = ProductLine::ALL
                .into_iter()
                .flat_map(|product| [SecureProcessor::new(product), SecureProcessor::new(product).with_vlek()]);
            let mut files: Vec<_> = processors.flat_map(|processor| snp_endorsements(&processor, now)).collect();
            let platform = TdxPlatform::new();
            files.extend(tdx_endorsements(&platform, now));
            // The other PCK CA has a list of its own.
            let processor_crl = platform.pki.pck_crl(PckCa::Processor, now).sign(&platform.pki.processor_ca.key);
            files.push(("tdx-pck_crl_processor.der".to_owned(), processor_crl));
            files.extend(tpm_endorsements(now));
            files
        }
    }
}

fn serve_documents(listen: SocketAddr, faults: Option<&Path>) -> Result<()> {
    let faults = match faults {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("expected to read {}", path.display()))?;
            toml::from_str(&text).with_context(|| format!("expected faults in {}", path.display()))?
        }
        None => Faults::default(),
    };
    let services = Services::start(listen, faults).with_context(|| format!("expected to listen on {listen}"))?;
    writeln!(std::io::stdout(), "softtee: {}", services.url())?;
    services.wait();
    Ok(())
}

fn snp_endorsements(processor: &SecureProcessor, now: OffsetDateTime) -> [(String, Vec<u8>); 2] {
    let product = processor.pki.product.name().to_lowercase();
    let kind = format!("{:?}", processor.kind).to_lowercase();
    let crl = processor.pki.sign_crl(&processor.pki.crl(now));
    [(format!("{product}-{kind}.der"), processor.vek().der()), (format!("{product}-crl.der"), crl)]
}

fn tdx_endorsements(platform: &TdxPlatform, now: OffsetDateTime) -> Vec<(String, Vec<u8>)> {
    let files = platform.collateral(now).files();
    files.into_iter().map(|(name, bytes)| (format!("tdx-{name}"), bytes)).collect()
}

fn tpm_endorsements(now: OffsetDateTime) -> Vec<(String, Vec<u8>)> {
    let pki = TpmPki::new();
    let [root_crl, ek_crl] = pki.crls(now);
    vec![
        ("tpm-ek_ca.der".to_owned(), pki.ek_ca.der()),
        ("tpm-root_crl.der".to_owned(), root_crl.sign(&pki.root.key)),
        ("tpm-ek_ca_crl.der".to_owned(), ek_crl.sign(&pki.ek_ca.key)),
    ]
}

fn report(source: StateSource, report_data: &ReportData, format: Format) -> Result<Vec<u8>> {
    let state = source.load()?;
    let request = ReportRequest {
        inblob: report_data.as_bytes().to_vec(),
        privilege_level: state.privilege_floor(),
        from_svsm: false,
    };
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
async fn paravisor(directory: &Path, source: StateSource) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("expected to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("expected to listen for SIGINT")?;
    let paravisor = Paravisor::at(&directory.join("tpm"), source)?;
    if let Some(log) = paravisor.boot_log() {
        write(&directory.join("boot-log"), &log.to_bytes())?;
    }
    // Last, and whole: who waits for it finds everything ready.
    let (file, beside) = (directory.join("metadata"), directory.join("metadata.new"));
    write(&beside, paravisor.metadata().as_bytes())?;
    std::fs::rename(&beside, &file).with_context(|| format!("expected to write {}", file.display()))?;
    writeln!(std::io::stdout(), "softtee: a TPM at {}, metadata at {}", paravisor.tpm(), paravisor.metadata())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn serve_tpm(directory: &Path) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("expected to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("expected to listen for SIGINT")?;
    std::fs::create_dir_all(directory).with_context(|| format!("expected to make {}", directory.display()))?;
    let mut tpm = SwTpm::at(directory)?;
    writeln!(std::io::stdout(), "softtee: a TPM at {}", tpm.address())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {
                anyhow::ensure!(!tpm.has_ended()?, "expected swtpm to go on");
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(directory: &Path, registers: Option<&Path>, source: StateSource) -> Result<()> {
    let state = source.load()?;
    // Before the mount: a signal that comes in between must still unmount.
    let mut terminate = signal(SignalKind::terminate()).context("expected to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("expected to listen for SIGINT")?;
    let refused =
        |directory: &Path| format!("expected to mount over {} (needs root and /dev/fuse)", directory.display());
    let extensions = Extensions::default();
    let registers = registers.map(|directory| {
        RegisterMount::new(directory, source.clone(), extensions.clone()).with_context(|| refused(directory))
    });
    let registers = registers.transpose()?;
    let guest = SimulatedGuest::extended_by(source, extensions);
    let mount = TsmMount::with_guest(directory, Box::new(guest)).with_context(|| refused(directory))?;
    let provider = state.provider.name();
    writeln!(std::io::stdout(), "softtee: {provider} reports in {}", directory.display())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    registers.map_or(Ok(()), RegisterMount::unmount).context("expected to unmount the registers")?;
    mount.unmount().context("expected to unmount")
}
