//! `countersign administrators`: credentials for people and programs that administer or watch.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use clap::{Subcommand, ValueEnum};
use hyper::{Method, body::Bytes};
use keys::secret::SecretBytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    init::{admin_toml, write_new},
    output::{self, Format, Table},
};
use crate::{
    authority, hardening,
    store::{TenantId, is_name},
};

/// Arguments of `countersign administrators`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a credential and register it
    Add {
        /// Name, for listings and as author of changes
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        role: Role,
        /// Directory that is made for the credential; what other commands take as --admin
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The administrators' CA (PEM): tls/admin-ca.pem of what `countersign init` made
        #[arg(long, value_name = "FILE")]
        ca: PathBuf,
        /// Its key (PEM): ca/admin-ca.key, which belongs off the broker's machine
        #[arg(long, value_name = "FILE")]
        ca_key: PathBuf,
        /// The tenant that it is for; an operator makes the first administrators of tenants
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List who is registered
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Remove one: its certificate counts no more
    Remove {
        /// Name
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// What a credential allows.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// Everything
    Admin,
    /// Read all metadata and decisions; change nothing
    Auditor,
    /// The event stream, the inventory and the exceptions; nothing else
    Observer,
}

#[derive(Debug, Serialize, Deserialize)]
struct Registered {
    name: String,
    role: String,
    fingerprint: String,
    created_at: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Add { name, role, out, ca, ca_key, tenant, admin } => {
            anyhow::ensure!(is_name(name), "expected a plain name, found {name:?}");
            let tenant = tenant.as_deref().map(tenant_of).transpose()?;
            hardening::harden().context("the process could not be protected")?;
            let read =
                |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()));
            let ca_key = SecretBytes::new(read(ca_key)?.into_bytes());
            let issuer = authority::issuer(&read(ca)?, std::str::from_utf8(ca_key.expose())?)?;
            let issued = authority::client_certificate(&issuer, name)?;
            let fingerprint = hex::encode(digest(&SHA256, &issued.certificate_der));
            // The credential first: a registered certificate without its key would be of no use to anybody.
            let (url, server_ca) = admin.server()?;
            let place = tenant.as_ref().map_or_else(String::new, TenantId::path);
            let written = write(out, &issued, &format!("{}{place}", url.trim_end_matches('/')), &server_ca);
            let body = json!({"name": name, "role": role, "fingerprint": fingerprint}).to_string();
            let registered: Result<Registered> = written.and_then(|()| {
                let client = admin.client()?;
                client.send(Method::POST, &register_at(tenant.as_ref()), "application/json", Bytes::from(body))
            });
            if registered.is_err() && fs::remove_dir_all(out).is_err() {
                output::complain(&format!("{} could not be removed: delete it", out.display()));
            }
            let registered = registered?;
            match admin.format {
                Format::Json => output::print_json(&registered),
                Format::Text => output::print(&format!(
                    "{} is {}; whoever has {} is that",
                    registered.name,
                    registered.role,
                    out.display()
                )),
            }
        }
        Verb::List { admin } => {
            let all: Vec<Registered> = admin.client()?.get("/v1/admin/administrators")?;
            match admin.format {
                Format::Json => output::print_json(&all),
                Format::Text => {
                    let mut table = Table::new(&["NAME", "ROLE", "SINCE", "CERTIFICATE"]);
                    for one in all {
                        table.row([one.name, one.role, one.created_at, one.fingerprint]);
                    }
                    output::print(&table.render());
                }
            }
        }
        Verb::Remove { name, admin } => {
            anyhow::ensure!(is_name(name), "expected a plain name, found {name:?}");
            let path = format!("/v1/admin/administrators/{}", name.replace('/', "%2F"));
            admin.client()?.call::<Value>(Method::DELETE, &path, None)?;
            output::print(&format!("removed {name}"));
        }
    }
    Ok(())
}

fn tenant_of(name: &str) -> Result<TenantId> {
    TenantId::parse(name).with_context(|| format!("expected the name of a tenant, found {name:?}"))
}

/// Where an administrator is registered: at the credential's own tenant, or, by an operator, at another.
fn register_at(tenant: Option<&TenantId>) -> String {
    tenant.map_or_else(
        || "/v1/admin/administrators".to_owned(),
        |tenant| format!("/v1/admin/tenants/{}/administrators", tenant.as_str()),
    )
}

/// A directory as `countersign init` makes it.
fn write(out: &Path, issued: &authority::Issued, url: &str, server_ca: &str) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let files = [
        ("client.pem", issued.certificate_pem.clone()),
        ("client.key", issued.key_pem.clone()),
        ("ca.pem", server_ca.to_owned()),
        ("admin.toml", admin_toml(url)),
    ];
    for (name, content) in files {
        write_new(&out.join(name), &SecretBytes::new(content.into_bytes()))?;
    }
    Ok(())
}
