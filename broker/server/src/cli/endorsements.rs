//! `countersign endorsements`.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Subcommand, ValueEnum};
use hyper::{Method, body::Bytes};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign endorsements`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what is held, for which products and platforms, when it runs out, and where more comes from
    Status {
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Fetch documents from their vendors now; without arguments everything that is held about many machines
    Fetch {
        /// Names of documents, for example amd/crl/Milan/vcek
        ids: Vec<String>,
        /// Revocation lists and chains of an AMD product line; may be repeated
        #[arg(long = "product", value_enum, value_name = "LINE")]
        products: Vec<Product>,
        /// TCB info of Intel processors, with the lists and the identity that it needs; may be repeated
        #[arg(long = "fmspc", value_name = "HEX")]
        fmspcs: Vec<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Write everything that is current to a file, to be imported by a broker that has no network
    Export {
        /// The file; it must not exist yet
        bundle: PathBuf,
        /// Only this vendor's documents
        #[arg(long, value_enum)]
        vendor: Option<Maker>,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Take a file that another broker exported: all of it, or nothing when any document is refused or has run out
    Import {
        /// The file
        bundle: PathBuf,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Product {
    /// EPYC 7003
    Milan,
    /// EPYC 9004 and 8004
    Genoa,
    /// EPYC 9005
    Turin,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Maker {
    /// AMD
    Amd,
    /// Intel
    Intel,
}

impl Maker {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Amd => "amd",
            Self::Intel => "intel",
        }
    }
}

/// What the API says is held.
#[derive(Debug, Serialize, Deserialize)]
struct Status {
    sources: Vec<Source>,
    documents: Vec<Document>,
    chips: Vec<Chips>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Source {
    kind: String,
    url: String,
    left_alone_seconds: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    id: String,
    vendor: String,
    state: String,
    issued_at: String,
    ends_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<String>,
    fetched_at: String,
    source: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chips {
    product: String,
    certificates: u64,
    ends_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Fetched {
    id: String,
    fetched: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Imported {
    imported: u64,
    older: u64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.verb), output::REFUSED)
}

fn perform(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Status { admin } => show(&admin.client()?.get("/v1/admin/endorsements")?, admin.format),
        Verb::Fetch { ids, products, fmspcs, admin } => {
            let body = json!({"ids": ids, "products": products, "fmspcs": fmspcs}).to_string();
            let path = "/v1/admin/endorsements/fetch";
            let fetched = admin.client()?.send(Method::POST, path, "application/json", Bytes::from(body))?;
            return show_fetched(&fetched, admin.format);
        }
        Verb::Export { bundle, vendor, admin } => {
            ensure!(!bundle.exists(), "{} exists already", bundle.display());
            let query = vendor.map(|vendor| format!("?vendor={}", vendor.as_str())).unwrap_or_default();
            let bytes = admin.client()?.download(&format!("/v1/admin/endorsements/bundle{query}"))?;
            fs::write(bundle, &bytes).with_context(|| format!("{} cannot be written", bundle.display()))?;
            match admin.format {
                Format::Text => output::print(&format!("wrote {} bytes to {}", bytes.len(), bundle.display())),
                Format::Json => output::print_json(&json!({"bytes": bytes.len(), "file": bundle})),
            }
        }
        Verb::Import { bundle, admin } => {
            let bytes = fs::read(bundle).with_context(|| format!("{} cannot be read", bundle.display()))?;
            let (path, media_type) = ("/v1/admin/endorsements/bundle", "application/octet-stream");
            let taken: Imported = admin.client()?.send(Method::PUT, path, media_type, Bytes::from(bytes))?;
            match admin.format {
                Format::Text => output::print(&format!(
                    "imported {} documents; of {} more a newer one was here",
                    taken.imported, taken.older
                )),
                Format::Json => output::print_json(&taken),
            }
        }
    }
    Ok(())
}

fn show(status: &Status, format: Format) {
    if format == Format::Json {
        output::print_json(status);
        return;
    }
    let mut documents = Table::new(&["DOCUMENT", "STATE", "ISSUED", "ENDS", "NUMBER", "FETCHED", "FROM"]);
    for document in &status.documents {
        documents.row([
            document.id.clone(),
            document.state.clone(),
            document.issued_at.clone(),
            document.ends_at.clone(),
            document.number.clone().unwrap_or_default(),
            document.fetched_at.clone(),
            document.source.clone(),
        ]);
    }
    let mut chips = Table::new(&["PRODUCT", "CHIP CERTIFICATES", "FIRST ENDS"]);
    for chip in &status.chips {
        chips.row([chip.product.clone(), chip.certificates.to_string(), chip.ends_at.clone()]);
    }
    let mut sources = Table::new(&["SOURCE", "KIND", "STATE"]);
    for source in &status.sources {
        let state =
            source.left_alone_seconds.map_or_else(|| "asked".to_owned(), |wait| format!("left alone for {wait} s"));
        sources.row([source.url.clone(), source.kind.clone(), state]);
    }
    output::print(&[documents.render(), chips.render(), sources.render()].join("\n"));
}

/// Exit status 1 when any document did not come.
fn show_fetched(fetched: &Vec<Fetched>, format: Format) -> Result<()> {
    match format {
        Format::Json => output::print_json(fetched),
        Format::Text => {
            let mut table = Table::new(&["DOCUMENT", "FETCHED", "REASON"]);
            for document in fetched {
                let done = if document.fetched { "yes" } else { "no" };
                table.row([document.id.clone(), done.to_owned(), document.reason.clone().unwrap_or_default()]);
            }
            output::print(&table.render());
        }
    }
    let missing = fetched.iter().filter(|document| !document.fetched).count();
    ensure!(missing == 0, "{missing} of {} documents were not to be had", fetched.len());
    Ok(())
}
