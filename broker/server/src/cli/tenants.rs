//! `countersign tenants`: who shares this broker.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign tenants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the tenants; for operators, who administer the tenant default
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Tenant {
    name: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_domain: Option<String>,
    created_at: String,
    administrators: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let Verb::List { admin } = &args.verb;
    match list(admin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn list(admin: &AdminArgs) -> Result<()> {
    let all: Vec<Tenant> = admin.client()?.get("/v1/admin/tenants")?;
    match admin.format {
        Format::Json => output::print_json(&all),
        Format::Text => {
            let mut table = Table::new(&["TENANT", "TRUST DOMAIN", "ISSUER", "ADMINISTRATORS"]);
            for tenant in all {
                let issuer = tenant.issuer.unwrap_or_else(|| "not served".to_owned());
                let trust_domain = tenant.trust_domain.unwrap_or_else(|| "-".to_owned());
                table.row([tenant.name, trust_domain, issuer, tenant.administrators.to_string()]);
            }
            output::print(&table.render());
        }
    }
    Ok(())
}
