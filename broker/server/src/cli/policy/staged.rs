//! `countersign policy stage|unstage|staged`: the dual run of a policy before it decides.

use std::path::Path;

use anyhow::Result;
use hyper::{Method, body::Bytes};
use serde_json::{Value, json};

use super::{offline, path, read};
use crate::{
    cli::{
        client::AdminArgs,
        output::{self, Format, Table},
    },
    store::PolicyKind,
};

/// Stages the policy in `file`.
pub(super) fn stage(kind: PolicyKind, file: &Path, enforced: &[String], admin: &AdminArgs) -> Result<()> {
    let source = read(file)?;
    offline::warn(kind, &source)?;
    let body = Bytes::from(json!({"source": source, "enforced": enforced}).to_string());
    let place = format!("{}/staged", path(kind));
    let staged: Value = admin.client()?.send(Method::PUT, &place, "application/json", body)?;
    match admin.format {
        Format::Json => output::print_json(&staged),
        Format::Text => {
            let words = if enforced.is_empty() {
                "it decides nothing yet".to_owned()
            } else {
                format!("it has to agree for {}, and decides nothing else yet", enforced.join(" "))
            };
            output::print(&format!("staged the {} policy: {words}", kind.as_str()));
        }
    }
    Ok(())
}

/// Takes the staged policy away.
pub(super) fn unstage(kind: PolicyKind, admin: &AdminArgs) -> Result<()> {
    admin.client()?.call::<Value>(Method::DELETE, &format!("{}/staged", path(kind)), None)?;
    output::print(&format!("the staged {} policy is gone", kind.as_str()));
    Ok(())
}

/// Prints the report.
pub(super) fn report(admin: &AdminArgs) -> Result<()> {
    let report: Value = admin.client()?.get("/v1/admin/shadow")?;
    if admin.format == Format::Json {
        output::print_json(&report);
        return Ok(());
    }
    let list = |name: &str| report.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut compared = Table::new(&["RULE", "SUBJECT", "COMPARED", "DIFFERED"]);
    for one in list("compared") {
        compared.row(["rule", "subject", "compared", "differed"].map(|name| cell(&one, name)));
    }
    output::print(&compared.render());
    let differences = list("differences");
    if !differences.is_empty() {
        let mut table = Table::new(&["TIME", "DECISION", "SUBJECT", "WAS", "WOULD BE", "WHY"]);
        for one in differences {
            let cells = ["at", "decision", "subject", "was", "would_be", "why"];
            table.row(cells.map(|name| output::plain(&cell(&one, name))));
        }
        output::print(&format!("\n{}", table.render()));
    }
    Ok(())
}

fn cell(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
