//! What is kept: `{"format":…,"terms":…,"public":…,"private":…,"creation":…,"ticket":…,"wrapped":…}`, base64url but for the format.
//!
//! `terms` are the bytes of a JSON object. `wrapped` is IV (12 bytes) ‖ AES-256-GCM ciphertext of the secret ‖ tag (16), under the
//! 32 bytes that the TPM keeps; the additional data are the terms, as they stand there, and the object's public area. Whoever
//! changes a term has something that does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    encoding::{decode, encode},
    random::{Random, draw},
    secret::{SecretArray, SecretBytes},
    tpm::TpmHash,
};

const FORMAT: &str = "countersign.kept-key/1";
/// Most bytes of one.
const LIMIT: usize = 64 * 1024;
/// Seconds that the clocks of broker and guest may differ without the guest's counting as set back.
const TOLERANCE: u64 = 300;

/// What a kept secret is, and when it ends. Times are the broker's, in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTerms {
    /// The volume that it opens.
    pub volume: String,
    /// The secret's name at the broker.
    pub secret: String,
    /// Its version.
    pub version: u64,
    /// When the broker released it.
    pub given_at: u64,
    /// When it ends.
    pub until: u64,
    /// Bank of the PCRs that the TPM demands.
    pub bank: TpmHash,
    /// The PCRs, ascending.
    pub pcrs: Vec<u8>,
    /// Last value of the TPM's clock, milliseconds.
    pub clock: u64,
    /// Last value of the TPM's counter of resets.
    pub resets: u32,
    /// Last value of the TPM's counter of restarts.
    pub restarts: u32,
}

/// The TPM's object that holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptObject {
    /// TPM2B_PUBLIC.
    pub public: Vec<u8>,
    /// TPM2B_PRIVATE.
    pub private: Vec<u8>,
    /// TPMS_CREATION_DATA.
    pub creation: Vec<u8>,
    /// Digest of its ticket.
    pub ticket: Vec<u8>,
}

/// A secret that only one TPM opens, within its terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptKey {
    terms: KeptTerms,
    /// As they stand in the file: what is authenticated.
    written: Vec<u8>,
    object: KeptObject,
    wrapped: Vec<u8>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The volume to open.
    pub volume: &'a str,
    /// The secret that is its key.
    pub secret: &'a str,
    /// The time, in seconds since the Unix epoch.
    pub now: u64,
}

/// A kept secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeptKeyError {
    /// It is none.
    #[error("expected a kept key")]
    Form,
    /// It was changed, or belongs to another key.
    #[error("expected a kept key as this machine's TPM keeps it, found one that was changed")]
    Changed,
    /// It opens another volume, or is another secret.
    #[error("expected the kept key of this volume")]
    Other,
    /// Its time is over.
    #[error("expected a kept key whose time is not over")]
    Over {
        /// When it ended, in seconds since the Unix epoch.
        until: u64,
    },
    /// The machine's clock is before the time when the secret was released.
    #[error("expected a clock that was not set back")]
    ClockSetBack {
        /// When it was released, in seconds since the Unix epoch.
        given_at: u64,
    },
    /// It could not be made.
    #[error("expected to encrypt the kept key")]
    Crypto,
}

impl KeptKeyError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Form => "parse.kept_key",
            Self::Changed => "authenticate.kept_key.changed",
            Self::Other => "binding.kept_key.other",
            Self::Over { .. } => "policy.kept_key.over",
            Self::ClockSetBack { .. } => "policy.kept_key.clock_set_back",
            Self::Crypto => "internal.keys.kept_key",
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: String,
    terms: String,
    public: String,
    private: String,
    creation: String,
    ticket: String,
    wrapped: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTerms {
    volume: String,
    secret: String,
    version: u64,
    given_at: u64,
    until: u64,
    bank: String,
    pcrs: Vec<u8>,
    clock: u64,
    resets: u32,
    restarts: u32,
}

impl KeptTerms {
    fn write(&self) -> Vec<u8> {
        let wire = WireTerms {
            volume: self.volume.clone(),
            secret: self.secret.clone(),
            version: self.version,
            given_at: self.given_at,
            until: self.until,
            bank: self.bank.name().to_owned(),
            pcrs: self.pcrs.clone(),
            clock: self.clock,
            resets: self.resets,
            restarts: self.restarts,
        };
        // Text and numbers always serialize; empty terms are none that `read` takes.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    fn read(written: &[u8]) -> Option<Self> {
        let wire: WireTerms = serde_json::from_slice(written).ok()?;
        let bank = TpmHash::ALL.into_iter().find(|bank| bank.name() == wire.bank)?;
        let ascending = wire.pcrs.is_sorted_by(|left, right| left < right);
        let sound = ascending && wire.pcrs.last().is_some_and(|last| *last < 24);
        sound.then_some(Self {
            volume: wire.volume,
            secret: wire.secret,
            version: wire.version,
            given_at: wire.given_at,
            until: wire.until,
            bank,
            pcrs: wire.pcrs,
            clock: wire.clock,
            resets: wire.resets,
            restarts: wire.restarts,
        })
    }
}

impl KeptKey {
    /// Encrypts `value` with its terms under the key that `object` holds.
    ///
    /// # Errors
    /// [`KeptKeyError::Crypto`] when the source of randomness failed.
    pub fn seal(
        terms: KeptTerms,
        object: KeptObject,
        key: &SecretArray<32>,
        value: &SecretBytes,
        rng: &mut impl Random,
    ) -> Result<Self, KeptKeyError> {
        let written = terms.write();
        let iv: [u8; NONCE_LEN] = draw(rng).map_err(|_no_randomness| KeptKeyError::Crypto)?;
        let cipher = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_length| KeptKeyError::Crypto)?;
        let mut content = value.expose().to_vec();
        let tag = LessSafeKey::new(cipher).seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(iv),
            Aad::from(additional(&written, &object)),
            &mut content,
        );
        let tag = tag.map_err(|_unspecified| KeptKeyError::Crypto)?;
        Ok(Self { terms, written, object, wrapped: [iv.as_slice(), &content, tag.as_ref()].concat() })
    }

    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            format: FORMAT.to_owned(),
            terms: encode(&self.written),
            public: encode(&self.object.public),
            private: encode(&self.object.private),
            creation: encode(&self.object.creation),
            ticket: encode(&self.object.ticket),
            wrapped: encode(&self.wrapped),
        };
        // Text always serializes; nothing is no kept key.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads what [`KeptKey::to_json`] wrote. Nothing in it is proven yet.
    ///
    /// # Errors
    /// [`KeptKeyError::Form`] when it is not exactly that form.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeptKeyError> {
        if bytes.len() > LIMIT {
            return Err(KeptKeyError::Form);
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_position| KeptKeyError::Form)?;
        let part = |text: &str| decode(text).ok_or(KeptKeyError::Form);
        let written = part(&wire.terms)?;
        let terms = KeptTerms::read(&written).filter(|_| wire.format == FORMAT).ok_or(KeptKeyError::Form)?;
        let object = KeptObject {
            public: part(&wire.public)?,
            private: part(&wire.private)?,
            creation: part(&wire.creation)?,
            ticket: part(&wire.ticket)?,
        };
        Ok(Self { terms, written, object, wrapped: part(&wire.wrapped)? })
    }

    /// The terms as they are written, which says nothing until it opened: what to ask the TPM with.
    #[must_use]
    pub const fn claimed(&self) -> &KeptTerms {
        &self.terms
    }

    /// The TPM's object.
    #[must_use]
    pub const fn object(&self) -> &KeptObject {
        &self.object
    }

    /// The secret, by what the TPM unsealed, when it is what was asked for and its time is not over.
    ///
    /// # Errors
    /// [`KeptKeyError`] says which.
    pub fn open(&self, unsealed: &SecretBytes, asked: Asked<'_>) -> Result<SecretBytes, KeptKeyError> {
        let value = self.decrypt(unsealed).ok_or(KeptKeyError::Changed)?;
        // From here on the terms are those that were written when the secret was kept.
        let terms = &self.terms;
        if terms.volume != asked.volume || terms.secret != asked.secret {
            return Err(KeptKeyError::Other);
        }
        if asked.now >= terms.until {
            return Err(KeptKeyError::Over { until: terms.until });
        }
        if asked.now < terms.given_at.saturating_sub(TOLERANCE) {
            return Err(KeptKeyError::ClockSetBack { given_at: terms.given_at });
        }
        Ok(value)
    }

    fn decrypt(&self, unsealed: &SecretBytes) -> Option<SecretBytes> {
        let (iv, ciphertext) = self.wrapped.split_first_chunk::<NONCE_LEN>()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, unsealed.expose()).ok()?);
        let mut plaintext = SecretBytes::new(ciphertext.to_vec());
        let additional = Aad::from(additional(&self.written, &self.object));
        let opened = key.open_in_place(Nonce::assume_unique_for_key(*iv), additional, plaintext.expose_mut());
        let length = opened.ok()?.len();
        plaintext.truncate(length);
        Some(plaintext)
    }
}

/// What is authenticated with the secret.
fn additional(terms: &[u8], object: &KeptObject) -> Vec<u8> {
    let length = u64::try_from(terms.len()).unwrap_or(u64::MAX).to_be_bytes();
    [FORMAT.as_bytes(), &length, terms, &object.public].concat()
}
