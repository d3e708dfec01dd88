//! `countersign policy`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use verifier::policy::{PolicyPackage, RegoProgram, TestOutcome};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};
use crate::store::PolicyKind;

/// Arguments of `countersign policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a policy the one that decides, as a new version
    Set {
        /// Which decision it makes
        kind: PolicyKind,
        /// The policy (Rego)
        file: PathBuf,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show the policy that decides, and the versions before it
    Show {
        /// Which decision it makes
        kind: PolicyKind,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Compile a policy and run its `test_…` rules, offline
    Test {
        /// Which decision it makes
        kind: PolicyKind,
        /// The policy (Rego)
        file: PathBuf,
        /// Its tests (Rego)
        tests: PathBuf,
        /// How to print the result
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// One version, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Version {
    kind: String,
    version: u32,
    digest: String,
    author: String,
    created_at: String,
    source: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match perform(&args.verb) {
        Ok(code) => code,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn perform(verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Set { kind, file, admin } => {
            let source = read(file)?;
            // Compiled here first, so that a mistake is reported with the file's own line and without a call.
            RegoProgram::compile(package(*kind), "policy", &source).with_context(|| file.display().to_string())?;
            let path = format!("/v1/admin/policies/{}", kind.as_str());
            let stored: Version = admin.client()?.send(Method::PUT, &path, "text/plain", Bytes::from(source))?;
            show(&[stored], admin.format, false);
        }
        Verb::Show { kind, admin } => {
            let versions: Vec<Version> = admin.client()?.get(&format!("/v1/admin/policies/{}", kind.as_str()))?;
            show(&versions, admin.format, true);
        }
        Verb::Test { kind, file, tests, format } => {
            let outcomes = RegoProgram::run_tests(package(*kind), &read(file)?, &read(tests)?)?;
            return Ok(report(&outcomes, *format));
        }
    }
    Ok(ExitCode::SUCCESS)
}

const fn package(kind: PolicyKind) -> PolicyPackage {
    match kind {
        PolicyKind::Appraisal => PolicyPackage::Appraisal,
        PolicyKind::Release => PolicyPackage::Release,
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn show(versions: &[Version], format: Format, with_source: bool) {
    match format {
        Format::Json => output::print_json(&versions),
        Format::Text => {
            let mut table = Table::new(&["KIND", "VERSION", "SHA-256", "SET", "BY"]);
            for version in versions {
                table.row([
                    version.kind.clone(),
                    version.version.to_string(),
                    version.digest.clone(),
                    version.created_at.clone(),
                    version.author.clone(),
                ]);
            }
            output::print(&table.render());
            if let Some(active) = versions.first().filter(|_| with_source) {
                output::print(&format!("\n{}", active.source));
            }
        }
    }
}

/// Prints what each test said; a run without tests, or with one that fails, is not a success.
fn report(outcomes: &[TestOutcome], format: Format) -> ExitCode {
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
