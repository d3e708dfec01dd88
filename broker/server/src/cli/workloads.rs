//! `countersign workloads`: the inventory of guests that attested.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign workloads`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only guests of this workload
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Only guests that hold something now
    #[arg(long)]
    open: bool,
    /// At most so many, 1000 at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u32,
    /// One line for each workload, with the static secrets that its guests report, and for each system that has an exception
    #[arg(long, conflicts_with_all = ["workload", "open", "limit"])]
    summary: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(args), output::REFUSED)
}

fn perform(args: &Args) -> Result<()> {
    if args.summary {
        let inventory: Value = args.admin.client()?.get("/v1/admin/inventory")?;
        match args.admin.format {
            Format::Json => output::print_json(&inventory),
            Format::Text => output::print(&summary(&inventory)),
        }
        return Ok(());
    }
    let mut path = format!("/v1/admin/workloads?open={}&limit={}", args.open, args.limit);
    if let Some(workload) = &args.workload {
        anyhow::ensure!(crate::store::is_name(workload), "expected the name of a workload, found {workload:?}");
        path.push_str(&format!("&workload={workload}"));
    }
    let guests: Vec<Value> = args.admin.client()?.get(&path)?;
    match args.admin.format {
        Format::Json => output::print_json(&guests),
        Format::Text => output::print(&table(&guests)),
    }
    Ok(())
}

fn table(guests: &[Value]) -> String {
    let mut table =
        Table::new(&["GUEST", "WORKLOADS", "PLATFORM", "HARDWARE", "CHIP", "TCB", "LAST EVIDENCE", "HOLDS", "REPORTS"]);
    for guest in guests {
        let text = |name: &str| guest.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        table.row([
            text("id"),
            list(guest, "workloads", |workload| workload.as_str().unwrap_or("?").to_owned()),
            text("platform"),
            text("hwmodel"),
            text("chip").chars().take(16).collect(),
            text("tcb_status"),
            text("last_at"),
            list(guest, "leases", |lease| {
                let text = |name: &str| lease.get(name).and_then(Value::as_str).unwrap_or("?");
                format!("{}/{}", text("kind"), text("name"))
            }),
            reported(guest),
        ]);
    }
    table.render()
}

/// What gives each its identity, and how many static secrets are left.
fn summary(inventory: &Value) -> String {
    let all = |name: &str| inventory.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut table = Table::new(&["NAME", "IDENTITY", "GUESTS", "LEASES", "LAST", "STATIC SECRETS"]);
    for one in all("workloads") {
        let name = text(one, "workload");
        table.row([
            name,
            "attestation".to_owned(),
            text(one, "guests"),
            text(one, "leases"),
            text(one, "last_at"),
            reported(one),
        ]);
    }
    for one in all("exceptions") {
        let until = format!("1, exception until {}", text(one, "expires_at"));
        let none = || "-".to_owned();
        table.row([text(one, "system"), "bridge".to_owned(), none(), none(), text(one, "last_use_at"), until]);
    }
    table.render()
}

/// What a guest says of the static secrets in its image. No hardware vouches for it.
fn reported(one: &Value) -> String {
    let Some(said) = one.get("guest_reported") else { return "-".to_owned() };
    let partly = if said.get("complete").and_then(Value::as_bool) == Some(true) { "" } else { " at least" };
    format!("{}{partly} (guest-reported)", text(said, "static_secrets"))
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => output::plain(text),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}

fn list(guest: &Value, name: &str, word: impl Fn(&Value) -> String) -> String {
    let words: Vec<String> = guest.get(name).and_then(Value::as_array).into_iter().flatten().map(word).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}
