//! What a guest commits to when it asks the hardware for evidence, and the digest that carries the commitment.
//!
//! The digest is SHA-384 over the RFC 8785 canonical JSON (JCS) of a statement. Every protocol has its own statement and
//! all of them go through [`BindingDigest::over`], so there is one place where a commitment becomes bytes.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA384, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use crate::{
    bytes::{ReportData, byte_newtypes},
    code::{Code, Coded},
    guest_report::GuestReport,
};

byte_newtypes! {
    /// SHA-384 over the canonical JSON of what a guest commits to: 48 bytes.
    BindingDigest: 48;
}

impl BindingDigest {
    /// Digest of any statement: SHA-384 over its canonical JSON.
    ///
    /// # Errors
    /// When `statement` cannot be JSON (a non-finite number, a map whose keys are not text).
    pub fn over(statement: &impl Serialize) -> Result<Self, NotCanonical> {
        let mut bytes = [0; Self::LENGTH];
        bytes.copy_from_slice(digest(&SHA384, &canonical_json(statement)?).as_ref());
        Ok(Self(bytes))
    }

    /// Digest of the native protocol's statement `{"countersign":"v1","nonce":…,"tee_key":…}`, where `tee_key` is the
    /// public JWK of the guest's key, with its exact member set.
    ///
    /// # Errors
    /// When `tee_key` cannot be JSON.
    pub fn native(nonce: &Nonce, tee_key: &impl Serialize) -> Result<Self, NotCanonical> {
        Self::native_reporting(nonce, tee_key, None)
    }

    /// The same, with a member `"guest_report"` when the guest says something of itself.
    ///
    /// # Errors
    /// When `tee_key` cannot be JSON.
    pub fn native_reporting(
        nonce: &Nonce,
        tee_key: &impl Serialize,
        guest_report: Option<&GuestReport>,
    ) -> Result<Self, NotCanonical> {
        #[derive(Serialize)]
        struct Statement<'a, K> {
            countersign: &'static str,
            nonce: &'a Nonce,
            tee_key: &'a K,
            #[serde(skip_serializing_if = "Option::is_none")]
            guest_report: Option<&'a GuestReport>,
        }
        Self::over(&Statement { countersign: "v1", nonce, tee_key, guest_report })
    }

    /// Digest of an enrolment's statement `{"ak_public":…,"countersign":"enroll-v1","nonce":…}`, where `ak_public` is base64url
    /// of the TPMT_PUBLIC that is enrolled: what the report of an SVSM commits to before there is an attestation.
    ///
    /// # Errors
    /// Never in fact: text always has a canonical form.
    pub fn enrolment(nonce: &Nonce, ak_public: &[u8]) -> Result<Self, NotCanonical> {
        #[derive(Serialize)]
        struct Statement<'a> {
            countersign: &'static str,
            nonce: &'a Nonce,
            ak_public: String,
        }
        let ak_public = BASE64_URL_SAFE_NO_PAD.encode(ak_public);
        Self::over(&Statement { countersign: "enroll-v1", nonce, ak_public })
    }

    /// The 64 bytes that an SNP report or TDX quote carries for it: the digest, then 16 zero bytes. Verifiers compare
    /// all 64.
    #[must_use]
    pub fn report_data(&self) -> ReportData {
        let mut bytes = [0; ReportData::LENGTH];
        for (to, from) in bytes.iter_mut().zip(self.0) {
            *to = from;
        }
        ReportData(bytes)
    }
}

/// The RFC 8785 canonical JSON (JCS) of `value`.
///
/// # Errors
/// When `value` cannot be JSON (a non-finite number, a map whose keys are not text).
pub fn canonical_json(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    serde_json_canonicalizer::to_vec(value).map_err(|source| NotCanonical { reason: source.to_string() })
}

/// A value has no canonical JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a value with a canonical JSON form: {reason}")]
pub struct NotCanonical {
    /// What the serializer said.
    pub reason: String,
}

impl Coded for NotCanonical {
    fn code(&self) -> Code {
        Code::new("binding.statement.not_canonical")
    }
}

/// A verifier's challenge: 32 bytes, as text base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// Length in bytes.
    pub const LENGTH: usize = 32;

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

/// Text is not a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a nonce of 32 bytes as base64url without padding")]
pub struct NotANonce;

impl Coded for NotANonce {
    fn code(&self) -> Code {
        Code::new("parse.nonce.encoding")
    }
}

impl FromStr for Nonce {
    type Err = NotANonce;

    /// Exactly 43 characters of base64url without padding: one spelling per nonce.
    fn from_str(text: &str) -> Result<Self, NotANonce> {
        if text.len() != 43 {
            return Err(NotANonce);
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(NotANonce)
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "test vectors are files")]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn canonical_json_and_digest_have_their_published_known_answer() {
        let statement = json!({"b": 1, "a": "test", "c": {"d": "e"}});
        assert_eq!(canonical_json(&statement).unwrap(), br#"{"a":"test","b":1,"c":{"d":"e"}}"#);
        assert_eq!(
            BindingDigest::over(&statement).unwrap().to_string(),
            "e71ce8e70d814ba6639c3612ebee0ff1f76f650f8dbb5e47157e0f3f525cd22c4597480a186427c813ca941da78870c3"
        );
    }

    #[test]
    fn the_native_statement_is_the_three_members_in_canonical_order() {
        let nonce = Nonce([0; 32]);
        let key = json!({"y": "2", "kty": "EC", "x": "1"});
        let statement = format!(r#"{{"countersign":"v1","nonce":"{nonce}","tee_key":{{"kty":"EC","x":"1","y":"2"}}}}"#);
        let digest = digest(&SHA384, statement.as_bytes());
        assert_eq!(BindingDigest::native(&nonce, &key).unwrap().0, digest.as_ref());
    }

    #[test]
    fn the_statement_of_an_enrolment_is_another_one() {
        let nonce = Nonce([0; 32]);
        let statement = format!(r#"{{"ak_public":"_w","countersign":"enroll-v1","nonce":"{nonce}"}}"#);
        let digest = digest(&SHA384, statement.as_bytes());
        assert_eq!(BindingDigest::enrolment(&nonce, &[0xFF]).unwrap().0, digest.as_ref());
    }

    #[test]
    fn report_data_is_the_digest_and_sixteen_zero_bytes() {
        let data = BindingDigest([7; 48]).report_data();
        assert_eq!(data.0[..48], [7; 48]);
        assert_eq!(data.0[48..], [0; 16]);
    }

    #[test]
    fn a_nonce_has_one_spelling() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        let nonce: Nonce = text.parse().unwrap();
        assert_eq!(nonce.to_string(), text);
        for other in ["", &text[1..], &format!("{text}="), &format!("{text}A"), &text.replace("h8", "h9")] {
            assert_eq!(other.parse::<Nonce>(), Err(NotANonce), "{other}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        let odd = std::collections::BTreeMap::from([(vec![1_u8], 1)]);
        assert!(BindingDigest::over(&odd).is_err());
    }

    /// The vectors of the KBS protocol lie beside the checkout.
    fn kbs_vectors() -> Option<Value> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/kbs/vectors.json"));
        let bytes = found.filter_map(|path| std::fs::read(path).ok()).next();
        if bytes.is_none() {
            println!("../shared/vectors is not here: skipped");
        }
        serde_json::from_slice(&bytes?).ok()
    }

    #[test]
    fn kbs_statements_go_through_the_same_function() {
        let Some(vectors) = kbs_vectors() else { return };
        let nonce = &vectors["nonce"];
        let cases = vectors["binding"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let (key, additional) = (&case["tee_pubkey"], &case["additional_evidence"]);
            let primary = json!({"nonce": nonce, "tee-pubkey": key, "additional-evidence": additional});
            assert_eq!(canonical_json(&primary).unwrap(), case["primary_canonical"].as_str().unwrap().as_bytes());
            let digest = BindingDigest::over(&primary).unwrap();
            assert_eq!(digest.to_string(), case["primary_sha384"].as_str().unwrap());
            assert_eq!(digest.report_data().to_string(), case["snp_report_data_hex"].as_str().unwrap());
            let device = BindingDigest::over(&json!({"nonce": nonce, "tee-pubkey": key})).unwrap();
            assert_eq!(device.to_string(), case["device_sha384"].as_str().unwrap());
        }
    }
}
