//! `countersign reference-values`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use verifier::reference::{ReferenceSet, ReferenceValues, SetId, WorkloadName, corim::unsigned};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

mod show;
mod sign;

const PATH: &str = "/v1/admin/reference-values";
const JSON: &str = "application/json";

/// Arguments of `countersign reference-values`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add the sets of a document (JSON, or TOML by its name) or of a CoRIM; an id and version is used once
    Add {
        /// The document or manifest
        file: PathBuf,
        /// Of a CoRIM: id of the set instead of the manifest's
        #[arg(long)]
        id: Option<SetId>,
        /// Of a CoRIM: version of the set instead of that of its tags
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// Of a CoRIM: the workload instead of the model that it names
        #[arg(long)]
        workload: Option<WorkloadName>,
        /// The sets match nothing until they are activated
        #[arg(long)]
        proposed: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List every set and whether it holds
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show what the versions of a set pin
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Say in words what differs between two versions of a set
    Diff {
        /// Id of the set
        id: SetId,
        /// The older version
        old: u32,
        /// The newer version
        #[arg(required_unless_present = "file")]
        new: Option<u32>,
        /// Compare with the set of this id in a document that is not added yet
        #[arg(long, value_name = "FILE", conflicts_with = "new")]
        file: Option<PathBuf>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List who changed which set, when and why
    History {
        /// Id of the set; default: all
        id: Option<SetId>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Write sets as a document that `add` takes
    Export {
        /// Id of the set; default: all
        id: Option<SetId>,
        /// This version only; default: all
        #[arg(long, value_name = "N", requires = "id")]
        version: Option<u32>,
        /// The file to write; default: standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// As an unsigned CoRIM instead, which holds one version of one set
        #[arg(long, requires_all = ["id", "version", "out"])]
        corim: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Sign the set of a document as a CoRIM, offline, with a key in a file
    Sign(sign::Args),
    /// Put a proposed set in force
    Activate {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// End a set; an end only ever moves earlier
    Retire {
        #[command(flatten)]
        which: Which,
        /// When it ends (RFC 3339); default: now
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// End a set now and for good, and the leases that rest on it
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        why: Why,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Id of the set
    id: SetId,
    /// This version only; default: all
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct Why {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// One set, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Set {
    id: String,
    version: u32,
    workload: String,
    state: String,
    lifecycle: String,
    not_before: String,
    ends_at: String,
    measurements: usize,
    provenance: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    digest: String,
    author: String,
    created_at: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ChangeBody<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Add { file, id, version, workload, proposed, admin } => {
            let query = names(id.as_ref(), *version, workload.as_ref(), *proposed);
            add(file, &query, admin)
        }
        Verb::List { admin } => {
            list(&admin.client()?.get::<Vec<Set>>(PATH)?, admin.format);
            Ok(())
        }
        Verb::Show { which, admin } => {
            show::sets(&held(admin, Some(&which.id), which.version)?, admin.format);
            Ok(())
        }
        Verb::Diff { id, old, new, file, admin } => diff(id, *old, *new, file.as_deref(), admin),
        Verb::History { id, admin } => show::history(id.as_ref(), admin),
        Verb::Export { id, version, out, corim, admin } => {
            let values = held(admin, id.as_ref(), *version)?;
            export(&values, out.as_deref(), *corim)
        }
        Verb::Sign(args) => sign::run(args),
        Verb::Activate { which, why, admin } => change("activate", which, None, why, admin),
        Verb::Retire { which, at, why, admin } => change("retire", which, at.as_deref(), why, admin),
        Verb::Revoke { which, why, admin } => change("revoke", which, None, why, admin),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

fn is_toml(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

/// Reads a document here first: the message names the line of the file that the user has in front of them.
fn parse(file: &Path, document: &[u8]) -> Result<ReferenceValues> {
    let read = if is_toml(file) { ReferenceValues::parse_toml(document) } else { ReferenceValues::parse(document) };
    read.with_context(|| file.display().to_string())
}

/// What stands beside a document. No name has a character that a query would take for its own.
fn names(id: Option<&SetId>, version: Option<u32>, workload: Option<&WorkloadName>, proposed: bool) -> String {
    let members = [
        id.map(|id| format!("id={id}")),
        version.map(|version| format!("version={version}")),
        workload.map(|workload| format!("workload={workload}")),
        proposed.then(|| "proposed=true".to_owned()),
    ];
    members.into_iter().flatten().collect::<Vec<_>>().join("&")
}

fn add(file: &Path, query: &str, admin: &AdminArgs) -> Result<()> {
    let document = read(file)?;
    let media_type = match document.as_slice() {
        // The tags of a CoRIM: a COSE_Sign1, or the manifest alone.
        [0xd2, ..] => "application/rim+cose",
        [0xd9, ..] => "application/rim+cbor",
        _ => {
            parse(file, &document)?;
            if is_toml(file) { "application/toml" } else { JSON }
        }
    };
    let path = format!("{PATH}?{query}");
    let added: Vec<Set> = admin.client()?.send(Method::POST, &path, media_type, Bytes::from(document))?;
    list(&added, admin.format);
    for what in added.iter().flat_map(|set| &set.left_out) {
        output::complain(&format!("left out: {what}"));
    }
    Ok(())
}

/// The sets that the broker holds, with what became of them.
fn held(admin: &AdminArgs, id: Option<&SetId>, version: Option<u32>) -> Result<ReferenceValues> {
    let query = names(id, version, None, false);
    let document: serde_json::Value = admin.client()?.get(&format!("{PATH}/document?{query}"))?;
    let document = serde_json::to_vec(&document)?;
    ReferenceValues::parse(&document).context("the broker's answer is not what this version expects")
}

fn only(values: &ReferenceValues, id: &SetId) -> Result<ReferenceSet> {
    match values.sets().iter().filter(|set| set.id == *id).collect::<Vec<_>>().as_slice() {
        [set] => Ok((*set).clone()),
        found => bail!("expected one version of set {id}, found {}", found.len()),
    }
}

fn diff(id: &SetId, old: u32, new: Option<u32>, file: Option<&Path>, admin: &AdminArgs) -> Result<()> {
    let older = only(&held(admin, Some(id), Some(old))?, id)?;
    let newer = match file {
        Some(file) => only(&parse(file, &read(file)?)?, id)?,
        None => only(&held(admin, Some(id), new)?, id)?,
    };
    let differences = older.differences(&newer);
    match admin.format {
        Format::Json => output::print_json(&differences),
        Format::Text if differences.is_empty() => {
            output::print(&format!("{id} v{} and v{} pin the same", older.version, newer.version));
        }
        Format::Text => {
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            output::print(&lines.join("\n"));
        }
    }
    Ok(())
}

fn export(values: &ReferenceValues, out: Option<&Path>, corim: bool) -> Result<()> {
    match (out, values.sets()) {
        (None, _) => output::print_json(values),
        (Some(file), [set]) if corim => write(file, &unsigned(set).to_bytes()?)?,
        (Some(file), _) => {
            let mut document = serde_json::to_vec_pretty(values)?;
            document.push(b'\n');
            write(file, &document)?;
        }
    }
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("{} cannot be written", file.display()))
}

fn change(what: &str, which: &Which, at: Option<&str>, why: &Why, admin: &AdminArgs) -> Result<()> {
    let Which { id, version } = which;
    let body = ChangeBody { id: id.as_str(), version: *version, at, reason: why.reason.as_deref() };
    let body = Bytes::from(serde_json::to_vec(&body)?);
    let changed: Vec<Set> = admin.client()?.send(Method::POST, &format!("{PATH}/{what}"), JSON, body)?;
    list(&changed, admin.format);
    Ok(())
}

fn list(sets: &[Set], format: Format) {
    match format {
        Format::Json => output::print_json(&sets),
        Format::Text => {
            let mut table = Table::new(&[
                "ID",
                "VERSION",
                "WORKLOAD",
                "STATE",
                "FROM",
                "UNTIL",
                "MEASUREMENTS",
                "SIGNER",
                "PROVENANCE",
            ]);
            for set in sets {
                let ends = set.lifecycle == "retiring" && set.state == "holds";
                table.row([
                    set.id.clone(),
                    set.version.to_string(),
                    set.workload.clone(),
                    if ends { "holds, retiring".to_owned() } else { set.state.clone() },
                    set.not_before.clone(),
                    set.ends_at.clone(),
                    set.measurements.to_string(),
                    set.signer.as_deref().map_or_else(|| "-".to_owned(), short),
                    set.provenance.clone(),
                ]);
            }
            output::print(&table.render());
        }
    }
}

/// The signer's name and the first digits of its key.
fn short(signer: &str) -> String {
    match signer.split_once(" sha256:") {
        Some((name, key)) => format!("{name} {}", key.chars().take(12).collect::<String>()),
        None => signer.to_owned(),
    }
}
