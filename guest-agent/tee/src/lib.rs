//! Hardware evidence from inside the guest.
//!
//! [`detect`] finds the hardware from what the kernel offers: configfs-tsm, or `/dev/sev-guest` and `/dev/tdx_guest` on
//! kernels without it, and a TPM where it adds something. No confidential hardware and no TPM is an error; there is no sample
//! evidence to fall back to. What the hardware and the host give is looked at before it is handed on, so that a broken host
//! gives a clear error here and not a refusal elsewhere.

mod attester;
mod azure;
mod error;
mod event_log;
mod init_data;
mod peer;
mod rtmr;
pub mod sev_guest;
mod snp;
mod tdx;
pub mod tdx_guest;
mod throttle;
pub mod tpm;
pub mod tsm;
mod vtpm;

pub use crate::{
    attester::{Attester, Collected, Paths, detect},
    azure::{MetadataError, MetadataService, NotAService, ParavisorError},
    error::{AttestError, Warning},
    peer::peer_process,
    rtmr::{ExtendError, RegisterPaths, extend},
    vtpm::{AkSource, EnrolmentKeys, GuestTpm, TpmSettings},
};
