//! Operator policies in Rego: what they may read, what they must answer, and the limits under which they run.
//!
//! A policy is compiled once into an immutable program that threads share; each request runs in a machine of its own. The
//! packages are closed, and so are their outputs: a policy that leaves one out, or answers with another type, refuses.

mod appraisal;
mod check;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod documented;
mod error;
mod facts;
mod outputs;
mod program;
mod release;
mod tests_of_policies;

pub use appraisal::{AppraisalInput, AppraisalPolicy, PolicyVerdict};
pub use check::{Finding, Severity};
pub use error::PolicyError;
pub use program::{PolicyDigest, PolicyId, PolicyPackage, RegoProgram};
pub use release::{GrantFacts, LeaseFacts, ReleaseDecision, ReleaseInput, ReleasePolicy};
pub use tests_of_policies::TestOutcome;
