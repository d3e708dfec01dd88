//! Tokens of no special kind, such as those for the federation of clouds.

use serde::Deserialize;
use serde_json::Value;

use super::{Confirmation, Confirmed, Presented, RelyingError, Trust, confirmation::confirm};
use crate::{
    status::{StatusPlace, StatusReference},
    token::{TokenError, verify},
};

/// A verified token.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainToken {
    /// Where its lease stands in the status lists.
    pub status: Option<StatusPlace>,
    /// How its presenter was shown to be its holder.
    pub confirmed: Confirmed,
    /// Every claim.
    pub claims: Value,
}

#[derive(Deserialize)]
struct Claims {
    cnf: Option<Confirmation>,
    status: Option<StatusReference>,
}

/// Verifies a token of any type. A relying party that knows what it expects uses the function for that.
///
/// # Errors
/// [`RelyingError`]: the first rule that it breaks.
pub fn plain_token(token: &str, trust: &Trust<'_>, presented: Presented<'_>) -> Result<PlainToken, RelyingError> {
    let claims: Value = verify(token, trust.jwks, &trust.expected())?;
    let parsed = Claims::deserialize(&claims).map_err(|error| TokenError::Claims { reason: error.to_string() })?;
    let confirmed = confirm(token, parsed.cnf.as_ref(), presented, trust.now)?;
    Ok(PlainToken { status: parsed.status.map(|status| status.status_list), confirmed, claims })
}
