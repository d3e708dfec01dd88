//! `countersign verify`: judges evidence in files, offline, with the core that the broker uses.

mod endorsements;
mod evidence;
mod outcome;
mod tpm;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    code::{Code, Coded},
};
use keys::jwk::TeePublicKey;
use verifier::{
    Appraisal, AuthenticateError, Criteria, CrlFloors, Expected, Explanation, Forgetful, Policing, Revocation, Terms,
    Timestamp, TrustAnchors, Warnings, appraise, authenticate,
    baseline::Baseline,
    policy::AppraisalPolicy,
    reference::{ReferenceValues, References},
    tdx::AcceptedTcb,
    tpm::TpmTerms,
};

use self::{
    endorsements::Gathered,
    evidence::Beside,
    tpm::{Hex, TpmArgs},
};
pub(super) use self::{
    evidence::EvidenceType,
    outcome::{Outcome, Verdict},
};
use super::{
    files,
    output::{self, Format},
};

/// Arguments of `countersign verify`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 authentic and passes the baseline (and affirming, where a policy was given); 1 rejected; \
                  2 usage or unreadable file; 3 not decided, an endorsement is missing."
)]
pub(crate) struct Args {
    /// What the evidence is
    #[arg(long = "type", value_enum)]
    kind: EvidenceType,
    /// The evidence
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    #[command(flatten)]
    terms: TermArgs,
    /// How the result is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// By what evidence in files is judged.
#[derive(Debug, clap::Args)]
pub(super) struct TermArgs {
    /// Certificates, CRLs and vendor documents, each recognised by its content; may be repeated
    #[arg(long, value_name = "FILE_OR_DIR")]
    endorsements: Vec<PathBuf>,
    /// Replaces the built-in vendor roots; may be repeated
    #[arg(long, value_name = "FILE")]
    trust_anchor: Vec<PathBuf>,
    /// The event log that was measured beside the evidence (TDX: CCEL; TPM: TCG2)
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// TDX: the log of what was measured after the boot; needs --event-log
    #[arg(long, value_name = "FILE", requires = "event_log")]
    runtime_event_log: Option<PathBuf>,
    /// SNP and TDX: the init-data that the launch committed to (TOML)
    #[arg(long, value_name = "FILE")]
    init_data: Option<PathBuf>,
    /// The exact report data expected
    #[arg(long, value_name = "HEX", conflicts_with = "nonce")]
    report_data: Option<Hex>,
    /// Compute the expected report data from this nonce and the TEE key
    #[arg(long, value_name = "B64URL", requires = "tee_key")]
    nonce: Option<Nonce>,
    /// Public TEE key, a JWK
    #[arg(long, value_name = "FILE", requires = "nonce")]
    tee_key: Option<PathBuf>,
    /// The time to verify at [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse_rfc3339)]
    at: Option<Timestamp>,
    /// Whether revocation data must be there
    #[arg(long, value_enum, default_value = "require")]
    revocation: RevocationMode,
    #[command(flatten)]
    tpm: TpmArgs,
    /// TDX statuses that are accepted besides UpToDate, separated by commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = accepted_tcb)]
    accept_tcb: Vec<AcceptedTcb>,
    /// Baseline rules, TOML
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Appraisal policy, Rego
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Reference values, JSON
    #[arg(long, value_name = "FILE")]
    reference_values: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RevocationMode {
    /// Without a current CRL nothing is decided
    Require,
    /// A missing CRL is listed as unchecked
    IfPresent,
}

impl From<RevocationMode> for Revocation {
    fn from(mode: RevocationMode) -> Self {
        match mode {
            RevocationMode::Require => Self::Require,
            RevocationMode::IfPresent => Self::IfPresent,
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match judge_files(args.kind, &args.evidence, &args.terms) {
        Ok(outcome) => outcome.report(args.format),
        Err(error) => {
            let status = output::fail(&error, output::USAGE);
            if args.format == Format::Json {
                output::print_json(&Outcome::refused(Verdict::Undecided, &Unusable(error)));
            }
            status
        }
    }
}

/// A file or argument of the operator's, without which nothing is judged.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
struct Unusable(anyhow::Error);

impl Coded for Unusable {
    fn code(&self) -> Code {
        Code::new("parse.file")
    }
}

/// Judges the evidence in a file.
///
/// # Errors
/// When a file of the operator's cannot be read or used.
pub(super) fn judge_files(kind: EvidenceType, evidence: &Path, terms: &TermArgs) -> Result<Outcome> {
    verify(kind, evidence, terms, &Inputs::read(kind, terms)?)
}

/// Everything that the command line names, read and parsed. What fails here is the operator's own file: exit status 2.
struct Inputs {
    anchors: TrustAnchors,
    expected: Expected,
    tpm: TpmTerms,
    now: Timestamp,
    baseline: Baseline,
    policy: Option<AppraisalPolicy>,
    reference_values: Option<ReferenceValues>,
}

impl Inputs {
    fn read(kind: EvidenceType, args: &TermArgs) -> Result<Self> {
        let mut tpm = args.tpm.terms()?;
        Ok(Self {
            anchors: anchors(&args.trust_anchor)?,
            expected: expected(kind, args, &mut tpm)?,
            tpm,
            now: args.at.map_or_else(now, Ok)?,
            baseline: baseline(args)?,
            policy: args.policy.as_deref().map(policy).transpose()?,
            reference_values: args.reference_values.as_deref().map(reference_values).transpose()?,
        })
    }

    fn criteria(&self) -> Criteria<'_> {
        Criteria {
            baseline: &self.baseline,
            references: self
                .reference_values
                .as_ref()
                .map_or(References::Unchecked { reason: "no --reference-values given" }, References::Require),
            policing: self.policy.as_ref().map_or(Policing::Unapplied { reason: "no --policy given" }, Policing::Apply),
            warnings: Warnings::Refuse,
        }
    }
}

fn anchors(files: &[PathBuf]) -> Result<TrustAnchors> {
    if files.is_empty() {
        return Ok(TrustAnchors::vendor());
    }
    let contents = files.iter().map(|file| files::read(file)).collect::<Result<Vec<_>>>()?;
    TrustAnchors::from_files(contents.iter().map(Vec::as_slice)).context("reading --trust-anchor")
}

fn expected(kind: EvidenceType, args: &TermArgs, terms: &mut TpmTerms) -> Result<Expected> {
    if let Some(report_data) = &args.report_data {
        return tpm::expected(kind, report_data, terms);
    }
    let (Some(nonce), Some(file)) = (args.nonce, &args.tee_key) else {
        return Ok(Expected::Unchecked { reason: "neither --report-data nor --nonce given" });
    };
    let key: TeePublicKey =
        serde_json::from_slice(&files::read(file)?).with_context(|| format!("{} is not a TEE key", file.display()))?;
    Ok(Expected::Binding(BindingDigest::native(&nonce, &key)?))
}

fn now() -> Result<Timestamp> {
    let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Timestamp::from_unix(i64::try_from(elapsed.as_secs())?))
}

fn baseline(args: &TermArgs) -> Result<Baseline> {
    let mut baseline = match &args.baseline {
        Some(file) => {
            let text =
                String::from_utf8(files::read(file)?).with_context(|| format!("{} is not UTF-8", file.display()))?;
            Baseline::from_toml(&text).with_context(|| format!("reading {}", file.display()))?
        }
        None => Baseline::default(),
    };
    baseline.tdx.accept_tcb.extend(&args.accept_tcb);
    Ok(baseline)
}

fn accepted_tcb(text: &str) -> Result<AcceptedTcb> {
    let status = serde_json::from_value(text.into()).context("expected a TCB status such as SWHardeningNeeded")?;
    AcceptedTcb::unlimited(status).map_err(|error| anyhow!(error))
}

fn policy(file: &Path) -> Result<AppraisalPolicy> {
    let text = String::from_utf8(files::read(file)?).with_context(|| format!("{} is not UTF-8", file.display()))?;
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    AppraisalPolicy::compile(&name, &text).map_err(|error| anyhow!("{}: {}: {error}", file.display(), error.code()))
}

fn reference_values(file: &Path) -> Result<ReferenceValues> {
    ReferenceValues::parse(&files::read(file)?)
        .map_err(|error| anyhow!("{}: {}: {error}", file.display(), error.code()))
}

fn verify(kind: EvidenceType, evidence: &Path, args: &TermArgs, inputs: &Inputs) -> Result<Outcome> {
    let bytes = files::read(evidence)?;
    let gathered = match endorsements::gather(&args.endorsements)? {
        Ok(gathered) => gathered,
        Err(outcome) => return Ok(*outcome),
    };
    let read = |file: &Option<PathBuf>| file.as_ref().map(|file| files::read(file)).transpose();
    let beside = Beside {
        cert_table: gathered.cert_table.clone(),
        event_log: read(&args.event_log)?,
        runtime_event_log: read(&args.runtime_event_log)?,
        init_data: read(&args.init_data)?,
    };
    kind.require_use_for(&beside)?;
    Ok(match evidence::parse(kind, &bytes, beside) {
        Ok(evidence) => judge(&evidence, &gathered, inputs, args.revocation.into()).with_notes(gathered.notes),
        Err(refusal) => *refusal,
    })
}

fn judge(
    evidence: &evidence_formats::evidence::Evidence,
    gathered: &Gathered,
    inputs: &Inputs,
    revocation: Revocation,
) -> Outcome {
    let attempt = |revocation| {
        let terms = Terms {
            anchors: &inputs.anchors,
            revocation,
            expected: inputs.expected,
            now: inputs.now,
            memory: &Forgetful,
            crl_floors: CrlFloors::NONE,
            tpm: &inputs.tpm,
        };
        authenticate(evidence, &gathered.endorsements, &terms)
            .map(|authentic| appraise(&authentic, &inputs.criteria(), inputs.now))
    };
    match attempt(revocation) {
        Ok(appraisal) => appraised(&appraisal),
        Err(error) if error.is_missing_endorsement() => {
            // Evidence that would be refused with the missing CRL at hand, too, is refused now: waiting for it is in vain.
            let refused = attempt(Revocation::IfPresent).ok().map(|appraisal| appraised(&appraisal));
            refused.filter(|outcome| outcome.verdict == Verdict::Rejected).unwrap_or_else(|| undecided(&error))
        }
        Err(error) => *Outcome::refused(Verdict::Rejected, &error),
    }
}

fn undecided(error: &AuthenticateError) -> Outcome {
    *Outcome::refused(Verdict::Undecided, error)
}

fn appraised(appraisal: &Appraisal) -> Outcome {
    let reasons: Vec<String> = appraisal.reasons().iter().map(|reason| reason.text.clone()).collect();
    let code = appraisal.code();
    Outcome {
        verdict: if code.is_none() { Verdict::Accepted } else { Verdict::Rejected },
        code,
        reason: reasons.first().cloned(),
        reasons,
        claims: None,
        tcb_status: None,
        advisories: Vec::new(),
        unchecked: Vec::new(),
        relaxed: appraisal.relaxed().to_vec(),
        notes: Vec::new(),
        explanation: Explanation::of_appraisal(appraisal),
    }
    .with_claims(appraisal.claims())
    .with_unchecked(appraisal.unchecked())
}
