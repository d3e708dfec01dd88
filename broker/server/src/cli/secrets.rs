//! `countersign secrets`.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign secrets`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Store a new version of a secret
    Put {
        /// Name of the secret
        name: String,
        /// File with the secret's bytes, `-` for standard input; never an argument, which other users could see
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Workload that may have it, as named in reference sets; may be repeated
        #[arg(long = "workload", value_name = "NAME", required_unless_present = "bridge")]
        workloads: Vec<String>,
        /// A legacy secret: `countersign exceptions` may let a client that does not attest have it
        #[arg(long)]
        bridge: bool,
        /// A disk key that the attested guest may change: see `countersign-agent luks rotate`
        #[arg(long, conflicts_with = "bridge")]
        guest_rotates: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Make a new key of 32 random bytes, which nobody sees but the guests that may have it
    Generate {
        /// Name of the secret; there must be none of that name
        name: String,
        /// Workload that may have it, as named in reference sets; may be repeated
        #[arg(long = "workload", value_name = "NAME", required = true)]
        workloads: Vec<String>,
        /// A disk key that the attested guest may change: see `countersign-agent luks rotate`
        #[arg(long)]
        guest_rotates: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show the versions of one secret; the content is never shown
    GetMetadata {
        /// Name of the secret
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List every secret
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Say whether guests may have their TPM keep a secret, such as a disk key, for reboots without the broker
    Offline {
        /// Name of the secret
        name: String,
        /// How long after each release: 90s, 30m, 12h or 7d; 30d at most
        #[arg(long = "offline-for", value_name = "DURATION", value_parser = seconds, required_unless_present = "never")]
        duration: Option<u32>,
        /// How many starts of the machine meanwhile, 100 at most
        #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100))]
        boots: u32,
        /// Not any more: guests drop what they keep with their next release
        #[arg(long, conflicts_with_all = ["duration", "boots"])]
        never: bool,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Erase every version of a secret
    Delete {
        /// Name of the secret
        name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// One version, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    name: String,
    version: u32,
    workloads: Vec<String>,
    #[serde(default)]
    bridge: bool,
    #[serde(default)]
    rotation: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offline: Option<Offline>,
    #[serde(default)]
    staged: bool,
    created_by: String,
    created_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Offline {
    seconds: u32,
    boots: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Deleted {
    deleted: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Generate { name, workloads, guest_rotates, admin } => {
            let path = address(name, workloads, false, *guest_rotates);
            let stored: Metadata = admin.client()?.call(Method::POST, &path, None)?;
            show(&[stored], admin.format);
        }
        Verb::Put { name, file, workloads, bridge, guest_rotates, admin } => {
            let path = address(name, workloads, *bridge, *guest_rotates);
            let body = Bytes::from(read_secret(file)?);
            let stored: Metadata = admin.client()?.send(Method::PUT, &path, "application/octet-stream", body)?;
            show(&[stored], admin.format);
        }
        Verb::GetMetadata { name, admin } => {
            let versions: Vec<Metadata> = admin.client()?.get(&format!("/v1/admin/secrets/{name}"))?;
            show(&versions, admin.format);
        }
        Verb::List { admin } => {
            let secrets: Vec<Metadata> = admin.client()?.get("/v1/admin/secrets")?;
            show(&secrets, admin.format);
        }
        Verb::Offline { name, duration, boots, never: _, admin } => {
            let path = format!("/v1/admin/offline/{name}");
            let versions: Vec<Metadata> = match duration {
                None => admin.client()?.call(Method::DELETE, &path, None)?,
                Some(seconds) => {
                    let body = json!({ "seconds": seconds, "boots": boots }).to_string();
                    admin.client()?.send(Method::PUT, &path, "application/json", Bytes::from(body))?
                }
            };
            show(&versions, admin.format);
        }
        Verb::Delete { name, admin } => {
            let deleted: Deleted = admin.client()?.call(Method::DELETE, &format!("/v1/admin/secrets/{name}"), None)?;
            match admin.format {
                Format::Text => output::print(&format!("erased {} versions of {name}", deleted.deleted)),
                Format::Json => output::print_json(&deleted),
            }
        }
    }
    Ok(())
}

/// Path and query of a new version.
fn address(name: &str, workloads: &[String], bridge: bool, guest_rotates: bool) -> String {
    let mut query: Vec<String> = workloads.iter().map(|workload| format!("workload={workload}")).collect();
    query.extend(bridge.then(|| "bridge=true".to_owned()));
    query.extend(guest_rotates.then(|| "rotation=guest".to_owned()));
    format!("/v1/admin/secrets/{name}?{}", query.join("&"))
}

/// `90s`, `30m`, `12h` or `7d` in seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let wrong = || format!("expected a duration as 90s, 30m, 12h or 7d, found {text:?}");
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some(_) | None => return Err(wrong()),
    };
    let count = text.get(..text.len().saturating_sub(1)).and_then(|count| count.parse::<u32>().ok());
    count.filter(|count| *count > 0).and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

fn read_secret(file: &PathBuf) -> Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
        return Ok(bytes);
    }
    fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// Who may have it.
fn whom(secret: &Metadata) -> String {
    let bridge = secret.bridge.then_some("(bridge)");
    secret.workloads.iter().map(String::as_str).chain(bridge).collect::<Vec<_>>().join(",")
}

/// How long guests may keep it, in the largest unit that fits.
fn offline(secret: &Metadata) -> String {
    let Some(Offline { seconds, boots }) = &secret.offline else { return "-".to_owned() };
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let whole = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = whole.copied().unwrap_or((1, 's'));
    format!("{}{name}, {boots} starts", seconds.checked_div(unit).unwrap_or_default())
}

fn show(secrets: &[Metadata], format: Format) {
    match format {
        Format::Json => output::print_json(&secrets),
        Format::Text => {
            let mut table = Table::new(&["NAME", "VERSION", "WORKLOADS", "OFFLINE", "STORED", "BY"]);
            for secret in secrets {
                table.row([
                    secret.name.clone(),
                    if secret.staged { format!("{} (staged)", secret.version) } else { secret.version.to_string() },
                    whom(secret),
                    offline(secret),
                    secret.created_at.clone(),
                    secret.created_by.clone(),
                ]);
            }
            output::print(&table.render());
        }
    }
}
