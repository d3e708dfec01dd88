//! Trust bundles of other trust domains (SPIFFE Trust Domain and Bundle §4), as they arrive.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};
use evidence_formats::code::{Code, Coded};
use keys::sign::Jwks;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use thiserror::Error;

use super::spiffe;

/// Longest bundle, in bytes.
pub(crate) const BUNDLE_BYTES: usize = 256 * 1024;
/// Most keys of a bundle.
const KEYS: usize = 256;
/// Members of a key that guests get; what else a foreign document says stays here.
const MEMBERS: [&str; 9] = ["kty", "use", "kid", "alg", "crv", "x", "y", "n", "e"];

/// What another trust domain is verified with.
#[derive(Debug, Clone)]
pub(crate) struct TrustBundle {
    /// CAs of X.509-SVIDs, DER.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// How many keys verify JWT-SVIDs.
    pub(crate) tokens: usize,
    /// Rises with every change.
    pub(crate) sequence: Option<u64>,
    /// Seconds after which the owner wants to be asked again.
    pub(crate) refresh_hint: Option<u64>,
    /// What guests get: the keys that can be used, and nothing else.
    pub(crate) document: Box<RawValue>,
}

/// A document is no trust bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum BundleError {
    /// Too long.
    #[error("expected a bundle of at most {BUNDLE_BYTES} bytes and {KEYS} keys")]
    TooLong,
    /// Not a JSON object with a list of keys, a sequence and a hint that are whole numbers.
    #[error("expected a JSON object with keys, spiffe_sequence and spiffe_refresh_hint")]
    Syntax,
    /// A key is not what its use demands.
    #[error("key {place}: expected {expected}")]
    Key {
        /// From 0.
        place: usize,
        /// What.
        expected: &'static str,
    },
}

impl Coded for BundleError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong => "parse.spiffe_bundle.length",
            Self::Syntax => "parse.spiffe_bundle.syntax",
            Self::Key { .. } => "parse.spiffe_bundle.key",
        })
    }
}

/// `{"keys":[]}`: the trust domain is not trusted any more.
pub(crate) fn distrusted() -> Box<RawValue> {
    RawValue::from_string(r#"{"keys":[]}"#.to_owned()).unwrap_or_else(|_never| RawValue::NULL.to_owned())
}

impl TrustBundle {
    /// Reads a document. Keys of a use or type that is not known are left out, as §4.1 asks; a key of a known use that is not
    /// what it should be refuses the document: half of a bundle would be trusted for longer than its owner wants.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Map<String, Value>>,
            spiffe_sequence: Option<u64>,
            spiffe_refresh_hint: Option<u64>,
        }
        if document.len() > BUNDLE_BYTES {
            return Err(BundleError::TooLong);
        }
        let document: Document = serde_json::from_slice(document).map_err(|_position| BundleError::Syntax)?;
        if document.keys.len() > KEYS {
            return Err(BundleError::TooLong);
        }
        let mut bundle = Self {
            authorities: Vec::new(),
            tokens: 0,
            sequence: document.spiffe_sequence,
            refresh_hint: document.spiffe_refresh_hint,
            document: distrusted(),
        };
        let (mut keys, mut ids) = (Vec::new(), BTreeSet::new());
        for (place, key) in document.keys.into_iter().enumerate() {
            let wrong = |expected| BundleError::Key { place, expected };
            match key.get("use").and_then(Value::as_str) {
                Some("x509-svid") => {
                    let authority = authority(&key).map_err(wrong)?;
                    let mut plain = plain(&key, &["kid", "alg"]);
                    plain.insert("x5c".to_owned(), json!([BASE64_STANDARD.encode(&authority)]));
                    keys.push(Value::Object(plain));
                    bundle.authorities.push(authority);
                }
                Some("jwt-svid") => {
                    let id = key.get("kid").and_then(Value::as_str).filter(|id| !id.is_empty());
                    let id = id.ok_or_else(|| wrong("a key id (kid)"))?;
                    if !ids.insert(id.to_owned()) {
                        return Err(wrong("a key id that no other key has"));
                    }
                    let plain = Value::Object(plain(&key, &[]));
                    // Of a type that is not known: left out.
                    if is_usable(&plain) {
                        keys.push(plain);
                        bundle.tokens = bundle.tokens.saturating_add(1);
                    }
                }
                _ => {}
            }
        }
        let mut document = json!({"keys": keys});
        if let Some(members) = document.as_object_mut() {
            members.extend(bundle.sequence.map(|sequence| ("spiffe_sequence".to_owned(), sequence.into())));
            members.extend(bundle.refresh_hint.map(|hint| ("spiffe_refresh_hint".to_owned(), hint.into())));
        }
        bundle.document = RawValue::from_string(document.to_string()).map_err(|_never| BundleError::Syntax)?;
        Ok(bundle)
    }

    /// Whether the owner took every key back.
    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.tokens == 0
    }
}

/// Whether one key verifies tokens here.
fn is_usable(key: &Value) -> bool {
    let set = json!({"keys": [key]}).to_string();
    Jwks::parse(set.as_bytes()).is_ok_and(|set| set.keys().len() == 1)
}

/// The public members of a key, without those of `drop`.
fn plain(key: &Map<String, Value>, drop: &[&str]) -> Map<String, Value> {
    let known = |name: &&String| MEMBERS.contains(&name.as_str()) && !drop.contains(&name.as_str());
    key.iter().filter(|(name, _)| known(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The CA of a key for X.509-SVIDs (§4.2.1): exactly one certificate.
fn authority(key: &Map<String, Value>) -> Result<CertificateDer<'static>, &'static str> {
    let [only] = key.get("x5c").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default() else {
        return Err("exactly one certificate in x5c");
    };
    let der = only.as_str().and_then(|text| BASE64_STANDARD.decode(text).ok()).ok_or("base64 of DER in x5c")?;
    match spiffe::is_authority(&der) {
        true => Ok(CertificateDer::from(der)),
        false => Err("the certificate of a CA that may sign certificates"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn certificate(is_ca: IsCa) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = is_ca;
        BASE64_STANDARD.encode(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    fn ca() -> Value {
        let der = certificate(IsCa::Ca(BasicConstraints::Unconstrained));
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "x509-svid", "x5c": [der]})
    }

    /// A point of the curve (RFC 7515 §A.3).
    fn token_key(kid: &str) -> Value {
        json!({"kty": "EC", "crv": "P-256", "use": "jwt-svid", "kid": kid, "d": "secret",
               "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
    }

    fn parse(document: &Value) -> Result<TrustBundle, BundleError> {
        TrustBundle::parse(document.to_string().as_bytes())
    }

    #[test]
    fn usable_keys_are_taken_and_nothing_else_is_handed_on() {
        let other = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "use": "jwt-svid", "kid": "e"});
        let unknown = json!({"kty": "EC", "use": "wit-svid", "kid": "w"});
        let keys = json!([ca(), token_key("a"), other, unknown]);
        let bundle = parse(&json!({"keys": keys, "spiffe_sequence": 7, "spiffe_refresh_hint": 60, "more": 1})).unwrap();
        assert_eq!((bundle.authorities.len(), bundle.tokens), (1, 1));
        assert_eq!((bundle.sequence, bundle.refresh_hint, bundle.is_empty()), (Some(7), Some(60), false));
        let document: Value = serde_json::from_str(bundle.document.get()).unwrap();
        assert_eq!(document["keys"].as_array().unwrap().len(), 2);
        assert_eq!((&document["spiffe_sequence"], document.get("more")), (&json!(7), None));
        assert!(document["keys"][1].get("d").is_none(), "{document}");
        // What is handed on is a bundle itself.
        assert_eq!(TrustBundle::parse(bundle.document.get().as_bytes()).unwrap().tokens, 1);
        assert!(parse(&json!({"keys": []})).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_key_refuses_the_document() {
        let leaf = certificate(IsCa::ExplicitNoCa);
        let twice = ca()["x5c"][0].clone();
        for x5c in [json!([]), json!([twice, twice]), json!(["!"]), json!([leaf]), json!(7)] {
            let mut key = ca();
            key["x5c"] = x5c;
            let refused = parse(&json!({"keys": [key]})).map(|_| ());
            assert!(matches!(refused, Err(BundleError::Key { place: 0, .. })));
        }
        let mut nameless = token_key("");
        assert!(parse(&json!({"keys": [nameless]})).is_err());
        nameless = token_key("a");
        assert!(parse(&json!({"keys": [nameless, token_key("a")]})).is_err());
        for document in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[7]}"#, r#"{"keys":[],"spiffe_sequence":-1}"#] {
            assert_eq!(TrustBundle::parse(document.as_bytes()).err(), Some(BundleError::Syntax), "{document}");
        }
        let many = json!({"keys": vec![json!({}); KEYS + 1]});
        assert_eq!(parse(&many).err(), Some(BundleError::TooLong));
        assert_eq!(TrustBundle::parse(&vec![b' '; BUNDLE_BYTES + 1]).err(), Some(BundleError::TooLong));
    }
}
