//! `TPM2_MakeCredential` in software (part 1, section 24.4).

use super::{
    storage_key::{TpmSealError, TpmStorageKey},
    wrap::{sized, wrap},
};
use crate::{random::Random, secret::SecretBytes};

/// A challenge for `TPM2_ActivateCredential`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// TPM2B_ID_OBJECT: the encrypted credential with its HMAC.
    pub blob: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET: the seed that the blob is encrypted under.
    pub secret: Vec<u8>,
}

/// Encrypts `credential` so that only the TPM of `key` recovers it, and only while an object called `name` is loaded there.
///
/// `name` is name algorithm and digest, computed by the caller from the public area that it judged.
///
/// # Errors
/// [`TpmSealError`]: the credential is longer than a digest of the key's name algorithm, or the source of randomness failed.
pub fn make_credential(
    key: &TpmStorageKey,
    name: &[u8],
    credential: &SecretBytes,
    rng: &mut impl Random,
) -> Result<Credential, TpmSealError> {
    let (limit, actual) = (key.hash.length(), credential.len());
    if actual > limit {
        return Err(TpmSealError::TooLarge { limit, actual });
    }
    let seed = key.protect_seed(b"IDENTITY\0", rng)?;
    let plaintext = sized(credential.expose()).ok_or(TpmSealError::Crypto)?;
    let wrapped = wrap(key, &seed, name, plaintext).ok_or(TpmSealError::Crypto)?;
    Ok(Credential { blob: sized(&wrapped).ok_or(TpmSealError::Crypto)?, secret: seed.encrypted })
}
