//! Secrets at rest: envelope encryption under a root key, bound to what the secret is.
//!
//! Every record has its own data key, wrapped by the root key. Rotation of the root key opens a record under the old one
//! and seals it under the new; records name the root key they were sealed under.
//!
//! ```text
//! offset  bytes
//!      0      1  format version, 1
//!      1      8  id of the root key
//!      9     12  nonce of the wrapped data key
//!     21     48  data key, AES-256-GCM under the root key
//!     69     12  nonce of the content
//!     81      n  content, AES-256-GCM under the data key
//!   81+n     16  its tag
//! ```
//!
//! The additional data of both encryptions is the header (version and key id) and the [`Context`], so a record that is
//! moved to another name, tenant or version of the same table does not open. Nonces are random: NIST SP 800-38D §8.3
//! allows 2³² records under one root key.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hmac,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    random::{NoRandomness, Random, draw},
    secret::{SecretArray, SecretBytes},
};

const VERSION: u8 = 1;
const KEY_ID_LENGTH: usize = 8;
const NONCE_LENGTH: usize = 12;
const TAG_LENGTH: usize = 16;
const WRAPPED_LENGTH: usize = 32 + TAG_LENGTH;

/// What a record is: a list of parts such as `["secret", tenant, name, version]`.
///
/// Parts are length-prefixed, so two different lists never have the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(Vec<u8>);

impl Context {
    /// The context of these parts.
    #[must_use]
    pub fn new(parts: &[&str]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            // Lengths beyond 2⁶⁴ do not exist.
            bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        Self(bytes)
    }
}

/// The id of a root key: eight bytes that follow from the key and say nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RootKeyId([u8; KEY_ID_LENGTH]);

impl fmt::Display for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKeyId({self})")
    }
}

/// A key that wraps data keys, in memory, wiped when dropped.
#[expect(missing_debug_implementations, reason = "a key is never printed")]
pub struct RootKey {
    id: RootKeyId,
    key: SecretArray<32>,
}

/// Why a record was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A root key has another length.
    #[error("expected a root key of 32 bytes, found {actual}")]
    KeyLength {
        /// How many bytes there are.
        actual: usize,
    },
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Shorter than the format's fixed part.
    #[error("expected a sealed record of at least {expected} bytes, found {actual}")]
    Truncated {
        /// The fixed part, bytes.
        expected: usize,
        /// How many bytes there are.
        actual: usize,
    },
    /// A format that this version of the program does not know.
    #[error("expected sealed record format {VERSION}, found {found}")]
    Format {
        /// The first byte.
        found: u8,
    },
    /// Sealed under another root key.
    #[error("expected a record sealed under root key {expected}, found {found}")]
    OtherKey {
        /// The key at hand.
        expected: RootKeyId,
        /// The key that the record names.
        found: RootKeyId,
    },
    /// The record belongs to another context or was changed.
    #[error("expected an unchanged record of this context")]
    Refused,
    /// The cryptographic library refused to encrypt.
    #[error("the cryptographic library refused to encrypt")]
    Crypto,
}

impl EnvelopeError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeyLength { .. } => "internal.envelope.key_length",
            Self::Randomness(error) => error.code(),
            Self::Truncated { .. } => "internal.envelope.truncated",
            Self::Format { .. } => "internal.envelope.format",
            Self::OtherKey { .. } => "internal.envelope.other_key",
            Self::Refused => "internal.envelope.refused",
            Self::Crypto => "internal.envelope.crypto",
        }
    }
}

/// The parts of a record.
struct Record<'a> {
    header: &'a [u8],
    key_id: RootKeyId,
    key_nonce: [u8; NONCE_LENGTH],
    wrapped: &'a [u8],
    content_nonce: [u8; NONCE_LENGTH],
    content: &'a [u8],
}

impl RootKey {
    /// A key of the 32 raw bytes that a key file holds.
    ///
    /// # Errors
    /// [`EnvelopeError::KeyLength`]: never padded, never cut.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let key = bytes.try_into().map_err(|_length| EnvelopeError::KeyLength { actual: bytes.len() })?;
        Ok(Self::of(Zeroizing::new(key)))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// When `rng` fails.
    pub fn generate(rng: &mut impl Random) -> Result<Self, EnvelopeError> {
        Ok(Self::of(Zeroizing::new(draw(rng)?)))
    }

    fn of(key: SecretArray<32>) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()), b"countersign root key id");
        let mut id = [0; KEY_ID_LENGTH];
        for (to, from) in id.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Self { id: RootKeyId(id), key }
    }

    /// The 32 raw bytes, for the key file.
    #[must_use]
    pub fn to_file_bytes(&self) -> SecretBytes {
        SecretBytes::new(self.key.to_vec())
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> RootKeyId {
        self.id
    }

    /// Seals `plaintext` as a record of `context`.
    ///
    /// # Errors
    /// When `rng` fails.
    pub fn seal(
        &self,
        context: &Context,
        plaintext: &SecretBytes,
        rng: &mut impl Random,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let data_key: SecretArray<32> = Zeroizing::new(draw(rng)?);
        let (key_nonce, content_nonce): ([u8; NONCE_LENGTH], [u8; NONCE_LENGTH]) = (draw(rng)?, draw(rng)?);
        let mut record = vec![VERSION];
        record.extend(self.id.0);
        let aad = additional_data(&record, context);
        let wrapped = encrypt(&self.key, key_nonce, &aad, data_key.as_slice())?;
        let content = encrypt(&data_key, content_nonce, &aad, plaintext.expose())?;
        for part in [&key_nonce[..], &wrapped, &content_nonce, &content] {
            record.extend(part);
        }
        Ok(record)
    }

    /// Opens a record of `context`.
    ///
    /// # Errors
    /// [`EnvelopeError`]: another format, another root key, another context, or changed.
    pub fn open(&self, context: &Context, record: &[u8]) -> Result<SecretBytes, EnvelopeError> {
        let record = Record::parse(record)?;
        if record.key_id != self.id {
            return Err(EnvelopeError::OtherKey { expected: self.id, found: record.key_id });
        }
        let aad = additional_data(record.header, context);
        let data_key = decrypt(&self.key, record.key_nonce, &aad, record.wrapped)?;
        let data_key: SecretArray<32> =
            Zeroizing::new(data_key.expose().try_into().map_err(|_length| EnvelopeError::Refused)?);
        decrypt(&data_key, record.content_nonce, &aad, record.content)
    }
}

/// The id of the root key that a record was sealed under, before it is opened.
///
/// # Errors
/// When it is no record of a known format.
pub fn root_key_of(record: &[u8]) -> Result<RootKeyId, EnvelopeError> {
    Record::parse(record).map(|record| record.key_id)
}

impl<'a> Record<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        if let Some(found) = bytes.first().copied().filter(|version| *version != VERSION) {
            return Err(EnvelopeError::Format { found });
        }
        Self::split(bytes).ok_or(EnvelopeError::Truncated { expected: SHORTEST, actual: bytes.len() })
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(1 + KEY_ID_LENGTH)?;
        let (_version, key_id) = header.split_at_checked(1)?;
        let (key_nonce, rest) = rest.split_first_chunk()?;
        let (wrapped, rest) = rest.split_at_checked(WRAPPED_LENGTH)?;
        let (content_nonce, content) = rest.split_first_chunk()?;
        if content.len() < TAG_LENGTH {
            return None;
        }
        let key_id = RootKeyId(key_id.try_into().ok()?);
        Some(Self { header, key_id, key_nonce: *key_nonce, wrapped, content_nonce: *content_nonce, content })
    }
}

/// A record of no content.
const SHORTEST: usize = 1 + KEY_ID_LENGTH + NONCE_LENGTH + WRAPPED_LENGTH + NONCE_LENGTH + TAG_LENGTH;

fn additional_data(header: &[u8], context: &Context) -> Vec<u8> {
    // The header has a fixed length, so the boundary is unambiguous.
    [header, &context.0].concat()
}

fn cipher(key: &SecretArray<32>) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
}

fn encrypt(
    key: &SecretArray<32>,
    nonce: [u8; NONCE_LENGTH],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, EnvelopeError> {
    // Room for the tag, so that the buffer is not moved with plaintext in it.
    let mut bytes = Vec::with_capacity(plaintext.len().saturating_add(TAG_LENGTH));
    bytes.extend(plaintext);
    let nonce = Nonce::assume_unique_for_key(nonce);
    cipher(key)
        .and_then(|key| key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut bytes).ok())
        .ok_or(EnvelopeError::Crypto)?;
    Ok(bytes)
}

fn decrypt(
    key: &SecretArray<32>,
    nonce: [u8; NONCE_LENGTH],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, EnvelopeError> {
    let mut bytes = SecretBytes::new(ciphertext.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let length = cipher(key)
        .and_then(|key| key.open_in_place(nonce, Aad::from(aad), bytes.expose_mut()).ok().map(|opened| opened.len()))
        .ok_or(EnvelopeError::Refused)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
