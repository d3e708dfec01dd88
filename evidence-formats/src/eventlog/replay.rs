//! Replays a log: what the registers hold when exactly these events were extended, in this order, since reset.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Event, EventLog, EventType};
use crate::{
    bytes::Sha384Digest,
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
};

/// Number of PCRs of a PC Client TPM.
pub const PCR_COUNT: u32 = 24;
/// Signature of the event that tells the locality of TPM2_Startup (PFP 1.05 section 10.4.5.3).
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// Replayed PCRs of one bank: only those that the log extends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcrReplay {
    bank: HashAlgorithm,
    values: BTreeMap<u8, Digest>,
}

impl PcrReplay {
    /// The bank that was replayed.
    #[must_use]
    pub const fn bank(&self) -> HashAlgorithm {
        self.bank
    }

    /// Value of a PCR that the log extends; `None` when the log does not touch it.
    #[must_use]
    pub fn value(&self, pcr: u8) -> Option<&Digest> {
        self.values.get(&pcr)
    }

    /// Every PCR that the log extends, with its value.
    #[must_use]
    pub const fn values(&self) -> &BTreeMap<u8, Digest> {
        &self.values
    }
}

/// Replayed TDX runtime measurement registers; one that the log does not extend is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtmrReplay {
    /// RTMR0 to RTMR3.
    pub rtmrs: [Sha384Digest; 4],
}

impl RtmrReplay {
    /// All registers zero, as at the launch of a TD.
    pub const RESET: Self = Self { rtmrs: [Sha384Digest([0; 48]); 4] };
}

/// Value of `pcr` after reset: 17 to 22 all ones, the others zero (PC Client Platform TPM Profile 1.06 section 4.6.2).
#[must_use]
pub fn reset_value(bank: HashAlgorithm, pcr: u8) -> Digest {
    if (17..=22).contains(&pcr) { Digest::filled(bank, 0xFF) } else { Digest::zero(bank) }
}

impl EventLog {
    /// Replays the PCRs of one bank.
    ///
    /// # Errors
    /// When the log does not list the bank, a measured event lacks the bank's digest, a PCR index is not 0 to 23, or
    /// the startup locality is not told exactly once, before anything is measured into PCR 0.
    pub fn replay_pcrs(&self, bank: HashAlgorithm) -> Result<PcrReplay, ReplayError> {
        if !self.algorithms().contains(&bank) {
            return Err(ReplayError::BankNotInLog { bank });
        }
        let mut values: BTreeMap<u8, Digest> = BTreeMap::new();
        let mut locality = None;
        for event in self.events() {
            let pcr = u8::try_from(event.register).ok().filter(|pcr| u32::from(*pcr) < PCR_COUNT);
            if !event.is_measured() {
                if let Some(told) = startup_locality(&event)? {
                    if locality.is_some() || values.contains_key(&0) {
                        return Err(ReplayError::StartupLocality { event: event.number });
                    }
                    locality = Some(told);
                }
                continue;
            }
            let pcr = pcr.ok_or(ReplayError::Register { event: event.number, index: event.register })?;
            let digest = event.digest_bytes(bank).ok_or(ReplayError::MissingDigest { event: event.number, bank })?;
            let value = values.entry(pcr).or_insert_with(|| initial_value(bank, pcr, locality));
            *value = value.extended(digest);
        }
        Ok(PcrReplay { bank, values })
    }

    /// Replays a CCEL into RTMR0 to RTMR3: SHA-384, register index 1 to 4 (UEFI 2.10 section 38.4.1; index 0 is MRTD,
    /// which is never extended at run time).
    ///
    /// # Errors
    /// When the log does not list SHA-384, a measured event lacks its SHA-384 digest, or an index is above 4.
    pub fn replay_rtmrs(&self) -> Result<RtmrReplay, ReplayError> {
        self.continue_rtmrs(&RtmrReplay::RESET)
    }

    /// The same for a log that begins where another one ended.
    ///
    /// # Errors
    /// As [`EventLog::replay_rtmrs`].
    pub fn continue_rtmrs(&self, start: &RtmrReplay) -> Result<RtmrReplay, ReplayError> {
        let bank = HashAlgorithm::Sha384;
        if !self.algorithms().contains(&bank) {
            return Err(ReplayError::BankNotInLog { bank });
        }
        let mut registers = start.rtmrs.map(|rtmr| Digest::new(bank, &rtmr.0).unwrap_or(Digest::zero(bank)));
        for event in self.events().filter(Event::is_measured) {
            let out_of_range = ReplayError::Register { event: event.number, index: event.register };
            let digest = event.digest_bytes(bank).ok_or(ReplayError::MissingDigest { event: event.number, bank })?;
            let Some(rtmr) = event.register.checked_sub(1) else { continue };
            let rtmr = usize::try_from(rtmr).ok().and_then(|rtmr| registers.get_mut(rtmr)).ok_or(out_of_range)?;
            *rtmr = rtmr.extended(digest);
        }
        Ok(RtmrReplay { rtmrs: registers.map(|value| sha384(&value)) })
    }
}

fn sha384(value: &Digest) -> Sha384Digest {
    let mut bytes = [0; Sha384Digest::LENGTH];
    for (to, from) in bytes.iter_mut().zip(value.as_bytes()) {
        *to = *from;
    }
    Sha384Digest(bytes)
}

/// Locality of an EV_NO_ACTION event that is a startup locality event.
fn startup_locality(event: &Event<'_>) -> Result<Option<u8>, ReplayError> {
    if event.kind != EventType::NO_ACTION || !event.data.starts_with(STARTUP_LOCALITY) {
        return Ok(None);
    }
    let wrong = ReplayError::StartupLocality { event: event.number };
    // Localities from which TPM2_Startup can come: 0, 3 and, with an H-CRTM, 4.
    match event.data.get(STARTUP_LOCALITY.len()..) {
        Some([locality @ (0 | 3 | 4)]) if event.register == 0 => Ok(Some(*locality)),
        _ => Err(wrong),
    }
}

/// PCR 0 starts as the locality of TPM2_Startup in its last byte (TPM 2.0 part 1, section on H-CRTM and locality).
fn initial_value(bank: HashAlgorithm, pcr: u8, locality: Option<u8>) -> Digest {
    match locality {
        Some(locality) if pcr == 0 => {
            let mut bytes = vec![0; bank.length()];
            if let Some(last) = bytes.last_mut() {
                *last = locality;
            }
            Digest::new(bank, &bytes).unwrap_or(Digest::zero(bank))
        }
        _ => reset_value(bank, pcr),
    }
}

/// A log cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The log's table does not list the bank.
    #[error("the event log has no {bank} digests")]
    BankNotInLog {
        /// The bank that was asked for.
        bank: HashAlgorithm,
    },
    /// A measured event has no digest for the bank.
    #[error("event {event} has no {bank} digest")]
    MissingDigest {
        /// Position of the event.
        event: usize,
        /// The bank that was asked for.
        bank: HashAlgorithm,
    },
    /// A register index that does not exist.
    #[error("event {event} extends register {index}, which does not exist")]
    Register {
        /// Position of the event.
        event: usize,
        /// The index.
        index: u32,
    },
    /// A startup locality event that is malformed, repeated or late.
    #[error("event {event} is not the only, first and well-formed startup locality event")]
    StartupLocality {
        /// Position of the event.
        event: usize,
    },
}

impl Coded for ReplayError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::BankNotInLog { .. } => "parse.eventlog.bank",
            Self::MissingDigest { .. } => "parse.eventlog.digest_missing",
            Self::Register { .. } => "parse.eventlog.register",
            Self::StartupLocality { .. } => "parse.eventlog.startup_locality",
        })
    }
}
