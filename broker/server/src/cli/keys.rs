//! `countersign keys`

use std::process::ExitCode;

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the signing keys: which one signs, which come next, which only verify
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Make a new key: published now, signing in a few minutes; what the old one signed verifies until it expires
    Rotate {
        /// What the key signs
        #[arg(value_enum)]
        purpose: Purpose,
        /// The old key is compromised: the new one signs now, and nothing verifies with the old one any more
        #[arg(long)]
        at_once: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Purpose {
    /// Attestation results and status lists
    AttestationResult,
    /// Tokens for other systems, RS256
    #[value(name = "token-rs256")]
    #[serde(rename = "token-rs256")]
    TokenRs256,
    /// Tokens for other systems, ES256
    #[value(name = "token-es256")]
    #[serde(rename = "token-es256")]
    TokenEs256,
    /// JWT-SVIDs
    JwtSvid,
    /// X.509-SVIDs
    #[value(name = "x509-ca")]
    #[serde(rename = "x509-ca")]
    X509Ca,
    /// SSH certificates of users
    SshUserCa,
    /// SSH certificates of hosts
    SshHostCa,
    /// Checkpoints of the audit log
    AuditCheckpoint,
}

#[derive(Debug, Serialize, Deserialize)]
struct Key {
    id: String,
    purpose: String,
    algorithm: String,
    state: String,
    created_at: String,
    active_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rotated {
    id: String,
    purpose: String,
    active_at: String,
    retired: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List { admin } => {
            let keys: Vec<Key> = admin.client()?.get("/v1/admin/keys")?;
            match admin.format {
                Format::Json => output::print_json(&keys),
                Format::Text => {
                    let mut table = Table::new(&["PURPOSE", "KEY", "ALGORITHM", "STATE", "MADE", "SIGNS FROM"]);
                    for key in keys {
                        table.row([key.purpose, key.id, key.algorithm, key.state, key.created_at, key.active_at]);
                    }
                    output::print(&table.render());
                }
            }
        }
        Verb::Rotate { purpose, at_once, admin } => {
            let body = Bytes::from(json!({"purpose": purpose, "at_once": at_once}).to_string());
            let rotated: Rotated =
                admin.client()?.send(Method::POST, "/v1/admin/keys/rotate", "application/json", body)?;
            match admin.format {
                Format::Json => output::print_json(&rotated),
                Format::Text => output::print(&format!(
                    "{}: the key {} signs from {}; {} old keys retired",
                    rotated.purpose, rotated.id, rotated.active_at, rotated.retired
                )),
            }
        }
    }
    Ok(())
}
