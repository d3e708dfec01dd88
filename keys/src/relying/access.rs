//! Access tokens of the token exchange (RFC 9068, RFC 8693).

use serde::Deserialize;
use serde_json::Value;

use super::{Confirmation, Confirmed, Presented, RelyingError, Trust, confirmation::confirm};
use crate::{
    sign::TokenType,
    status::{StatusPlace, StatusReference},
    token::{OneOrMany, TokenError, verify_typed},
};

/// Most actors that a token may name one inside the other.
pub const ACTORS_LIMIT: usize = 8;

/// A verified access token.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessToken {
    /// Who issued it.
    pub issuer: String,
    /// On whose behalf it is used.
    pub subject: String,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// What it allows.
    pub scope: Vec<String>,
    /// Who acts: the attested workload first, then whoever acted before it. Empty when the subject itself acts.
    pub actors: Vec<Actor>,
    /// Its id.
    pub token_id: String,
    /// When it ends, seconds since the Unix epoch.
    pub expires_at: i64,
    /// Where its lease stands in the status lists.
    pub status: Option<StatusPlace>,
    /// How its presenter was shown to be its holder.
    pub confirmed: Confirmed,
    /// Every claim.
    pub claims: Value,
}

/// Somebody who acts for the subject (RFC 8693 §4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub subject: String,
    /// Who says so, when it is not the token's issuer.
    pub issuer: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: i64,
    jti: String,
    #[serde(default)]
    scope: String,
    cnf: Option<Confirmation>,
    status: Option<StatusReference>,
}

/// Verifies an access token and that its presenter holds it.
///
/// # Errors
/// [`RelyingError`]: the first rule that it breaks, the token's own before those of the proof.
pub fn access_token(token: &str, trust: &Trust<'_>, presented: Presented<'_>) -> Result<AccessToken, RelyingError> {
    let claims: Value = verify_typed(token, TokenType::AccessToken, trust.jwks, &trust.expected())?;
    let parsed = Claims::deserialize(&claims).map_err(|error| TokenError::Claims { reason: error.to_string() })?;
    let actors = actors(claims.get("act"))?;
    let confirmed = confirm(token, parsed.cnf.as_ref(), presented, trust.now)?;
    Ok(AccessToken {
        issuer: parsed.iss,
        subject: parsed.sub,
        audience: parsed.aud.into_vec(),
        scope: parsed.scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        actors,
        token_id: parsed.jti,
        expires_at: parsed.exp,
        status: parsed.status.map(|status| status.status_list),
        confirmed,
        claims,
    })
}

/// The chain of `act` claims, outermost first.
fn actors(mut act: Option<&Value>) -> Result<Vec<Actor>, RelyingError> {
    let wrong = || TokenError::Claims { reason: format!("act with sub, at most {ACTORS_LIMIT} deep") };
    let mut actors = Vec::new();
    while let Some(actor) = act {
        let subject = actor.get("sub").and_then(Value::as_str).ok_or_else(wrong)?.to_owned();
        let issuer = actor.get("iss").and_then(Value::as_str).map(str::to_owned);
        actors.push(Actor { subject, issuer });
        if actors.len() > ACTORS_LIMIT {
            return Err(wrong().into());
        }
        act = actor.get("act");
    }
    Ok(actors)
}
