//! What `countersign verify` says: one verdict, one code, and everything that was relaxed or left unchecked.

use std::{fmt::Write as _, process::ExitCode};

use evidence_formats::code::{Code, Coded};
use serde::Serialize;
use verifier::{Claims, Explanation, TcbStatus, Unchecked};

use super::super::output::{self, Format};

/// Exit status 3: not decided, an endorsement is missing.
const UNDECIDED: u8 = 3;

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::cli) enum Verdict {
    /// Authentic, passes the baseline, and affirming where a policy was given.
    Accepted,
    /// Refused for a reason that no further endorsement could mend.
    Rejected,
    /// Nothing speaks against it, but an endorsement that is required is missing.
    Undecided,
}

/// The object that `--format json` prints.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct Outcome {
    pub(in crate::cli) verdict: Verdict,
    pub(super) code: Option<Code>,
    pub(super) reason: Option<String>,
    pub(super) claims: Option<Box<Claims>>,
    pub(super) tcb_status: Option<TcbStatus>,
    pub(super) advisories: Vec<String>,
    pub(super) unchecked: Vec<&'static str>,
    pub(super) relaxed: Vec<String>,
    /// Every reason, in the order of the stages.
    pub(super) reasons: Vec<String>,
    /// Files that were ignored, and why things were not checked.
    pub(super) notes: Vec<String>,
    /// Every check, for `countersign explain`.
    #[serde(skip)]
    pub(in crate::cli) explanation: Explanation,
}

impl Outcome {
    /// A refusal before there were claims.
    pub(super) fn refused(verdict: Verdict, error: &impl Coded) -> Box<Self> {
        let reason = output::with_sources(error);
        Box::new(Self {
            verdict,
            code: Some(error.code()),
            reasons: vec![reason.clone()],
            reason: Some(reason),
            claims: None,
            tcb_status: None,
            advisories: Vec::new(),
            unchecked: Vec::new(),
            relaxed: Vec::new(),
            notes: Vec::new(),
            explanation: Explanation::of_refusal(error),
        })
    }

    /// Adds what was authenticated.
    pub(super) fn with_claims(mut self, claims: &Claims) -> Self {
        self.tcb_status = claims.tcb.status;
        self.advisories.clone_from(&claims.tcb.advisories);
        self.claims = Some(Box::new(claims.clone()));
        self
    }

    /// Adds checks that did not run, each named once.
    pub(super) fn with_unchecked(mut self, unchecked: &[Unchecked]) -> Self {
        for item in unchecked {
            if !self.unchecked.contains(&item.what) {
                self.unchecked.push(item.what);
                self.notes.push(format!("{} not checked: {}", item.what, item.reason));
            }
        }
        self
    }

    /// Adds what was noticed about the files.
    pub(super) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.notes.extend(notes);
        self
    }

    /// Prints the outcome and makes it an exit status.
    pub(super) fn report(&self, format: Format) -> ExitCode {
        match format {
            Format::Json => output::print_json(self),
            Format::Text => output::print(&self.text()),
        }
        match self.verdict {
            Verdict::Accepted => ExitCode::SUCCESS,
            Verdict::Rejected => ExitCode::from(output::REFUSED),
            Verdict::Undecided => ExitCode::from(UNDECIDED),
        }
    }

    fn text(&self) -> String {
        let mut text = match (self.verdict, self.code) {
            (Verdict::Accepted, _) => "accepted\n".to_owned(),
            (Verdict::Rejected, Some(code)) => format!("rejected: {code}\n"),
            (Verdict::Undecided, Some(code)) => format!("undecided: {code}\n"),
            (Verdict::Rejected, None) => "rejected\n".to_owned(),
            (Verdict::Undecided, None) => "undecided\n".to_owned(),
        };
        let mut line = |label: &str, value: &str| {
            let _infallible = writeln!(text, "  {label:<12}{value}");
        };
        for reason in &self.reasons {
            line("reason", reason);
        }
        if let Some(advice) = self.code.map(verifier::recommendation) {
            line("what to do", advice);
        }
        if let Some(claims) = &self.claims {
            line("hardware", claims.hwmodel);
            if let Some(launch) = &claims.measurement.launch {
                line("launch", &launch.to_string());
            }
            line("report data", &claims.report_data);
        }
        if !self.advisories.is_empty() {
            line("advisories", &self.advisories.join(", "));
        }
        for name in &self.relaxed {
            line("relaxed", name);
        }
        for note in &self.notes {
            line("note", note);
        }
        text
    }
}
