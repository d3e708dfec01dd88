//! The guest's own key, in a file that OpenSSH reads (`PROTOCOL.key`), without a passphrase.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{
    SshKeyError, SshPublicKey,
    wire::{put_string, put_u32, take_string},
};
use crate::{
    random::{Random, draw},
    secret::{SecretArray, SecretBytes},
    sign::SignError,
};

const MAGIC: &[u8] = b"openssh-key-v1\0";
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";

/// An Ed25519 key pair, wiped when dropped.
#[expect(missing_debug_implementations, reason = "a private key is never printed")]
pub struct SshKeyPair {
    seed: SecretArray<32>,
    public: [u8; 32],
    check: [u8; 4],
}

impl SshKeyPair {
    /// Makes one.
    ///
    /// # Errors
    /// When `rng` fails.
    pub fn generate(rng: &mut impl Random) -> Result<Self, SignError> {
        let seed = Zeroizing::new(draw::<32>(rng)?);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_rejected| SignError::NotAKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_length| SignError::NotAKey)?;
        Ok(Self { seed, public, check: draw::<4>(rng)? })
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> SshPublicKey {
        SshPublicKey::ed25519(self.public)
    }

    /// The private key file. `comment` must be plain text of one line.
    #[must_use]
    pub fn to_openssh(&self, comment: &str) -> SecretBytes {
        // One buffer of the final size: nothing secret is left behind by growing.
        let mut private = Zeroizing::new(Vec::with_capacity(256_usize.saturating_add(comment.len())));
        private.extend_from_slice(&self.check);
        private.extend_from_slice(&self.check);
        put_string(&mut private, self.public().type_name().as_bytes());
        put_string(&mut private, &self.public);
        put_u32(&mut private, 64);
        private.extend_from_slice(self.seed.as_slice());
        private.extend_from_slice(&self.public);
        put_string(&mut private, comment.as_bytes());
        let mut padding = 1..=7;
        while private.len() % 8 != 0 {
            private.extend(padding.next());
        }
        let mut file = Zeroizing::new(Vec::with_capacity(private.len().saturating_add(256)));
        file.extend_from_slice(MAGIC);
        for text in ["none", "none", ""] {
            put_string(&mut file, text.as_bytes());
        }
        put_u32(&mut file, 1);
        put_string(&mut file, &self.public().blob());
        put_string(&mut file, &private);
        let text = Zeroizing::new(BASE64_STANDARD.encode(file.as_slice()));
        let mut pem = Vec::with_capacity(text.len().saturating_mul(2).saturating_add(128));
        pem.extend_from_slice(BEGIN.as_bytes());
        for line in text.as_bytes().chunks(70) {
            pem.push(b'\n');
            pem.extend_from_slice(line);
        }
        pem.push(b'\n');
        pem.extend_from_slice(END.as_bytes());
        pem.push(b'\n');
        SecretBytes::new(pem)
    }
}

impl SshPublicKey {
    /// The public half of a private key file in OpenSSH's format, also one with a passphrase.
    ///
    /// # Errors
    /// [`SshKeyError::Format`] when it is none, and as for [`SshPublicKey::parse`].
    pub fn of_private_file(text: &SecretBytes) -> Result<Self, SshKeyError> {
        let read = || {
            let text = std::str::from_utf8(text.expose()).ok()?;
            let (_, rest) = text.split_once(BEGIN)?;
            let (body, _) = rest.split_once(END)?;
            let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
            let file = Zeroizing::new(BASE64_STANDARD.decode(body.as_bytes()).ok()?);
            let mut rest = file.strip_prefix(MAGIC)?;
            for _ in ["cipher", "derivation", "its options"] {
                take_string(&mut rest)?;
            }
            let (count, mut rest) = rest.split_first_chunk::<4>()?;
            let blob = take_string(&mut rest)?;
            (u32::from_be_bytes(*count) == 1).then(|| Self::from_blob(blob))
        };
        read().ok_or(SshKeyError::Format)?
    }
}
