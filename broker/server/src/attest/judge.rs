//! From request to verdict: pure work for the processor, no I/O.

use aws_lc_rs::digest::{Context, SHA256, digest};
use evidence_formats::{
    binding::BindingDigest,
    bundle::{Bundle, RawBundle},
    code::{Code, Coded},
    evidence::Evidence,
};
use verifier::{
    Affirmed, AuthenticateError, Criteria, Expected, Explanation, Policing, Refusal, Terms, Warnings, appraise,
    authenticate, reference::References, tpm::TpmTerms,
};

use super::Admitted;
use crate::{
    broker::Broker,
    decision::RecordedReason,
    endorsements::{Held, Lacks},
    enrolment::{RegisterError, Standing},
};

/// Nothing but the register could have proven the key.
const UNPROVEN: Code = Code::new("authenticate.tpm.ak_unproven");

/// How far the evidence came.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Nothing can be judged: it leaves no record.
    Unparsable(RecordedReason),
    /// It cannot be judged without more of the vendor's documents.
    Lacking(Box<Lacking>),
    /// It is evidence, and not shown to be genuine, fresh and of this guest.
    NotAuthentic(RecordedReason, Explanation),
    /// It is authentic, and not what the operator wants.
    NotAffirmed(Box<Refusal>),
    /// It passed.
    Affirmed(Box<Affirmed>),
}

/// Evidence, and what the register says of its attestation key.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) evidence: Evidence,
    pub(super) standing: Standing,
}

/// Evidence waits for documents.
#[derive(Debug)]
pub(super) struct Lacking {
    /// Which.
    pub(super) lacks: Lacks,
    /// The refusal, should none of them come.
    pub(super) refusal: (RecordedReason, Explanation),
}

/// Authenticates and appraises.
pub(super) fn judge(broker: &Broker, admitted: &Admitted, case: &Case) -> Verdict {
    let Case { evidence, standing } = case;
    if *standing == Standing::Revoked {
        return not_authentic(&RegisterError::Revoked);
    }
    let request = &admitted.request;
    let reported = request.guest_report.as_ref();
    let binding = match BindingDigest::native_reporting(&admitted.nonce.nonce, &request.tee_key, reported) {
        Ok(binding) => binding,
        Err(error) => return Verdict::Unparsable(reason(&error)),
    };
    let collateral = broker.collateral.load();
    let held = broker.library.for_evidence(evidence);
    let floors = broker.crl_floors.load();
    let terms = Terms {
        anchors: &collateral.anchors,
        revocation: broker.library.revocation(collateral.revocation),
        expected: Expected::Binding(binding),
        now: admitted.now,
        memory: &*broker.chains,
        crl_floors: &floors,
        tpm: &tpm_terms(standing),
    };
    let authentic = match authenticate(evidence, &held.endorsements, &terms) {
        Ok(authentic) => authentic,
        Err(error) if *standing == Standing::AwaitingApproval && error.code() == UNPROVEN => {
            return not_authentic(&RegisterError::AwaitingApproval);
        }
        Err(error) => return lacking_or_not_authentic(broker, evidence, &held, &error),
    };
    let rules = broker.rules.load();
    let baseline = broker.baseline.load();
    let criteria = Criteria {
        baseline: &baseline,
        references: References::Require(&rules.references),
        policing: Policing::Apply(&rules.appraisal),
        warnings: Warnings::Allow(&broker.allowed_warnings),
    };
    if let Some(staged) = &rules.staged.evidence {
        let (in_force, warnings) = (&rules.appraisal, &broker.allowed_warnings);
        let _judged_before =
            admitted.tried.set(staged.appraise(&authentic, &baseline, in_force, warnings, admitted.now));
    }
    match appraise(&authentic, &criteria, admitted.now).affirm() {
        Ok(affirmed) => Verdict::Affirmed(Box::new(affirmed)),
        Err(refusal) => Verdict::NotAffirmed(refusal),
    }
}

/// Whether documents could change the answer: when one of them is what is wrong, or when the host's table has a VCEK of
/// other firmware. Those that came while the evidence was judged may be what it lacked.
fn lacking_or_not_authentic(broker: &Broker, evidence: &Evidence, held: &Held, error: &AuthenticateError) -> Verdict {
    let lacks = broker.library.lacking(evidence, held);
    let by_endorsement = error.code().as_str().starts_with("endorsement.");
    if lacks.of_machine || (by_endorsement && (lacks.arrived || !lacks.ids.is_empty())) {
        let refusal = (reason(error), Explanation::of_refusal(error));
        return Verdict::Lacking(Box::new(Lacking { lacks, refusal }));
    }
    not_authentic(error)
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
pub(super) fn parse(raw: &RawBundle) -> Result<(Evidence, String), RecordedReason> {
    let bundle = Bundle::try_from(raw.clone()).map_err(|error| reason(&error))?;
    let evidence = Evidence::from_bundle(&bundle).map_err(|error| reason(&error))?;
    Ok((evidence, evidence_digest(&bundle)))
}

/// SHA-256, hex, over one line for each item in the order of their names: the name, a space, SHA-256 of its bytes in hex, a
/// line feed. It is the same for a bundle in JSON and in CBOR.
fn evidence_digest(bundle: &Bundle) -> String {
    let mut all = Context::new(&SHA256);
    for (name, item) in bundle.items() {
        let line = format!("{} {}\n", name.as_str(), hex::encode(digest(&SHA256, &item.bytes)));
        all.update(line.as_bytes());
    }
    hex::encode(all.finish())
}

fn reason(error: &impl Coded) -> RecordedReason {
    RecordedReason::new(error.code(), &error.to_string())
}
