//! Attestation evidence: bytes to types and back.
//!
//! Every format is defined here once and used by the guest agent, which gathers evidence, and by the verifier, which
//! judges it. Parsing is a pure function of the bytes: exact lengths, known versions, reserved bits zero, no trailing
//! bytes. The received bytes are kept, because they are what was signed.
#![forbid(unsafe_code)]

pub mod azure;
pub mod binding;
pub mod bundle;
pub mod bytes;
pub mod cbor;
pub mod code;
pub mod corim;
pub mod digest;
pub mod endorsement;
pub mod eventlog;
pub mod evidence;
pub mod guest_report;
pub mod hcl;
pub mod init_data;
mod json;
pub mod snp;
pub mod svsm;
pub mod tdx;
pub mod tpm;
pub mod vtpm;
