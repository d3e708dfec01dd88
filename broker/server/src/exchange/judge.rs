//! Whether this guest gets this token on behalf of this subject, and what the token then says.

use std::collections::BTreeSet;

use keys::sign::{SignError, SignatureAlgorithm, TokenType, sign_jwt};
use serde::Serialize;
use serde_json::{Map, Value, json, value::to_raw_value};
use thiserror::Error;
use uuid::Uuid;
use verifier::{
    Timestamp,
    policy::{PolicyId, ReleasePolicy},
};

use super::{
    actor::{Attested, Means},
    error::ExchangeError,
    form::ExchangeRequest,
    narrow::{self, Lifetimes},
    subject::{Subject, looked_at},
};
use crate::{
    broker::Broker,
    config::{ExchangeEntry, SubjectRule},
    identity::Facts,
    leases::{self, Slot},
    release::DENIED_BY_POLICY,
    replay::{self, Asked},
    store::KeyPurpose,
};
use evidence_formats::code::Coded;

/// One exchange, everything about it verified.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) request: ExchangeRequest,
    pub(crate) attested: Attested,
    pub(crate) subject: Subject,
    /// The lease of what is issued.
    pub(crate) slot: Slot,
    pub(crate) now: Timestamp,
}

/// What a policy sees of an exchange, and what is recorded of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExchangeFacts {
    /// Whom the token is for.
    pub(crate) audience: String,
    /// The scopes that are asked for; empty: all that may be had.
    pub(crate) scope: BTreeSet<String>,
    /// On whose behalf.
    pub(crate) subject: SubjectFacts,
    /// What for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purpose: Option<String>,
    /// Which task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<String>,
}

/// The subject of an exchange.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SubjectFacts {
    /// What the configuration calls its issuer.
    pub(crate) from: String,
    /// Who issued its token.
    pub(crate) issuer: String,
    /// `sub` there; absent for the attested guest itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The claims that the grant's rules look at, by JSON pointer.
    pub(crate) claims: Map<String, Value>,
}

/// What was decided, and by what.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) facts: ExchangeFacts,
    /// The name of the entry; empty when there is none.
    pub(crate) name: String,
    pub(crate) workloads: Vec<String>,
    pub(crate) requested_ttl: u32,
    pub(crate) policy: PolicyId,
    pub(crate) outcome: Result<Issued, ExchangeError>,
}

/// A token that may go out once it is stored.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) scope: BTreeSet<String>,
    pub(crate) expires_at: Timestamp,
    /// Whether it is bound by DPoP, not by certificate.
    pub(crate) dpop: bool,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// The broker could not do its part.
#[derive(Debug, Error)]
pub(crate) enum JudgeError {
    /// The record of the attestation cannot be read.
    #[error("the attestation's record cannot be read")]
    Record(#[from] serde_json::Error),
    /// The token cannot be signed.
    #[error("the token cannot be signed")]
    Sign(#[from] SignError),
}

/// Decides.
pub(crate) fn judge(broker: &Broker, case: &Case) -> Result<Judged, JudgeError> {
    let target = case.request.targets.first().cloned().unwrap_or_default();
    // Several names of one target are fine, several targets are not.
    let one = case.request.targets.iter().all(|other| *other == target);
    let entry = broker.exchange.grant.iter().find(|entry| one && !target.is_empty() && entry.audience == target);
    let rules = entry.map_or(&[][..], |entry| &entry.subject);
    let rules: Vec<&SubjectRule> = rules.iter().filter(|rule| rule.from == case.subject.from).collect();
    let subject = &case.subject;
    let facts = ExchangeFacts {
        audience: target.chars().take(512).collect(),
        scope: case.request.scope.clone().unwrap_or_default(),
        subject: SubjectFacts {
            from: subject.from.clone(),
            issuer: subject.issuer.clone(),
            name: subject.name.clone(),
            claims: looked_at(&subject.claims, rules.iter().flat_map(|rule| rule.pointers())),
        },
        purpose: case.request.purpose.clone(),
        task: case.request.task.clone(),
    };
    let lifetimes = Lifetimes {
        now: case.now,
        subject_ends: subject.ends_at,
        actor_ends: case.attested.ends_at(),
        entry: entry.map_or(u32::MAX, |entry| entry.ttl_seconds),
        requested: case.request.expires_in,
    };
    let rulebook = broker.rules.load();
    let requested_ttl = lifetimes.seconds();
    let name = entry.map(|entry| entry.name.clone()).unwrap_or_default();
    let workloads = entry.map(|entry| entry.workloads.clone()).unwrap_or_default();
    let asked = Asked {
        name: &name,
        kind: super::KIND,
        workloads: &workloads,
        requested_ttl,
        tenant: broker.tenant.as_str(),
        now: &case.now.to_string(),
        exchange: &to_raw_value(&facts)?,
    };
    let input = replay::release_input(case.attested.record(), &asked)?;
    let ask = |policy: &ReleasePolicy| match policy.replay(&input) {
        Ok(decision) if decision.allowed => Ok(decision.max_ttl),
        Ok(decision) => {
            Err(ExchangeError::Policy { code: DENIED_BY_POLICY, reasons: decision.deny.into_iter().collect() })
        }
        // A policy that fails allows nothing.
        Err(error) => Err(ExchangeError::Policy { code: error.code(), reasons: vec![error.to_string()] }),
    };
    let staged = rulebook.staged.release.as_ref().and_then(|staged| staged.enforced_on(&name));
    let allowed = ask(&rulebook.release).and_then(|ttl| staged.map_or(Ok(ttl), |staged| Ok(ask(staged)?.min(ttl))));
    let outcome = match (one && !target.is_empty(), allowed) {
        (false, _) => Err(ExchangeError::Target),
        (true, Err(denied)) => Err(denied),
        (true, Ok(max_ttl)) => match entry.ok_or(ExchangeError::Target) {
            Ok(entry) => Grant { broker, case, entry, rules: &rules, lifetimes }.issue(max_ttl)?,
            Err(absent) => Err(absent),
        },
    };
    Ok(Judged { facts, name, workloads, requested_ttl, policy: rulebook.release.id().clone(), outcome })
}

/// One entry that the policy allows.
struct Grant<'a> {
    broker: &'a Broker,
    case: &'a Case,
    entry: &'a ExchangeEntry,
    rules: &'a [&'a SubjectRule],
    lifetimes: Lifetimes,
}

impl Grant<'_> {
    fn issue(&self, max_ttl: u32) -> Result<Result<Issued, ExchangeError>, SignError> {
        let terms = match self.terms(max_ttl) {
            Ok(terms) => terms,
            Err(refused) => return Ok(Err(refused)),
        };
        self.sign(terms).map(Ok)
    }

    /// Every rule of the entry, in the order in which they cost.
    fn terms(&self, max_ttl: u32) -> Result<Terms, ExchangeError> {
        let Self { case, entry, .. } = self;
        let guest = case.attested.guest();
        let matched = guest.workloads.iter().filter(|name| entry.workloads.contains(name)).min();
        let workload = matched.ok_or(ExchangeError::Workload)?;
        let age = case.now.as_unix().saturating_sub(case.attested.result().issued_at);
        if let Some(seconds) = entry.attestation_seconds.filter(|seconds| age > i64::from(*seconds)) {
            return Err(ExchangeError::Old { seconds });
        }
        if entry.purpose_required && case.request.purpose.is_none() {
            return Err(ExchangeError::Purpose);
        }
        let spiffe_id = self.spiffe_id(workload);
        let facts = self.facts(workload, spiffe_id.as_deref());
        self.require_rule(&facts)?;
        let actor = spiffe_id.clone().unwrap_or_else(|| workload.clone());
        may_act(case.subject.claims.get("may_act"), &actor, &self.broker.issuer)?;
        if case.subject.audience.as_ref().is_some_and(|audience| !audience.contains(&entry.audience)) {
            return Err(ExchangeError::Target);
        }
        let scope = narrow::scopes(case.request.scope.as_ref(), &entry.scopes, case.subject.scope.as_ref())?;
        let act = case
            .subject
            .issued_name
            .is_some()
            .then(|| narrow::actors(&actor, case.subject.act.as_ref()))
            .transpose()?;
        let expires_at = self.lifetimes.ends_at(max_ttl)?;
        let subject = case.subject.issued_name.clone().unwrap_or_else(|| actor.clone());
        Ok(Terms { subject, actor, act, scope, expires_at })
    }

    /// One rule must fit. What is said when none does is the nearest miss: a binding, when the conditions hold.
    fn require_rule(&self, facts: &Facts<'_>) -> Result<(), ExchangeError> {
        let claims = &self.case.subject.claims;
        let mut refused = ExchangeError::Conditions;
        for rule in self.rules {
            let holds = rule.conditions.iter().all(|(pointer, texts)| {
                claims.pointer(pointer).is_some_and(|claim| texts.iter().any(|text| says(claim, text)))
            });
            if !holds {
                continue;
            }
            let other = rule.bind.iter().filter(|(pointer, template)| {
                let wanted = template.fill(facts);
                claims.pointer(pointer).zip(wanted).is_none_or(|(claim, wanted)| claim.as_str() != Some(&wanted))
            });
            let mismatched: BTreeSet<String> = other.map(|(pointer, _)| pointer.clone()).collect();
            if mismatched.is_empty() {
                return Ok(());
            }
            refused = ExchangeError::Mismatch { claims: mismatched };
        }
        Err(refused)
    }

    fn spiffe_id(&self, workload: &str) -> Option<String> {
        let identity = &self.broker.identity;
        identity.path.id(identity.trust_domain.as_ref()?, &self.facts(workload, None))
    }

    fn facts<'b>(&'b self, workload: &'b str, spiffe_id: Option<&'b str>) -> Facts<'b> {
        let guest = self.case.attested.guest();
        Facts {
            spiffe_id,
            tenant: self.broker.tenant.as_str(),
            workload,
            platform: &guest.platform,
            hwmodel: &guest.hwmodel,
            guest: &guest.id,
            chip: guest.chip.as_deref(),
            measurement: guest.measurement.as_deref(),
        }
    }

    /// An access token (RFC 9068) that is bound to the proven key.
    fn sign(&self, terms: Terms) -> Result<Issued, SignError> {
        let Self { broker, case, entry, .. } = self;
        let (idx, uri) = leases::status_place(&broker.issuer, case.slot.status);
        let (cnf, dpop) = match case.attested.proven().means() {
            Means::Dpop(proof) => (json!({"jkt": proof.thumbprint()}), true),
            Means::Certificate(thumbprint) => (json!({"x5t#S256": thumbprint}), false),
        };
        let mut claims = json!({
            "iss": broker.issuer,
            "sub": terms.subject,
            "aud": entry.audience,
            "client_id": terms.actor,
            "iat": case.now.as_unix(),
            "nbf": case.now.as_unix(),
            "exp": terms.expires_at.as_unix(),
            "jti": Uuid::new_v4().to_string(),
            "cnf": cnf,
            "status": {"status_list": {"idx": idx, "uri": uri}},
        });
        let optional = [
            ("act", terms.act),
            ("scope", (!terms.scope.is_empty()).then(|| joined(&terms.scope).into())),
            ("purpose", case.request.purpose.clone().map(Value::from)),
            ("task", case.request.task.clone().map(Value::from)),
        ];
        if let Some(members) = claims.as_object_mut() {
            members.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        let purpose = match entry.algorithm {
            SignatureAlgorithm::Rs256 => KeyPurpose::TokenRs256,
            SignatureAlgorithm::Es256 | SignatureAlgorithm::Es384 => KeyPurpose::TokenEs256,
        };
        let keyring = broker.keyring.load();
        let signer = keyring.signer(purpose).ok_or(SignError::Crypto)?;
        let token = sign_jwt(&**signer, TokenType::AccessToken, &claims)?;
        Ok(Issued { token, scope: terms.scope, expires_at: terms.expires_at, dpop })
    }
}

/// What a token is to say.
struct Terms {
    subject: String,
    actor: String,
    act: Option<Value>,
    scope: BTreeSet<String>,
    expires_at: Timestamp,
}

/// Scopes as they stand in tokens and answers.
pub(crate) fn joined(scope: &BTreeSet<String>) -> String {
    scope.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Whether a claim is this text, or a list with it.
fn says(claim: &Value, text: &str) -> bool {
    match claim {
        Value::String(found) => found == text,
        Value::Array(several) => several.iter().any(|one| one.as_str() == Some(text)),
        Value::Bool(truth) => text == if *truth { "true" } else { "false" },
        Value::Number(number) => number.as_i64().is_some_and(|number| text.parse() == Ok(number)),
        Value::Null | Value::Object(_) => false,
    }
}

/// Who may act for the subject (RFC 8693 §4.4): every member that is there must be the actor's, and unknown ones say no.
fn may_act(claim: Option<&Value>, actor: &str, issuer: &str) -> Result<(), ExchangeError> {
    let Some(claim) = claim else { return Ok(()) };
    let members = claim.as_object().filter(|members| !members.is_empty()).ok_or(ExchangeError::MayAct)?;
    let fits = members.iter().all(|(name, value)| match name.as_str() {
        "sub" => value.as_str() == Some(actor),
        "iss" => value.as_str() == Some(issuer),
        _ => false,
    });
    if fits { Ok(()) } else { Err(ExchangeError::MayAct) }
}
