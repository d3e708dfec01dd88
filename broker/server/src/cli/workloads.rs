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
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match perform(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn perform(args: &Args) -> Result<()> {
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
        Table::new(&["GUEST", "WORKLOADS", "PLATFORM", "HARDWARE", "CHIP", "TCB", "LAST EVIDENCE", "HOLDS"]);
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
        ]);
    }
    table.render()
}

fn list(guest: &Value, name: &str, word: impl Fn(&Value) -> String) -> String {
    let words: Vec<String> = guest.get(name).and_then(Value::as_array).into_iter().flatten().map(word).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}
