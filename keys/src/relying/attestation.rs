//! Attestation results (EAR, draft-ietf-rats-ear) as JWT and as CWT.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Confirmation, Confirmed, Presented, RelyingError, Trust, confirmation::confirm};
use crate::{
    cwt::{self, Item},
    encoding::encode,
    sign::TokenType,
    status::{StatusPlace, StatusReference},
    token::{OneOrMany, TokenError, verify_typed},
};

/// A verified attestation result.
#[derive(Debug, Clone, PartialEq)]
pub struct AttestationResult {
    /// Who issued it.
    pub issuer: String,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// The attestation id.
    pub token_id: String,
    /// The challenge that the evidence answered, base64url.
    pub nonce: String,
    /// The verdict.
    pub status: EarStatus,
    /// When it was issued and when it ends, seconds since the Unix epoch.
    pub issued_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// The key that the evidence binds.
    pub confirmation: Confirmation,
    /// Where its lease stands in the status lists.
    pub status_place: Option<StatusPlace>,
    /// How its presenter was shown to be the guest.
    pub confirmed: Confirmed,
    /// Every claim, under its JSON name; of a CWT with byte strings in hex.
    pub claims: Value,
}

/// The verdict of an attestation result (EAR §2.2), the worst of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EarStatus {
    /// Everything is as it should be.
    Affirming,
    /// Something is not as it should be, and may do.
    Warning,
    /// The verifier says nothing.
    None,
    /// The guest is not to be trusted.
    Contraindicated,
}

impl EarStatus {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "affirming" => Self::Affirming,
            "warning" => Self::Warning,
            "contraindicated" => Self::Contraindicated,
            _ => return None,
        })
    }

    fn from_label(label: i64) -> Option<Self> {
        Some(match label {
            0 => Self::None,
            2 => Self::Affirming,
            32 => Self::Warning,
            96 => Self::Contraindicated,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Option<OneOrMany>,
    iat: i64,
    exp: i64,
    jti: String,
    eat_nonce: String,
    cnf: Confirmation,
    status: Option<StatusReference>,
}

/// Verifies an attestation result in the form of a JWT and that its presenter is the guest.
///
/// # Errors
/// [`RelyingError`]: the first rule that it breaks. The verdict is in [`AttestationResult::status`]: look at it.
pub fn attestation_result(
    token: &str,
    trust: &Trust<'_>,
    presented: Presented<'_>,
) -> Result<AttestationResult, RelyingError> {
    let claims: Value = verify_typed(token, TokenType::EatJwt, trust.jwks, &trust.expected())?;
    read(token, claims, trust, presented)
}

/// The same in the form of a CWT (COSE_Sign1).
///
/// A DPoP proof of a CWT has in `ath` the hash of the token's base64url text, which is what a request carries.
///
/// # Errors
/// As for [`attestation_result`].
pub fn attestation_result_cwt(
    token: &[u8],
    trust: &Trust<'_>,
    presented: Presented<'_>,
) -> Result<AttestationResult, RelyingError> {
    let item = cwt::verify(token, trust.jwks, &trust.expected())?;
    let claims = named(&item).ok_or_else(|| lacking("the claims of an attestation result"))?;
    read(&encode(token), claims, trust, presented)
}

fn lacking(what: &str) -> TokenError {
    TokenError::Claims { reason: format!("expected {what}") }
}

fn read(
    token: &str,
    claims: Value,
    trust: &Trust<'_>,
    presented: Presented<'_>,
) -> Result<AttestationResult, RelyingError> {
    let parsed = Claims::deserialize(&claims).map_err(|error| TokenError::Claims { reason: error.to_string() })?;
    let status = verdict(&claims).ok_or_else(|| lacking("a verdict"))?;
    let confirmed = confirm(token, Some(&parsed.cnf), presented, trust.now)?;
    Ok(AttestationResult {
        issuer: parsed.iss,
        audience: parsed.aud.map(OneOrMany::into_vec).unwrap_or_default(),
        token_id: parsed.jti,
        nonce: parsed.eat_nonce,
        status,
        issued_at: parsed.iat,
        expires_at: parsed.exp,
        confirmation: parsed.cnf,
        status_place: parsed.status.map(|status| status.status_list),
        confirmed,
        claims,
    })
}

/// The overall verdict when there is one, and the worst of the submodules.
fn verdict(claims: &Value) -> Option<EarStatus> {
    let of = |claims: &Value| {
        let status = claims.get("ear_status").or_else(|| claims.get("ear.status"))?;
        status.as_str().and_then(EarStatus::from_name).or_else(|| status.as_i64().and_then(EarStatus::from_label))
    };
    let modules = claims.get("submods")?.as_object()?;
    let worst = modules.values().map(of).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    // Draft-04 has an overall verdict, the legacy profile has none.
    if claims.get("ear_status").is_some() { of(claims).map(|overall| overall.max(worst)) } else { Some(worst) }
}

/// The claims under their JSON names, with what a relying party reads in its JSON form.
fn named(item: &Item) -> Option<Value> {
    let mut claims = cwt::to_json(item);
    let members = claims.as_object_mut()?;
    let bytes = |label: i64| match item.label(label) {
        Some(Item::Bytes(bytes)) => Some(bytes),
        _ => None,
    };
    members.insert("jti".to_owned(), String::from_utf8(bytes(7)?.clone()).ok()?.into());
    members.insert("eat_nonce".to_owned(), encode(bytes(10)?).into());
    members.insert("cnf".to_owned(), json!({"jwk": jwk(item.label(8)?.label(1)?)?}));
    Some(claims)
}

/// The JWK of a COSE_Key (RFC 9053 §7) on P-256 or of X25519.
fn jwk(key: &Item) -> Option<Value> {
    let coordinate = |label: i64| match key.label(label) {
        Some(Item::Bytes(bytes)) => Some(encode(bytes)),
        _ => None,
    };
    match (key.label(1)?, key.label(-1)?) {
        (Item::Int(2), Item::Int(1)) => {
            Some(json!({"kty": "EC", "crv": "P-256", "x": coordinate(-2)?, "y": coordinate(-3)?}))
        }
        (Item::Int(1), Item::Int(4)) => Some(json!({"kty": "OKP", "crv": "X25519", "x": coordinate(-2)?})),
        _ => None,
    }
}
