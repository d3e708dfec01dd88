//! `countersign explain`: a decision in words.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::Result;
use serde_json::Value;

use super::{
    client::AdminArgs,
    output::{self, Format},
};

/// Arguments of `countersign explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The attestation id, as the guest's console or the broker's log shows it
    id: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match explain(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn explain(args: &Args) -> Result<()> {
    let record: Value = args.admin.client()?.get(&format!("/v1/admin/decisions/{}", args.id))?;
    match args.admin.format {
        Format::Json => output::print_json(&record),
        Format::Text => output::print(&in_words(&record)),
    }
    Ok(())
}

/// The record as a newcomer reads it: verdict, reasons, what was seen, what was given.
fn in_words(record: &Value) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        let _infallible = writeln!(text, "{words}");
    };
    line(format!("{} was {} at {}", string(record, "/id"), string(record, "/outcome"), string(record, "/decided_at")));
    if let Some(code) = record.pointer("/code").and_then(Value::as_str) {
        line(format!("because of {code}"));
    }
    for reason in list(record, "/reasons") {
        line(format!("  - {} ({})", string(reason, "/text"), string(reason, "/code")));
    }
    if let Some(advice) = record.pointer("/explanation/recommendation").and_then(Value::as_str) {
        line(format!("Next: {advice}"));
    }
    about_checks(list(record, "/explanation/checks"), &mut line);
    match record.pointer("/claims") {
        Some(claims) => about_evidence(claims, &mut line),
        None => line("The evidence was not authenticated, so nothing that it says is known to be true.".to_owned()),
    }
    if let Some(appraisal) = record.pointer("/appraisal") {
        about_appraisal(appraisal, &mut line);
    }
    for grant in list(record, "/grants") {
        about_grant(grant, &mut line);
    }
    line(format!("trace id {}", string(record, "/trace_id")));
    text
}

fn about_checks(checks: &[Value], line: &mut impl FnMut(String)) {
    if !checks.is_empty() {
        line("The checks in their order:".to_owned());
    }
    for check in checks {
        let cell = |pointer| string(check, pointer);
        line(format!(
            "  {:<9} {:<12} {}: expected {}; found {} [{}]",
            cell("/outcome"),
            cell("/stage"),
            cell("/check"),
            cell("/expected"),
            cell("/found"),
            cell("/source")
        ));
    }
}

fn about_evidence(claims: &Value, line: &mut impl FnMut(String)) {
    line("The evidence is authentic. It says:".to_owned());
    let facts = [
        ("hardware", "/hwmodel"),
        ("platform", "/platform"),
        ("launch measurement", "/measurement/launch"),
        ("chip", "/instance"),
        ("debug", "/debug"),
        ("TCB status", "/tcb/status"),
    ];
    for (name, pointer) in facts {
        if let Some(value) = claims.pointer(pointer) {
            line(format!("  {name:<20}{}", plain(value)));
        }
    }
}

fn about_appraisal(appraisal: &Value, line: &mut impl FnMut(String)) {
    line(format!("The appraisal is {}, by policy {}.", string(appraisal, "/status"), string(appraisal, "/policy")));
    for set in list(appraisal, "/reference_values/matched") {
        line(format!("  matches reference set {} version {}", string(set, "/id"), string(set, "/version")));
    }
    for relaxed in list(appraisal, "/relaxed") {
        line(format!("  relaxed by configuration: {}", plain(relaxed)));
    }
    for unchecked in list(appraisal, "/unchecked") {
        line(format!("  not checked: {} ({})", string(unchecked, "/what"), string(unchecked, "/reason")));
    }
    for remark in list(appraisal, "/remarks") {
        line(format!("  policy: {}", plain(remark)));
    }
}

fn about_grant(grant: &Value, line: &mut impl FnMut(String)) {
    let name = format!("{} {}", string(grant, "/type"), string(grant, "/name"));
    match grant.pointer("/code").and_then(Value::as_str) {
        None => {
            line(format!("{name}: version {} released, lease {}", string(grant, "/version"), string(grant, "/lease")))
        }
        Some(code) => {
            line(format!("{name}: denied, {code}"));
            for reason in list(grant, "/reasons") {
                line(format!("  - {}", plain(reason)));
            }
        }
    }
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn string(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(|| "?".to_owned(), plain)
}

/// A scalar without quotes; control characters of a guest's own text do not reach the terminal.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| output::plain(&value.to_string()), output::plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::in_words;

    #[test]
    fn a_refusal_is_explained_in_words() {
        let record = json!({
            "id": "a1", "trace_id": "t1", "outcome": "refused", "decided_at": "2026-11-22T00:00:00Z",
            "code": "reference.no_match", "authenticated": true,
            "reasons": [{"code": "reference.no_match", "text": "launch measurement 9f is not in web-prod v3"}],
            "claims": {"hwmodel": "amd-milan", "platform": "bare", "debug": false, "measurement": {"launch": "9f"}},
            "appraisal": {"status": "contraindicated", "policy": "p@sha256:1", "unchecked": [], "relaxed": [], "remarks": []},
            "grants": [{"id": "g1", "type": "secret", "name": "disk\u{1b}[2Jkey", "code": "release.policy.denied", "reasons": ["no"]}]
        });
        let words = in_words(&record);
        assert!(
            words.starts_with("a1 was refused at 2026-11-22T00:00:00Z\nbecause of reference.no_match\n"),
            "{words}"
        );
        assert!(words.contains("launch measurement 9f is not in web-prod v3"), "{words}");
        assert!(!words.contains('\u{1b}'), "{words}");
    }
}
