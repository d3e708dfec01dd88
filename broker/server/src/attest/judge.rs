//! From request to verdict: pure work for the processor, no I/O.

use evidence_formats::{
    binding::BindingDigest,
    bundle::{Bundle, RawBundle},
    code::{Code, Coded},
    evidence::Evidence,
};
use verifier::{
    Affirmed, Criteria, Expected, Explanation, Policing, Refusal, Terms, Warnings, appraise, authenticate,
    reference::References, tpm::TpmTerms,
};

use super::Admitted;
use crate::{
    broker::Broker,
    decision::RecordedReason,
    enrolment::{RegisterError, Standing},
};

/// Nothing but the register could have proven the key.
const UNPROVEN: Code = Code::new("authenticate.tpm.ak_unproven");

/// How far the evidence came.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing can be judged: it leaves no record.
    Unparsable(RecordedReason),
    /// It is evidence, and not shown to be genuine, fresh and of this guest.
    NotAuthentic(RecordedReason, Explanation),
    /// It is authentic, and not what the operator wants.
    NotAffirmed(Box<Refusal>),
    /// It passed.
    Affirmed(Box<Affirmed>),
}

/// Authenticates and appraises. `standing` is what the register says of the evidence's attestation key.
pub(super) fn judge(broker: &Broker, admitted: &Admitted, evidence: &Evidence, standing: &Standing) -> Verdict {
    if *standing == Standing::Revoked {
        return not_authentic(&RegisterError::Revoked);
    }
    let binding = match BindingDigest::native(&admitted.nonce.nonce, &admitted.request.tee_key) {
        Ok(binding) => binding,
        Err(error) => return Verdict::Unparsable(reason(&error)),
    };
    let collateral = broker.collateral.load();
    let floors = broker.crl_floors.load();
    let terms = Terms {
        anchors: &collateral.anchors,
        revocation: collateral.revocation,
        expected: Expected::Binding(binding),
        now: admitted.now,
        memory: &broker.chains,
        crl_floors: &floors,
        tpm: &tpm_terms(standing),
    };
    let authentic = match authenticate(evidence, &collateral.endorsements, &terms) {
        Ok(authentic) => authentic,
        Err(error) if *standing == Standing::AwaitingApproval && error.code() == UNPROVEN => {
            return not_authentic(&RegisterError::AwaitingApproval);
        }
        Err(error) => return not_authentic(&error),
    };
    let rules = broker.rules.load();
    let criteria = Criteria {
        baseline: &broker.baseline,
        references: References::Require(&rules.references),
        policing: Policing::Apply(&rules.appraisal),
        warnings: Warnings::Allow(&broker.allowed_warnings),
    };
    match appraise(&authentic, &criteria, admitted.now).affirm() {
        Ok(affirmed) => Verdict::Affirmed(Box::new(affirmed)),
        Err(refusal) => Verdict::NotAffirmed(refusal),
    }
}

/// What the register proves.
fn tpm_terms(standing: &Standing) -> TpmTerms {
    let enrolled_ak = match standing {
        Standing::Enrolled(enrolled) => Some((**enrolled).clone()),
        Standing::Unknown | Standing::AwaitingApproval | Standing::Revoked => None,
    };
    TpmTerms { enrolled_ak, ..TpmTerms::default() }
}

fn not_authentic(error: &impl Coded) -> Verdict {
    Verdict::NotAuthentic(reason(error), Explanation::of_refusal(error))
}

/// Parses the bundle and every item of it.
pub(super) fn parse(raw: &RawBundle) -> Result<Evidence, RecordedReason> {
    let bundle = Bundle::try_from(raw.clone()).map_err(|error| reason(&error))?;
    Evidence::from_bundle(&bundle).map_err(|error| reason(&error))
}

fn reason(error: &impl Coded) -> RecordedReason {
    RecordedReason::new(error.code(), &error.to_string())
}
