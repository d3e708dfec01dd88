//! What the native protocol puts inside a sealed JWE: `{"grant":…,"version":…,"value":…}`, and `"offline":…` where the guest may
//! keep the secret for reboots without the broker.
//!
//! A JWE of the KBS protocol has no room for context, so the native protocol says inside the plaintext which grant it is:
//! a guest that asked for two secrets cannot be handed one for the other.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    encoding::{decode, encode},
    offline::{OfflineTerms, WireTerms},
    secret::SecretBytes,
};

/// A secret with the name and version of the grant it belongs to.
#[expect(missing_debug_implementations, reason = "a secret is never printed")]
#[derive(PartialEq, Eq)]
pub struct GrantPayload {
    /// The grant's name, as the guest asked for it.
    pub grant: String,
    /// Which version of it, from 1.
    pub version: u64,
    /// The secret.
    pub value: SecretBytes,
    /// Whether the guest may keep it for reboots without the broker.
    pub offline: Option<OfflineTerms>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    grant: String,
    version: u64,
    /// Base64url without padding.
    value: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offline: Option<WireTerms>,
}

/// A plaintext is not a grant's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a grant's payload of name, version and base64url value")]
pub struct NotAPayload;

impl NotAPayload {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "parse.grant.payload"
    }
}

impl GrantPayload {
    /// The plaintext to seal.
    #[must_use]
    pub fn to_plaintext(&self) -> SecretBytes {
        let wire = Wire {
            grant: self.grant.clone(),
            version: self.version,
            value: Zeroizing::new(encode(self.value.expose())),
            offline: self.offline.as_ref().map(WireTerms::from),
        };
        // Text and an integer always serialize; the empty plaintext is none that `parse` takes.
        SecretBytes::new(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a plaintext that was opened.
    ///
    /// # Errors
    /// When it is not exactly these members.
    pub fn parse(plaintext: &SecretBytes) -> Result<Self, NotAPayload> {
        // The position of the error is dropped: it would describe a secret.
        let wire: Wire = serde_json::from_slice(plaintext.expose()).map_err(|_position| NotAPayload)?;
        let value = decode(&wire.value).ok_or(NotAPayload)?;
        let offline = wire.offline.map(|terms| terms.read().ok_or(NotAPayload)).transpose()?;
        Ok(Self { grant: wire.grant, version: wire.version, value: SecretBytes::new(value), offline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plaintext_is_the_three_members() {
        let payload =
            GrantPayload { grant: "disk-key".into(), version: 3, value: SecretBytes::new(vec![0, 255]), offline: None };
        let plaintext = payload.to_plaintext();
        assert_eq!(plaintext.expose(), br#"{"grant":"disk-key","version":3,"value":"AP8"}"#);
        assert!(GrantPayload::parse(&plaintext).is_ok_and(|again| again == payload));
    }

    #[test]
    fn other_plaintexts_are_refused() {
        for text in
            ["", "{}", r#"{"grant":"a","version":1,"value":"="}"#, r#"{"grant":"a","version":1,"value":"","x":1}"#]
        {
            assert_eq!(GrantPayload::parse(&SecretBytes::new(text.into())).err(), Some(NotAPayload), "{text}");
        }
    }
}
