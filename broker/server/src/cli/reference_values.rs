//! `countersign reference-values`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use verifier::reference::ReferenceValues;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign reference-values`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add the sets of a document (JSON); an id and version is used once
    Add {
        /// The document
        file: PathBuf,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List every set and whether it holds
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// End a set; an end only ever moves earlier
    Retire {
        /// Id of the set
        id: String,
        /// This version only; default: all
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// When it ends (RFC 3339); default: now
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// One set, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Set {
    id: String,
    version: u32,
    workload: String,
    state: String,
    not_before: String,
    ends_at: String,
    measurements: usize,
    provenance: String,
    author: String,
    created_at: String,
}

#[derive(Debug, Serialize)]
struct Retire<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match perform(&args.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn perform(verb: &Verb) -> Result<()> {
    const PATH: &str = "/v1/admin/reference-values";
    const JSON: &str = "application/json";
    let (sets, admin): (Vec<Set>, _) = match verb {
        Verb::Add { file, admin } => {
            let document = fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
            // Read here first: the message names the line of the file that the user has in front of them.
            ReferenceValues::parse(&document).with_context(|| file.display().to_string())?;
            (admin.client()?.send(Method::POST, PATH, JSON, Bytes::from(document))?, admin)
        }
        Verb::List { admin } => (admin.client()?.get(PATH)?, admin),
        Verb::Retire { id, version, at, admin } => {
            let body = serde_json::to_vec(&Retire { id, version: *version, at: at.as_deref() })?;
            let path = format!("{PATH}/retire");
            (admin.client()?.send(Method::POST, &path, JSON, Bytes::from(body))?, admin)
        }
    };
    show(&sets, admin.format);
    Ok(())
}

fn show(sets: &[Set], format: Format) {
    match format {
        Format::Json => output::print_json(&sets),
        Format::Text => {
            let mut table =
                Table::new(&["ID", "VERSION", "WORKLOAD", "STATE", "FROM", "UNTIL", "MEASUREMENTS", "PROVENANCE"]);
            for set in sets {
                table.row([
                    set.id.clone(),
                    set.version.to_string(),
                    set.workload.clone(),
                    set.state.clone(),
                    set.not_before.clone(),
                    set.ends_at.clone(),
                    set.measurements.to_string(),
                    set.provenance.clone(),
                ]);
            }
            output::print(&table.render());
        }
    }
}
