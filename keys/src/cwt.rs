//! The attestation result as a CWT (RFC 8392): the same claims as the JWT under their CBOR labels, signed with COSE_Sign1.

use evidence_formats::cbor::{self, CborError};
use serde_json::Value as Json;
use thiserror::Error;

pub use self::item::Item;
use crate::{
    sign::{Jwks, SignError, SignatureAlgorithm, Signer},
    token::{Audience, Expected, TokenError},
};

mod item;

/// Most bytes of a token.
pub const LIMIT: usize = 256 * 1024;
/// Tag 18 of RFC 9052 §2: COSE_Sign1. It is one byte.
const TAG: u8 = 0xd2;
/// ES256 (RFC 9053 §2.1).
const ES256: i64 = -7;

/// A result cannot be a CWT.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CwtError {
    /// A claim has no form in CBOR.
    #[error("expected a claim {claim} that has a form in CBOR")]
    Claim {
        /// Which one.
        claim: &'static str,
    },
    /// It cannot be encoded.
    #[error("the claims cannot be CBOR")]
    Encode(#[from] CborError),
    /// It cannot be signed.
    #[error("the token cannot be signed")]
    Sign(#[from] SignError),
}

impl CwtError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Claim { .. } | Self::Encode(_) => "internal.keys.cwt",
            Self::Sign(error) => error.code(),
        }
    }
}

/// Labels of the claims (RFC 8392 §4, RFC 8747, RFC 9711 §10.2, draft-ietf-rats-ear-04, draft-ietf-oauth-status-list).
const LABELS: [(&str, i64); 18] = [
    ("iss", 1),
    ("sub", 2),
    ("aud", 3),
    ("exp", 4),
    ("nbf", 5),
    ("iat", 6),
    ("jti", 7),
    ("cnf", 8),
    ("eat_nonce", 10),
    ("eat_profile", 265),
    ("submods", 266),
    ("ear_status", 1000),
    ("ear_trustworthiness_vector", 1001),
    ("ear_appraisal_policy_ids", 1003),
    ("ear_verifier_id", 1004),
    ("ear_attester_claims", 1005),
    ("ear_verifier_claims", 1006),
    ("status", 65535),
];

/// The labels of the trust vector (draft-ietf-rats-ar4si).
const VECTOR: [&str; 8] = [
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
];

/// Signs the claims of a draft-04 result, as they are in its JWT.
///
/// # Errors
/// When a claim has no form in CBOR, or the key cannot sign.
pub fn sign(signer: &dyn Signer, claims: &Json) -> Result<Vec<u8>, CwtError> {
    let payload = cbor::to_vec(&labelled(claims)?)?;
    let kid = signer.verifying_key().key_id().as_str().as_bytes().to_vec();
    let header = Item::Map(vec![(Item::Int(1), Item::Int(ES256)), (Item::Int(4), Item::Bytes(kid))]);
    let protected = cbor::to_vec(&header)?;
    let signature = signer.sign(&to_be_signed(&protected, &payload)?)?;
    let parts = vec![Item::Bytes(protected), Item::Map(Vec::new()), Item::Bytes(payload), Item::Bytes(signature)];
    Ok([vec![TAG], cbor::to_vec(&Item::Array(parts))?].concat())
}

/// `Sig_structure` (RFC 9052 §4.4).
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Result<Vec<u8>, CborError> {
    let text = Item::Text("Signature1".to_owned());
    let parts = vec![text, Item::Bytes(protected.to_vec()), Item::Bytes(Vec::new()), Item::Bytes(payload.to_vec())];
    cbor::to_vec(&Item::Array(parts))
}

/// A map of claims under their labels.
fn labelled(claims: &Json) -> Result<Item, CwtError> {
    let object = claims.as_object().ok_or(CwtError::Claim { claim: "set" })?;
    let mut entries = Vec::new();
    for (name, value) in object {
        let Some((name, label)) = LABELS.iter().find(|(known, _)| known == name) else {
            entries.push((Item::Text(name.clone()), plain(value)?));
            continue;
        };
        let item = match *name {
            "jti" => text(value).map(|id| Item::Bytes(id.as_bytes().to_vec())),
            "eat_nonce" => text(value).and_then(base64url).map(Item::Bytes),
            "cnf" => value.get("jwk").and_then(cose_key).map(|key| Item::Map(vec![(Item::Int(1), key)])),
            "ear_status" => text(value).and_then(tier).map(Item::Int),
            "ear_trustworthiness_vector" => vector(value),
            "ear_verifier_id" => verifier_id(value),
            "submods" => Some(submodules(value)?),
            _ => Some(plain(value)?),
        };
        entries.push((Item::Int(*label), item.ok_or(CwtError::Claim { claim: name })?));
    }
    Ok(Item::Map(entries))
}

fn submodules(value: &Json) -> Result<Item, CwtError> {
    let modules = value.as_object().ok_or(CwtError::Claim { claim: "submods" })?;
    let labelled = modules.iter().map(|(name, module)| Ok((Item::Text(name.clone()), labelled(module)?)));
    Ok(Item::Map(labelled.collect::<Result<_, CwtError>>()?))
}

fn text(value: &Json) -> Option<&str> {
    value.as_str()
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    text.parse::<evidence_formats::binding::Nonce>().ok().map(|nonce| nonce.as_bytes().to_vec())
}

fn tier(name: &str) -> Option<i64> {
    Some(match name {
        "none" => 0,
        "affirming" => 2,
        "warning" => 32,
        "contraindicated" => 96,
        _ => return None,
    })
}

fn vector(value: &Json) -> Option<Item> {
    let label = |name: &str| VECTOR.iter().position(|known| *known == name).and_then(|label| i64::try_from(label).ok());
    let entries =
        value.as_object()?.iter().map(|(name, claim)| Some((Item::Int(label(name)?), Item::Int(claim.as_i64()?))));
    Some(Item::Map(entries.collect::<Option<_>>()?))
}

fn verifier_id(value: &Json) -> Option<Item> {
    let member = |name: &str| Some(Item::Text(value.get(name)?.as_str()?.to_owned()));
    Some(Item::Map(vec![(Item::Int(0), member("developer")?), (Item::Int(1), member("build")?)]))
}

/// A COSE_Key (RFC 9053 §7) of a P-256 or X25519 key for ECDH-ES+A256KW (-31); other kinds have no registered form.
fn cose_key(jwk: &Json) -> Option<Item> {
    let coordinate = |name: &str| jwk.get(name).and_then(text).and_then(base64url).map(Item::Bytes);
    let algorithm = (Item::Int(3), Item::Int(-31));
    let entries = match jwk.get("crv").and_then(text)? {
        "P-256" => vec![
            (Item::Int(1), Item::Int(2)),
            algorithm,
            (Item::Int(-1), Item::Int(1)),
            (Item::Int(-2), coordinate("x")?),
            (Item::Int(-3), coordinate("y")?),
        ],
        "X25519" => vec![
            (Item::Int(1), Item::Int(1)),
            algorithm,
            (Item::Int(-1), Item::Int(4)),
            (Item::Int(-2), coordinate("x")?),
        ],
        _ => return None,
    };
    Some(Item::Map(entries))
}

/// Claims without a label of their own: as they are.
fn plain(value: &Json) -> Result<Item, CwtError> {
    Ok(match value {
        Json::Null => Item::Null,
        Json::Bool(truth) => Item::Bool(*truth),
        Json::Number(number) => Item::Int(number.as_i64().ok_or(CwtError::Claim { claim: "number" })?),
        Json::String(text) => Item::Text(text.clone()),
        Json::Array(items) => Item::Array(items.iter().map(plain).collect::<Result<_, _>>()?),
        Json::Object(members) => {
            let entries = members.iter().map(|(name, value)| Ok((Item::Text(name.clone()), plain(value)?)));
            Item::Map(entries.collect::<Result<_, CwtError>>()?)
        }
    })
}

/// Verifies a tagged COSE_Sign1 with the key of `jwks` that it names and returns its claims.
///
/// # Errors
/// The first rule that it breaks, as for a JWT. Claims are looked at only after the signature.
pub fn verify(token: &[u8], jwks: &Jwks, expected: &Expected<'_>) -> Result<Item, TokenError> {
    let (tag, body) = token.split_first().ok_or(TokenError::Form)?;
    let parsed: Item = cbor::from_slice(body, LIMIT).map_err(|_not_cbor| TokenError::Form)?;
    let Item::Array(parts) = parsed else { return Err(TokenError::Form) };
    let [Item::Bytes(protected), Item::Map(unprotected), Item::Bytes(payload), Item::Bytes(signature)] =
        parts.as_slice()
    else {
        return Err(TokenError::Form);
    };
    if *tag != TAG || !unprotected.is_empty() {
        return Err(TokenError::Form);
    }
    let header: Item = cbor::from_slice(protected, LIMIT).map_err(|_not_cbor| TokenError::Header)?;
    let (Some(Item::Int(ES256)), Some(Item::Bytes(kid)), None) = (header.label(1), header.label(4), header.label(2))
    else {
        return Err(TokenError::Header);
    };
    let kid = String::from_utf8_lossy(kid);
    if !expected.algorithms.contains(&SignatureAlgorithm::Es256) {
        return Err(TokenError::Algorithm { found: SignatureAlgorithm::Es256 });
    }
    let key = jwks.key(&kid).ok_or_else(|| TokenError::UnknownKey { kid: kid.chars().take(64).collect() })?;
    let signed = to_be_signed(protected, payload).map_err(|_unencodable| TokenError::Form)?;
    if key.algorithm() != SignatureAlgorithm::Es256 || !key.verifies(&signed, signature) {
        return Err(TokenError::Signature);
    }
    let claims = cbor::from_slice(payload, LIMIT)
        .map_err(|error: CborError| TokenError::Claims { reason: error.to_string() })?;
    judge(&claims, expected)?;
    Ok(claims)
}

/// Times, issuer and audience.
fn judge(claims: &Item, expected: &Expected<'_>) -> Result<(), TokenError> {
    let leeway = i64::from(expected.leeway);
    let Some(Item::Int(exp)) = claims.label(4) else {
        return Err(TokenError::Claims { reason: "expected exp".to_owned() });
    };
    if expected.now >= exp.saturating_add(leeway) {
        return Err(TokenError::Expired { exp: *exp });
    }
    match claims.label(5) {
        None => {}
        Some(Item::Int(nbf)) if expected.now >= nbf.saturating_sub(leeway) => {}
        Some(Item::Int(nbf)) => return Err(TokenError::NotYetValid { nbf: *nbf }),
        Some(_) => return Err(TokenError::Claims { reason: "expected nbf as a number".to_owned() }),
    }
    if claims.label(1) != Some(&Item::Text(expected.issuer.to_owned())) {
        return Err(TokenError::Issuer);
    }
    let for_audience = match expected.audience {
        Audience::Unchecked { .. } => true,
        Audience::Exactly(wanted) => {
            let wanted = Item::Text(wanted.to_owned());
            match claims.label(3) {
                Some(Item::Array(several)) => several.contains(&wanted),
                one => one == Some(&wanted),
            }
        }
    };
    if for_audience { Ok(()) } else { Err(TokenError::Audience) }
}

/// For people: the claims by name, other labels as numbers, bytes in hex.
#[must_use]
pub fn to_json(claims: &Item) -> Json {
    let Item::Map(entries) = claims else { return shown(claims) };
    let named = entries.iter().map(|(key, value)| {
        let claim = LABELS.iter().find(|(_, label)| *key == Item::Int(*label)).map(|(name, _)| *name);
        match (claim, value) {
            (Some("submods"), Item::Map(modules)) => {
                let modules = modules.iter().map(|(name, module)| (label(name), to_json(module)));
                ("submods".to_owned(), Json::Object(modules.collect()))
            }
            (Some(name), value) => (name.to_owned(), shown(value)),
            (None, value) => (label(key), shown(value)),
        }
    });
    Json::Object(named.collect())
}

fn shown(item: &Item) -> Json {
    match item {
        Item::Int(number) => (*number).into(),
        Item::Bytes(bytes) => hex::encode(bytes).into(),
        Item::Text(text) => text.clone().into(),
        Item::Array(items) => items.iter().map(shown).collect(),
        Item::Map(entries) => Json::Object(entries.iter().map(|(key, value)| (label(key), shown(value))).collect()),
        Item::Bool(truth) => (*truth).into(),
        Item::Null => Json::Null,
    }
}

/// The key of a map, as the name of a JSON member.
fn label(key: &Item) -> String {
    match shown(key) {
        Json::String(text) => text,
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
