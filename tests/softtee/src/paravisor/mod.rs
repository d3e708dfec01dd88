//! A paravisor as Azure's confidential VMs have one, around a real software TPM.
//!
//! It stands between the guest and `swtpm`: NV index 0x01400001 is its report, made when the guest reads it from the start
//! and the last one is older than a while; what the guest wrote to NV index 0x01400002 is in the next report. The
//! attestation key is at 0x81000003. Beside it runs the cloud's metadata service, which has the certificates of the
//! processor and makes quotes of a TD's reports.
mod claims;
mod metadata;
mod proxy;
mod report;
mod state;

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tee::tpm::{EkKind, Hierarchy, PersistentHandle, PublicTemplate, Tpm, TpmAddress};
use tempfile::TempDir;

use crate::boot_log::BootLog;
use crate::swtpm::SwTpm;
use crate::tsm::StateSource;
use claims::Keys;
use metadata::MetadataService;
use proxy::{Proxy, Upstream};
use report::Reporter;
pub use state::{AkClaim, MetadataFault, ParavisorState};

/// Where the attestation key is.
const AK_HANDLE: PersistentHandle = PersistentHandle(0x8100_0003);
/// The attestation key's public area before the modulus: RSA 2048, restricted signing, RSASSA with SHA-256.
const AK_TEMPLATE: [u8; 22] = [
    0x00, 0x01, 0x00, 0x0B, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x14, 0x00, 0x0B, 0x08, 0x00, 0x00,
    0x00, 0x00, 0x00,
];

/// A running paravisor. Dropping it ends its TPM; the sockets answer nothing any more.
#[derive(Debug)]
pub struct Paravisor {
    // First: ends before its directory goes.
    _tpm: SwTpm,
    socket: PathBuf,
    metadata: String,
    boot_log: Option<BootLog>,
    _directory: Option<TempDir>,
}

impl Paravisor {
    /// Starts one whose state comes from `source`, in a temporary directory.
    ///
    /// # Errors
    /// When the TPM does not start.
    pub fn start(source: StateSource) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let started = Self::at(&directory.path().join("tpm"), source)?;
        Ok(Self { _directory: Some(directory), ..started })
    }

    /// Starts one that answers on `socket`.
    ///
    /// # Errors
    /// When the TPM does not start or the socket is taken.
    pub fn at(socket: &Path, source: StateSource) -> Result<Self> {
        let swtpm = SwTpm::bare()?;
        let upstream = Upstream::connect(&swtpm.address())?;
        let tpm = Tpm::over(Box::new(upstream.clone()));
        let boot = source.load()?.paravisor;
        let boot_log = boot.command_line.map(|command_line| BootLog::healthy(&command_line, boot.secure_boot));
        if let Some(log) = &boot_log {
            log.measure_into(&tpm)?;
        }
        let keys =
            Keys { ak: make_attestation_key(&tpm)?, ek: claims::modulus(tpm.create_ek(EkKind::Rsa2048)?.public())? };
        let reporter = Arc::new(Mutex::new(Reporter::new(source.clone(), tpm, keys)));
        let listener =
            UnixListener::bind(socket).with_context(|| format!("expected to listen on {}", socket.display()))?;
        Proxy::new(upstream, reporter).serve(listener);
        let metadata = MetadataService::new(source).serve()?;
        Ok(Self { _tpm: swtpm, socket: socket.to_owned(), metadata, boot_log, _directory: None })
    }

    /// Where the guest has its TPM.
    #[must_use]
    pub fn tpm(&self) -> TpmAddress {
        TpmAddress::Unix(self.socket.clone())
    }

    /// The firmware's event log, where something booted.
    #[must_use]
    pub const fn boot_log(&self) -> Option<&BootLog> {
        self.boot_log.as_ref()
    }

    /// Where the metadata service is: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }
}

/// Makes the attestation key and leaves it at its handle; its modulus.
fn make_attestation_key(tpm: &Tpm) -> Result<Vec<u8>> {
    let template = [AK_TEMPLATE.as_slice(), &256_u16.to_be_bytes(), &[0; 256]].concat();
    let key = tpm.create_primary(Hierarchy::Endorsement, &PublicTemplate::new(template))?;
    tpm.persist(&key, AK_HANDLE)?;
    claims::modulus(key.public())
}
