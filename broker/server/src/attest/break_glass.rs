//! One release that the policies refuse, because administrators approved it together.
//!
//! What is overridden is the verdict of reference values and policies, and nothing before it: the evidence is authentic, fresh
//! and of this guest, from hardware, and within the baseline. [`Overridden`] is the proof of that, and a request that enough
//! persons approved is spent in the transaction that stores the decision. The result that the guest gets says what the
//! appraisal found: it is no affirmation, and no relying party takes it for one.

use std::sync::Arc;

use verifier::{Affirmed, Appraisal, Platform, RawClaims, Refusal, Stage};

use super::{
    Admitted,
    prepare::sign,
    request::{AttestResponse, GrantKind, GrantRequest, LeaseNotice, SealTo, SealedGrant},
    settle::{Effects, Stored, described, store},
};
use crate::{
    broker::Broker,
    config::BreakGlass as Settings,
    decision::{DecisionRecord, GrantRecord},
    http::problem::{Problem, RequestError},
    leases::{self, Slot},
    metrics::GlassLabels,
    release::{DENIED_BY_POLICY, Denied, open_broken},
    store::{BreakGlass, GlassTarget, GlassTerms, GlassUse, Lease, Opening, new_id},
};

/// Seconds that such a release lasts, at most.
const LONGEST: u32 = 300;

/// An appraisal of authentic hardware evidence within the baseline, which reference values or policies refuse.
#[derive(Debug, Clone, Copy)]
pub(super) struct Overridden<'a>(&'a Appraisal);

impl<'a> Overridden<'a> {
    /// Of a refusal, when nothing but reference values and policies refuses.
    pub(super) fn of_refusal(refusal: &'a Refusal, settings: &Settings) -> Option<Self> {
        let appraisal = refusal.appraisal();
        let later = appraisal.reasons().iter().all(|reason| match reason.stage {
            Stage::Reference | Stage::Policy => true,
            Stage::Baseline => false,
        });
        (later && !appraisal.reasons().is_empty()).then(|| Self::of(appraisal, settings)).flatten()
    }

    /// Of affirmed evidence whose grant the release policy denied.
    pub(super) fn of_denial(affirmed: &'a Affirmed, denied: &Denied, settings: &Settings) -> Option<Self> {
        let by_policy = denied.code == DENIED_BY_POLICY || denied.code.as_str().starts_with("policy.");
        by_policy.then(|| Self::of(affirmed.appraisal(), settings)).flatten()
    }

    fn of(appraisal: &'a Appraisal, settings: &Settings) -> Option<Self> {
        let claims = appraisal.claims();
        // Where a vTPM answers the nonce, what binds the evidence to the guest is itself a matter of reference values.
        let hardware = match &claims.raw {
            RawClaims::Snp(_) | RawClaims::Tdx(_) => true,
            RawClaims::Tpm(_) | RawClaims::Azure(_) | RawClaims::HostedVtpm(_) | RawClaims::Svsm(_) => false,
        };
        let genuine = claims.platform != Platform::Simulated || settings.accept_simulated;
        (hardware && genuine && appraisal.baseline().violations.is_empty()).then_some(Self(appraisal))
    }

    /// Whether this is the guest that a request names.
    fn is_target(self, target: &GlassTarget) -> bool {
        let Self(appraisal) = self;
        match target {
            GlassTarget::Workload(workload) => {
                appraisal.reference_values().matched().iter().any(|set| set.workload.as_str() == workload)
            }
            GlassTarget::Guest { measurement, chip } => {
                let claims = appraisal.claims();
                claims.measurement.launch.as_ref().is_some_and(|launch| launch.to_string() == *measurement)
                    && claims.instance.as_ref() == Some(chip)
            }
        }
    }
}

/// Releases the one secret that is asked for, when a request for it was approved. `None`: there is none, and the refusal stands.
pub(super) async fn open(
    broker: &Arc<Broker>,
    admitted: &Admitted,
    settings: &Settings,
    overridden: Overridden<'_>,
) -> Result<Option<AttestResponse>, Problem> {
    let [grant] = admitted.request.grants.as_slice() else { return Ok(None) };
    let plain = grant.kind == GrantKind::Secret && grant.seal == SealTo::TeeKey && grant.version.is_none();
    if !plain || admitted.renewal.is_some() {
        return Ok(None);
    }
    let terms = GlassTerms { trusted: settings.fingerprints(), least: settings.approvals.value() };
    let approved = broker.store.approved_break_glass(&broker.tenant, &grant.name, &terms, admitted.now).await?;
    let Some(glass) = approved.into_iter().find(|glass| overridden.is_target(&glass.target)) else { return Ok(None) };
    release(broker, admitted, overridden, grant, Spending { glass, terms }).await.map(Some)
}

/// What is spent.
struct Spending {
    glass: BreakGlass,
    terms: GlassTerms,
}

async fn release(
    broker: &Arc<Broker>,
    admitted: &Admitted,
    Overridden(appraisal): Overridden<'_>,
    grant: &GrantRequest,
    Spending { glass, terms }: Spending,
) -> Result<AttestResponse, Problem> {
    let secret = broker.store.newest_secret(&broker.tenant, &grant.name).await?;
    let Some(secret) = secret.filter(|secret| !secret.bridge) else {
        return Err(RequestError::NotFound { what: "secret" }.into());
    };
    let mut record = described(broker, admitted, appraisal).map_err(|error| Problem::internal(&error))?;
    record.code = appraisal.code();
    record.break_glass = Some(glass.id.clone());
    let mut places = broker.places.take(&*broker.store, 2).await?.into_iter();
    let mut slot = |id: String| Some(Slot { id, status: places.next()? });
    let slots = slot(record.id.clone()).zip(slot(new_id()));
    let (own, slot) = slots.ok_or_else(|| Problem::from(RequestError::Overloaded))?;
    let (result, ends) =
        sign(broker, admitted, appraisal, &record.id, &own).map_err(|error| Problem::internal(&error))?;
    let expires_at = ends.min(admitted.now.plus_seconds(i64::from(LONGEST)));
    let sealed = open_broken(&broker.vault, &broker.tenant, grant, &secret, &admitted.request.tee_key)
        .map_err(|error| Problem::internal(&error))?;
    let lease = |slot: &Slot, kind: &'static str, name: &str, version: u32| Lease {
        id: slot.id.clone(),
        kind,
        name: name.to_owned(),
        version,
        status: slot.status,
        issued_at: admitted.now,
        expires_at,
    };
    let leases =
        vec![lease(&own, leases::RESULT, "result", 1), lease(&slot, grant.kind.as_str(), &grant.name, secret.version)];
    let rules = broker.rules.load();
    record.grants = vec![granted(grant, &secret.workloads, &slot, secret.version, &rules.release)];
    let (tee_key, report) = (admitted.request.tee_key.thumbprint(), admitted.request.guest_report);
    let opening = Opening {
        guest: leases::guest(own.id.clone(), appraisal, tee_key, report),
        sets: leases::sets(appraisal),
        grounds: leases::grounds(appraisal, &rules.release),
        leases,
        certificates: Vec::new(),
        renews: Vec::new(),
    };
    let used = GlassUse { id: glass.id.clone(), terms };
    let effects = Effects { opening: Some(opening), counters: None, break_glass: Some(used) };
    match store(broker, admitted, &record, effects).await? {
        Stored::Recorded => {}
        // What is revoked stays revoked, whoever approved.
        Stored::Revoked(_) | Stored::WentBack => return Err(RequestError::Conflict.into()),
    }
    tell(broker, &record, &glass);
    let lease = LeaseNotice { id: slot.id, expires_at };
    let grants = vec![SealedGrant { id: grant.id.clone(), sealed, lease }];
    Ok(AttestResponse { attestation_id: record.id, result, expires_at, lease_key: None, grants, denied: Vec::new() })
}

fn granted(
    grant: &GrantRequest,
    workloads: &[String],
    slot: &Slot,
    version: u32,
    policy: &verifier::policy::ReleasePolicy,
) -> GrantRecord {
    GrantRecord {
        id: grant.id.clone(),
        kind: grant.kind.as_str(),
        name: grant.name.clone(),
        workloads: workloads.to_vec(),
        seal: grant.seal.as_str(),
        requested_ttl: LONGEST,
        policy: policy.id().clone(),
        version: Some(version),
        lease: Some(slot.id.clone()),
        offline_until: None,
        code: None,
        reasons: Vec::new(),
    }
}

/// The alert.
fn tell(broker: &Broker, record: &DecisionRecord, glass: &BreakGlass) {
    broker.metrics.break_glass.get_or_create(&GlassLabels { step: "used" }).inc();
    tracing::warn!(
        break_glass = glass.id,
        attestation_id = record.id,
        secret = glass.secret,
        requested_by = glass.requested_by,
        approved_by = glass.approvals.join(" "),
        reason = glass.reason,
        "break glass: a secret was released that the policies refuse"
    );
}
