//! What can be said about a policy without a broker.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use verifier::policy::{PolicyError, RegoProgram, Severity, TestOutcome};

use super::{package, read};
use crate::{
    cli::output::{self, Format},
    store::PolicyKind,
};

/// Prints what is wrong with a policy; a mistake is exit status 1.
pub(super) fn check(kind: PolicyKind, file: &Path, format: Format) -> Result<ExitCode> {
    let findings = RegoProgram::check(package(kind), &read(file)?).with_context(|| file.display().to_string())?;
    match format {
        Format::Json => output::print_json(&findings),
        Format::Text => {
            for finding in &findings {
                output::print(&format!("{}:{finding}", file.display()));
            }
            output::print(&match findings.len() {
                0 => "no findings".to_owned(),
                1 => "1 finding".to_owned(),
                many => format!("{many} findings"),
            });
        }
    }
    let mistaken = findings.iter().any(|finding| finding.severity == Severity::Mistake);
    Ok(if mistaken { ExitCode::from(output::REFUSED) } else { ExitCode::SUCCESS })
}

/// Complains about what is wrong with a policy that is about to be set.
///
/// # Errors
/// When it does not compile.
pub(super) fn warn(kind: PolicyKind, source: &str) -> Result<(), PolicyError> {
    for finding in RegoProgram::check(package(kind), source)? {
        output::complain(&format!("line {finding}"));
    }
    Ok(())
}

/// Prints what each test said; a run without tests, or with one that fails, is not a success.
pub(super) fn report(outcomes: &[TestOutcome], format: Format) -> ExitCode {
    let passed = outcomes.iter().filter(|outcome| outcome.passed).count();
    match format {
        Format::Json => output::print_json(&outcomes),
        Format::Text => {
            for outcome in outcomes {
                let verdict = if outcome.passed { "pass" } else { "FAIL" };
                let error = outcome.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
                output::print(&format!("{verdict}  {}{error}", outcome.name));
            }
            output::print(&format!("{passed} of {} tests passed", outcomes.len()));
        }
    }
    if passed == outcomes.len() && !outcomes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::REFUSED) }
}
