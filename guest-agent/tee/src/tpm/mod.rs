//! A TPM 2.0 client without shared libraries: our own marshalling over the kernel's device or a socket (TCG TPM 2.0 Library,
//! parts 2 and 3).
//!
//! [`Tpm::open`] takes a [`TpmAddress`]: the kernel's device, or the socket of a software TPM. Every method is one purpose and
//! blocks until the TPM has answered or the time is up. A [`Tpm`] can be cloned: the clones share the connection.
//!
//! | purpose | method |
//! |---|---|
//! | keys | [`Tpm::create_ek`], [`Tpm::create_ak`], [`Tpm::create_primary`], [`Tpm::persistent`], [`Tpm::persist`] |
//! | evidence | [`Tpm::quote`], [`Tpm::pcr_read`], [`Tpm::quote_pcrs`] (both, in agreement) |
//! | measuring | [`Tpm::pcr_extend`], [`Tpm::pcr_banks`] |
//! | storage | [`Tpm::nv_public`], [`Tpm::nv_read`], [`Tpm::nv_write`], [`Tpm::nv_define`] |
//! | enrolment | [`Tpm::activate_credential`] |
//! | secrets | [`Tpm::unseal_imported`], [`Tpm::seal_to_pcrs`], [`Tpm::unseal`], [`Tpm::keep`], [`Tpm::open_kept`] |
//!
//! **Invariant: nothing stays loaded.** A [`Key`] and a [`PolicySession`] are flushed when they are dropped, on every path: a
//! TPM without a resource manager has room for three objects and three sessions.
//!
//! **Invariant: what the TPM names is checked.** The name of a key is computed from its public area and compared with what
//! the TPM says.
//!
//! ```no_run
//! use evidence_formats::digest::HashAlgorithm;
//! use tee::tpm::{AkKind, EkKind, Pcrs, Tpm, TpmAddress, TpmError};
//!
//! # fn main() -> Result<(), TpmError> {
//! let tpm = Tpm::open(&TpmAddress::default())?;
//! let (ek, ak) = (tpm.create_ek(EkKind::Rsa2048)?, tpm.create_ak(AkKind::EccP256)?);
//! let certificate = tpm.nv_read_if_there(EkKind::Rsa2048.certificate_index())?;
//! let evidence = tpm.quote_pcrs(&ak, &[7; 48], &Pcrs::all(HashAlgorithm::Sha256))?;
//! println!("{} signs {} PCRs", ak.name(), evidence.values.len());
//! # let _both = (ek, certificate);
//! # Ok(())
//! # }
//! ```
//!
//! The authorisation of the hierarchies and of the objects used here is empty: what may talk to the device may use the TPM.

mod address;
mod capability;
mod client;
mod command;
mod credential;
mod error;
mod keep;
mod key;
mod nv;
mod pcr;
mod quote;
mod response;
mod response_code;
mod seal;
mod session;
mod template;
mod transport;

pub use self::{
    address::{NotAnAddress, TpmAddress},
    client::Tpm,
    error::TpmError,
    keep::{ClockLimits, KeptObject, TpmClock},
    key::{Hierarchy, Key, PersistentHandle},
    nv::{NvAttributes, NvIndex, NvPublic},
    pcr::{NotPcrs, Pcrs},
    quote::{Quote, QuotedPcrs},
    response::{Malformed, Response, Shape},
    response_code::ResponseCode,
    seal::{ImportedSecret, SealedObject, pcr_policy},
    session::PolicySession,
    template::{AkKind, EkKind, PublicTemplate},
    transport::Transport,
};
