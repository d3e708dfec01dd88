//! The signed form: COSE_Sign1 (RFC 9052 section 4.2) around a manifest.

use ciborium::Value;

use super::{
    CORIM_LIMIT, CorimError,
    document::Validity,
    value::{Members, array, bytes, int, map, shape, tag, tagged, text},
};
use crate::cbor;

const TAG_SIGN1: u64 = 18;
/// Most certificates of a chain.
const CHAIN_LIMIT: usize = 6;
/// Media types of the payload: the one of the draft, and the one before it.
const CONTENT_TYPES: [&str; 2] = ["application/rim+cbor", "application/corim-unsigned+cbor"];

/// A signed manifest: every part as it was received. Parsing proves nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCorim {
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    header: SignatureHeader,
}

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignatureHeader {
    /// The COSE algorithm: -7 ES256, -35 ES384, -8 EdDSA, or another one.
    pub algorithm: i64,
    /// Key id.
    pub kid: Option<Vec<u8>>,
    /// Certificates, DER, the signer's first.
    pub chain: Vec<Vec<u8>>,
    /// The signer's own name for itself.
    pub signer: Option<String>,
    /// Validity of the signature.
    pub validity: Validity,
}

impl SignedCorim {
    /// Parses `#6.18([protected, unprotected, payload, signature])` of at most [`CORIM_LIMIT`] bytes. The payload is kept
    /// as bytes.
    ///
    /// # Errors
    /// [`CorimError`] says what was expected.
    pub fn parse(encoded: &[u8]) -> Result<Self, CorimError> {
        let (TAG_SIGN1, inner) = tagged(cbor::from_slice(encoded, CORIM_LIMIT)?, "tag 18")? else {
            return Err(CorimError::Magic);
        };
        let parts: [Value; 4] =
            array(inner, "a COSE_Sign1")?.try_into().map_err(|_other_length| shape("a COSE_Sign1 of four parts"))?;
        let [protected, unprotected, payload, signature] = parts;
        let protected = bytes(protected, "a protected header")?;
        let header = SignatureHeader::read(&protected, unprotected)?;
        Ok(Self {
            protected,
            header,
            payload: bytes(payload, "a payload inside of the COSE_Sign1")?,
            signature: bytes(signature, "a signature")?,
        })
    }

    /// What the headers say.
    #[must_use]
    pub const fn header(&self) -> &SignatureHeader {
        &self.header
    }

    /// The manifest's bytes, as received.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The bytes that are signed: `Sig_structure` over the received header and payload (RFC 9052 section 4.4).
    ///
    /// # Errors
    /// [`CorimError::Cbor`] when they cannot be encoded.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, CorimError> {
        to_be_signed(&self.protected, &self.payload)
    }

    /// Makes a signed manifest: `sign` is given the bytes to be signed.
    ///
    /// # Errors
    /// What `sign` fails with, or [`CorimError`] when it cannot be encoded.
    pub fn make<E: From<CorimError>>(
        header: &SignatureHeader,
        payload: Vec<u8>,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let encoded = |value: &Value| cbor::to_vec(value).map_err(CorimError::from);
        let protected = encoded(&header.to_value()?)?;
        let signature = sign(&to_be_signed(&protected, &payload)?)?;
        let parts = [Value::Bytes(protected), Value::Map(Vec::new()), Value::Bytes(payload), Value::Bytes(signature)];
        Ok(encoded(&tag(TAG_SIGN1, Value::Array(parts.into())))?)
    }
}

fn to_be_signed(protected: &[u8], payload: &[u8]) -> Result<Vec<u8>, CorimError> {
    let parts = [
        Value::from("Signature1"),
        Value::Bytes(protected.to_vec()),
        Value::Bytes(Vec::new()),
        Value::Bytes(payload.to_vec()),
    ];
    Ok(cbor::to_vec(&Value::Array(parts.into()))?)
}

impl SignatureHeader {
    pub(super) fn read(protected: &[u8], unprotected: Value) -> Result<Self, CorimError> {
        let mut signed = Members::of("a protected header map", cbor::from_slice(protected, CORIM_LIMIT)?)?;
        let mut unsigned = Members::of("an unprotected header map", unprotected)?;
        // Whoever marks a header critical wants it understood (RFC 9052 section 3.1); none of those we know may be marked.
        if signed.take(2).is_some() || unsigned.take(2).is_some() {
            return Err(shape("no critical headers"));
        }
        if [258, 259, 260].into_iter().any(|key| signed.take(key).is_some()) {
            return Err(shape("the manifest itself, not its hash"));
        }
        let algorithm = int(&signed.need(1, "an algorithm in the protected header")?, "an algorithm by number")?;
        let content = text(signed.need(3, "a content type in the protected header")?, "a content type as text")?;
        if !CONTENT_TYPES.contains(&content.as_str()) {
            return Err(shape("the content type application/rim+cbor"));
        }
        let mut either = |key: i64| match (signed.take(key), unsigned.take(key)) {
            (Some(_), Some(_)) => Err(shape("each header once")),
            (one, other) => Ok(one.or(other)),
        };
        let kid = either(4)?.map(|kid| bytes(kid, "a key id of bytes")).transpose()?;
        let chain = either(33)?.map(chain).transpose()?.unwrap_or_default();
        let (meta, claims) = (signed.take(8), signed.take(15));
        if meta.is_none() && claims.is_none() {
            return Err(shape("corim-meta or CWT claims in the protected header"));
        }
        let mut header = Self { algorithm, kid, chain, ..Self::default() };
        if let Some(meta) = meta {
            header.read_meta(meta)?;
        }
        if let Some(claims) = claims {
            header.read_claims(claims)?;
        }
        Ok(header)
    }

    /// `corim-meta`: signer 0 {name 0, uri 1}, signature-validity 1.
    fn read_meta(&mut self, value: Value) -> Result<(), CorimError> {
        let encoded = bytes(value, "corim-meta as CBOR bytes")?;
        let mut members = Members::of("corim-meta", cbor::from_slice(&encoded, CORIM_LIMIT)?)?;
        let mut signer = Members::of("corim-signer", members.need(0, "a signer in corim-meta")?)?;
        self.signer = Some(text(signer.need(0, "the name of a signer")?, "the name of a signer")?);
        let _uri = signer.take(1);
        signer.finish()?;
        if let Some(validity) = members.take(1) {
            self.validity = Validity::read(validity)?;
        }
        members.finish()
    }

    /// CWT claims in the header (RFC 9597): iss 1, exp 4, nbf 5. Both forms together: the narrower validity counts.
    fn read_claims(&mut self, value: Value) -> Result<(), CorimError> {
        let mut members = Members::of("CWT claims", value)?;
        if let Some(issuer) = members.take(1) {
            self.signer = Some(text(issuer, "an issuer")?);
        }
        let end = members.take(4).map(|end| int(&end, "an expiry in whole seconds")).transpose()?;
        let begin = members.take(5).map(|begin| int(&begin, "a start in whole seconds")).transpose()?;
        self.validity.not_after = self.validity.not_after.into_iter().chain(end).min();
        self.validity.not_before = self.validity.not_before.into_iter().chain(begin).max();
        Ok(())
    }

    pub(super) fn to_value(&self) -> Result<Value, CorimError> {
        let signer = map([(0, Some(Value::from(self.signer.as_deref().unwrap_or("unnamed"))))]);
        let meta = cbor::to_vec(&map([(0, Some(signer)), (1, self.validity.to_value())]))?;
        let mut chain: Vec<Value> = self.chain.iter().cloned().map(Value::Bytes).collect();
        let chain = match chain.len() {
            0 => None,
            // RFC 9360 section 2: a single certificate stands alone.
            1 => chain.pop(),
            _ => Some(Value::Array(chain)),
        };
        Ok(map([
            (1, Some(Value::from(self.algorithm))),
            (3, Some(Value::from(CONTENT_TYPES[0]))),
            (4, self.kid.clone().map(Value::Bytes)),
            (8, Some(Value::Bytes(meta))),
            (33, chain),
        ]))
    }
}

fn chain(value: Value) -> Result<Vec<Vec<u8>>, CorimError> {
    let expected = "an x5chain of 1 to 6 certificates";
    let list = match value {
        Value::Array(list) => list,
        one => vec![one],
    };
    if list.is_empty() || list.len() > CHAIN_LIMIT {
        return Err(shape(expected));
    }
    list.into_iter().map(|certificate| bytes(certificate, expected)).collect()
}
