//! The plaintext of a grant that a TPM opens:
//! `{"grant":…,"version":…,"tpm2_import":{"public":…,"duplicate":…,"symseed":…,"policy":{"bank":…,"pcrs":[…]}},"wrapped":…}`.
//!
//! A TPM object holds [`OBJECT_LIMIT`] bytes. A longer value stands in `wrapped`, base64url of IV (12 bytes) ‖ AES-256-GCM
//! ciphertext ‖ tag (16), under a key of 32 random bytes that is the object's content; the additional data is the object's
//! `public`, so that the value belongs to this object.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    import::{ImportObject, OBJECT_LIMIT, import_object},
    policy::PcrPolicy,
    storage_key::{TpmHash, TpmSealError, TpmStorageKey},
};
use crate::{
    encoding::{decode, encode},
    random::{Random, draw},
    secret::{SecretArray, SecretBytes},
};

/// A grant whose value only one TPM gives out, while its PCRs are the expected ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmGrant {
    /// The grant's name, as the guest asked for it.
    pub grant: String,
    /// Which version of it, from 1.
    pub version: u64,
    /// What the TPM imports.
    pub object: ImportObject,
    /// Bank that the object's policy reads.
    pub bank: TpmHash,
    /// PCRs that the object's policy reads, ascending.
    pub pcrs: Vec<u8>,
    /// The value under the key that the object holds; absent when the object holds the value itself.
    pub wrapped: Option<Vec<u8>>,
}

/// A plaintext is not a grant for a TPM, or what the TPM unsealed does not open it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a grant with an object for TPM2_Import that opens")]
pub struct NotATpmGrant;

impl NotATpmGrant {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "parse.grant.tpm2_import"
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    grant: String,
    version: u64,
    tpm2_import: WireObject,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrapped: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireObject {
    public: String,
    duplicate: String,
    symseed: String,
    policy: WirePolicy,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePolicy {
    bank: String,
    pcrs: Vec<u8>,
}

impl TpmGrant {
    /// Seals `value` to the TPM of `key`, for as long as its PCRs have the values of `policy`.
    ///
    /// # Errors
    /// [`TpmSealError`] when the source of randomness failed.
    pub fn seal(
        grant: String,
        version: u64,
        value: &SecretBytes,
        (key, policy): (&TpmStorageKey, &PcrPolicy),
        rng: &mut impl Random,
    ) -> Result<Self, TpmSealError> {
        let (object, wrapped) = if value.len() <= OBJECT_LIMIT {
            (import_object(key, value, policy, rng)?, None)
        } else {
            let content_key: SecretArray<32> = Zeroizing::new(draw(rng)?);
            let object = import_object(key, &SecretBytes::new(content_key.to_vec()), policy, rng)?;
            let iv: [u8; NONCE_LEN] = draw(rng)?;
            let wrapped = encrypt(&content_key, iv, &object.public, value).ok_or(TpmSealError::Crypto)?;
            (object, Some(wrapped))
        };
        Ok(Self { grant, version, object, bank: policy.bank(), pcrs: policy.pcrs().collect(), wrapped })
    }

    /// The plaintext to seal to the guest's key.
    #[must_use]
    pub fn to_plaintext(&self) -> SecretBytes {
        let wire = Wire {
            grant: self.grant.clone(),
            version: self.version,
            tpm2_import: WireObject {
                public: encode(&self.object.public),
                duplicate: encode(&self.object.duplicate),
                symseed: encode(&self.object.symseed),
                policy: WirePolicy { bank: self.bank.name().to_owned(), pcrs: self.pcrs.clone() },
            },
            wrapped: self.wrapped.as_ref().map(encode),
        };
        // Text and numbers always serialize; the empty plaintext is none that `parse` takes.
        SecretBytes::new(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a plaintext that was opened with the guest's key.
    ///
    /// # Errors
    /// [`NotATpmGrant`] when it is not exactly that form.
    pub fn parse(plaintext: &SecretBytes) -> Result<Self, NotATpmGrant> {
        let wire: Wire = serde_json::from_slice(plaintext.expose()).map_err(|_position| NotATpmGrant)?;
        let bytes = |text: &str| decode(text).ok_or(NotATpmGrant);
        let import = &wire.tpm2_import;
        let bank = TpmHash::ALL.into_iter().find(|bank| bank.name() == import.policy.bank).ok_or(NotATpmGrant)?;
        let object = ImportObject {
            public: bytes(&import.public)?,
            duplicate: bytes(&import.duplicate)?,
            symseed: bytes(&import.symseed)?,
        };
        let ascending = import.policy.pcrs.is_sorted_by(|left, right| left < right);
        if !ascending || import.policy.pcrs.is_empty() || import.policy.pcrs.iter().any(|pcr| *pcr > 23) {
            return Err(NotATpmGrant);
        }
        let wrapped = wire.wrapped.as_deref().map(bytes).transpose()?;
        Ok(Self { grant: wire.grant, version: wire.version, object, bank, pcrs: wire.tpm2_import.policy.pcrs, wrapped })
    }

    /// The value, from what the TPM unsealed.
    ///
    /// # Errors
    /// [`NotATpmGrant`] when the content does not open the wrapped value.
    pub fn open(&self, unsealed: SecretBytes) -> Result<SecretBytes, NotATpmGrant> {
        let Some(wrapped) = &self.wrapped else { return Ok(unsealed) };
        let (iv, ciphertext) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(NotATpmGrant)?;
        let key = UnboundKey::new(&AES_256_GCM, unsealed.expose()).map_err(|_length| NotATpmGrant)?;
        let mut plaintext = SecretBytes::new(ciphertext.to_vec());
        let length = LessSafeKey::new(key)
            .open_in_place(
                Nonce::assume_unique_for_key(*iv),
                Aad::from(self.object.public.as_slice()),
                plaintext.expose_mut(),
            )
            .map_err(|_unspecified| NotATpmGrant)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }
}

fn encrypt(key: &SecretArray<32>, iv: [u8; NONCE_LEN], aad: &[u8], value: &SecretBytes) -> Option<Vec<u8>> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).ok()?);
    let mut content = value.expose().to_vec();
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(iv), Aad::from(aad), &mut content).ok()?;
    Some([iv.as_slice(), &content, tag.as_ref()].concat())
}
