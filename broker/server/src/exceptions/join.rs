//! Join tokens: the client of an exception brings its own key, once, instead of being described beforehand.
//!
//! A token opens nothing. It lets one key, which the TLS connection proves, become the client of one exception that was
//! registered for that; from then on the key is what the bridge knows, and the token is used up. What is for attested guests
//! has no exception, so no token leads there.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::random::{NoRandomness, Random, SystemRandom};
use serde::Deserialize;
use verifier::Timestamp;
use zeroize::Zeroizing;

use super::{ClientIdentity, ExceptionError};
use crate::store::{Exception, JoinToken};

/// What every token begins with, so that scans for static secrets know one when they see it.
const PREFIX: &str = "countersign-join-";
/// Random bytes of a token.
const LENGTH: usize = 32;
/// Longest life of a token, in seconds.
const LONGEST: u32 = 600;

/// What an administrator asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct JoinDraft {
    /// How long the token holds, 600 at most.
    pub(crate) seconds: Option<u32>,
    /// The only key that may use it: `sha256/BASE64`.
    pub(crate) client: Option<String>,
}

/// A new token, and what is stored of it.
pub(crate) struct NewToken {
    pub(crate) text: Zeroizing<String>,
    pub(crate) stored: JoinToken,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum JoinError {
    /// It was asked for in a wrong way.
    Refused(ExceptionError),
    /// There is no randomness.
    Randomness(NoRandomness),
}

impl JoinDraft {
    /// The token, if it may be.
    pub(crate) fn token(self, exception: &Exception, author: String, now: Timestamp) -> Result<NewToken, JoinError> {
        let refused = |error| Err(JoinError::Refused(error));
        if !exception.is_live(now) {
            return refused(ExceptionError::Over);
        }
        if !exception.joins {
            return refused(ExceptionError::JoinsNot);
        }
        let seconds = self.seconds.unwrap_or(LONGEST);
        if !(1..=LONGEST).contains(&seconds) {
            return refused(ExceptionError::JoinLife { most: LONGEST });
        }
        let pin = match self.client.as_deref().map(str::parse) {
            None => None,
            Some(Ok(pin @ ClientIdentity::Spki(_))) => Some(pin.to_string()),
            Some(Ok(ClientIdentity::Dns(_) | ClientIdentity::Uri(_)) | Err(_)) => {
                return refused(ExceptionError::JoinKey);
            }
        };
        let mut bytes = Zeroizing::new([0; LENGTH]);
        SystemRandom::new().fill(&mut *bytes).map_err(JoinError::Randomness)?;
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice())));
        let expires_at = now.plus_seconds(i64::from(seconds)).min(exception.expires_at);
        let stored = JoinToken {
            digest: token_digest(&text),
            exception: exception.id.clone(),
            pin,
            author,
            created_at: now,
            expires_at,
        };
        Ok(NewToken { text, stored })
    }
}

/// What is stored and looked for instead of the token.
pub(crate) fn token_digest(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
