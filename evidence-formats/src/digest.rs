//! Digest algorithms and digests by their TCG identifiers (TCG Algorithm Registry, table 3).

use std::fmt;

use aws_lc_rs::digest;
use serde::{Serialize, Serializer};

/// A hash algorithm of the TCG Algorithm Registry that this project computes.
///
/// SM3 and SHA-3 are registered too; a format that needs them refuses them as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// TPM_ALG_SHA1 (0x0004): logs carry it, no claim rests on it.
    Sha1,
    /// TPM_ALG_SHA256 (0x000B).
    Sha256,
    /// TPM_ALG_SHA384 (0x000C).
    Sha384,
    /// TPM_ALG_SHA512 (0x000D).
    Sha512,
}

impl HashAlgorithm {
    /// The algorithm with this TPM_ALG_ID, if it is one of ours.
    #[must_use]
    pub const fn from_tpm_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000B => Some(Self::Sha256),
            0x000C => Some(Self::Sha384),
            0x000D => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The TPM_ALG_ID.
    #[must_use]
    pub const fn tpm_id(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000B,
            Self::Sha384 => 0x000C,
            Self::Sha512 => 0x000D,
        }
    }

    /// Digest length in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Lower-case name as `--pcrs` and the JSON documents write it: `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The algorithm of this lower-case name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Digest of the concatenation of `parts`.
    #[must_use]
    pub fn digest(self, parts: &[&[u8]]) -> Digest {
        let mut context = digest::Context::new(self.implementation());
        for part in parts {
            context.update(part);
        }
        Digest::from_array(self, context.finish().as_ref())
    }

    fn implementation(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for HashAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A digest together with its algorithm; prints and serializes as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: HashAlgorithm,
    // Bytes past the algorithm's length are zero, so that the derived comparisons are right.
    bytes: [u8; 64],
}

impl Digest {
    /// Takes exactly `algorithm.length()` bytes; `None` for any other length.
    #[must_use]
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == algorithm.length()).then(|| Self::from_array(algorithm, bytes))
    }

    /// All bytes zero: the reset value of an ordinary PCR.
    #[must_use]
    pub const fn zero(algorithm: HashAlgorithm) -> Self {
        Self { algorithm, bytes: [0; 64] }
    }

    /// All bytes `byte`, for example the 0xFF reset value of PCR 17 to 22.
    #[must_use]
    pub fn filled(algorithm: HashAlgorithm, byte: u8) -> Self {
        Self::from_array(algorithm, &vec![byte; algorithm.length()])
    }

    /// Algorithm of the digest.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest's bytes, `algorithm().length()` of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.algorithm.length()).unwrap_or_default()
    }

    /// Whether every byte is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    /// The register after an extend: H(self ‖ `measured`) (TPM 2.0 part 1, PCR extend; Intel TDX RTMR extend).
    #[must_use]
    pub fn extended(&self, measured: &[u8]) -> Self {
        self.algorithm.digest(&[self.as_bytes(), measured])
    }

    // `source` is at most 64 bytes; every caller hands over a digest of `algorithm`.
    fn from_array(algorithm: HashAlgorithm, source: &[u8]) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = *from;
        }
        Self { algorithm, bytes }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.as_bytes())
    }
}

/// Writes `bytes` in hex, a digest at a time and without an allocation: claims hold dozens of digests.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut buffer = [0; 128];
    for chunk in bytes.chunks(64) {
        let text = buffer.get_mut(..chunk.len().saturating_mul(2)).ok_or(fmt::Error)?;
        hex::encode_to_slice(chunk, text).map_err(|_wrong_length| fmt::Error)?;
        f.write_str(std::str::from_utf8(text).map_err(|_not_ascii| fmt::Error)?)?;
    }
    Ok(())
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
