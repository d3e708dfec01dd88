//! `/v1/admin/break-glass`: one release that the policies refuse, asked for by one person and approved by others.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use evidence_formats::code::Code;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    broker::Broker,
    clock,
    config::BreakGlass as Settings,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    metrics::GlassLabels,
    store::{Administrator, BreakGlass, GlassApproved, GlassTarget, is_name},
};

/// Longest reason, in bytes.
const REASON: usize = 1024;
/// Seconds that a request lives, at most.
const LONGEST: u32 = 3600;
/// Requests that are open at once.
const OPEN: u32 = 16;
/// Most requests of one listing.
const LISTED: u32 = 1000;

/// What is asked for. Exactly one of `workload` and `attestation` names the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    secret: String,
    reason: String,
    /// A guest that matches a reference set of this workload.
    workload: Option<String>,
    /// The guest of this refused attestation: its launch measurement on its chip.
    attestation: Option<String>,
    /// Seconds until the request is over.
    seconds: u32,
}

/// The newest requests.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<BreakGlass>>, Problem> {
    Ok(axum::Json(broker.store.break_glass(&broker.tenant, LISTED).await?))
}

/// Asks.
pub(crate) async fn request(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(ask): Json<Ask>,
) -> Result<(StatusCode, axum::Json<BreakGlass>), Problem> {
    let (settings, person) = person(&broker, &administrator)?;
    let plain = !ask.reason.is_empty() && ask.reason.len() <= REASON && !ask.reason.chars().any(char::is_control);
    if !plain || !is_name(&ask.secret) || !(1..=LONGEST).contains(&ask.seconds) {
        return Err(malformed(format!(
            "expected the name of a secret, a reason of at most {REASON} bytes and 1 to {LONGEST} seconds"
        )));
    }
    if broker.store.newest_secret(&broker.tenant, &ask.secret).await?.is_none_or(|secret| secret.bridge) {
        return Err(RequestError::NotFound { what: "secret of attested guests" }.into());
    }
    let target = match (ask.workload, ask.attestation) {
        (Some(workload), None) if is_name(&workload) => GlassTarget::Workload(workload),
        (None, Some(attestation)) => guest_of(&broker, &attestation).await?,
        _ => return Err(malformed("expected either a workload or an attestation".to_owned())),
    };
    let now = clock::now();
    let request = BreakGlass {
        id: Uuid::new_v4().to_string(),
        secret: ask.secret,
        reason: ask.reason,
        target,
        requested_by: person.to_owned(),
        fingerprint: administrator.fingerprint,
        requested_at: now,
        expires_at: now.plus_seconds(i64::from(ask.seconds)),
        needed: settings.approvals.value(),
        approvals: Vec::new(),
        used_at: None,
        used_by: None,
        revoked_at: None,
        revoked_by: None,
    };
    if !broker.store.request_break_glass(&broker.tenant, &request, OPEN).await? {
        let code = Code::new("request.break_glass.too_many");
        return Err(Problem::new(StatusCode::CONFLICT, code, format!("expected fewer than {OPEN} open requests")));
    }
    alert(&broker, "requested", &request.id, person);
    Ok((StatusCode::CREATED, axum::Json(request)))
}

/// Approves somebody else's request.
pub(crate) async fn approve(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(id): Path<String>,
) -> Result<axum::Json<Value>, Problem> {
    let (settings, person) = person(&broker, &administrator)?;
    let now = clock::now();
    let approved =
        broker.store.approve_break_glass(&broker.tenant, &id, person, &administrator.fingerprint, now).await?;
    let refused = |code: &'static str, detail: &str| Problem::new(StatusCode::CONFLICT, Code::new(code), detail);
    match approved {
        GlassApproved::Counted(approvals) => {
            alert(&broker, "approved", &id, person);
            let needed = settings.approvals.value();
            Ok(axum::Json(serde_json::json!({"id": id, "approvals": approvals, "needed": needed})))
        }
        GlassApproved::Absent => Err(RequestError::NotFound { what: "open break-glass request" }.into()),
        GlassApproved::Own => {
            Err(refused("request.break_glass.own", "expected the approval of somebody else than who asks"))
        }
        GlassApproved::Twice => Err(refused("request.break_glass.twice", "expected one approval of each person")),
    }
}

/// Takes a request back. Every administrator may, also one who could not approve.
pub(crate) async fn revoke(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if !broker.store.revoke_break_glass(&broker.tenant, &id, &administrator.name, clock::now()).await? {
        return Err(RequestError::NotFound { what: "open break-glass request" }.into());
    }
    alert(&broker, "revoked", &id, &administrator.name);
    Ok(StatusCode::NO_CONTENT)
}

/// The person behind a certificate, as the configuration names them.
fn person<'a>(broker: &'a Broker, administrator: &Administrator) -> Result<(&'a Settings, &'a str), Problem> {
    let forbidden = |code: &'static str, detail: &str| Problem::new(StatusCode::FORBIDDEN, Code::new(code), detail);
    let Some(settings) = &broker.break_glass else {
        return Err(forbidden("request.break_glass.off", "expected [break_glass] in the broker's configuration"));
    };
    let person = settings.person(&administrator.fingerprint).ok_or_else(|| {
        forbidden("request.break_glass.person", "expected the certificate of a person of [break_glass]")
    })?;
    Ok((settings, person))
}

/// The guest of a recorded attestation.
async fn guest_of(broker: &Broker, attestation: &str) -> Result<GlassTarget, Problem> {
    let record = broker.store.decision(&broker.tenant, attestation).await?;
    let record = record.ok_or(RequestError::NotFound { what: "attestation" })?;
    let record: Value = serde_json::from_str(&record).map_err(|error| Problem::internal(&error))?;
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let measurement = text("/claims/measurement/launch");
    let measurement =
        measurement.ok_or_else(|| malformed("attestation: expected one with authentic evidence".to_owned()))?;
    // Without it, every machine whose evidence names none would be meant.
    let chip = text("/claims/instance").ok_or_else(|| {
        malformed("attestation: expected evidence that names its chip; ask for a workload instead".to_owned())
    })?;
    Ok(GlassTarget::Guest { measurement, chip })
}

fn alert(broker: &Broker, step: &'static str, id: &str, by: &str) {
    broker.metrics.break_glass.get_or_create(&GlassLabels { step }).inc();
    tracing::warn!(break_glass = id, step, by, "break glass");
}

fn malformed(detail: String) -> Problem {
    RequestError::Malformed { detail }.into()
}
