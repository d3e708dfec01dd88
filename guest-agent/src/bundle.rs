//! SPIFFE bundles (SPIFFE Trust Domain and Bundle §4): what verifies the SVIDs of a trust domain.

use base64::{Engine, prelude::BASE64_STANDARD};
use keys::sign::Jwks;
use prost::bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

/// The document, a JWK set with a little more.
#[derive(Deserialize)]
pub(crate) struct BundleDocument {
    #[serde(default)]
    keys: Vec<Value>,
    /// Seconds after which it should be asked for again.
    pub(crate) spiffe_refresh_hint: Option<u64>,
}

/// What verifies the SVIDs of one trust domain.
#[derive(Clone, PartialEq)]
pub(crate) struct Bundle {
    /// Authorities, DER.
    pub(crate) authorities: Vec<Vec<u8>>,
    /// JWK set as JSON.
    pub(crate) jwks: Bytes,
    /// The same, read.
    pub(crate) keys: Jwks,
}

impl Bundle {
    /// The authorities, DER one after the other.
    pub(crate) fn der(&self) -> Bytes {
        self.authorities.concat().into()
    }
}

impl BundleDocument {
    /// Authorities and keys; `None` when there are no authorities, or one of them is none. Whatever is of another use is left
    /// out, as the standard asks.
    pub(crate) fn bundle(self) -> Option<Bundle> {
        let of = |key: &Value, usage: &str| key.get("use").and_then(Value::as_str) == Some(usage);
        let mut authorities = Vec::new();
        for key in self.keys.iter().filter(|key| of(key, "x509-svid")) {
            // Exactly one certificate each (§4.2.1).
            let [Value::String(certificate)] = key.get("x5c")?.as_array()?.as_slice() else { return None };
            authorities.push(BASE64_STANDARD.decode(certificate).ok()?);
        }
        let tokens: Vec<_> = self.keys.into_iter().filter(|key| of(key, "jwt-svid")).collect();
        let jwks = json!({"keys": tokens}).to_string();
        let keys = Jwks::parse(jwks.as_bytes()).ok()?;
        (!authorities.is_empty()).then_some(Bundle { authorities, jwks: jwks.into(), keys })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn bundle(text: &str) -> Option<Bundle> {
        serde_json::from_str::<BundleDocument>(text).unwrap().bundle()
    }

    #[test]
    fn keys_are_sorted_by_their_use() {
        let text = r#"{"keys":[{"use":"x509-svid","kty":"EC","x5c":["AQI="]},{"use":"jwt-svid","kty":"EC","kid":"k"},
            {"use":"wit-svid","kty":"EC"}],"spiffe_sequence":1}"#;
        let found = bundle(text).unwrap();
        assert_eq!(found.authorities, [vec![1, 2]]);
        let jwks: Value = serde_json::from_slice(&found.jwks).unwrap();
        assert_eq!(jwks, json!({"keys": [{"use": "jwt-svid", "kty": "EC", "kid": "k"}]}));
        for none in [
            r#"{"keys":[]}"#,
            "{}",
            r#"{"keys":[{"use":"x509-svid"}]}"#,
            r#"{"keys":[{"use":"x509-svid","x5c":["AQI=","AQI="]}]}"#,
            r#"{"keys":[{"use":"x509-svid","x5c":["!"]}]}"#,
        ] {
            assert!(bundle(none).is_none(), "{none}");
        }
    }
}
