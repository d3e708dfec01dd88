//! What the operator should do next, for every refusal code.

use evidence_formats::code::Code;

/// One line of advice for `code`: for the whole code, else for its stage and last word, else for its stage.
#[must_use]
pub fn recommendation(code: Code) -> &'static str {
    recommendation_of(code.as_str())
}

/// The same for a code that somebody read and wrote down.
#[must_use]
pub fn recommendation_of(text: &str) -> &'static str {
    let stage = text.split('.').next().unwrap_or_default();
    let cause = text.rsplit('.').next().unwrap_or_default();
    for_code(text).or_else(|| for_cause(stage, cause)).or_else(|| for_stage(stage)).unwrap_or(UNKNOWN)
}

/// What a refusal of this stage says about the evidence.
#[must_use]
pub fn meaning(code: Code) -> Option<&'static str> {
    meaning_of(code.as_str())
}

/// The same for a code that somebody read and wrote down.
#[must_use]
pub fn meaning_of(text: &str) -> Option<&'static str> {
    if is_of_token(text) {
        return Some("The guest is attested, and a token or proof that it showed is not good.");
    }
    Some(match text.split('.').next().unwrap_or_default() {
        "parse" => "What was sent is not evidence of a known form. Nothing was checked.",
        "authenticate" => {
            "The evidence is well formed, but it is not shown to come from genuine hardware that nobody revoked. Nothing \
             that it says counts."
        }
        "endorsement" => {
            "A document of the hardware's vendor that the decision needs is missing, damaged or out of date. With it the \
             answer may be another."
        }
        "binding" => "The evidence was not made for this request: it is old, or somebody else's.",
        "baseline" => {
            "The evidence is genuine and says that the guest or its machine breaks a rule that holds before any policy."
        }
        "reference" => "The evidence is genuine, and the code that was measured is not code that the operator expects.",
        "policy" => "The evidence is genuine, and the operator's appraisal policy does not trust what it says.",
        "release" => "The guest passed, and the operator's release policy does not give it what it asked for.",
        "request" => "The broker did not take the request. Nothing was decided.",
        "internal" => "The broker failed. Nothing was decided, and nothing was released.",
        _ => return None,
    })
}

/// Whether it is about a token or a proof in an exchange, not about evidence.
fn is_of_token(code: &str) -> bool {
    let about = code.split('.').nth(1).unwrap_or_default();
    matches!(about, "token" | "dpop" | "svid") && !code.starts_with("release.")
}

/// For a code of no known stage.
const UNKNOWN: &str = "look for the decision id in the broker's log and report the code";

fn for_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "authenticate.token.expired" | "release.exchange.lifetime" => {
            "get fresh tokens: attest again, or ask the issuer"
        }
        "authenticate.token.unknown_key" => {
            "compare the issuer's keys with jwks_file or jwks_url of the exchange's issuer"
        }
        "authenticate.token.unknown_issuer" => "name the issuer under exchange.issuer, if its tokens are to count",
        "authenticate.token.audience" => "have the issuer make the token for the audience that exchange.issuer names",
        "release.exchange.binding_mismatch" => {
            "compare workload and subject token: one of them is another one's; bind of the grant says what must agree"
        }
        "release.exchange.conditions" => "compare the token's claims with the conditions of the grant's subjects",
        "release.exchange.unattested" => "give an attestation result as actor token: no foreign token counts alone",
        "release.exchange.budget" => {
            "look at what the workload exchanges so often for; raise the budget if that is right"
        }
        "binding.dpop.nonce" => "take the nonce from the header DPoP-Nonce of the last answer",
        "binding.dpop.replayed" => "make a new proof for every request",
        "reference.none_configured" => "add reference values for the workload: countersign reference-values add",
        "reference.no_match" => {
            "compare the image with the set that is named nearest; if the image is right, add its measurements as a new version"
        }
        "reference.expired" => {
            "issue a new version of the reference set, or move the guest to an image that is still valid"
        }
        "reference.retired" => "move the guest to the image that replaced the retired one",
        "reference.revoked" => "replace the image: its measurements were revoked and will not be accepted again",
        "reference.not_yet_valid" => "wait until the reference set is valid, or check the broker's clock",
        "reference.proposed" => "activate the reference set: countersign reference-values activate",
        "reference.transition" => {
            "list the reference sets: a set only goes from proposed to active to retiring to revoked"
        }
        "authenticate.corim.unsigned" => {
            "sign the manifest (countersign reference-values sign), or allow unsigned ones by name in the configuration"
        }
        "authenticate.corim.algorithm" => "sign the manifest with ES256, ES384 or EdDSA",
        "authenticate.corim.signer" => {
            "check who signed; if the signer may, name its key or certificate under reference_values.signers"
        }
        "authenticate.corim.chain" => "give the signer's complete and current certificate chain in the manifest",
        "authenticate.corim.signature" => "get the manifest again from its publisher: its bytes were changed",
        "authenticate.corim.expired" => "get a newer manifest from its publisher",
        "authenticate.corim.no_validity" => "let the publisher name an end of validity in the manifest",
        "reference.corim.profile" => "use a manifest of the SNP, Intel or Countersign profile, or of none",
        "reference.corim.environment" | "reference.corim.value" => {
            "let the publisher correct the manifest where the message says"
        }
        "reference.corim.unsupported" => {
            "take the value out of the manifest, or allow platform values to be left out by name in the configuration"
        }
        "reference.corim.empty" => "use a manifest with measurements of a guest: this one describes a platform",
        "reference.corim.names" => "give --id, --version or --workload beside the manifest",
        "reference.document" => {
            "correct the reference-value document where the message says (docs/reference-values.md)"
        }
        "reference.duplicate" => "give the changed reference set a new version: a version is used once",
        "reference.unknown_set" => "list the reference sets and use an id and version from there",
        "authenticate.tpm.ak_awaiting_approval" => "approve the attestation key: countersign enrollments approve",
        "authenticate.tpm.ak_revoked" => {
            "replace the machine or enrol a new attestation key: this one was revoked (countersign enrollments show)"
        }
        "authenticate.tpm.counters_went_back" => {
            "look for a rolled-back or cloned TPM; after TPM2_Clear revoke the key and enrol a new one"
        }
        "policy.source" => "correct the policy where the message says and run countersign policy test",
        "policy.builtin" => "take the function out of the policy: what it needs is in the input (docs/policies.md)",
        "policy.input" => "collect less evidence (event logs) or raise the question with the policy's author",
        "policy.limit" => "make the policy do less: it ran into the evaluation limit",
        "policy.evaluation" => "run countersign policy test with the input of this decision: the policy failed on it",
        "policy.output" => "make the policy define every output for every input (docs/policies.md)",
        "policy.warning" => "remove the cause of the warning, or allow the warning by name in the configuration",
        "policy.contraindicated" => "replace the guest or its platform: the policy says that it must not be trusted",
        "policy.no_claim" => "make the policy claim something for this platform; silence affirms nothing",
        "policy.unapplied" => "give an appraisal policy: without one nothing is affirmed",
        _ => return None,
    })
}

fn for_cause(stage: &str, cause: &str) -> Option<&'static str> {
    Some(match (stage, cause) {
        ("authenticate", "signature") => {
            "collect fresh evidence on the guest; if it fails again, the evidence was changed on its way or is not genuine"
        }
        ("authenticate", "revoked") => "take the machine out of service: the vendor revoked a key that vouches for it",
        ("authenticate" | "endorsement", "expired" | "not_yet_valid" | "validity") => {
            "fetch current certificates and check the time at which the broker verifies"
        }
        ("authenticate", "chain" | "issuer" | "trust_anchor" | "root" | "untrusted" | "untrusted_root") => {
            "check the trust anchors: the chain must end in the vendor's root, or in an anchor given by name"
        }
        ("endorsement", cause) if cause.contains("crl") => {
            "fetch the current revocation list of the issuer and give it with the endorsements"
        }
        ("binding", "replayed") => "ask for a new challenge: every nonce is used once",
        ("binding", "expired") => "ask for a new challenge and answer it within its lifetime",
        ("binding", "unknown") => "ask this broker for a challenge and answer that one",
        ("baseline", "debug") => "start the guest without the debug policy; allow debug by name for development only",
        ("authenticate", "ak_unproven") => {
            "give the cloud's certificates of the attestation key, or enrol the key so that it counts by name"
        }
        ("authenticate", "pcr_digest") => {
            "quote and registers must be of one moment: collect them again together; if they differ again, something changed them"
        }
        ("authenticate", "claims_binding") => {
            "collect the paravisor's report again: its claims were changed, or belong to another boot of the machine"
        }
        ("endorsement", cause) if cause.starts_with("tcb_info") || cause.starts_with("qe_identity") => {
            "fetch the current document for this platform from Intel's service and give it with its issuer chain"
        }
        ("baseline", "tcb_status") => {
            "update the platform's firmware, or accept the status by name and for a time (baseline.tdx.accept_tcb)"
        }
        ("baseline", "vmpl") => {
            "attest from the guest's most privileged level, or allow the level by name in the baseline"
        }
        ("baseline", cause) if cause.contains("tcb") => {
            "update the platform's firmware, or lower the floor by name in the baseline"
        }
        _ => return None,
    })
}

fn for_stage(stage: &str) -> Option<&'static str> {
    Some(match stage {
        "parse" => {
            "collect the evidence again with the agent and send it unchanged; the file or body is not of the named type"
        }
        "authenticate" => {
            "check that the evidence and the endorsements belong to the same machine and that both are current"
        }
        "endorsement" => {
            "give the missing or current endorsement (certificates, revocation lists, collateral) and try again"
        }
        "binding" => {
            "let the guest collect evidence for this very nonce and key; evidence of another request is not accepted"
        }
        "baseline" => {
            "change the guest or its platform, or relax the rule by name in the baseline and see it in every result"
        }
        "reference" => "compare the guest's measurements with the reference sets",
        "enroll" => {
            "check the TPM's endorsement key certificate and its CA ([enrolment] of the configuration), and enrol again; see docs/enrolment.md"
        }
        "policy" => "read the policy's reasons; change the guest, the platform or the policy",
        "request" => "correct the request where the message says",
        "release" => "read the release policy's reasons; change the grant, the workload or the policy",
        "measure" => {
            "give the files of the image as they were built, and the event log of the machine that boots it where asked"
        }
        "internal" => "look for the decision id in the broker's log; the fault is the broker's",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that reads the sources")]

    use std::{fs, path::Path};

    use super::*;

    /// Every code that a source under `folder` names.
    fn codes_under(folder: &Path, found: &mut Vec<&'static str>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                codes_under(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                for part in source.split("Code::new(\"").skip(1) {
                    let code = part.split('"').next().unwrap();
                    found.push(Box::leak(code.to_owned().into_boxed_str()));
                }
            }
        }
    }

    #[test]
    fn every_code_of_the_core_has_its_advice() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut codes = Vec::new();
        codes_under(&root.join("evidence-formats/src"), &mut codes);
        codes_under(&root.join("broker/verifier/src"), &mut codes);
        assert!(codes.len() >= 20, "{codes:?}");
        for code in codes.into_iter().filter(|code| code.contains('.')) {
            assert_ne!(recommendation(Code::new(code)), UNKNOWN, "{code}");
        }
    }

    #[test]
    fn codes_of_reference_values_and_policies_have_advice_of_their_own() {
        let codes = crate::reference::ReferenceRefusal::CODES
            .into_iter()
            .chain(crate::reference::ReferenceError::CODES)
            .chain(crate::policy::PolicyError::CODES)
            .chain(crate::Appraisal::CODES);
        for code in codes {
            assert!(for_code(code.as_str()).is_some(), "{code}");
        }
    }
}
