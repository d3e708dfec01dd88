//! From request to verdict: pure work for the processor, no I/O.

use evidence_formats::{
    binding::BindingDigest,
    bundle::{Bundle, RawBundle},
    code::Coded,
    evidence::Evidence,
};
use verifier::{
    Affirmed, Criteria, Expected, Explanation, Policing, Refusal, Terms, Warnings, appraise, authenticate,
    reference::References, tpm::TpmTerms,
};

use super::Admitted;
use crate::{broker::Broker, decision::RecordedReason};

/// How far the evidence came.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is not evidence.
    Unparsable(RecordedReason),
    /// It is evidence, and not shown to be genuine, fresh and of this guest.
    NotAuthentic(RecordedReason, Explanation),
    /// It is authentic, and not what the operator wants.
    NotAffirmed(Box<Refusal>),
    /// It passed.
    Affirmed(Box<Affirmed>),
}

/// Parses, authenticates and appraises.
pub(super) fn judge(broker: &Broker, admitted: &Admitted) -> Verdict {
    let evidence = match parse(&admitted.request.evidence) {
        Ok(evidence) => evidence,
        Err(reason) => return Verdict::Unparsable(reason),
    };
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
        tpm: TpmTerms::DEFAULT,
    };
    let authentic = match authenticate(&evidence, &collateral.endorsements, &terms) {
        Ok(authentic) => authentic,
        Err(error) => return Verdict::NotAuthentic(reason(&error), Explanation::of_refusal(&error)),
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

fn parse(raw: &RawBundle) -> Result<Evidence, RecordedReason> {
    let bundle = Bundle::try_from(raw.clone()).map_err(|error| reason(&error))?;
    Evidence::from_bundle(&bundle).map_err(|error| reason(&error))
}

fn reason(error: &impl Coded) -> RecordedReason {
    RecordedReason::new(error.code(), &error.to_string())
}
