//! Public keys as they stand in `id_….pub` (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::{Engine, prelude::BASE64_STANDARD};
use thiserror::Error;

use super::wire::{put_string, take_string};
use crate::{jwks::VerifyingKey, sign::SignatureAlgorithm};

/// Longest line of a public key that is read, in bytes: keys of the supported types have less than 300.
const LONGEST: usize = 1024;

/// The text is no public key that may be certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SshKeyError {
    /// Not a line of an OpenSSH public key.
    #[error("expected an OpenSSH public key: TYPE BASE64 [COMMENT]")]
    Format,
    /// Another type of key.
    #[error("expected a key of the type ssh-ed25519, ecdsa-sha2-nistp256 or ecdsa-sha2-nistp384")]
    Type,
    /// The numbers are no key of the type.
    #[error("expected the bytes of a public key of its type")]
    Key,
}

impl SshKeyError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Format => "parse.ssh.format",
            Self::Type => "parse.ssh.type",
            Self::Key => "parse.ssh.key",
        }
    }
}

/// The types of keys that are certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum KeyType {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
}

impl KeyType {
    const ALL: [Self; 3] = [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
        }
    }

    const fn curve(self) -> Option<&'static str> {
        match self {
            Self::Ed25519 => None,
            Self::EcdsaP256 => Some("nistp256"),
            Self::EcdsaP384 => Some("nistp384"),
        }
    }
}

/// A public key of a supported type, whose bytes were checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshPublicKey {
    kind: KeyType,
    /// 32 bytes, or an uncompressed point.
    key: Vec<u8>,
}

impl SshPublicKey {
    /// Reads a line of a `.pub` file; a comment after the key is dropped.
    ///
    /// # Errors
    /// [`SshKeyError`] says what it is not.
    pub fn parse(line: &str) -> Result<Self, SshKeyError> {
        let line = line.trim();
        if line.len() > LONGEST || line.contains(['\n', '\r']) {
            return Err(SshKeyError::Format);
        }
        let mut words = line.split_ascii_whitespace();
        let (name, blob) = words.next().zip(words.next()).ok_or(SshKeyError::Format)?;
        let blob = BASE64_STANDARD.decode(blob).map_err(|_not_base64| SshKeyError::Format)?;
        let key = Self::from_blob(&blob)?;
        if key.kind.name() == name { Ok(key) } else { Err(SshKeyError::Format) }
    }

    /// Reads the binary form.
    pub(super) fn from_blob(blob: &[u8]) -> Result<Self, SshKeyError> {
        let mut rest = blob;
        let mut next = || take_string(&mut rest).ok_or(SshKeyError::Format);
        let name = next()?;
        let kind = KeyType::ALL.into_iter().find(|kind| kind.name().as_bytes() == name).ok_or(SshKeyError::Type)?;
        if let Some(curve) = kind.curve()
            && next()? != curve.as_bytes()
        {
            return Err(SshKeyError::Key);
        }
        let key = next()?.to_vec();
        let usable = match kind {
            KeyType::Ed25519 => key.len() == 32,
            KeyType::EcdsaP256 => is_point(&ECDSA_P256_SHA256_FIXED, &key, 65),
            KeyType::EcdsaP384 => is_point(&ECDSA_P384_SHA384_FIXED, &key, 97),
        };
        if usable && rest.is_empty() { Ok(Self { kind, key }) } else { Err(SshKeyError::Key) }
    }

    /// An Ed25519 key.
    pub(super) fn ed25519(key: [u8; 32]) -> Self {
        Self { kind: KeyType::Ed25519, key: key.to_vec() }
    }

    /// The key of a CA that signs with ECDSA; `None` for other keys.
    #[must_use]
    pub fn of_signer(key: &VerifyingKey) -> Option<Self> {
        let kind = match key.algorithm() {
            SignatureAlgorithm::Es256 => KeyType::EcdsaP256,
            SignatureAlgorithm::Es384 => KeyType::EcdsaP384,
            SignatureAlgorithm::Rs256 => return None,
        };
        Some(Self { kind, key: key.point()? })
    }

    /// The name of its type, for example `ssh-ed25519`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The line of a `.pub` file, without a line feed. `comment` must be plain text of one line.
    #[must_use]
    pub fn to_line(&self, comment: &str) -> String {
        format!("{} {} {comment}", self.kind.name(), BASE64_STANDARD.encode(self.blob()))
    }

    /// The binary form.
    pub(super) fn blob(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, self.kind.name().as_bytes());
        self.put_key(&mut blob);
        blob
    }

    /// What follows the name of the type, in keys and (after the nonce) in certificates.
    pub(super) fn put_key(&self, out: &mut Vec<u8>) {
        if let Some(curve) = self.kind.curve() {
            put_string(out, curve.as_bytes());
        }
        put_string(out, &self.key);
    }
}

fn is_point(algorithm: &'static aws_lc_rs::signature::EcdsaVerificationAlgorithm, point: &[u8], length: usize) -> bool {
    point.len() == length && point.first() == Some(&4) && ParsedPublicKey::new(algorithm, point).is_ok()
}
