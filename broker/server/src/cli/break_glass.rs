//! `countersign break-glass`

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Subcommand};
use hyper::{Method, body::Bytes};
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign break-glass`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask for one release of one secret that the policies refuse
    Request(Request),
    /// Approve somebody else's request
    Approve {
        /// Its id, as `list` shows it
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// List requests, newest first
    List {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a request back
    Revoke {
        /// Its id, as `list` shows it
        id: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("guest").required(true).args(["workload", "attestation"]))]
struct Request {
    /// Name of the secret
    #[arg(long, value_name = "NAME")]
    secret: String,
    /// A guest that matches a reference set of this workload
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// The guest of this refused attestation, as its console shows the id
    #[arg(long, value_name = "ID")]
    attestation: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Minutes until the request is over
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=60))]
    minutes: u32,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match perform(&args.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Request(request) => ask(request),
        Verb::Approve { id, admin } => {
            let path = format!("/v1/admin/break-glass/{id}/approve");
            let said: Value = admin.client()?.call(Method::POST, &path, None)?;
            tell(&said, admin.format, &format!("approved: {} of {}", text(&said, "approvals"), text(&said, "needed")));
            Ok(())
        }
        Verb::Revoke { id, admin } => {
            let path = format!("/v1/admin/break-glass/{id}/revoke");
            admin.client()?.call::<Value>(Method::POST, &path, None)?;
            output::print(&format!("taken back {id}"));
            Ok(())
        }
        Verb::List { admin } => list(admin),
    }
}

fn ask(Request { secret, workload, attestation, reason, minutes, admin }: &Request) -> Result<()> {
    let body = json!({
        "secret": secret, "workload": workload, "attestation": attestation, "reason": reason,
        "seconds": minutes.saturating_mul(60),
    });
    let body = Bytes::from(body.to_string());
    let said: Value = admin.client()?.send(Method::POST, "/v1/admin/break-glass", "application/json", body)?;
    let needed = text(&said, "needed");
    let words = format!(
        "asked for {secret} until {}\n{needed} others approve: countersign break-glass approve {}",
        text(&said, "expires_at"),
        text(&said, "id")
    );
    tell(&said, admin.format, &words);
    Ok(())
}

fn tell(said: &Value, format: Format, words: &str) {
    match format {
        Format::Json => output::print_json(said),
        Format::Text => output::print(words),
    }
}

fn list(admin: &AdminArgs) -> Result<()> {
    let all: Vec<Value> = admin.client()?.get("/v1/admin/break-glass")?;
    match admin.format {
        Format::Json => output::print_json(&all),
        Format::Text => {
            let mut table =
                Table::new(&["ID", "SECRET", "BY", "UNTIL", "APPROVED BY", "USED BY", "TAKEN BACK BY", "REASON"]);
            for one in &all {
                let approvals = one.get("approvals").and_then(Value::as_array).into_iter().flatten();
                let approvals: Vec<_> = approvals.filter_map(Value::as_str).collect();
                let cell = |name: &str| text(one, name);
                table.row([
                    cell("id"),
                    cell("secret"),
                    cell("requested_by"),
                    cell("expires_at"),
                    if approvals.is_empty() { "-".to_owned() } else { approvals.join(" ") },
                    cell("used_by"),
                    cell("revoked_by"),
                    output::plain(&cell("reason")),
                ]);
            }
            output::print(&table.render());
        }
    }
    Ok(())
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => "-".to_owned(),
    }
}
