//! The release policy: what affirmed evidence may get.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    PolicyError, PolicyId, PolicyPackage, RegoProgram,
    facts::{value_of, value_of_json},
};
use crate::{
    Claims, Timestamp,
    appraisal::{Affirmed, Appraisal},
    ar4si::{Tier, TrustVector},
    reference::MatchedSet,
};

/// What a release policy reads, as `input`. It can only be made for evidence that was affirmed.
#[derive(Debug, Clone, Serialize)]
pub struct ReleaseInput<'a> {
    result: ReleaseResult<'a>,
    claims: &'a Claims,
    grant: GrantFacts<'a>,
    lease: LeaseFacts,
    tenant: &'a str,
    now: Timestamp,
}

/// The appraisal, as a release policy sees it.
#[derive(Debug, Clone, Serialize)]
struct ReleaseResult<'a> {
    status: Tier,
    trust_vector: TrustVector,
    workloads: BTreeSet<&'a str>,
    reference_values: &'a [MatchedSet],
    relaxed: &'a [String],
    unchecked: BTreeSet<&'a str>,
    policy: Option<&'a PolicyId>,
}

/// The grant that is asked for, as the operator configured it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GrantFacts<'a> {
    /// Name, for example `disk-key`.
    pub name: &'a str,
    /// Type, for example `secret`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// Workloads that may have it.
    pub workloads: &'a [String],
    /// What it is sealed to: `tee-key`, or `tpm` for the guest's key and its TPM under reference PCR values.
    pub seal: &'a str,
}

/// The lease that is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LeaseFacts {
    /// Seconds that the guest asks for.
    pub requested_ttl: u32,
    /// Whether it continues a lease that the guest already has.
    pub renewal: bool,
}

impl<'a> ReleaseInput<'a> {
    /// The question whether `affirmed` evidence gets `grant`.
    #[must_use]
    pub fn new(
        affirmed: &'a Affirmed,
        grant: GrantFacts<'a>,
        lease: LeaseFacts,
        tenant: &'a str,
        now: Timestamp,
    ) -> Self {
        let appraisal = affirmed.appraisal();
        Self { result: ReleaseResult::of(appraisal), claims: appraisal.claims(), grant, lease, tenant, now }
    }
}

impl<'a> ReleaseResult<'a> {
    fn of(appraisal: &'a Appraisal) -> Self {
        let matched = appraisal.reference_values().matched();
        Self {
            status: appraisal.status(),
            trust_vector: appraisal.trust_vector(),
            workloads: matched.iter().map(|set| set.workload.as_str()).collect(),
            reference_values: matched,
            relaxed: appraisal.relaxed(),
            unchecked: appraisal.unchecked().iter().map(|unchecked| unchecked.what).collect(),
            policy: appraisal.policy(),
        }
    }
}

/// What a release policy answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReleaseDecision {
    /// Whether the grant is released: `allow` was true and nothing denied it.
    pub allowed: bool,
    /// Why not, for people. When the policy neither allows nor says why, one reason says so.
    pub deny: BTreeSet<String>,
    /// Longest lease in seconds.
    pub max_ttl: u32,
}

/// A compiled policy of package `countersign.release`.
#[derive(Debug, Clone)]
pub struct ReleasePolicy {
    program: RegoProgram,
}

impl ReleasePolicy {
    /// Name of the built-in policy.
    pub const BUILT_IN_NAME: &'static str = "default-release";
    /// Source of the built-in policy.
    pub const BUILT_IN_SOURCE: &'static str = include_str!("default_release.rego");

    /// Compiles a policy.
    ///
    /// # Errors
    /// As [`RegoProgram::compile`].
    pub fn compile(name: &str, source: &str) -> Result<Self, PolicyError> {
        RegoProgram::compile(PolicyPackage::Release, name, source).map(|program| Self { program })
    }

    /// The policy that releases a grant to the workloads it names.
    ///
    /// # Errors
    /// As [`RegoProgram::compile`]; a test shows that it has none.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::compile(Self::BUILT_IN_NAME, Self::BUILT_IN_SOURCE)
    }

    /// Name and digest.
    #[must_use]
    pub const fn id(&self) -> &PolicyId {
        self.program.id()
    }

    /// Evaluates the policy.
    ///
    /// # Errors
    /// [`PolicyError`] when the input is too large, a limit is hit, the evaluation fails, or an output is absent or of the
    /// wrong type. Whoever calls treats each as a refusal.
    pub fn evaluate(&self, input: &ReleaseInput<'_>) -> Result<ReleaseDecision, PolicyError> {
        decision(&self.program.evaluate(value_of(input)?)?)
    }

    /// Evaluates the policy over the recorded JSON of a [`ReleaseInput`], to see what it would have said then.
    ///
    /// # Errors
    /// As [`ReleasePolicy::evaluate`].
    pub fn replay(&self, recorded: &RawValue) -> Result<ReleaseDecision, PolicyError> {
        decision(&self.program.evaluate(value_of_json(recorded.get())?)?)
    }

    /// The same by another implementation, the interpreter: its answer must be the same.
    ///
    /// # Errors
    /// As [`ReleasePolicy::evaluate`].
    pub fn interpret(&self, input: &ReleaseInput<'_>) -> Result<ReleaseDecision, PolicyError> {
        decision(&self.program.interpret(value_of(input)?)?)
    }
}

fn decision(outputs: &super::outputs::Outputs) -> Result<ReleaseDecision, PolicyError> {
    let allow = outputs.boolean("allow")?;
    let mut deny = outputs.strings("deny")?;
    let max_ttl = outputs.seconds("max_ttl")?;
    // A reason to deny outweighs `allow`, whatever the policy meant.
    let allowed = allow && deny.is_empty();
    if !allowed && deny.is_empty() {
        deny.insert("the release policy does not allow it".to_owned());
    }
    Ok(ReleaseDecision { allowed, deny, max_ttl })
}
