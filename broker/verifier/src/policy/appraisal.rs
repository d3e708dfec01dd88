//! The appraisal policy: authenticated claims to a trustworthiness vector.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    PolicyError, PolicyId, PolicyPackage, RegoProgram,
    facts::{value_of, value_of_json},
};
use crate::{Claims, Timestamp, ar4si::TrustVector, baseline::BaselineOutcome, reference::ReferenceOutcome};

/// What an appraisal policy reads, as `input`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AppraisalInput<'a> {
    /// What the authenticated evidence says.
    pub claims: &'a Claims,
    /// What the baseline found.
    pub baseline: &'a BaselineOutcome,
    /// Which reference values matched, or how near they came.
    pub reference_values: &'a ReferenceOutcome,
    /// The time of the appraisal.
    pub now: Timestamp,
}

/// What an appraisal policy answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PolicyVerdict {
    /// One AR4SI value for each label; a label that the policy left out makes no claim.
    pub trust_vector: TrustVector,
    /// Why, for people.
    pub reasons: BTreeSet<String>,
}

/// A compiled policy of package `countersign.appraisal`.
#[derive(Debug, Clone)]
pub struct AppraisalPolicy {
    program: RegoProgram,
}

impl AppraisalPolicy {
    /// Name of the built-in policy.
    pub const BUILT_IN_NAME: &'static str = "default-appraisal";
    /// Source of the built-in policy.
    pub const BUILT_IN_SOURCE: &'static str = include_str!("default_appraisal.rego");

    /// Compiles a policy.
    ///
    /// # Errors
    /// As [`RegoProgram::compile`].
    pub fn compile(name: &str, source: &str) -> Result<Self, PolicyError> {
        RegoProgram::compile(PolicyPackage::Appraisal, name, source).map(|program| Self { program })
    }

    /// The policy that covers every platform.
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
    pub fn evaluate(&self, input: &AppraisalInput<'_>) -> Result<PolicyVerdict, PolicyError> {
        verdict(&self.program.evaluate(value_of(input)?)?)
    }

    /// Evaluates the policy over the recorded JSON of an [`AppraisalInput`], to see what it would have said then.
    ///
    /// # Errors
    /// As [`AppraisalPolicy::evaluate`].
    pub fn replay(&self, recorded: &RawValue) -> Result<PolicyVerdict, PolicyError> {
        verdict(&self.program.evaluate(value_of_json(recorded.get())?)?)
    }

    /// The same by another implementation, the interpreter: its answer must be the same.
    ///
    /// # Errors
    /// As [`AppraisalPolicy::evaluate`].
    pub fn interpret(&self, input: &AppraisalInput<'_>) -> Result<PolicyVerdict, PolicyError> {
        verdict(&self.program.interpret(value_of(input)?)?)
    }
}

fn verdict(outputs: &super::outputs::Outputs) -> Result<PolicyVerdict, PolicyError> {
    Ok(PolicyVerdict { trust_vector: outputs.trust_vector("trust_vector")?, reasons: outputs.strings("reasons")? })
}
