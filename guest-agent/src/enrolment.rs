//! Enrolment of this machine's attestation key: the broker makes a credential that only the TPM with both keys opens.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::Bundle,
    tpm::TpmPublic,
};
use serde::{Deserialize, Serialize};
use tee::EnrolmentKeys;

use crate::{
    backoff::Backoff,
    connection::Connection,
    exchange::{Attempt, Exchange},
    failure::{Failure, Refusal},
    lease::is_plain,
    protocol::{CHALLENGE, Challenge, ChallengeRequest},
};

/// Path of an enrolment.
const ENROLL: &str = "/v1/enroll";
/// Longest secret of a credential: SHA-512.
const MAX_SECRET: usize = 64;

/// What the broker says when it does not know the key that signed the quote.
const UNKNOWN_KEY: &str = "authenticate.tpm.ak_unproven";

/// `POST /v1/enroll`
#[derive(Debug, Serialize)]
struct EnrolRequest {
    ek_public: String,
    ak_public: String,
    #[serde(flatten)]
    proof: EkProof,
}

/// What proves the endorsement key.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum EkProof {
    /// The manufacturer.
    Certificate { ek_certificates: Vec<String> },
    /// The SVSM that runs the TPM, in a report for this nonce.
    Report { evidence: Bundle, nonce: Nonce },
}

/// Its answer.
#[derive(Debug, Deserialize)]
struct EnrolResponse {
    enrollment_id: String,
    credential: CredentialMessage,
}

#[derive(Debug, Deserialize)]
struct CredentialMessage {
    blob: String,
    secret: String,
}

/// `POST /v1/enroll/{enrollment_id}`
#[derive(Serialize)]
struct ActivateRequest {
    secret: String,
}

/// How an enrolment ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Enrolled {
    /// Name of the attestation key, hex.
    pub(crate) ak_name: String,
    /// What proved it.
    pub(crate) provenance: String,
    /// Whether it counts already.
    pub(crate) state: EnrolmentState,
}

/// Whether an enrolled key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EnrolmentState {
    /// It does.
    Enrolled,
    /// When the operator has approved it.
    AwaitingApproval,
}

/// Whether an enrolment can change this refusal.
pub(crate) fn is_about_unknown_key(refusal: &Refusal) -> bool {
    refusal.code == UNKNOWN_KEY
}

impl Exchange {
    /// Enrols the key, until there is an answer, a refusal, or the time is up.
    pub(crate) async fn enrol(&self) -> Result<Enrolled, Failure> {
        self.repeat(async |time| self.enrol_once(time).await).await
    }

    /// Whether this machine has a key to enrol.
    pub(crate) async fn has_tpm(&self) -> Result<bool, Failure> {
        self.with_attester(|attester| Ok(attester.tpm().is_some())).await
    }

    pub(crate) async fn enrol_once(&self, time: &Backoff) -> Result<Enrolled, Attempt> {
        let mut connection = self.connect(time).await?;
        let keys = self.with_attester(|attester| attester.tpm().map(|tpm| tpm.enrolment_keys()).transpose()).await?;
        let keys = keys.ok_or(Failure::NoTpm)?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let request = EnrolRequest {
            ek_public: encode(&keys.ek_public),
            ak_public: encode(&keys.ak_public),
            proof: self.prove_ek(&mut connection, &keys, time).await?,
        };
        let EnrolResponse { enrollment_id, credential } = connection.post(ENROLL, &request, time.left()).await?;
        if !is_plain(&enrollment_id) {
            return Err(Failure::Answer { expected: "the id of an enrolment" }.into());
        }
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text);
        let (Ok(blob), Ok(secret)) = (decode(&credential.blob), decode(&credential.secret)) else {
            return Err(Failure::Answer { expected: "a credential in base64url" }.into());
        };
        let opened = self
            .with_attester(move |attester| attester.tpm().map(|tpm| tpm.activate(&keys, &blob, &secret)).transpose())
            .await?
            .filter(|secret| secret.len() <= MAX_SECRET)
            .ok_or(Failure::NoTpm)?;
        let path = format!("{ENROLL}/{enrollment_id}");
        Ok(connection.post(&path, &ActivateRequest { secret: encode(&opened) }, time.left()).await?)
    }
}

impl Exchange {
    async fn prove_ek(
        &self,
        connection: &mut Connection,
        keys: &EnrolmentKeys,
        time: &Backoff,
    ) -> Result<EkProof, Attempt> {
        if self.with_attester(|attester| Ok(attester.enrols_by_report())).await? {
            let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, time.left()).await?;
            let binding = BindingDigest::enrolment(&nonce, &keys.ak_public)
                .map_err(|error| Failure::Make { what: "the binding", reason: error.to_string() })?;
            let report_data = binding.report_data();
            let report = self.with_attester(move |attester| attester.enrolment_report(&report_data)).await?;
            return Ok(EkProof::Report { evidence: report.bundle, nonce });
        }
        if keys.ek_certificates.is_empty() {
            let ak = TpmPublic::parse(&keys.ak_public);
            let ak_name = ak.map(|ak| ak.name().to_string()).unwrap_or_default();
            return Err(Failure::NoEkCertificate { ak_name }.into());
        }
        let encode = |der: &Vec<u8>| BASE64_URL_SAFE_NO_PAD.encode(der);
        Ok(EkProof::Certificate { ek_certificates: keys.ek_certificates.iter().map(encode).collect() })
    }
}

#[cfg(test)]
mod tests {
    use crate::lease::is_plain;

    #[test]
    fn an_id_of_the_broker_is_no_path() {
        assert!(is_plain("01JD-abc_9"));
        for id in ["", "..", "a/b", "a?b", "a b", &"a".repeat(129)] {
            assert!(!is_plain(id), "{id}");
        }
    }
}
