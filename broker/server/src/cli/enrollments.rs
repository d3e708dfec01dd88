//! `countersign enrollments`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::{Subcommand, ValueEnum};
use evidence_formats::tpm::{AkPublic, TpmName};
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign enrollments`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List attestation keys
    List {
        /// Only keys of this state
        #[arg(long, value_enum)]
        state: Option<State>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Show one attestation key and what is known of its TPM
    Show {
        /// Name of the attestation key, hex
        ak_name: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Approve an attestation key that its TPM has proven
    Approve {
        /// Name of the attestation key, hex
        ak_name: String,
        /// Who answers for the machine
        #[arg(long)]
        owner: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Revoke an attestation key, for good
    Revoke {
        /// Name of the attestation key, hex
        ak_name: String,
        /// Why
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Put an attestation key into the register on your own word
    Pin {
        /// File with the key: TPMT_PUBLIC or TPM2B_PUBLIC, or its name (raw or hex)
        #[arg(long, value_name = "FILE")]
        ak: PathBuf,
        /// Who answers for the machine
        #[arg(long)]
        owner: String,
        /// Why its TPM need not prove it
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    AwaitingApproval,
    Enrolled,
    Revoked,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting-approval",
            Self::Enrolled => "enrolled",
            Self::Revoked => "revoked",
        }
    }
}

/// One key, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Enrollment {
    ak_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ek_name: Option<String>,
    provenance: String,
    state: String,
    owner: String,
    reason: String,
    requested_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
    details: Value,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List { state, admin } => {
            let query = state.map(|state| format!("?state={}", state.as_str())).unwrap_or_default();
            let keys: Vec<Enrollment> = admin.client()?.get(&format!("/v1/admin/enrollments{query}"))?;
            list(&keys, admin.format);
        }
        Verb::Show { ak_name, admin } => {
            show(&admin.client()?.get(&format!("/v1/admin/enrollments/{}", path_of(ak_name)?))?, admin.format);
        }
        Verb::Approve { ak_name, owner, admin } => {
            let path = format!("/v1/admin/enrollments/{}/approve", path_of(ak_name)?);
            show(&change(admin, &path, &json!({ "owner": owner }))?, admin.format);
        }
        Verb::Revoke { ak_name, reason, admin } => {
            let path = format!("/v1/admin/enrollments/{}/revoke", path_of(ak_name)?);
            show(&change(admin, &path, &json!({ "reason": reason }))?, admin.format);
        }
        Verb::Pin { ak, owner, reason, admin } => {
            let bytes = fs::read(ak).with_context(|| format!("{} cannot be read", ak.display()))?;
            let mut body = json!({ "owner": owner, "reason": reason });
            let (member, value) = key_of(&bytes)?;
            if let Some(object) = body.as_object_mut() {
                object.insert(member.to_owned(), Value::String(value));
            }
            show(&change(admin, "/v1/admin/enrollments", &body)?, admin.format);
        }
    }
    Ok(())
}

fn change(admin: &AdminArgs, path: &str, body: &Value) -> Result<Enrollment> {
    admin.client()?.send(Method::POST, path, "application/json", Bytes::from(body.to_string()))
}

/// A name of hex digits alone: nothing else may get into a path.
fn path_of(ak_name: &str) -> Result<String> {
    let name = hex::decode(ak_name).ok().and_then(|bytes| TpmName::parse(&bytes).ok());
    name.map(|name| name.to_string())
        .with_context(|| format!("expected the name of a TPM key in hex, found {ak_name:?}"))
}

/// The member of the request, and its text.
fn key_of(bytes: &[u8]) -> Result<(&'static str, String)> {
    let name = hex::decode(bytes.trim_ascii()).ok().unwrap_or_else(|| bytes.to_vec());
    if let Ok(name) = TpmName::parse(&name) {
        return Ok(("ak_name", name.to_string()));
    }
    match AkPublic::parse(bytes) {
        Ok(AkPublic::Area(area)) => Ok(("ak_public", BASE64_URL_SAFE_NO_PAD.encode(area.as_bytes()))),
        Ok(AkPublic::Spki(_)) | Err(_) => bail!("expected TPMT_PUBLIC, TPM2B_PUBLIC or the name of an attestation key"),
    }
}

fn list(keys: &[Enrollment], format: Format) {
    match format {
        Format::Json => output::print_json(&keys),
        Format::Text => {
            let mut table = Table::new(&["AK NAME", "STATE", "PROVENANCE", "OWNER", "REQUESTED"]);
            for key in keys {
                table.row([
                    key.ak_name.clone(),
                    key.state.clone(),
                    key.provenance.clone(),
                    key.owner.clone(),
                    key.requested_at.clone(),
                ]);
            }
            output::print(&table.render());
        }
    }
}

fn show(key: &Enrollment, format: Format) {
    if format == Format::Json {
        output::print_json(key);
        return;
    }
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows = [
        ("attestation key", key.ak_name.clone()),
        ("endorsement key", optional(&key.ek_name)),
        ("proven by", key.provenance.clone()),
        ("state", key.state.clone()),
        ("owner", key.owner.clone()),
        ("reason", key.reason.clone()),
        ("requested", key.requested_at.clone()),
        ("approved by", optional(&key.approved_by)),
        ("enrolled", optional(&key.enrolled_at)),
        ("revoked by", optional(&key.revoked_by)),
        ("revoked", optional(&key.revoked_at)),
        ("details", key.details.to_string()),
    ];
    let mut table = Table::new(&["WHAT", "VALUE"]);
    for (name, value) in rows {
        table.row([name.to_owned(), value]);
    }
    output::print(&table.render());
}
