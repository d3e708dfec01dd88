//! Why a log that replays is still not a measured boot.

use evidence_formats::{
    code::{Code, Coded},
    eventlog::EventType,
};
use thiserror::Error;

/// A log breaks the rules of measured boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BootLogError {
    /// No separator, or more than one.
    #[error("expected exactly one separator in PCR {pcr}, found {separators}")]
    Separators {
        /// Index of the PCR.
        pcr: u8,
        /// How many there are.
        separators: u32,
    },
    /// The firmware reports that measuring failed.
    #[error("the separator of PCR {pcr} reports a firmware error")]
    FirmwareError {
        /// Index of the PCR.
        pcr: u8,
    },
    /// A separator under another type.
    #[error("event {event} of PCR {pcr} is a separator under another type")]
    DisguisedSeparator {
        /// Position of the event.
        event: usize,
        /// Index of the PCR.
        pcr: u8,
    },
    /// A type that this PCR does not have.
    #[error("event {event} of PCR {pcr} has type 0x{:08x}, which does not belong there", kind.0)]
    EventType {
        /// Position of the event.
        event: usize,
        /// Index of the PCR.
        pcr: u8,
        /// Its type.
        kind: EventType,
    },
    /// Data that a claim rests on is not what was measured.
    #[error("the data of event {event} of PCR {pcr} is not what was measured")]
    EventData {
        /// Position of the event.
        event: usize,
        /// Index of the PCR.
        pcr: u8,
    },
    /// A Secure Boot variable twice, or after the separator.
    #[error("event {event} repeats a Secure Boot variable or comes after the separator")]
    SecureBootVariable {
        /// Position of the event.
        event: usize,
    },
    /// A boot application after the firmware handed over.
    #[error("event {event} is a boot application after the firmware handed over")]
    BootOrder {
        /// Position of the event.
        event: usize,
    },
}

impl Coded for BootLogError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Separators { .. } | Self::FirmwareError { .. } | Self::DisguisedSeparator { .. } => {
                "authenticate.tpm.log_separator"
            }
            Self::EventType { .. } => "authenticate.tpm.log_event_type",
            Self::EventData { .. } => "authenticate.tpm.log_event_data",
            Self::SecureBootVariable { .. } => "authenticate.tpm.log_secure_boot",
            Self::BootOrder { .. } => "authenticate.tpm.log_boot_order",
        })
    }
}
