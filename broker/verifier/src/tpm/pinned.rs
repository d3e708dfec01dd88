//! Attestation keys that the operator enrolled and approved.

use evidence_formats::tpm::{AkPublic, TpmEvidence, TpmName, TpmPublic};
use thiserror::Error;

use super::{AkKey, AkProvenance, ProvenAk, TpmAuthenticateError, brought_key};
use crate::x509::{PublicKey, pem_of_file, without_mark};

/// An enrolled attestation key: by its bits, its public area, or its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedAk(Pin);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pin {
    Key(AkKey),
    Area(Box<TpmPublic>),
    Name(TpmName),
}

/// A file holds no attestation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "expected an attestation key: SubjectPublicKeyInfo (PEM or DER) of RSA 2048 or more, P-256 or P-384, TPMT_PUBLIC, or a TPM name"
)]
pub struct NotAnAttestationKey;

impl PinnedAk {
    /// Parses SubjectPublicKeyInfo (PEM or DER), TPMT_PUBLIC, or a name (34, 50 or 66 bytes, raw or in hex).
    ///
    /// # Errors
    /// [`NotAnAttestationKey`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAnAttestationKey> {
        let text = without_mark(bytes).trim_ascii();
        if let Some(blocks) = pem_of_file(bytes).ok().ok_or(NotAnAttestationKey)? {
            let [block] = blocks.as_slice() else { return Err(NotAnAttestationKey) };
            return if block.label == "PUBLIC KEY" {
                Self::from_spki(&block.contents)
            } else {
                Err(NotAnAttestationKey)
            };
        }
        if matches!(text.len(), 68 | 100 | 132)
            && let Ok(name) = hex::decode(text)
        {
            return TpmName::parse(&name).map(|name| Self(Pin::Name(name))).ok().ok_or(NotAnAttestationKey);
        }
        if let Ok(name) = TpmName::parse(bytes) {
            return Ok(Self(Pin::Name(name)));
        }
        match AkPublic::parse(bytes) {
            Ok(AkPublic::Area(area)) => Ok(Self(Pin::Area(Box::new(area)))),
            Ok(AkPublic::Spki(der)) => Self::from_spki(&der),
            Err(_) => Err(NotAnAttestationKey),
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, NotAnAttestationKey> {
        let key = PublicKey::parse_spki(der).ok().and_then(|key| AkKey::new(key).ok());
        key.map(|key| Self(Pin::Key(key))).ok_or(NotAnAttestationKey)
    }

    /// Whether this is the key of a proven public area.
    pub(crate) fn is(&self, area: &TpmPublic) -> bool {
        match &self.0 {
            Pin::Key(key) => AkKey::of_area(&area.key).is_ok_and(|proven| proven == *key),
            Pin::Area(pinned) => **pinned == *area,
            Pin::Name(name) => area.name() == *name,
        }
    }

    /// Whether the evidence's key is this one; a name or public area also proves the attributes.
    pub(crate) fn prove(&self, evidence: &TpmEvidence) -> Result<ProvenAk, TpmAuthenticateError> {
        let brought = evidence.ak_public.as_ref();
        let area = brought.and_then(|ak| match ak {
            AkPublic::Area(area) => Some(area.clone()),
            AkPublic::Spki(_) => None,
        });
        let brought_key = brought.map(brought_key).transpose()?;
        let foreign = TpmAuthenticateError::AkNotPinned;
        let (key, area, area_proven) = match &self.0 {
            // The bits are pinned, so a public area that has them is welcome and its attributes are its own word.
            Pin::Key(key) if brought_key.as_ref().is_none_or(|brought| brought == key) => (key.clone(), area, false),
            Pin::Area(pinned) if brought_key.is_none() => {
                (AkKey::of_area(&pinned.key)?, Some((**pinned).clone()), true)
            }
            Pin::Area(pinned) if area.as_ref().is_some_and(|area| area == &**pinned) => {
                (AkKey::of_area(&pinned.key)?, area, true)
            }
            Pin::Area(pinned) if area.is_none() && brought_key == Some(AkKey::of_area(&pinned.key)?) => {
                (AkKey::of_area(&pinned.key)?, Some((**pinned).clone()), true)
            }
            Pin::Name(name) if area.as_ref().is_some_and(|area| area.name() == *name) => {
                (brought_key.ok_or(foreign)?, area, true)
            }
            Pin::Key(_) | Pin::Area(_) | Pin::Name(_) => return Err(foreign),
        };
        Ok(ProvenAk::new(key, area, area_proven, AkProvenance::Pinned))
    }
}
