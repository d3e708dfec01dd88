//! `countersign audit`: the audit log, read, carried away and checked.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json, value::RawValue};
use verifier::Timestamp;

use super::{
    client::{AdminArgs, AdminClient},
    output::{self, Format, Table},
};
use crate::audit::{Broken, Checked};

mod verify;

/// Records of one request.
const PAGE: u64 = 1000;

/// Arguments of `countersign audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List records, oldest first
    Show {
        /// Only those behind this record
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: u64,
        /// Only those of this kind, for example `revocation.added`
        #[arg(long)]
        kind: Option<String>,
        /// Only those that name this, for example the id of an attestation or a lease
        #[arg(long, value_name = "TEXT")]
        about: Option<String>,
        /// Only those from this time on, RFC 3339
        #[arg(long, value_name = "TIME", value_parser = Timestamp::parse_rfc3339)]
        since: Option<Timestamp>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Write records and signed checkpoints to a file, one JSON object on each line
    Export {
        /// The file; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Write the public keys of the checkpoints (JWKS) to this file
        #[arg(long, value_name = "FILE")]
        keys_out: Option<PathBuf>,
        /// Only records behind this one, to go on from an earlier export
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
        after: u64,
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Check an export, or a broker's store: every edit, removal and reorder is found and named
    Verify(Box<verify::Args>),
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match &args.verb {
        Verb::Show { after, kind, about, since, limit, admin } => {
            let mut query = format!("after={after}&limit={limit}");
            let texts =
                [("kind", kind.clone()), ("contains", about.clone()), ("since", since.map(|at| at.to_string()))];
            for (name, value) in texts {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", escaped(&value)));
                }
            }
            show(&query, admin)
        }
        Verb::Export { out, keys_out, after, admin } => export(out, keys_out.as_deref(), *after, admin),
        Verb::Verify(args) => return verify::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

/// Text in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn show(query: &str, admin: &AdminArgs) -> Result<()> {
    let records: Vec<Value> = admin.client()?.get(&format!("/v1/admin/audit?{query}"))?;
    match admin.format {
        Format::Json => output::print_json(&records),
        Format::Text => {
            let mut table = Table::new(&["SEQUENCE", "TIME", "KIND", "WHAT"]);
            for record in &records {
                let member = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                let sequence = record.get("sequence").and_then(Value::as_u64).unwrap_or_default().to_string();
                table.row([sequence, member("at"), member("kind"), output::plain(&what(record.get("body")))]);
            }
            output::print(&table.render());
        }
    }
    Ok(())
}

/// The plain members of a body, in one line.
fn what(body: Option<&Value>) -> String {
    let members = body.and_then(Value::as_object).into_iter().flatten();
    let words = members.filter_map(|(name, value)| match value {
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(number) => Some(format!("{name}={number}")),
        Value::Bool(is) => Some(format!("{name}={is}")),
        Value::Array(list) => Some(format!("{name}={}", list.len())),
        Value::Null | Value::Object(_) => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Checkpoints first, so that the records reach as far as they do.
fn export(out: &Path, keys_out: Option<&Path>, after: u64, admin: &AdminArgs) -> Result<()> {
    let client = admin.client()?;
    let create = |path: &Path| File::create_new(path).with_context(|| format!("{} cannot be written", path.display()));
    if let Some(path) = keys_out {
        create(path)?.write_all(&client.download("/v1/admin/audit/keys")?)?;
    }
    let checkpoints = checkpoints(&client, after)?;
    let mut file = BufWriter::new(create(out)?);
    let (mut last, mut records) = (after, 0_u64);
    loop {
        let page: Vec<Box<RawValue>> = client.get(&format!("/v1/admin/audit?after={last}&limit={PAGE}"))?;
        let Some(newest) = page.last() else { break };
        let newest: Value = serde_json::from_str(newest.get())?;
        last = newest.get("sequence").and_then(Value::as_u64).context("expected the number of a record")?;
        for record in &page {
            writeln!(file, "{}", record.get())?;
            records = records.saturating_add(1);
        }
    }
    for token in &checkpoints {
        writeln!(file, "{}", json!({"checkpoint": token}))?;
    }
    file.into_inner()?.sync_all()?;
    let said = json!({"records": records, "last": last, "checkpoints": checkpoints.len()});
    match admin.format {
        Format::Json => output::print_json(&said),
        Format::Text => output::print(&format!(
            "{records} records up to number {last} and {} signed checkpoints in {}",
            checkpoints.len(),
            out.display()
        )),
    }
    Ok(())
}

/// The tokens of every checkpoint from the record `from` on.
fn checkpoints(client: &AdminClient, from: u64) -> Result<Vec<String>> {
    let (mut tokens, mut after) = (Vec::new(), from.saturating_sub(1));
    loop {
        let page: Vec<Value> = client.get(&format!("/v1/admin/audit/checkpoints?after={after}&limit={PAGE}"))?;
        let Some(last) = page.last() else { return Ok(tokens) };
        after = last.get("sequence").and_then(Value::as_u64).context("expected the number of a checkpoint")?;
        let token = |one: &Value| one.get("token").and_then(Value::as_str).map(str::to_owned);
        for checkpoint in &page {
            tokens.push(token(checkpoint).context("expected a checkpoint")?);
        }
    }
}

/// Prints what came of a check.
fn tell(outcome: &Result<Checked, Broken>, format: Format) -> ExitCode {
    match (outcome, format) {
        (Ok(checked), Format::Json) => output::print_json(&json!({"verdict": "holds", "chain": checked})),
        (Ok(checked), Format::Text) => {
            let first = checked.first.map_or_else(String::new, |first| format!("{first} to "));
            output::print(&format!(
                "the chain holds: {} records, {first}{}\n{} signed checkpoints agree, the last with record {}",
                checked.records, checked.last, checked.checkpoints, checked.signed_to
            ));
        }
        (Err(broken), Format::Json) => output::print_json(
            &json!({"verdict": "broken", "sequence": broken.sequence(), "reason": broken.to_string()}),
        ),
        (Err(broken), Format::Text) => output::complain(&format!("the chain is broken: {broken}")),
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(output::REFUSED) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_body_is_one_line_and_a_query_is_escaped() {
        let body = json!({"by": "admin", "code": null, "leases": [1, 2], "staged": false, "version": 3});
        assert_eq!(super::what(Some(&body)), "by=admin leases=2 staged=false version=3");
        assert_eq!(super::escaped("a-1&b =%"), "a-1%26b%20%3D%25");
    }
}
