//! Outcome of the baseline rules: what typed configuration says about authenticated claims, before any policy runs.

use evidence_formats::code::Code;
use serde::Serialize;

use crate::{Claims, Unchecked};

/// Typed rules for authenticated claims, every one strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Baseline;

impl Baseline {
    /// Judges authenticated claims.
    #[must_use]
    pub fn judge(&self, claims: &Claims) -> BaselineOutcome {
        let debug = claims.debug.then(|| Violation {
            code: Code::new("baseline.debug"),
            expected: "a guest that its host cannot debug".to_owned(),
            actual: "debug allowed".to_owned(),
        });
        BaselineOutcome { violations: debug.into_iter().collect(), ..BaselineOutcome::default() }
    }
}

/// What the baseline found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BaselineOutcome {
    /// Rules that were broken, in rule order; empty when the baseline passed.
    pub violations: Vec<Violation>,
    /// Relaxations that changed the outcome, by configuration name (`snp.allow_debug`).
    pub relaxed: Vec<String>,
    /// Rules that did not run.
    pub unchecked: Vec<Unchecked>,
}

/// One broken baseline rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Stable code, `baseline.…`.
    pub code: Code,
    /// What the rule wants.
    pub expected: String,
    /// What the evidence says.
    pub actual: String,
}
