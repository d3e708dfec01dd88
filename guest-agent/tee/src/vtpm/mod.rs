//! Evidence of a TPM: alone, beside a hardware report (Google Cloud), or inside of what the report measures (SVSM).
//!
//! Which flow applies is found from what kernel and TPM offer:
//!
//! | there is | evidence |
//! |---|---|
//! | an SNP guest under an SVSM, and a TPM | report of the SVSM and its manifest, quote of its vTPM |
//! | SNP or TDX, and a TPM with the cloud's certificate for an attestation key | report or quote beside the TPM's |
//! | SNP or TDX otherwise | the hardware's alone |
//! | a TPM with a paravisor's report | the paravisor's, with the hardware's report in it, and the TPM's (Azure) |
//! | a TPM only | the TPM's alone |
//!
//! An attestation key is the one that the cloud certified, else our own: a primary key of the endorsement hierarchy, which the
//! broker enrols.

mod alone;
mod guest_tpm;
mod hosted;
mod logs;
mod svsm;

use std::path::PathBuf;

use evidence_formats::digest::HashAlgorithm;

pub use self::guest_tpm::{AkSource, EnrolmentKeys, GuestTpm};
use self::{alone::TpmAttester, hosted::HostedAttester, svsm::SvsmAttester};
use crate::{
    attester::{Attester, Paths},
    azure::{self, AzureAttester},
    error::{AttestError, Warning},
    tpm::{AkKind, Pcrs, Tpm, TpmAddress},
    tsm::{self, TsmError},
};

/// Where the TPM is, and what to ask it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmSettings {
    /// Where it is; `None`: it is not to be used.
    pub address: Option<TpmAddress>,
    /// Kind of our own attestation key.
    pub ak: AkKind,
    /// What is quoted: exactly what the broker demands.
    pub pcrs: Pcrs,
    /// The firmware's event log.
    pub event_log: PathBuf,
    /// The kernel's measurement list.
    pub ima_log: PathBuf,
}

impl Default for TpmSettings {
    /// The kernel's first TPM and its logs; all PCRs of the SHA-256 bank.
    fn default() -> Self {
        Self {
            address: Some(TpmAddress::default()),
            ak: AkKind::default(),
            pcrs: Pcrs::all(HashAlgorithm::Sha256),
            event_log: PathBuf::from("/sys/kernel/security/tpm0/binary_bios_measurements"),
            ima_log: PathBuf::from("/sys/kernel/security/ima/binary_runtime_measurements"),
        }
    }
}

/// Adds the TPM, where there is one that adds something, to what the hardware offers.
///
/// # Errors
/// What the hardware said, when there is no TPM either.
pub(crate) fn beside(
    hardware: Result<Box<dyn Attester>, AttestError>,
    paths: &Paths,
) -> Result<Box<dyn Attester>, AttestError> {
    let Some(address) = paths.tpm.address.as_ref().filter(|address| address.exists()) else { return hardware };
    match hardware {
        Ok(hardware) => Ok(with_hardware(hardware, address, paths)),
        // A paravisor has the hardware for itself, and leaves the kernel at most a provider that finds nothing.
        Err(AttestError::NoTee { .. } | AttestError::Tsm(TsmError::NoProvider)) if azure::is_here(address)? => {
            Ok(Box::new(AzureAttester::new(address, paths)))
        }
        Err(AttestError::NoTee { .. }) => Ok(Box::new(TpmAttester::open(address, &paths.tpm)?)),
        Err(error) => Err(error),
    }
}

/// A TPM that cannot be used takes nothing from the hardware's evidence: the broker says when it misses it.
fn with_hardware(hardware: Box<dyn Attester>, address: &TpmAddress, paths: &Paths) -> Box<dyn Attester> {
    if tsm::is_under_svsm(&paths.tsm_root) == Ok(true) {
        let tpm = GuestTpm::new(address.clone(), paths.tpm.clone(), AkSource::Own(paths.tpm.ak), Vec::new());
        return Box::new(SvsmAttester::new(paths.tsm_root.clone(), tpm));
    }
    let certified = Tpm::open(address).and_then(|tpm| AkSource::certified(&tpm));
    match certified {
        Ok(Some((source, certificate))) => {
            let tpm = GuestTpm::new(address.clone(), paths.tpm.clone(), source, vec![certificate]);
            Box::new(HostedAttester::new(hardware, Ok(tpm)))
        }
        Ok(None) => hardware,
        Err(error) => Box::new(HostedAttester::new(hardware, Err(Warning::Tpm(error)))),
    }
}
