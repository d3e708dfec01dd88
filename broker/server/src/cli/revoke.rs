//! `countersign revoke`

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every guest of a workload, by the workload's name; no new leases until it is lifted
    Workload(What),
    /// Every guest with this launch digest or register value (hex); no new leases until it is lifted
    Measurement(What),
    /// Every guest on this chip (hex, as `countersign workloads` shows it); no new leases until it is lifted
    Chip(What),
    /// Every lease that rested on a reference set, ID or ID@VERSION; no new leases until it is lifted
    ReferenceSet(What),
    /// Every lease that a policy allowed, for example release-v3; no new leases until it is lifted
    Policy(What),
    /// Every lease of one credential of now, KIND/NAME or KIND/NAME@VERSION, for example secret/disk-key
    Credential(What),
    /// Every lease of one running guest of now, by its id
    Guest(What),
    /// One lease, by its id
    Lease(What),
    /// List the standing revocations
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Lift a standing revocation; what it ended stays ended
    Lift {
        /// Its id, as `list` shows it
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, clap::Args)]
struct What {
    /// Which one
    value: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Serialize, Deserialize)]
struct Revoked {
    kind: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    ended: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Standing {
    id: String,
    kind: String,
    value: String,
    reason: String,
    author: String,
    created_at: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Workload(what) => revoke("workload", what),
        Verb::Measurement(what) => revoke("measurement", what),
        Verb::Chip(what) => revoke("chip", what),
        Verb::ReferenceSet(what) => revoke("reference-set", what),
        Verb::Policy(what) => revoke("policy", what),
        Verb::Credential(what) => revoke("credential", what),
        Verb::Guest(what) => revoke("guest", what),
        Verb::Lease(what) => revoke("lease", what),
        Verb::List { admin } => list(admin),
        Verb::Lift { id, admin } => {
            admin.client()?.call::<Value>(Method::DELETE, &format!("/v1/admin/revocations/{id}"), None)?;
            output::print(&format!("lifted {id}"));
            Ok(())
        }
    }
}

fn revoke(kind: &str, what: &What) -> Result<()> {
    let body = json!({"kind": kind, "value": what.value, "reason": what.reason}).to_string();
    let client = what.admin.client()?;
    let revoked: Revoked = client.send(Method::POST, "/v1/admin/revocations", "application/json", Bytes::from(body))?;
    match what.admin.format {
        Format::Json => output::print_json(&revoked),
        Format::Text => {
            output::print(&format!("revoked {kind} {}: {} leases ended", revoked.value, revoked.ended));
            if let Some(id) = &revoked.id {
                output::print(&format!("it stands until: countersign revoke lift {id}"));
            }
        }
    }
    Ok(())
}

fn list(admin: &AdminArgs) -> Result<()> {
    let standing: Vec<Standing> = admin.client()?.get("/v1/admin/revocations")?;
    match admin.format {
        Format::Json => output::print_json(&standing),
        Format::Text => {
            let mut table = Table::new(&["ID", "KIND", "VALUE", "SINCE", "BY", "REASON"]);
            for one in standing {
                table.row([one.id, one.kind, one.value, one.created_at, one.author, one.reason]);
            }
            output::print(&table.render());
        }
    }
    Ok(())
}
