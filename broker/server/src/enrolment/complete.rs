//! Second step: the opened credential proves that both keys are in one TPM.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{
    EnrolError,
    begin::digest_of,
    wire::{EnrolAnswer, EnrolOutcome},
};
use crate::{
    broker::Broker,
    clock,
    http::problem::Problem,
    store::{Act, EnrolmentRecord, EnrolmentState, Registered},
};

/// Who approves when nobody has to.
const AUTOMATIC: &str = "automatic";

/// Takes the answer of a credential: right or wrong, there is no second one.
pub(crate) async fn complete(broker: &Broker, id: &str, answer: &EnrolAnswer) -> Result<EnrolOutcome, Problem> {
    let now = clock::now();
    let pending = broker.store.take_pending(&broker.tenant, id).await?;
    let pending = pending.filter(|pending| now < pending.expires_at).ok_or(EnrolError::ChallengeUnknown)?;
    verify_slices_are_equal(&digest_of(&answer.secret.0), &pending.secret_digest)
        .map_err(|_differ| EnrolError::Secret)?;
    let terms = broker.enrolment.load();
    let automatic = terms.automatic();
    let record = EnrolmentRecord {
        ak_name: pending.ak_name,
        ek: Some(pending.ek),
        provenance: pending.provenance,
        details: pending.details,
        owner: if automatic { terms.settings.owner.clone() } else { String::new() },
        reason: String::new(),
        state: if automatic { EnrolmentState::Enrolled } else { EnrolmentState::AwaitingApproval },
        requested_at: now,
        approved: automatic.then(|| Act { by: AUTOMATIC.to_owned(), at: now }),
        revoked: None,
    };
    let record = match broker.store.register(&broker.tenant, &record, terms.bounds()).await? {
        Registered::New => record,
        Registered::Known(known) if known.state == EnrolmentState::Revoked => return Err(EnrolError::Revoked.into()),
        Registered::Known(known) => *known,
        Registered::TooManyKeys => return Err(EnrolError::TooManyKeys.into()),
        Registered::Full => return Err(EnrolError::Full.into()),
    };
    tracing::info!(ak_name = record.ak_name, state = record.state.as_str(), "attestation key proven");
    Ok(EnrolOutcome { ak_name: record.ak_name, provenance: record.provenance, state: record.state })
}
