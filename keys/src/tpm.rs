//! Sealing to a TPM 2.0: credentials that prove where a key lives, and secrets that open under the right PCRs only.
//!
//! Both are encrypted to the TPM's endorsement key and are opened by the TPM itself, so that what is sent is of no use
//! anywhere else:
//!
//! - [`make_credential`] makes a challenge that only the TPM with this endorsement key answers, and only while the named
//!   key is loaded in it (TPM 2.0 part 1, section 24): it ties an attestation key to an endorsement key.
//! - [`import_object`] makes an object for `TPM2_Import` (part 1, section 23.3) whose policy is `PolicyPCR` over values that
//!   the caller chose: the TPM compares them with its PCRs each time the object is used.
//! - [`TpmGrant`] is the plaintext of a grant that carries such an object instead of its value.
//!
//! The seeds of both are drawn from the caller's source; the padding of RSA-OAEP draws its own from aws-lc, which offers no
//! other way.

mod credential;
mod grant;
mod import;
mod policy;
mod storage_key;
#[cfg(test)]
mod tests;
mod wrap;

pub use credential::{Credential, make_credential};
pub use grant::{NotATpmGrant, TpmGrant};
pub use import::{ImportObject, OBJECT_LIMIT, import_object};
pub use policy::{NotAPcrPolicy, PcrPolicy};
pub use storage_key::{NotAStorageKey, TpmCipher, TpmHash, TpmSealError, TpmStorageKey};
