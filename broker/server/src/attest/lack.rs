//! Evidence that waits for a vendor's documents: they are fetched, and it is judged once more.

use std::sync::Arc;

use axum::http::StatusCode;
use evidence_formats::code::Code;

use super::{
    Admitted, count,
    judge::{Case, Lacking, Verdict},
    settle,
};
use crate::{attest::request::AttestResponse, broker::Broker, endorsements::Obtained, http::problem::Problem};

/// The code of an answer that decides nothing.
const UNAVAILABLE: Code = Code::new("endorsement.unavailable");
/// Longest wait that a guest is told, in seconds.
const LONGEST: u64 = 300;

/// Gets the documents and judges again; a verdict that still lacks some is final.
pub(super) async fn complete(
    broker: &Arc<Broker>,
    admitted: &Arc<Admitted>,
    case: &Arc<Case>,
    lacking: Lacking,
) -> Result<Verdict, Problem> {
    let obtained = broker.library.obtain(&lacking.lacks.ids).await;
    if !obtained.any && !lacking.lacks.arrived {
        return wait_or(broker, &obtained, lacking);
    }
    let judged = super::judge(broker, admitted, case).await?;
    if let Verdict::Lacking(lacking) = judged { wait_or(broker, &obtained, *lacking) } else { Ok(judged) }
}

/// Refuses evidence whose documents will not come by themselves.
pub(super) async fn refuse(broker: &Broker, admitted: &Admitted, lacking: Lacking) -> Result<AttestResponse, Problem> {
    let (reason, explanation) = lacking.refusal;
    settle::refuse_unauthenticated(broker, admitted, reason, explanation).await
}

/// An answer that decides nothing when a document may come later, else the refusal.
fn wait_or(broker: &Broker, obtained: &Obtained, lacking: Lacking) -> Result<Verdict, Problem> {
    let Some(after) = obtained.retry_after() else { return Ok(Verdict::Lacking(Box::new(lacking))) };
    let seconds = after.as_secs().saturating_add(1).min(LONGEST);
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    let (reason, _) = lacking.refusal;
    count(broker, "undecided", reason.code.as_str());
    tracing::warn!(code = %reason.code, seconds, "attestation undecided: an endorsement is not to be had now");
    let cause = obtained.missing.first().map(ToString::to_string).unwrap_or_default();
    let detail = format!("{} ({}); {cause}: try again", reason.text, reason.code);
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, detail).with_retry_after(seconds))
}
