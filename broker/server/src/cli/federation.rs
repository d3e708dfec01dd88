//! `countersign federation`

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use hyper::{Method, body::Bytes};
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};
use crate::identity::TrustDomain;

/// Arguments of `countersign federation`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Trust another trust domain: its bundle is fetched now and whenever its refresh hint says
    Add(Box<Add>),
    /// List the trust domains, and how their bundles stand
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show one trust domain and the bundle that is held of it
    Show {
        /// Its name
        trust_domain: TrustDomain,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Fetch a bundle now, or bring one by hand; never an older one than the one that is held
    Refresh {
        /// Its name
        trust_domain: TrustDomain,
        /// A bundle (JSON) that came another way: after its owner lost a key, or without a network
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Trust it no longer: guests get its bundle no more
    Remove {
        /// Its name
        trust_domain: TrustDomain,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// Its name
    trust_domain: TrustDomain,
    /// Where its bundle is
    #[arg(long, value_name = "URL")]
    url: String,
    /// How the endpoint proves itself
    #[arg(long, value_enum)]
    profile: Profile,
    /// https_web: CAs that are trusted instead of the system's, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// https_spiffe: the SPIFFE ID of the endpoint
    #[arg(long, value_name = "ID", required_if_eq("profile", "https_spiffe"))]
    endpoint_spiffe_id: Option<String>,
    /// https_spiffe: the bundle to begin with (JSON), from its owner by a way that you trust
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// After so many seconds without a successful fetch the bundle does not count any more; default: 86400
    #[arg(long, value_name = "SECONDS")]
    longest_age: Option<u32>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Profiles of SPIFFE Federation.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    /// By a certificate of a web CA for the host name
    #[value(name = "https_web")]
    Web,
    /// By an X.509-SVID
    #[value(name = "https_spiffe")]
    Spiffe,
}

impl Profile {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "https_web",
            Self::Spiffe => "https_spiffe",
        }
    }
}

const BASE: &str = "/v1/admin/federation";

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Add(add) => {
            let body = json!({
                "trust_domain": add.trust_domain.as_str(),
                "url": add.url,
                "profile": add.profile.as_str(),
                "endpoint_spiffe_id": add.endpoint_spiffe_id,
                "ca": file(add.ca.as_ref())?,
                "bundle": file(add.bundle.as_ref())?,
                "longest_age": add.longest_age,
            });
            show(&add.admin, &send(&add.admin, BASE, &body)?);
        }
        Verb::List { admin } => {
            let all: Vec<Value> = admin.client()?.get(BASE)?;
            match admin.format {
                Format::Json => output::print_json(&all),
                Format::Text => output::print(&table(&all)),
            }
        }
        Verb::Show { trust_domain, admin } => {
            let one: Value = admin.client()?.get(&format!("{BASE}/{}", trust_domain.as_str()))?;
            match admin.format {
                Format::Json => output::print_json(&one),
                Format::Text => {
                    output::print(&table(std::slice::from_ref(&one)));
                    output::print_json(&one.get("bundle").cloned().unwrap_or_default());
                }
            }
        }
        Verb::Refresh { trust_domain, bundle, admin } => {
            let body = json!({"bundle": file(bundle.as_ref())?});
            show(admin, &send(admin, &format!("{BASE}/{}/refresh", trust_domain.as_str()), &body)?);
        }
        Verb::Remove { trust_domain, admin } => {
            let path = format!("{BASE}/{}", trust_domain.as_str());
            let _nothing: Value = admin.client()?.call(Method::DELETE, &path, None)?;
            output::print(&format!("{} is not trusted any more", trust_domain.as_str()));
        }
    }
    Ok(())
}

fn send(admin: &AdminArgs, path: &str, body: &Value) -> Result<Value> {
    admin.client()?.send(Method::POST, path, "application/json", Bytes::from(body.to_string()))
}

/// The text of a file, of a size that the broker takes.
fn file(path: Option<&PathBuf>) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(text.len() <= 512 * 1024, "{}: expected at most 512 KiB", path.display());
    Ok(Some(text))
}

fn show(admin: &AdminArgs, one: &Value) {
    match admin.format {
        Format::Json => output::print_json(one),
        Format::Text => output::print(&table(std::slice::from_ref(one))),
    }
}

fn table(all: &[Value]) -> String {
    let mut table =
        Table::new(&["TRUST DOMAIN", "STATE", "PROFILE", "URL", "SEQUENCE", "CAS", "JWT KEYS", "FETCHED", "ERROR"]);
    for one in all {
        let text = |name: &str| match one.get(name) {
            Some(Value::String(text)) => output::plain(text),
            Some(value) if !value.is_null() => value.to_string(),
            _ => "-".to_owned(),
        };
        table.row(
            [
                "trust_domain",
                "state",
                "profile",
                "url",
                "sequence",
                "x509_authorities",
                "jwt_authorities",
                "fetched_at",
                "error",
            ]
            .map(text),
        );
    }
    table.render()
}
