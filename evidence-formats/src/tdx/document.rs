//! Signed collateral documents of the Provisioning Certification Service, and the files they come in.

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::EcdsaSignature;
use crate::json::require_unique_members;
use crate::{
    bytes::NotHex,
    code::{Code, Coded},
};

/// Most bytes of one collateral document; TCB info has about 6,000.
const MAX_DOCUMENT_LENGTH: usize = 131_072;

/// Which signed document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CollateralKind {
    /// `{"tcbInfo":…,"signature":…}`.
    TcbInfo,
    /// `{"enclaveIdentity":…,"signature":…}`.
    QeIdentity,
}

/// What is wrong with a collateral document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentCause {
    /// More bytes than any genuine document.
    #[error("expected at most {MAX_DOCUMENT_LENGTH} bytes, found {found}")]
    Length {
        /// Length that was found, in bytes.
        found: usize,
    },
    /// Not the JSON that the document consists of; also duplicate members and wrong counts.
    #[error("expected well-formed JSON with unique members (line {line}, column {column})")]
    Json {
        /// Line of the problem, from 1.
        line: usize,
        /// Column of the problem, from 1.
        column: usize,
    },
    /// A member has a value that its document does not allow.
    #[error("expected {0}")]
    Member(&'static str),
    /// A document about something else, for example SGX TCB info.
    #[error("expected the id of a TDX document")]
    Id,
    /// Another structure version.
    #[error("expected another structure version, found {found}")]
    Version {
        /// The version that was found.
        found: u32,
    },
    /// TCB info whose levels are to be compared in an unknown way.
    #[error("expected tcbType 0, found {found}")]
    TcbType {
        /// The type that was found.
        found: u32,
    },
    /// A status that has no known meaning there.
    #[error("expected a known TCB status")]
    Status,
}

/// A collateral document is malformed or about something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{kind:?}: {cause}")]
pub struct CollateralError {
    /// Which document.
    pub kind: CollateralKind,
    /// What is wrong with it.
    pub cause: DocumentCause,
}

impl Coded for CollateralError {
    fn code(&self) -> Code {
        use CollateralKind::{QeIdentity, TcbInfo};
        use DocumentCause as Cause;
        Code::new(match (self.kind, self.cause) {
            (TcbInfo, Cause::Length { .. } | Cause::Json { .. } | Cause::Member(_)) => {
                "endorsement.tdx.tcb_info_format"
            }
            (QeIdentity, Cause::Length { .. } | Cause::Json { .. } | Cause::Member(_)) => {
                "endorsement.tdx.qe_identity_format"
            }
            (TcbInfo, Cause::Id) => "endorsement.tdx.tcb_info_id",
            (QeIdentity, Cause::Id) => "endorsement.tdx.qe_identity_id",
            (TcbInfo, Cause::Version { .. }) => "endorsement.tdx.tcb_info_version",
            (QeIdentity, Cause::Version { .. }) => "endorsement.tdx.qe_identity_version",
            (_, Cause::TcbType { .. }) => "endorsement.tdx.tcb_type",
            (_, Cause::Status) => "endorsement.tdx.tcb_status_unknown",
        })
    }
}

/// A signed document taken apart: the exact text that was signed, and the signature. Neither is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDocument {
    kind: CollateralKind,
    body: Box<str>,
    signature: EcdsaSignature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OuterTcbInfo<'a> {
    #[serde(borrow, rename = "tcbInfo")]
    body: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OuterQeIdentity<'a> {
    #[serde(borrow, rename = "enclaveIdentity")]
    body: &'a RawValue,
    signature: &'a str,
}

#[derive(Deserialize)]
struct Head {
    id: String,
    version: u32,
}

impl SignedDocument {
    /// Takes a document apart without reading its body: the signature covers the received text of the body, from its
    /// first brace to its last, so nothing is re-serialised.
    ///
    /// # Errors
    /// Not exactly the two members of a document of this kind, each once; or duplicate members anywhere inside.
    pub fn parse(kind: CollateralKind, bytes: &[u8]) -> Result<Self, CollateralError> {
        let error = |cause| CollateralError { kind, cause };
        if bytes.len() > MAX_DOCUMENT_LENGTH {
            return Err(error(DocumentCause::Length { found: bytes.len() }));
        }
        require_unique_members(bytes).map_err(|source| error(json_cause(&source)))?;
        let (body, signature) = match kind {
            CollateralKind::TcbInfo => {
                serde_json::from_slice::<OuterTcbInfo<'_>>(bytes).map(|outer| (outer.body.get(), outer.signature))
            }
            CollateralKind::QeIdentity => {
                serde_json::from_slice::<OuterQeIdentity<'_>>(bytes).map(|outer| (outer.body.get(), outer.signature))
            }
        }
        .map_err(|source| error(json_cause(&source)))?;
        let not_hex = |_: NotHex| error(DocumentCause::Member("a signature of 128 hex digits"));
        let signature = signature.parse().map_err(not_hex)?;
        Ok(Self { kind, body: body.into(), signature })
    }

    /// Which document.
    #[must_use]
    pub const fn kind(&self) -> CollateralKind {
        self.kind
    }

    /// The text that was signed, byte for byte.
    #[must_use]
    pub const fn signed_text(&self) -> &str {
        &self.body
    }

    /// The signature over [`Self::signed_text`].
    #[must_use]
    pub const fn signature(&self) -> &EcdsaSignature {
        &self.signature
    }

    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, CollateralError> {
        serde_json::from_str(&self.body).map_err(|source| self.error(json_cause(&source)))
    }

    pub(super) fn require_head(&self, id: &str, version: u32) -> Result<(), CollateralError> {
        let head: Head = self.read()?;
        if head.id != id {
            return Err(self.error(DocumentCause::Id));
        }
        if head.version != version {
            return Err(self.error(DocumentCause::Version { found: head.version }));
        }
        Ok(())
    }

    pub(super) const fn error(&self, cause: DocumentCause) -> CollateralError {
        CollateralError { kind: self.kind, cause }
    }
}

fn json_cause(source: &serde_json::Error) -> DocumentCause {
    DocumentCause::Json { line: source.line(), column: source.column() }
}

/// Which collateral a file looks like it holds. Only the name of its outer member is looked at: what is wrong with the
/// document is said when it is used, not by taking the file for something else.
#[must_use]
pub fn recognise(bytes: &[u8]) -> Option<CollateralKind> {
    let names = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    if bytes.trim_ascii_start().first() != Some(&b'{') || bytes.len() > MAX_DOCUMENT_LENGTH {
        return None;
    }
    if names(br#""tcbInfo""#) {
        return Some(CollateralKind::TcbInfo);
    }
    names(br#""enclaveIdentity""#).then_some(CollateralKind::QeIdentity)
}

/// All collateral of one platform in one JSON object, as quote verification tools store it: issuer chains in PEM, CRLs
/// in hex of DER or in PEM, and the two documents with their signatures beside them. Each part is handed on as the file
/// it would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollateralBundle {
    /// The two documents in the form of the service, and the issuer chains and CRLs in PEM or DER.
    pub files: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBundle {
    tcb_info: String,
    tcb_info_signature: String,
    tcb_info_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    qe_identity_issuer_chain: String,
    pck_crl: String,
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    #[serde(default)]
    pck_certificate_chain: Option<String>,
}

impl CollateralBundle {
    /// Takes a combined file apart; absent when it is something else.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.trim_ascii_start().first() != Some(&b'{') || bytes.len() > MAX_DOCUMENT_LENGTH {
            return None;
        }
        require_unique_members(bytes).ok()?;
        let wire: WireBundle = serde_json::from_slice(bytes).ok()?;
        let signed = |member: &str, body: &str, signature: &str| {
            format!(r#"{{"{member}":{body},"signature":"{signature}"}}"#).into_bytes()
        };
        let crl = |text: String| hex::decode(&text).unwrap_or_else(|_| text.into_bytes());
        let mut files = vec![
            signed("tcbInfo", &wire.tcb_info, &wire.tcb_info_signature),
            signed("enclaveIdentity", &wire.qe_identity, &wire.qe_identity_signature),
            wire.tcb_info_issuer_chain.into_bytes(),
            wire.qe_identity_issuer_chain.into_bytes(),
            wire.pck_crl_issuer_chain.into_bytes(),
            crl(wire.pck_crl),
            crl(wire.root_ca_crl),
        ];
        // As it stood in the quote: with a NUL after the last certificate.
        files.extend(wire.pck_certificate_chain.map(|chain| chain.trim_end_matches('\0').as_bytes().to_vec()));
        Some(Self { files })
    }
}

/// Undoes what collateral services wrap around certificates and CRLs: percent-encoding of a PEM chain (a response header
/// such as `TCB-Info-Issuer-Chain`) and hex of a DER CRL (PCCS `/rootcacrl`). Absent when the bytes are neither.
#[must_use]
pub fn plain_pem(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = bytes.trim_ascii();
    if text.starts_with(b"-----BEGIN%20") {
        return percent_decode(text);
    }
    text.starts_with(b"30").then(|| hex::decode(text).ok()).flatten()
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let mut decoded = [0];
            hex::decode_to_slice([*bytes.next()?, *bytes.next()?], &mut decoded).ok()?;
            plain.extend(decoded);
        } else {
            plain.push(*byte);
        }
    }
    Some(plain)
}
