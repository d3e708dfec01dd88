//! Objects for `TPM2_Import`: sealed data that one TPM opens, under one PCR policy.

use zeroize::Zeroizing;

use super::{
    policy::PcrPolicy,
    storage_key::{TpmHash, TpmSealError, TpmStorageKey},
    wrap::{sized, wrap},
};
use crate::{
    random::{Random, draw},
    secret::SecretBytes,
};

/// Most bytes of one object (MAX_SYM_DATA of every TPM).
pub const OBJECT_LIMIT: usize = 128;
/// TPM_ALG_KEYEDHASH.
const KEYED_HASH: u16 = 0x0008;
/// TPM_ALG_NULL.
const NULL: u16 = 0x0010;
/// adminWithPolicy and noDA. userWithAuth is clear: with it the empty password would open the object without the policy.
/// fixedTPM and fixedParent are clear, as for every object that is imported.
const ATTRIBUTES: u32 = (1 << 7) | (1 << 10);

/// An object that its TPM imports, loads and unseals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportObject {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE: the encrypted content.
    pub duplicate: Vec<u8>,
    /// TPM2B_ENCRYPTED_SECRET: the seed that it is encrypted under.
    pub symseed: Vec<u8>,
}

/// Seals `data` to the TPM of `key` under `policy`. Without an inner wrapper: the symmetric algorithm of the import is NULL.
///
/// # Errors
/// [`TpmSealError`]: more than [`OBJECT_LIMIT`] bytes, or the source of randomness failed.
pub fn import_object(
    key: &TpmStorageKey,
    data: &SecretBytes,
    policy: &PcrPolicy,
    rng: &mut impl Random,
) -> Result<ImportObject, TpmSealError> {
    if data.len() > OBJECT_LIMIT {
        return Err(TpmSealError::TooLarge { limit: OBJECT_LIMIT, actual: data.len() });
    }
    let obfuscation: Zeroizing<[u8; 32]> = Zeroizing::new(draw(rng)?);
    // Part 2, section 12.3.2.3: unique is H(seedValue ‖ data).
    let unique = TpmHash::Sha256.digest(&[obfuscation.as_slice(), data.expose()]);
    let area = public_area(&policy.digest(), &unique).ok_or(TpmSealError::Crypto)?;
    let name = [&TpmHash::Sha256.tpm_id().to_be_bytes(), TpmHash::Sha256.digest(&[&area]).as_slice()].concat();
    let seed = key.protect_seed(b"DUPLICATE\0", rng)?;
    let sensitive = sensitive_area(&obfuscation, data).and_then(|area| sized(&area)).ok_or(TpmSealError::Crypto)?;
    // The plaintext is encrypted in place.
    let wrapped = wrap(key, &seed, &name, sensitive).ok_or(TpmSealError::Crypto)?;
    let (public, duplicate) = sized(&area).zip(sized(&wrapped)).ok_or(TpmSealError::Crypto)?;
    Ok(ImportObject { public, duplicate, symseed: seed.encrypted })
}

/// TPMT_PUBLIC of sealed data (part 2, section 12.2.4).
fn public_area(policy: &[u8], unique: &[u8]) -> Option<Vec<u8>> {
    let head = [KEYED_HASH.to_be_bytes(), TpmHash::Sha256.tpm_id().to_be_bytes()].concat();
    Some(
        [head, ATTRIBUTES.to_be_bytes().to_vec(), sized(policy)?, NULL.to_be_bytes().to_vec(), sized(unique)?].concat(),
    )
}

/// TPMT_SENSITIVE: no authorisation value, the obfuscation seed, the data.
fn sensitive_area(obfuscation: &[u8; 32], data: &SecretBytes) -> Option<Zeroizing<Vec<u8>>> {
    let (seed, data) = (Zeroizing::new(sized(obfuscation)?), Zeroizing::new(sized(data.expose())?));
    Some(Zeroizing::new([KEYED_HASH.to_be_bytes().as_slice(), &[0, 0], &seed, &data].concat()))
}
