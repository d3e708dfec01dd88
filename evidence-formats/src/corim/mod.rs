//! CoRIM: signed manifests of reference values (draft-ietf-rats-corim), bytes to types and back.
//!
//! A manifest is unsigned (`#6.501`) or inside a COSE_Sign1 (`#6.18`, RFC 9052). It carries CoMID tags, whose triples say
//! which measurements an environment should have. Reading checks form and bounds; who signed, and what the values are
//! good for, is the verifier's to judge. What this version does not read is named in the types, so that nobody takes a
//! condition that was left out for one that holds.
#![expect(clippy::wildcard_enum_match_arm, reason = "the decoder's kinds of CBOR are open: every other one is refused")]

mod comid;
mod cose;
mod document;
mod oid;
#[cfg(test)]
mod tests;
mod value;

pub use comid::{
    Class, ClassId, Comid, Digest, DigestAlgorithm, Environment, Measurement, MeasurementKey, MeasurementValues,
    RegisterId, Svn, TaggedBytes, Triple,
};
pub use cose::{SignatureHeader, SignedCorim};
pub use document::{CorimDocument, Profile, TagId, Validity};

use thiserror::Error;

use crate::{
    cbor::CborError,
    code::{Code, Coded},
};

/// Most bytes of a manifest, signed or not: 256 KiB.
pub const CORIM_LIMIT: usize = 256 * 1024;
/// Longest text that is kept, in bytes.
pub(crate) const TEXT_LIMIT: usize = 1024;

/// Why bytes are not a CoRIM.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CorimError {
    /// Neither `#6.501` nor `#6.18`.
    #[error("expected a CoRIM: CBOR with tag 501, or 18 for a signed one")]
    Magic,
    /// Not strict CBOR.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// Well-formed CBOR of another shape.
    #[error("expected {expected} in the CoRIM")]
    Shape {
        /// What was expected.
        expected: &'static str,
    },
    /// A map has a member that this version does not know.
    #[error("expected no member {key} in {map} of the CoRIM")]
    Member {
        /// Which map.
        map: &'static str,
        /// The key, as text.
        key: String,
    },
}

impl Coded for CorimError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Magic => "parse.corim.magic",
            Self::Cbor(_) => "parse.corim.cbor",
            Self::Shape { .. } => "parse.corim.shape",
            Self::Member { .. } => "parse.corim.member",
        })
    }
}

/// A manifest as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Corim {
    /// In a COSE_Sign1; the payload is not read until somebody verified it.
    Signed(Box<SignedCorim>),
    /// Without a signature.
    Unsigned(Box<CorimDocument>),
}

impl Corim {
    /// Parses either form; the first bytes tell which (RFC 8949 section 3.4).
    ///
    /// # Errors
    /// [`CorimError`] says what was expected.
    pub fn parse(bytes: &[u8]) -> Result<Self, CorimError> {
        match bytes {
            [0xd2, ..] => SignedCorim::parse(bytes).map(Box::new).map(Self::Signed),
            [0xd9, 0x01, 0xf5, ..] => CorimDocument::parse(bytes).map(Box::new).map(Self::Unsigned),
            _ => Err(CorimError::Magic),
        }
    }
}
