//! `countersign policy`.

mod offline;
mod replay;
mod staged;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use similar::TextDiff;
use verifier::policy::{PolicyPackage, RegoProgram};

use super::{
    client::{AdminArgs, AdminClient},
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
    /// List every version, the one that decides first
    List {
        /// Which decision they make; default: both
        kind: Option<PolicyKind>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show one version with its text
    Show {
        /// Which decision it makes
        kind: PolicyKind,
        /// Its number; 0 is the built-in one; default: the one that decides
        version: Option<u32>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show what differs between two versions
    Diff {
        /// Which decision they make
        kind: PolicyKind,
        /// The older one; 0 is the built-in one
        from: u32,
        /// The newer one; default: the one that decides
        to: Option<u32>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Make an earlier version decide again, as a new version with its text
    Rollback {
        /// Which decision it makes
        kind: PolicyKind,
        /// The version to take up again; 0 is the built-in one; default: the one before the one that decides
        #[arg(long, value_name = "VERSION")]
        to: Option<u32>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Try a policy on the decisions that were recorded, and show what would have changed; nothing is changed
    Replay(replay::Args),
    /// Try a policy beside the one that decides: what would differ is counted and listed by `staged`
    Stage {
        /// Which decision it would make
        kind: PolicyKind,
        /// The policy (Rego)
        file: PathBuf,
        /// A grant for which it has to agree from now on; may be repeated. Release policies only
        #[arg(long = "enforce", value_name = "GRANT")]
        enforced: Vec<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take the staged policy away
    Unstage {
        /// Which decision it would make
        kind: PolicyKind,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Report what staged policies and proposed reference sets would have decided otherwise
    Staged {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Look for mistakes in a policy, offline: unknown members, wrong types, rules that are always true, no default
    Check {
        /// Which decision it makes
        kind: PolicyKind,
        /// The policy (Rego)
        file: PathBuf,
        /// How to print the result
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restores: Option<u32>,
    source: String,
}

#[derive(Debug, Serialize)]
struct RollBack {
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
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
            // Judged here first, so that a mistake is reported with the file's own line and without a call.
            offline::warn(*kind, &source).with_context(|| file.display().to_string())?;
            let stored: Version = admin.client()?.send(Method::PUT, &path(*kind), "text/plain", Bytes::from(source))?;
            table(&[stored], admin.format);
        }
        Verb::List { kind, admin } => {
            let client = admin.client()?;
            let kinds = kind.map_or_else(|| vec![PolicyKind::Appraisal, PolicyKind::Release], |kind| vec![kind]);
            let versions = kinds.into_iter().map(|kind| versions(&client, kind)).collect::<Result<Vec<_>>>()?;
            table(&versions.into_iter().flatten().collect::<Vec<_>>(), admin.format);
        }
        Verb::Show { kind, version, admin } => {
            let wanted = pick(versions(&admin.client()?, *kind)?, *version)?;
            match admin.format {
                Format::Json => output::print_json(&wanted),
                Format::Text => {
                    table(std::slice::from_ref(&wanted), admin.format);
                    output::print(&format!("\n{}", wanted.source));
                }
            }
        }
        Verb::Diff { kind, from, to, admin } => {
            let client = admin.client()?;
            let (older, newer) = (pick(versions(&client, *kind)?, Some(*from))?, pick(versions(&client, *kind)?, *to)?);
            differences(&older, &newer, admin.format);
        }
        Verb::Rollback { kind, to, admin } => {
            let body = Bytes::from(serde_json::to_vec(&RollBack { to: *to })?);
            let path = format!("{}/rollback", path(*kind));
            let stored: Version = admin.client()?.send(Method::POST, &path, "application/json", body)?;
            table(&[stored], admin.format);
        }
        Verb::Replay(args) => replay::run(args)?,
        Verb::Stage { kind, file, enforced, admin } => staged::stage(*kind, file, enforced, admin)?,
        Verb::Unstage { kind, admin } => staged::unstage(*kind, admin)?,
        Verb::Staged { admin } => staged::report(admin)?,
        Verb::Check { kind, file, format } => return offline::check(*kind, file, *format),
        Verb::Test { kind, file, tests, format } => {
            let outcomes = RegoProgram::run_tests(package(*kind), &read(file)?, &read(tests)?)?;
            return Ok(offline::report(&outcomes, *format));
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

fn path(kind: PolicyKind) -> String {
    format!("/v1/admin/policies/{}", kind.as_str())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Every version, the one that decides first, the built-in one last.
fn versions(client: &AdminClient, kind: PolicyKind) -> Result<Vec<Version>> {
    client.get(&path(kind))
}

fn pick(versions: Vec<Version>, wanted: Option<u32>) -> Result<Version> {
    let mut candidates = versions.into_iter();
    let found = match wanted {
        Some(number) => candidates.find(|version| version.version == number),
        None => candidates.next(),
    };
    found.context("expected an existing version: see countersign policy list")
}

fn table(versions: &[Version], format: Format) {
    match format {
        Format::Json => output::print_json(&versions),
        Format::Text => {
            let mut table = Table::new(&["KIND", "VERSION", "SHA-256", "SET", "BY", "RESTORES"]);
            for version in versions {
                table.row([
                    version.kind.clone(),
                    version.version.to_string(),
                    version.digest.clone(),
                    version.created_at.clone(),
                    version.author.clone(),
                    version.restores.map(|restored| restored.to_string()).unwrap_or_default(),
                ]);
            }
            output::print(&table.render());
        }
    }
}

/// A unified diff; nothing when the texts are the same.
fn differences(older: &Version, newer: &Version, format: Format) {
    let name = |version: &Version| format!("{} version {}", version.kind, version.version);
    let diff = TextDiff::from_lines(&older.source, &newer.source);
    let text = diff.unified_diff().context_radius(3).header(&name(older), &name(newer)).to_string();
    match format {
        Format::Json => output::print_json(&serde_json::json!({
            "kind": newer.kind, "from": older.version, "to": newer.version, "diff": text,
        })),
        Format::Text if text.is_empty() => output::print("the texts are the same"),
        Format::Text => output::print(&text),
    }
}
