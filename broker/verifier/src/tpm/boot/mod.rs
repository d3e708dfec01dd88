//! What a replayed event log proves about the boot, and what makes it a lie.
//!
//! Replay proves the sequence of digests of each PCR, nothing else: not types, not data, not the order between PCRs.
//! So text and variables count only when their digest proves them, a claim never rests on a PCR outside of the signed
//! set, and PCR 16 and 23, which software can reset, carry none.

mod applications;
mod error;
mod ima;
mod secure_boot;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use evidence_formats::{
    digest::HashAlgorithm,
    eventlog::{Event, EventLog, EventType},
};
use serde::Serialize;

pub use error::BootLogError;
pub use ima::ImaClaims;
pub use secure_boot::{SecureBootClaims, SignatureDatabase};
pub use text::MeasuredFile;

use super::{TpmAuthenticateError, VerifiedPcrs};

/// PCRs that any software can reset (PC Client Platform TPM Profile 1.06 section 4.6.2): no claim, no policy.
pub const RESETTABLE: [u8; 2] = [16, 23];

/// What an event log proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootClaims {
    /// PCRs whose quoted value the log replays to.
    pub replayed: BTreeSet<u8>,
    /// Secure Boot state (PCR 7).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<SecureBootClaims>,
    /// Authenticode digests of everything that ran from PCR 4, in order; absent when the firmware does not tell when
    /// it handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_applications: Option<Vec<String>>,
    /// Kernel command lines that boot loaders measured as text (PCR 8 and 12): proven word for word.
    pub kernel_command_lines: Vec<String>,
    /// Files that GRUB or the kernel's EFI stub loaded (PCR 9).
    pub files: Vec<MeasuredFile>,
    /// Sections of a unified kernel image by name (PCR 11).
    pub uki: BTreeMap<&'static str, String>,
    /// Shim's machine owner keys and switches (PCR 14).
    pub machine_owner: Vec<MeasuredFile>,
}

impl BootClaims {
    /// Named digests of one PCR, as the normalised claims list them.
    #[must_use]
    pub fn named_digests(&self, pcr: u8) -> BTreeMap<String, Vec<String>> {
        let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |name: &str, digest: &str| named.entry(name.to_owned()).or_default().push(digest.to_owned());
        match pcr {
            4 => self.boot_applications.iter().flatten().for_each(|digest| add("boot_application", digest)),
            9 => self.files.iter().for_each(|file| add(file.kind, &file.digest)),
            11 => self.uki.iter().for_each(|(name, digest)| add(name, digest)),
            14 => self.machine_owner.iter().for_each(|file| add(file.kind, &file.digest)),
            _ => {}
        }
        named
    }
}

/// Events of the signed PCRs that a replay has proven the digests of.
struct ProvenLog<'a> {
    bank: HashAlgorithm,
    events: Vec<Event<'a>>,
}

impl<'a> ProvenLog<'a> {
    /// Measured events of one PCR, in order.
    fn of_pcr(&self, pcr: u8) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| event.register == u32::from(pcr))
    }
}

/// Replays a log against signed PCRs and reads what it proves.
pub(crate) fn read_log(log: &EventLog, pcrs: &VerifiedPcrs) -> Result<BootClaims, TpmAuthenticateError> {
    let replay = log.replay_pcrs(pcrs.bank())?;
    let mut replayed = BTreeSet::new();
    for (pcr, value) in replay.values() {
        match pcrs.value(*pcr) {
            Some(quoted) if quoted == value => {
                replayed.insert(*pcr);
            }
            Some(_) => return Err(TpmAuthenticateError::ReplayMismatch { pcr: *pcr }),
            None => {}
        }
    }
    replayed.retain(|pcr| !RESETTABLE.contains(pcr));
    let proven = |event: &Event<'_>| {
        event.is_measured() && u8::try_from(event.register).is_ok_and(|pcr| replayed.contains(&pcr))
    };
    let log = ProvenLog { bank: pcrs.bank(), events: log.events().filter(proven).collect() };
    require_separators(&log, pcrs)?;
    let text = text::read(&log)?;
    Ok(BootClaims {
        secure_boot: replayed.contains(&7).then(|| secure_boot::read(&log)).transpose()?,
        boot_applications: applications::read(&log)?,
        kernel_command_lines: text.kernel_command_lines,
        files: text.files,
        uki: text::read_uki(&log),
        machine_owner: text.machine_owner,
        replayed,
    })
}

/// Firmware ends its part of PCR 0 to 7 with one separator each (PFP 1.05 section 3.3.2.2). Without them the bank was
/// allocated and not measured, and any log could have been replayed into it.
fn require_separators(log: &ProvenLog<'_>, pcrs: &VerifiedPcrs) -> Result<(), BootLogError> {
    let firmware_error = log.bank.digest(&[&1_u32.to_le_bytes()]);
    let markers = [0_u32, u32::MAX].map(|value| log.bank.digest(&[&value.to_le_bytes()]));
    for pcr in (0..8).filter(|pcr| pcrs.value(*pcr).is_some()) {
        let mut separators = 0_u32;
        for event in log.of_pcr(pcr) {
            let digest = event.digest(log.bank);
            let marks = digest.is_some_and(|digest| markers.contains(&digest));
            if event.kind == EventType::SEPARATOR {
                if digest == Some(firmware_error) {
                    return Err(BootLogError::FirmwareError { pcr });
                }
                if !marks || !event.data_is_measured(log.bank) {
                    return Err(BootLogError::EventData { event: event.number, pcr });
                }
                separators = separators.saturating_add(1);
            } else if marks && pcr >= 2 {
                // In PCR 0 and 1 real measurements are known to have these digests.
                return Err(BootLogError::DisguisedSeparator { event: event.number, pcr });
            }
        }
        if separators == 0 || (separators > 1 && pcr >= 2) {
            return Err(BootLogError::Separators { pcr, separators });
        }
    }
    Ok(())
}
