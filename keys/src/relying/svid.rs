//! JWT-SVIDs (SPIFFE JWT-SVID §2 to §5).

use serde::Deserialize;
use serde_json::Value;

use super::{Confirmation, Confirmed, Presented, RelyingError, Trust, confirmation::confirm};
use crate::{
    sign::SignatureAlgorithm,
    status::{StatusPlace, StatusReference},
    token::{IssuerRule, OneOrMany, TokenError, accept, claims, open},
};

/// Longest SPIFFE ID, in bytes (SPIFFE-ID §2.3).
const SPIFFE_ID: usize = 2048;

/// A verified JWT-SVID.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtSvid {
    /// The SPIFFE ID.
    pub spiffe_id: String,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// When it ends, seconds since the Unix epoch.
    pub expires_at: i64,
    /// Where its lease stands in the status lists.
    pub status: Option<StatusPlace>,
    /// How its presenter was shown to be its holder: JWT-SVIDs are bearer tokens unless they have `cnf`.
    pub confirmed: Confirmed,
    /// Every claim.
    pub claims: Value,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: OneOrMany,
    exp: i64,
    cnf: Option<Confirmation>,
    status: Option<StatusReference>,
}

/// The only members that the header may have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    #[serde(rename = "alg")]
    _alg: String,
    #[serde(rename = "kid")]
    _kid: String,
    typ: Option<String>,
}

/// Verifies a JWT-SVID of the trust domain `trust.issuer` with the JWT authorities of its bundle.
///
/// # Errors
/// [`RelyingError`]: the first rule that it breaks.
pub fn jwt_svid(token: &str, trust: &Trust<'_>, presented: Presented<'_>) -> Result<JwtSvid, RelyingError> {
    let opened = open(token, trust.jwks, &SignatureAlgorithm::ALL)?;
    let header: Header = serde_json::from_slice(&opened.header_json).map_err(|_more| RelyingError::SvidHeader)?;
    if !matches!(header.typ.as_deref(), None | Some("JWT" | "JOSE")) {
        return Err(RelyingError::SvidHeader);
    }
    let all: Value = accept(&opened.payload, trust.terms(IssuerRule::ByKey))?;
    let parsed: Claims = claims(&opened.payload)?;
    if !is_id_of(&parsed.sub, trust.issuer) {
        return Err(RelyingError::SvidSubject);
    }
    let audience = parsed.aud.into_vec();
    if audience.is_empty() {
        return Err(TokenError::Audience.into());
    }
    let confirmed = confirm(token, parsed.cnf.as_ref(), presented, trust.now)?;
    Ok(JwtSvid {
        spiffe_id: parsed.sub,
        audience,
        expires_at: parsed.exp,
        status: parsed.status.map(|status| status.status_list),
        confirmed,
        claims: all,
    })
}

/// Whether `id` is the SPIFFE ID of a workload of the trust domain: with a path of plain segments.
fn is_id_of(id: &str, trust_domain: &str) -> bool {
    let path = id.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(trust_domain));
    let Some(path) = path.and_then(|rest| rest.strip_prefix('/')).filter(|_| id.len() <= SPIFFE_ID) else {
        return false;
    };
    let plain = |segment: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
    };
    path.split('/').all(plain)
}
