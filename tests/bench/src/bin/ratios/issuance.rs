//! Issuing SVIDs beside the bare signature that each of them is. The limit of 2 is half of the bare signing rate.

use std::hint::black_box;

use anyhow::{Context, Result};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, ParsedPublicKey},
};
use bench::{
    clock::compare,
    fixture::{Case, Remember},
    table::{Limit, Row},
};
use countersign::benching::Issuance;
use rcgen::{CertificateParams, KeyPair};
use verifier::{
    Affirmed, Criteria, Policing, Timestamp, Warnings, appraise, authenticate,
    baseline::Baseline,
    policy::AppraisalPolicy,
    reference::{ReferenceValues, References},
};

const ROUNDS: usize = 101;
const LIMIT: Limit = Limit::Ratio(2.0);
/// Bytes of the signed part of an SVID, about.
const MESSAGE: [u8; 400] = [7; 400];

/// Every row about issuing.
pub(super) fn rows(case: &Case) -> Result<Vec<Row>> {
    let now = case.terms(&Remember::default()).now;
    let place = tempfile::tempdir()?;
    let issuance = Issuance::new(place.path(), affirmed(case, now)?, now)?;
    let csr = CertificateParams::default().serialize_request(&KeyPair::generate()?)?.pem()?;
    let verified = issuance.verified(&csr)?;

    let random = SystemRandom::new();
    let bare = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, bare.public_key().as_ref())?;
    let signature = bare.sign(&random, &MESSAGE)?;
    let sign = || -> Result<()> {
        black_box(bare.sign(&random, black_box(&MESSAGE))?);
        Ok(())
    };
    let verify = || Ok(public.verify_sig(black_box(&MESSAGE), signature.as_ref())?);

    let jwt = compare(
        ROUNDS,
        50,
        &mut || {
            black_box(issuance.jwt_svid()?);
            Ok(())
        },
        &mut || sign(),
    )?;
    let certificate = compare(
        ROUNDS,
        50,
        &mut || {
            black_box(issuance.certificate(&verified)?);
            Ok(())
        },
        &mut || sign(),
    )?;
    let whole = compare(
        ROUNDS,
        20,
        &mut || {
            black_box(issuance.x509_svid(&csr)?);
            Ok(())
        },
        &mut || sign().and_then(|()| verify()),
    )?;
    let row = |name, beside, costs| Row { name, beside, costs, limit: LIMIT };
    Ok(vec![
        row("issue a JWT-SVID", "bare P-256 signature", jwt),
        row("certify an X.509-SVID", "bare P-256 signature", certificate),
        row("issue an X.509-SVID for a CSR", "bare P-256 signature and verification", whole),
    ])
}

/// The guest of the case, matched as the workload `web`.
fn affirmed(case: &Case, now: Timestamp) -> Result<Affirmed> {
    let memory = Remember::default();
    let authentic = authenticate(&case.evidence, &case.endorsements, &case.terms(&memory))?;
    let launch = authentic.claims().measurement.launch.as_ref().context("expected a launch digest")?.to_string();
    let document = serde_json::json!({"format": "countersign.reference-values/1", "sets": [{
        "id": "web", "version": 1, "workload": "web", "provenance": "benchmark",
        "not_before": now.plus_seconds(-3600), "not_after": now.plus_seconds(3600),
        "measurements": [{"launch": launch}],
    }]});
    let references = ReferenceValues::parse(&serde_json::to_vec(&document)?)?;
    let policy = AppraisalPolicy::built_in()?;
    let criteria = Criteria {
        baseline: &Baseline::default(),
        references: References::Require(&references),
        policing: Policing::Apply(&policy),
        warnings: Warnings::Refuse,
    };
    Ok(appraise(&authentic, &criteria, now).affirm()?)
}
