//! `countersign join-tokens`: how the client of an exception brings its key.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use hyper::{Method, body::Bytes};
use keys::secret::SecretBytes;
use serde_json::{Value, json};

use super::{
    client::AdminArgs,
    init,
    output::{self, Format},
};
use crate::store::is_name;

/// Arguments of `countersign join-tokens`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make one for an exception that was registered with --join-token; it is used once, and voids the one before
    Create {
        /// Name of the exception
        exception: String,
        /// File that gets the token (mode 0600, must not exist)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How long it holds
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=600))]
        seconds: u32,
        /// The only key that may use it: sha256/BASE64 of the public key
        #[arg(long, value_name = "KEY")]
        client: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match perform(&args.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn perform(verb: &Verb) -> Result<()> {
    let Verb::Create { exception, out, seconds, client, admin } = verb;
    ensure!(is_name(exception), "expected the name of an exception, found {exception:?}");
    ensure!(!out.exists(), "expected no file at {}", out.display());
    let path = format!("/v1/admin/exceptions/{}/join-token", exception.replace('/', "%2F"));
    let body = Bytes::from(json!({"seconds": seconds, "client": client}).to_string());
    let made: Value = admin.client()?.send(Method::POST, &path, "application/json", body)?;
    let text = |name: &str| made.get(name).and_then(Value::as_str).with_context(|| format!("expected {name}"));
    init::write_new(out, &SecretBytes::new(text("token")?.as_bytes().to_vec()))?;
    let until = output::plain(text("expires_at")?);
    match admin.format {
        Format::Json => output::print_json(&json!({"exception": exception, "expires_at": until})),
        Format::Text => output::print(&format!("{} lets one key join {exception} until {until}", out.display())),
    }
    Ok(())
}
