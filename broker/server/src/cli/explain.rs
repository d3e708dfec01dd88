//! `countersign explain`: a decision in words, of a broker or of evidence in files.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::ArgGroup;
use serde::Serialize;
use serde_json::Value;
use verifier::{Explanation, meaning_of, recommendation_of};

use super::{
    client::AdminClient,
    output::{self, Format},
    verify::{self, EvidenceType, Outcome, TermArgs},
};

/// Arguments of `countersign explain`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("subject").required(true).args(["id", "code", "bundle", "evidence"]))]
pub(crate) struct Args {
    /// The attestation id, as the guest's console or the broker's log shows it
    #[arg(requires = "admin")]
    id: Option<String>,
    /// A code alone, for example binding.nonce.expired
    #[arg(long)]
    code: Option<String>,
    /// Evidence bundle, JSON or CBOR: judged here, with the arguments of `countersign verify`
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// What the evidence is
    #[arg(long = "type", value_enum, requires = "evidence")]
    kind: Option<EvidenceType>,
    /// Evidence of another type
    #[arg(long, value_name = "FILE", requires = "kind")]
    evidence: Option<PathBuf>,
    /// Directory with `admin.toml`, as `countersign init` made it
    #[arg(long, value_name = "DIR")]
    admin: Option<PathBuf>,
    #[command(flatten)]
    terms: TermArgs,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What is known of a code.
#[derive(Debug, Serialize)]
struct CodeInWords<'a> {
    code: &'a str,
    meaning: Option<&'static str>,
    recommendation: &'static str,
}

/// Evidence in files with every check.
#[derive(Debug, Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    explanation: &'a Explanation,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    output::finish(explain(args), output::REFUSED)
}

fn explain(args: &Args) -> Result<()> {
    let (value, words): (Value, fn(&Value) -> String) = match args {
        Args { id: Some(id), admin: Some(admin), .. } => {
            (AdminClient::open(admin)?.get(&format!("/v1/admin/decisions/{id}"))?, in_words)
        }
        Args { bundle: Some(file), .. } => (judged(EvidenceType::Bundle, file, args)?, files_in_words),
        Args { evidence: Some(file), kind: Some(kind), .. } => (judged(*kind, file, args)?, files_in_words),
        Args { code, .. } => {
            let code = code.as_deref().unwrap_or_default();
            let known = CodeInWords { code, meaning: meaning_of(code), recommendation: recommendation_of(code) };
            (serde_json::to_value(known)?, code_in_words)
        }
    };
    match args.format {
        Format::Json => output::print_json(&value),
        Format::Text => output::print(&words(&value)),
    }
    Ok(())
}

fn judged(kind: EvidenceType, file: &std::path::Path, args: &Args) -> Result<Value> {
    let outcome = verify::judge_files(kind, file, &args.terms)?;
    Ok(serde_json::to_value(Judged { outcome: &outcome, explanation: &outcome.explanation })?)
}

fn code_in_words(code: &Value) -> String {
    let meaning = code.pointer("/meaning").and_then(Value::as_str).map(|text| format!("{text}\n")).unwrap_or_default();
    format!("{}\n{meaning}Next: {}", string(code, "/code"), string(code, "/recommendation"))
}

/// A line at a time.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, words: &str) {
        let _infallible = writeln!(self.0, "{words}");
    }
}

/// Evidence in files, as a newcomer reads it.
fn files_in_words(judged: &Value) -> String {
    let mut text = Text::default();
    text.line(match string(judged, "/verdict").as_str() {
        "accepted" => "The evidence is accepted.",
        "undecided" => "The evidence is not decided",
        _ => "The evidence is refused",
    });
    about_refusal(judged, &mut text);
    about_checks(judged, &mut text);
    for note in list(judged, "/notes") {
        text.line(&format!("note: {}", plain(note)));
    }
    text.0
}

/// The record as a newcomer reads it: verdict, reasons, what was seen, what was given.
fn in_words(record: &Value) -> String {
    let mut text = Text::default();
    text.line(&format!(
        "{} was {} at {}",
        string(record, "/id"),
        string(record, "/outcome"),
        string(record, "/decided_at")
    ));
    about_refusal(record, &mut text);
    about_checks(record, &mut text);
    match record.pointer("/claims") {
        Some(claims) => about_evidence(claims, &mut text),
        None => text.line("The evidence was not authenticated, so nothing that it says is known to be true."),
    }
    if let Some(appraisal) = record.pointer("/appraisal") {
        about_appraisal(appraisal, &mut text);
    }
    if let Some(exchange) = record.pointer("/exchange") {
        text.line(&format!(
            "A token exchange of guest {} by attestation {}, its key proven by {}.",
            string(exchange, "/guest"),
            string(exchange, "/attestation"),
            string(exchange, "/proof")
        ));
    }
    for grant in list(record, "/grants") {
        about_grant(grant, &mut text);
    }
    text.line(&format!("trace id {}", string(record, "/trace_id")));
    text.0
}

/// Why, what that means, and what to do next.
fn about_refusal(decision: &Value, text: &mut Text) {
    if let Some(code) = decision.pointer("/code").and_then(Value::as_str) {
        text.line(&format!("because of {code}"));
    }
    if let Some(meaning) = decision.pointer("/explanation/meaning").and_then(Value::as_str) {
        text.line(meaning);
    }
    for reason in list(decision, "/reasons") {
        match reason.pointer("/text") {
            Some(words) => text.line(&format!("  - {} ({})", plain(words), string(reason, "/code"))),
            None => text.line(&format!("  - {}", plain(reason))),
        }
    }
    if let Some(advice) = decision.pointer("/explanation/recommendation").and_then(Value::as_str) {
        text.line(&format!("Next: {advice}"));
    }
}

/// What passed on one line; what did not with everything about it.
fn about_checks(decision: &Value, text: &mut Text) {
    let checks = list(decision, "/explanation/checks");
    if checks.is_empty() {
        return;
    }
    text.line("The checks, in their order:");
    for check in checks {
        let cell = |pointer| string(check, pointer);
        let (stage, name, found, source) = (cell("/stage"), cell("/check"), cell("/found"), cell("/source"));
        match cell("/outcome").as_str() {
            "passed" => text.line(&format!("  ok         {stage:<12} {name}: {found} [{source}]")),
            "relaxed" => text.line(&format!("  relaxed    {stage:<12} {name}: {found} [{source}]")),
            "unchecked" => text.line(&format!("  unchecked  {stage:<12} {name}: {found}")),
            _ => {
                text.line(&format!("  FAILED     {stage:<12} {name}"));
                for (label, value) in [("expected", cell("/expected")), ("found", found), ("source", source)] {
                    if !value.is_empty() {
                        text.line(&format!("             {label:<12} {value}"));
                    }
                }
            }
        }
    }
    let not_run: Vec<String> = list(decision, "/explanation/not_run").iter().map(plain).collect();
    if !not_run.is_empty() {
        text.line(&format!("  not run    {}", not_run.join(", ")));
    }
}

fn about_evidence(claims: &Value, text: &mut Text) {
    text.line("The evidence is authentic. It says:");
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
            text.line(&format!("  {name:<20}{}", plain(value)));
        }
    }
}

fn about_appraisal(appraisal: &Value, text: &mut Text) {
    text.line(&format!(
        "The appraisal is {}, by policy {}.",
        string(appraisal, "/status"),
        string(appraisal, "/policy")
    ));
    for set in list(appraisal, "/reference_values/matched") {
        text.line(&format!("  matches reference set {} version {}", string(set, "/id"), string(set, "/version")));
    }
    for relaxed in list(appraisal, "/relaxed") {
        text.line(&format!("  relaxed by configuration: {}", plain(relaxed)));
    }
    for unchecked in list(appraisal, "/unchecked") {
        text.line(&format!("  not checked: {} ({})", string(unchecked, "/what"), string(unchecked, "/reason")));
    }
    for remark in list(appraisal, "/remarks") {
        text.line(&format!("  policy: {}", plain(remark)));
    }
}

fn about_grant(grant: &Value, text: &mut Text) {
    let name = format!("{} {}", string(grant, "/type"), string(grant, "/name"));
    if let Some(exchange) = grant.pointer("/exchange") {
        let subject = exchange.pointer("/subject/name").map_or_else(String::new, |name| format!(" {}", plain(name)));
        let (from, audience) = (string(exchange, "/subject/from"), string(exchange, "/audience"));
        text.line(&format!("{name}: on behalf of {from}{subject} for {audience}"));
        for (label, pointer) in [("scope", "/scope"), ("purpose", "/purpose"), ("task", "/task")] {
            if let Some(value) =
                exchange.pointer(pointer).filter(|value| value.as_array().is_none_or(|all| !all.is_empty()))
            {
                text.line(&format!("  {label}: {}", plain(value)));
            }
        }
    }
    match grant.pointer("/code").and_then(Value::as_str) {
        None => text.line(&format!(
            "{name}: version {} released, lease {}",
            string(grant, "/version"),
            string(grant, "/lease")
        )),
        Some(code) => {
            text.line(&format!("{name}: denied, {code}"));
            for reason in list(grant, "/reasons") {
                text.line(&format!("  - {}", plain(reason)));
            }
            text.line(&format!("  Next: {} [{}]", recommendation_of(code), string(grant, "/policy")));
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
