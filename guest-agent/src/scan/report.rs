//! What a scan prints.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use super::{Finding, Risk, Scan, Tally};

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    static_secrets: usize,
    complete: bool,
    rules: usize,
    #[serde(flatten)]
    tally: Tally,
}

/// The findings and the tally.
pub(crate) fn render(scan: &Scan, format: ReportFormat) -> Result<String, serde_json::Error> {
    match format {
        ReportFormat::Text => Ok(text(scan)),
        ReportFormat::Json => {
            let report = Report {
                findings: &scan.findings,
                static_secrets: scan.findings.len(),
                complete: scan.tally.is_complete(),
                rules: scan.rules.len(),
                tally: scan.tally,
            };
            serde_json::to_string_pretty(&report).map(|json| json + "\n")
        }
    }
}

fn text(scan: &Scan) -> String {
    let mut out = String::new();
    let width = scan.findings.iter().map(|finding| finding.rule.len()).max().unwrap_or(0);
    for finding in &scan.findings {
        let Finding { risk, rule, fingerprint, location, line } = finding;
        let fingerprint = fingerprint.as_deref().unwrap_or("-");
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let (risk, location) = (risk.as_str(), plain(location));
        let _infallible = writeln!(out, "{risk:<6}  {rule:<width$}  {fingerprint:<16}  {location}{line}");
    }
    let count = |risk| scan.findings.iter().filter(|finding| finding.risk == risk).count();
    let (high, medium, low) = (count(Risk::High), count(Risk::Medium), count(Risk::Low));
    let Tally { files, processes, left_out, binary, special, too_large, unreadable, cut_short } = scan.tally;
    let total = scan.findings.len();
    let _infallible = writeln!(out, "{total} static secrets: {high} high, {medium} medium, {low} low");
    let _infallible = writeln!(out, "searched: {files} files, {processes} processes, by {} rules", scan.rules.len());
    let _infallible = writeln!(
        out,
        "not searched: {left_out} left out by the rules, {binary} binary, {special} special, {too_large} too large, \
         {unreadable} unreadable{}",
        if cut_short { "; a limit ended the scan" } else { "" }
    );
    out
}

/// Names of files are the image's: they do not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
