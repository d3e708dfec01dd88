//! The stages before appraisal in words: what was parsed, who vouches for it, what revocation says, to what it is bound.

use evidence_formats::code::Code;

use super::{Check, CheckOutcome};
use crate::{Claims, Platform, RawClaims, Unchecked, snp::VekKind, tpm::AkProvenance};

/// The stages in the order in which they run.
pub(super) const STAGES: [&str; 7] =
    ["parse", "authenticate", "endorsement", "binding", "baseline", "reference", "policy"];

/// The stage that a code begins with.
pub(super) fn stage_of(code: Code) -> &'static str {
    let stage = code.as_str().split('.').next().unwrap_or_default();
    STAGES.into_iter().find(|known| *known == stage).unwrap_or("parse")
}

/// Whose documents a refusal speaks of.
pub(super) fn source_of(code: Code) -> String {
    let mut parts = code.as_str().split('.');
    let (stage, platform) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let vendor = match platform {
        "snp" => "AMD's",
        "tdx" => "Intel's",
        "azure" => "Azure's",
        "tpm" => "the TPM's",
        _ => "the vendor's",
    };
    match stage {
        "authenticate" => format!("{vendor} certificates and signatures"),
        "endorsement" => format!("{vendor} certificates and revocation lists, as given"),
        "binding" => "the request".to_owned(),
        _ => "the evidence".to_owned(),
    }
}

/// Stages that ran before `failed` did. Without an endorsement nothing can be said about the signatures that it vouches
/// for: then they are not told as passed.
pub(super) fn passed_before(failed: &'static str) -> Vec<Check> {
    let before = STAGES.into_iter().take_while(|stage| *stage != failed);
    before
        .map(|stage| {
            let (check, expected) = question(stage);
            if failed == "endorsement" && stage == "authenticate" {
                let found = "nothing that speaks against it, as far as it could be checked";
                return check_of(stage, check, expected, found, "the evidence", CheckOutcome::Unchecked);
            }
            check_of(stage, check, expected, "as expected", "the evidence", CheckOutcome::Passed)
        })
        .collect()
}

/// The stages before the baseline, for evidence that passed them.
pub(super) fn passed(claims: &Claims, unchecked: &[Unchecked]) -> Vec<Check> {
    let left_out = |names: &[&str]| unchecked.iter().any(|unchecked| names.contains(&unchecked.what));
    let passed = |stage, found: &str, source: &str| {
        let (check, expected) = question(stage);
        check_of(stage, check, expected, found, source, CheckOutcome::Passed)
    };
    let anchor = anchor(claims);
    let mut checks = vec![
        passed("parse", &kind(&claims.raw), "the evidence"),
        passed("authenticate", &voucher(&claims.raw), &anchor),
    ];
    if !left_out(&["revocation"]) {
        checks.push(passed("endorsement", &revocation(&claims.raw), &anchor));
    }
    if !left_out(&["report_data", "binding", "nonce"]) {
        checks.push(passed("binding", "the evidence carries them", "the request"));
    }
    checks
}

/// What a stage looks at, and what it expects.
fn question(stage: &'static str) -> (&'static str, &'static str) {
    match stage {
        "parse" => ("form", "evidence of a known kind and version, whole and without anything else"),
        "authenticate" => ("signatures", "a signature of the hardware, under a chain to a trust anchor"),
        "endorsement" => ("revocation", "every certificate current and none revoked"),
        "binding" => ("freshness", "the nonce and the key of this request in the evidence"),
        "baseline" => ("rules", "no rule of the baseline broken"),
        "reference" => ("measurements", "the measurements in a reference set that holds"),
        "policy" => ("trust", "a policy that affirms"),
        other => (other, "the rules of the stage"),
    }
}

fn check_of(
    stage: &'static str,
    check: &str,
    expected: &str,
    found: &str,
    source: &str,
    outcome: CheckOutcome,
) -> Check {
    Check {
        stage,
        check: check.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        source: source.to_owned(),
        outcome,
    }
}

fn kind(raw: &RawClaims) -> String {
    match raw {
        RawClaims::Snp(snp) => format!("an SEV-SNP report, version {}", snp.version),
        RawClaims::Tdx(tdx) => format!("a TDX quote, version {}", tdx.quote_version),
        RawClaims::Tpm(_) => "a TPM quote".to_owned(),
        RawClaims::Azure(azure) => format!("{} of Azure's paravisor, with its TPM's quote", kind(&azure.hardware)),
        RawClaims::HostedVtpm(both) => format!("{}, with the quote of the host's TPM", kind(&both.hardware)),
        RawClaims::Svsm(both) => format!("{} of an SVSM, with its TPM's quote", kind(&both.hardware)),
    }
}

fn voucher(raw: &RawClaims) -> String {
    match raw {
        RawClaims::Snp(snp) => match snp.vek.kind {
            VekKind::Vcek => format!("signed by the key of one chip (VCEK), product {}", snp.vek.product_name),
            VekKind::Vlek => {
                format!("signed by the key of a provider's fleet (VLEK), product {}", snp.vek.product_name)
            }
        },
        RawClaims::Tdx(_) => {
            "signed by the platform's quoting enclave, which Intel's PCK certificate vouches for".to_owned()
        }
        RawClaims::Tpm(tpm) => {
            format!("signed by an attestation key that is proven by {}", provenance(tpm.ak_provenance))
        }
        RawClaims::Azure(azure) => with_tpm(&azure.hardware, azure.tpm.ak_provenance),
        RawClaims::HostedVtpm(both) | RawClaims::Svsm(both) => with_tpm(&both.hardware, both.tpm.ak_provenance),
    }
}

fn with_tpm(hardware: &RawClaims, ak: AkProvenance) -> String {
    format!("{}; the TPM's quote is signed by a key that is proven by {}", voucher(hardware), provenance(ak))
}

const fn provenance(ak: AkProvenance) -> &'static str {
    match ak {
        AkProvenance::HclSnp => "the paravisor's claims in the SEV-SNP report",
        AkProvenance::HclTdx => "the paravisor's claims in the TDX quote",
        AkProvenance::AkCertGcp => "Google's certificate",
        AkProvenance::AkCertAzure => "Azure's certificate",
        AkProvenance::AkCertOperator => "a certificate of the operator",
        AkProvenance::Pinned => "its enrolment",
        AkProvenance::SvsmEk => "the endorsement key that the SVSM's report names",
        AkProvenance::EkActivated => "a credential that only the TPM of its endorsement key could open",
    }
}

fn revocation(raw: &RawClaims) -> String {
    match raw {
        RawClaims::Snp(snp) => snp.crl.as_ref().map_or_else(
            || "none revoked".to_owned(),
            |crl| format!("none revoked, by list {} of {}, due again on {}", crl.number, crl.issuer, crl.next_update),
        ),
        RawClaims::Azure(azure) => revocation(&azure.hardware),
        RawClaims::HostedVtpm(both) | RawClaims::Svsm(both) => revocation(&both.hardware),
        RawClaims::Tdx(_) | RawClaims::Tpm(_) => "none revoked".to_owned(),
    }
}

fn anchor(claims: &Claims) -> String {
    if claims.platform == Platform::Simulated {
        return "a trust anchor of the operator: simulated hardware".to_owned();
    }
    vendor(&claims.raw).to_owned()
}

fn vendor(raw: &RawClaims) -> &'static str {
    match raw {
        RawClaims::Snp(_) => "AMD's certificates",
        RawClaims::Tdx(_) => "Intel's certificates",
        RawClaims::Tpm(_) => "the attestation key's proof",
        RawClaims::Azure(azure) => vendor(&azure.hardware),
        RawClaims::HostedVtpm(both) | RawClaims::Svsm(both) => vendor(&both.hardware),
    }
}
