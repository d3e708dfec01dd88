//! `countersign exposure`: what a leak would be worth.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{
    client::AdminArgs,
    output::{self, Format, Table},
};

/// Arguments of `countersign exposure`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(perform(&args.admin), output::REFUSED)
}

fn perform(admin: &AdminArgs) -> Result<()> {
    let report: Value = admin.client()?.get("/v1/admin/exposure")?;
    match admin.format {
        Format::Json => output::print_json(&report),
        Format::Text => output::print(&table(&report)),
    }
    Ok(())
}

fn table(report: &Value) -> String {
    let mut table = Table::new(&["CLASS", "OPEN", "GUESTS", "LONGEST S", "CAP S", "LATEST END", "LAST GIVEN"]);
    let text = |of: &Value, name: &str| match of.get(name) {
        Some(Value::String(text)) => output::plain(text),
        Some(value) if !value.is_null() => value.to_string(),
        _ => "-".to_owned(),
    };
    for class in report.get("classes").and_then(Value::as_array).into_iter().flatten() {
        let names = ["class", "open", "guests", "longest_seconds", "cap_seconds", "latest_end", "last_given"];
        table.row(names.map(|name| text(class, name)));
    }
    let dash = || "-".to_owned();
    table.row(["all".to_owned(), text(report, "open"), dash(), dash(), text(report, "cap_seconds"), dash(), dash()]);
    table.render()
}
