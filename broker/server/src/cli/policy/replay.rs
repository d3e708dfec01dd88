//! `countersign policy replay`: recorded decisions are fetched, and judged by the candidate on this machine.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::value::RawValue;
use verifier::{
    Timestamp,
    policy::{AppraisalPolicy, ReleasePolicy},
};

use super::read;
use crate::{
    cli::{
        client::{AdminArgs, AdminClient},
        output::{self, Format, Table},
    },
    clock,
    replay::{Candidate, Report},
    store::PolicyKind,
};

/// Decisions of one answer of the broker: records with long event logs must fit.
const PAGE: usize = 100;

/// Arguments of `countersign policy replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which decision it makes
    kind: PolicyKind,
    /// The policy that is tried (Rego)
    file: PathBuf,
    /// From which moment on: RFC 3339, or an age such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Timestamp,
    /// Most decisions, the newest first
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The part of a record that paging needs.
#[derive(Debug, Deserialize)]
struct Named {
    id: String,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    let source = read(&args.file)?;
    let candidate = match args.kind {
        PolicyKind::Appraisal => AppraisalPolicy::compile("candidate", &source).map(Candidate::Appraisal),
        PolicyKind::Release => ReleasePolicy::compile("candidate", &source).map(Candidate::Release),
    };
    let candidate = candidate.with_context(|| args.file.display().to_string())?;
    let report = replay(&args.admin.client()?, args, &candidate)?;
    match args.admin.format {
        Format::Json => output::print_json(&report),
        Format::Text => output::print(&in_words(&report, args.since)),
    }
    Ok(())
}

fn replay(client: &AdminClient, args: &Args, candidate: &Candidate) -> Result<Report> {
    let mut report = Report::default();
    let mut before = None;
    while report.examined < args.limit {
        let wanted = args.limit.saturating_sub(report.examined).min(PAGE);
        let path = page(args.since, before.as_deref(), wanted);
        let records: Vec<Box<RawValue>> = client.get(&path)?;
        for record in &records {
            report.examine(record, candidate).context("a decision was recorded in another form than this version's")?;
        }
        let Some(last) = records.last().filter(|_| records.len() == wanted) else {
            report.complete = true;
            break;
        };
        before = Some(serde_json::from_str::<Named>(last.get())?.id);
    }
    Ok(report)
}

fn page(since: Timestamp, before: Option<&str>, limit: usize) -> String {
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    format!("/v1/admin/decisions?since={since}&limit={limit}{before}")
}

fn in_words(report: &Report, since: Timestamp) -> String {
    let mut table = Table::new(&["DECISION", "DECIDED", "SUBJECT", "WAS", "WOULD BE", "WHY"]);
    for change in &report.changes {
        let cells = [&change.decision, &change.decided_at, &change.subject, &change.was, &change.would_be];
        table.row(cells.into_iter().map(|cell| output::plain(cell)).chain([output::plain(&change.why.join("; "))]));
    }
    let table = if report.changes.is_empty() { String::new() } else { format!("{}\n", table.render()) };
    let judged = report.examined.saturating_sub(report.not_judged);
    let cut = if report.complete { "" } else { "; there are more, raise --limit to see them" };
    format!(
        "{table}{} decisions since {since}{cut}: {judged} judged, {} without a question for this policy, {} changes",
        report.examined,
        report.not_judged,
        report.changes.len()
    )
}

/// A moment, or an age before now.
fn moment(text: &str) -> Result<Timestamp> {
    if let Ok(moment) = Timestamp::parse_rfc3339(text) {
        return Ok(moment);
    }
    let unit = match text.chars().last() {
        Some('m') => -60,
        Some('h') => -3600,
        Some('d') => -86_400,
        _ => bail!("expected RFC 3339 or an age such as 90m, 24h or 7d"),
    };
    let number: u32 =
        text.get(..text.len().saturating_sub(1)).unwrap_or_default().parse().context("expected a number")?;
    Ok(clock::now().plus_seconds(i64::from(number).saturating_mul(unit)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_moment_is_a_time_or_an_age() {
        assert_eq!(moment("2026-11-22T00:00:00Z").unwrap().to_string(), "2026-11-22T00:00:00Z");
        let age = clock::now().as_unix().saturating_sub(moment("2h").unwrap().as_unix());
        assert!((7200..7210).contains(&age), "{age}");
        for bad in ["", "h", "2", "-1h", "2w", "1,5h"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_replay_without_changes_says_how_much_it_looked_at() {
        let report = Report { examined: 5, not_judged: 2, complete: true, changes: Vec::new() };
        let words = in_words(&report, Timestamp::from_unix(0));
        assert_eq!(
            words,
            "5 decisions since 1970-01-01T00:00:00Z: 3 judged, 2 without a question for this policy, 0 changes"
        );
    }
}
