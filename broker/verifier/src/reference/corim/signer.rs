//! Who signed a manifest: COSE_Sign1 against the configured keys and certificates (RFC 9052 section 4.4, RFC 9360).

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm},
};
use evidence_formats::{bytes::Sha256Digest, corim::SignedCorim};
use serde::Serialize;

use super::{CorimRefusal, SignerError};
use crate::{
    Timestamp,
    x509::{Certificate, KeyUsage, Oid, PublicKey, parse_pem},
};

/// RFC 8410 section 4: SubjectPublicKeyInfo of an Ed25519 key, up to the key.
const SPKI_ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Somebody who may sign manifests: keys of their own, or the certificates under which their keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorimSigner {
    name: String,
    keys: Vec<SignerKey>,
    anchors: Vec<Certificate>,
}

/// Whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerIdentity {
    /// Name of the configured signer.
    pub name: String,
    /// SHA-256 of the SubjectPublicKeyInfo that verified.
    pub key: Sha256Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct SignerKey {
    id: Sha256Digest,
    algorithm: CoseAlgorithm,
    key: Vec<u8>,
}

/// The allow-list of algorithms (RFC 9053 section 2): one for each kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CoseAlgorithm {
    Es256,
    Es384,
    EdDsa,
}

impl CoseAlgorithm {
    const fn from_number(number: i64) -> Option<Self> {
        match number {
            -7 => Some(Self::Es256),
            -35 => Some(Self::Es384),
            -8 => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
            Self::EdDsa => &ED25519,
        }
    }
}

impl SignerKey {
    fn parse(spki: &[u8]) -> Result<Self, SignerError> {
        let id = sha256(spki);
        if let Some(key) = spki.strip_prefix(SPKI_ED25519).filter(|key| key.len() == 32) {
            return Ok(Self { id, algorithm: CoseAlgorithm::EdDsa, key: key.to_vec() });
        }
        Self::of(id, &PublicKey::parse_spki(spki)?).ok_or(SignerError::Rsa)
    }

    fn of(id: Sha256Digest, key: &PublicKey) -> Option<Self> {
        match key {
            PublicKey::P256(point) => Some(Self { id, algorithm: CoseAlgorithm::Es256, key: point.to_vec() }),
            PublicKey::P384(point) => Some(Self { id, algorithm: CoseAlgorithm::Es384, key: point.to_vec() }),
            PublicKey::Rsa { .. } => None,
        }
    }

    fn of_certificate(certificate: &Certificate) -> Option<Self> {
        Self::of(sha256(certificate.spki()), certificate.public_key())
    }

    fn signed(&self, algorithm: CoseAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm == algorithm
            && UnparsedPublicKey::new(algorithm.verification(), &self.key).verify(message, signature).is_ok()
    }
}

fn sha256(bytes: &[u8]) -> Sha256Digest {
    let mut value = [0; 32];
    value.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Sha256Digest(value)
}

impl CorimSigner {
    /// Reads a PEM file of public keys (`PUBLIC KEY`) and certificates (`CERTIFICATE`): a key signs itself, a certificate
    /// signs itself or vouches for the certificates under it.
    ///
    /// # Errors
    /// [`SignerError`] when the file holds anything else.
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, SignerError> {
        let mut signer = Self { name: name.to_owned(), keys: Vec::new(), anchors: Vec::new() };
        for block in parse_pem(pem)? {
            match block.label.as_str() {
                "PUBLIC KEY" => signer.keys.push(SignerKey::parse(&block.contents)?),
                "CERTIFICATE" => signer.anchors.push(Certificate::parse_der(&block.contents)?),
                _ => return Err(SignerError::Label { label: block.label }),
            }
        }
        if signer.keys.is_empty() && signer.anchors.is_empty() { Err(SignerError::Empty) } else { Ok(signer) }
    }

    /// Its configured name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that sign without a chain, at `now`.
    fn own_keys(&self, now: Timestamp) -> impl Iterator<Item = SignerKey> {
        let certified = self.anchors.iter().filter(move |anchor| may_sign(anchor) && anchor.validity().at(now).is_ok());
        self.keys.iter().cloned().chain(certified.filter_map(SignerKey::of_certificate))
    }
}

/// The signer of a manifest, once its signature is verified.
pub(super) fn authenticate(
    corim: &SignedCorim,
    signers: &[CorimSigner],
    now: Timestamp,
) -> Result<SignerIdentity, CorimRefusal> {
    let number = corim.header().algorithm;
    let algorithm = CoseAlgorithm::from_number(number).ok_or(CorimRefusal::Algorithm { found: number })?;
    let message = corim.to_be_signed()?;
    let unknown = CorimRefusal::Signer { configured: signers.len() };
    let identity = |signer: &CorimSigner, key: &SignerKey| SignerIdentity { name: signer.name.clone(), key: key.id };
    if !corim.header().chain.is_empty() {
        let (signer, key) = chained(&corim.header().chain, signers, now)?.ok_or(unknown)?;
        return match key.signed(algorithm, &message, corim.signature()) {
            true => Ok(identity(signer, &key)),
            false => Err(CorimRefusal::Signature { signer: signer.name.clone() }),
        };
    }
    let mut named = None;
    for signer in signers {
        for key in signer.own_keys(now) {
            if key.signed(algorithm, &message, corim.signature()) {
                return Ok(identity(signer, &key));
            }
            // A key id is a hint (RFC 9052 section 3.1); ours is the digest of the key, and tells tampering from a stranger.
            if corim.header().kid.as_deref() == Some(key.id.as_bytes()) {
                named = Some(signer.name.clone());
            }
        }
    }
    Err(named.map_or(unknown, |signer| CorimRefusal::Signature { signer }))
}

/// The signer whose anchor a chain leads to, and the key of its first certificate; `None` when it leads to no anchor.
fn chained<'a>(
    chain: &[Vec<u8>],
    signers: &'a [CorimSigner],
    now: Timestamp,
) -> Result<Option<(&'a CorimSigner, SignerKey)>, CorimRefusal> {
    let refused = |expected| CorimRefusal::Chain { expected };
    let parsed = chain.iter().map(|der| Certificate::parse_der(der)).collect::<Result<Vec<_>, _>>();
    let chain = parsed.map_err(|_malformed| refused("X.509 certificates"))?;
    let Some((leaf, last)) = chain.first().zip(chain.last()) else { return Ok(None) };
    let anchored = signers.iter().find_map(|signer| Some((signer, signer.anchors.iter().find(|a| leads_to(last, a))?)));
    let Some((signer, anchor)) = anchored else { return Ok(None) };
    for (below, pair) in chain.windows(2).enumerate() {
        let [certificate, issuer] = pair else { continue };
        issued(certificate, issuer, below, now)?;
    }
    if last.digest() == anchor.digest() {
        valid(last, now)?;
    } else {
        issued(last, anchor, chain.len().saturating_sub(1), now)?;
        valid(anchor, now)?;
    }
    if !may_sign(leaf) {
        return Err(refused("a signing certificate first"));
    }
    let key = SignerKey::of_certificate(leaf).ok_or(refused("a key on P-256 or P-384 in the first certificate"))?;
    Ok(Some((signer, key)))
}

/// Whether `anchor` is `last` itself, or its key signed it: names alone are anybody's to choose.
fn leads_to(last: &Certificate, anchor: &Certificate) -> bool {
    last.digest() == anchor.digest()
        || (last.names_issuer(anchor) && last.verify_signed_by(anchor.public_key()).is_ok())
}

/// Checks one step of a chain; `below` certificates stand between the issuer and the end of the chain, the last one not
/// counted (RFC 5280 section 6.1.4).
fn issued(certificate: &Certificate, issuer: &Certificate, below: usize, now: Timestamp) -> Result<(), CorimRefusal> {
    let refused = |expected| Err(CorimRefusal::Chain { expected });
    valid(certificate, now)?;
    if !certificate.names_issuer(issuer) || certificate.verify_signed_by(issuer.public_key()).is_err() {
        return refused("each certificate to be signed by the next");
    }
    if !issuer.may_sign_certificates() {
        return refused("issuers that may sign certificates");
    }
    let room = issuer.basic_constraints().and_then(|constraints| constraints.path_length);
    if room.is_some_and(|room| usize::try_from(room).is_ok_and(|room| below > room)) {
        return refused("no more certificates than the issuer allows");
    }
    Ok(())
}

fn valid(certificate: &Certificate, now: Timestamp) -> Result<(), CorimRefusal> {
    if certificate.validity().at(now).is_err() {
        return Err(CorimRefusal::Chain { expected: "certificates that are valid now" });
    }
    if certificate.unknown_critical_extension(&[Oid::KEY_USAGE, Oid::BASIC_CONSTRAINTS]).is_some() {
        return Err(CorimRefusal::Chain { expected: "no critical extension but keyUsage and basicConstraints" });
    }
    Ok(())
}

fn may_sign(certificate: &Certificate) -> bool {
    certificate.key_usage().is_none_or(KeyUsage::digital_signature)
}
