//! How a run can fail: exit status, words, and what to do.

use std::{process::ExitCode, time::Duration};

use evidence_formats::eventlog::runtime::RuntimeEventError;
use tee::{AttestError, ExtendError};
use thiserror::Error;

use crate::{
    connection::TransportError,
    console,
    luks::{CryptsetupError, DiskError},
    output::OutputError,
    protocol::Problem,
    result::ResultError,
    scan::ScanError,
    serve::ServeError,
    settings::SettingsError,
    unlock::SocketError,
};

/// Why a command failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The settings are no good.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Nothing can be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// An argument's file is no good.
    #[error("expected {expected} in {}", path.display())]
    Argument {
        /// What it should hold.
        expected: &'static str,
        /// Which file.
        path: std::path::PathBuf,
    },
    /// Core dumps could not be turned off.
    #[error("expected to turn off core dumps")]
    Process(#[source] std::io::Error),
    /// This machine gave no evidence.
    #[error(transparent)]
    Evidence(#[from] AttestError),
    /// What is to be measured is no event.
    #[error(transparent)]
    Event(#[from] RuntimeEventError),
    /// The event was not measured.
    #[error(transparent)]
    Extend(#[from] ExtendError),
    /// The hardware did not answer.
    #[error("expected evidence within {} s", limit.as_secs())]
    EvidenceTimeout {
        /// How long was waited.
        limit: Duration,
    },
    /// There is no TPM whose key could be enrolled or that could open a secret.
    #[error("expected a TPM that has a part in this machine's evidence")]
    NoTpm,
    /// The machine's maker left no certificate of the TPM.
    #[error("expected a certificate of the TPM's endorsement key; the attestation key is {ak_name}")]
    NoEkCertificate {
        /// Name of the attestation key, hex.
        ak_name: String,
    },
    /// The key is enrolled and does not count yet.
    #[error("the attestation key {ak_name} waits for the operator's approval")]
    AwaitingApproval {
        /// Its name, hex.
        ak_name: String,
    },
    /// A key or a message could not be made.
    #[error("expected to make {what}: {reason}")]
    Make {
        /// What.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The broker could not be reached until the time was up.
    #[error("no answer from the broker in {attempts} attempts")]
    Unreachable {
        /// How many.
        attempts: u32,
        /// The last one.
        source: Box<TransportError>,
    },
    /// The broker's end cannot be trusted or understood.
    #[error(transparent)]
    Transport(Box<TransportError>),
    /// The result is not ours.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// The broker's answer lacks what was asked, or holds something else.
    #[error("expected {expected} in the broker's answer")]
    Answer {
        /// What should be there.
        expected: &'static str,
    },
    /// What was to be scanned, or with what, is no good.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A scan found static secrets; they are printed.
    #[error("found {count} static secrets")]
    Found {
        /// How many.
        count: usize,
    },
    /// A scan found nothing, and could not look at everything.
    #[error("found nothing, and not everything was looked at")]
    Incomplete,
    /// The broker refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// The disk was not opened or changed.
    #[error(transparent)]
    Cryptsetup(#[from] CryptsetupError),
    /// The keys of the disk were not changed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A caller got no key; what there is to say was said then.
    #[error("the last caller got no key")]
    Unserved {
        /// Exit status of the cause.
        status: u8,
    },
    /// There is no socket to serve a key at.
    #[error(transparent)]
    Socket(#[from] SocketError),
}

/// The broker's no, in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code, such as `reference.snp.launch_measurement`.
    pub code: String,
    /// One sentence.
    pub detail: Option<String>,
    /// Every reason.
    pub reasons: Vec<String>,
    /// What the operator asks `countersign explain` about.
    pub decision: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {}", self.code)?;
        // With reasons, which follow line by line, the broker's sentence says the same again.
        match &self.detail {
            Some(detail) if self.reasons.is_empty() => write!(f, ": {detail}"),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code.unwrap_or_default(),
            detail: problem.detail.or(problem.title),
            reasons: problem.reasons,
            decision: problem.attestation_id,
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        if let TransportError::Refused { problem, .. } = error {
            Self::Refused(problem.0.into())
        } else {
            Self::Transport(Box::new(error))
        }
    }
}

impl Failure {
    /// 1 refused or found, 2 usage, 3 broker not reached, 4 evidence, 5 another broker, 6 clock, 7 disk, 8 not all was looked at.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::AwaitingApproval { .. } | Self::Found { .. } => 1,
            Self::Settings(_)
            | Self::Output(_)
            | Self::Serve(_)
            | Self::Argument { .. }
            | Self::Event(_)
            | Self::Process(_)
            | Self::Scan(_)
            | Self::Socket(_) => 2,
            Self::Incomplete => 8,
            Self::Transport(error) if matches!(**error, TransportError::Dates { .. }) => 6,
            Self::Transport(error) if matches!(**error, TransportError::Untrusted(_)) => 5,
            Self::Unreachable { .. } | Self::Transport(_) | Self::Result(_) | Self::Answer { .. } => 3,
            Self::Cryptsetup(_) | Self::Disk(_) => 7,
            Self::Unserved { status } => *status,
            Self::NoTpm
            | Self::NoEkCertificate { .. }
            | Self::Evidence(_)
            | Self::Extend(_)
            | Self::EvidenceTimeout { .. }
            | Self::Make { .. } => 4,
        }
    }

    /// What the person at the console can do; `None` where the error itself says it.
    fn advice(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.advice()),
            Self::Unreachable { source, .. } => Some(unreachable(source)),
            Self::Transport(error) => Some(transport(error)),
            Self::Cryptsetup(error) => cryptsetup(error).map(Into::into),
            Self::Disk(error) => disk(error).map(Into::into),
            Self::Socket(SocketError::NotActivated) => Some(
                "let systemd start it (countersign-unlock@VOLUME.socket), or say --device, --out or --listen".into(),
            ),
            Self::Result(_) | Self::Answer { .. } => Some(NOT_OURS.into()),
            Self::Evidence(AttestError::NoTee { .. }) => {
                Some("this runs in confidential guests only: there is no sample evidence".into())
            }
            Self::AwaitingApproval { ak_name } => {
                Some(format!("the operator decides with: countersign enrollments approve {ak_name} --owner WHO"))
            }
            Self::NoEkCertificate { .. } => {
                Some("the operator may take the key on their own word: countersign enrollments pin".into())
            }
            Self::Found { .. } => Some(
                "give the workload what it needs by attestation, change the secret, and take it out of the image"
                    .into(),
            ),
            Self::Incomplete => Some("run as root, with a higher --max-file-size or --max-files".into()),
            Self::Settings(_)
            | Self::Scan(_)
            | Self::NoTpm
            | Self::Output(_)
            | Self::Serve(_)
            | Self::Argument { .. }
            | Self::Process(_)
            | Self::Event(_)
            | Self::Extend(_)
            | Self::Evidence(_)
            | Self::EvidenceTimeout { .. }
            | Self::Socket(_)
            | Self::Unserved { .. }
            | Self::Make { .. } => None,
        }
    }

    /// Writes everything to standard error and gives the exit status.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        self.say();
        ExitCode::from(self.exit_status())
    }

    /// Writes everything for the person at the console.
    pub(crate) fn say(&self) {
        console::say(&console::chain(self));
        if let Self::Refused(refusal) = self {
            for reason in &refusal.reasons {
                console::say(&format!("  reason: {reason}"));
            }
            if let Some(decision) = &refusal.decision {
                console::say(&format!("  decision: {decision}"));
            }
        }
        if let Some(advice) = self.advice() {
            console::say(&format!("  what to do: {advice}"));
        }
    }
}

const NOT_OURS: &str = "check that the address is a Countersign broker of a version that fits this agent";

/// By what was missing on the way.
fn unreachable(last: &TransportError) -> String {
    let advice = if last.is_about_the_way() {
        "there is no network on the way to the broker: check this machine's link, address, route and DNS, and the broker's name"
    } else if matches!(last, TransportError::Busy { .. }) {
        "the broker answers that it cannot now: look at its log, then run this again"
    } else {
        "the network is up and the broker does not answer: check that it runs, its address and port, and firewalls between"
    };
    advice.to_owned()
}

/// By what is wrong with the disk.
fn cryptsetup(error: &CryptsetupError) -> Option<&'static str> {
    match error {
        CryptsetupError::Start { .. } => Some("install cryptsetup, or say --cryptsetup FILE"),
        CryptsetupError::NoKey { .. } => Some(
            "the broker's key opens no slot of this disk: check which disk and which secret it is, then: countersign-agent luks \
             recover",
        ),
        CryptsetupError::Header { .. } => Some(
            "whoever owns the disk changed its header, or it is in the middle of a re-encryption: do not give it a key before \
             you know which",
        ),
        CryptsetupError::Key { .. } => Some("store a key made for disks: countersign secrets generate"),
        CryptsetupError::Make { .. } | CryptsetupError::Failed { .. } => None,
    }
}

fn transport(error: &TransportError) -> String {
    if let TransportError::Dates { trouble, broker, .. } = error {
        trouble.advice(*broker)
    } else if matches!(error, TransportError::Untrusted(_)) {
        "another server answers, or the broker's certificate changed: check the address and the pin".into()
    } else {
        NOT_OURS.into()
    }
}

impl Refusal {
    /// By the stage that refused, the first segment of the code.
    fn advice(&self) -> String {
        let stage = self.code.split('.').next().unwrap_or_default();
        let cause = match stage {
            "parse" | "request" => "the broker does not read what this agent sends: check that their versions fit",
            "authenticate" => {
                "the evidence is not genuine hardware evidence that this broker trusts: check its trust anchors"
            }
            "endorsement" => "the broker lacks certificates or revocation lists of this platform",
            "enroll" => "the broker does not enrol this machine's TPM",
            "binding" => "the evidence is not an answer to this broker's challenge: run the command again",
            "baseline" => "this guest or its platform is set up in a way that the operator does not accept",
            "reference" => "what runs in this guest is not among the reference values",
            "policy" | "release" => "the operator's policy does not give this to this guest",
            _ => "the broker said no",
        };
        match &self.decision {
            Some(decision) => format!("{cause}; the operator sees all of it with: countersign explain {decision}"),
            None => cause.to_owned(),
        }
    }
}

/// By what is wrong with the disk's keys.
fn disk(error: &DiskError) -> Option<&'static str> {
    match error {
        DiskError::Cryptsetup(error) => cryptsetup(error),
        DiskError::Interrupted => Some("run: countersign-agent luks recover"),
        DiskError::NotEnrolled | DiskError::EnrollAgain => Some("run: countersign-agent luks enroll"),
        DiskError::NothingOpens => Some(
            "check which disk and which secret it is; the operator sees the versions with: countersign secrets get-metadata",
        ),
        DiskError::ShortKey { .. } => Some("have the broker make the key: countersign secrets generate"),
        DiskError::Unproven { .. } => Some(
            "nothing was promoted and the old key opens the disk; somebody changed its header meanwhile: find out who, then \
             run: countersign-agent luks recover",
        ),
        DiskError::Enrolled { .. } => Some("to change the key: countersign-agent luks rotate"),
        DiskError::Busy { .. } | DiskError::OtherVolume { .. } | DiskError::Full { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_status_1_and_names_the_decision() {
        let problem = Problem {
            code: Some("reference.snp.launch_measurement".into()),
            attestation_id: Some("a1".into()),
            ..Problem::default()
        };
        let failure = Failure::Refused(problem.into());
        assert_eq!(failure.exit_status(), 1);
        assert_eq!(failure.to_string(), "refused: reference.snp.launch_measurement");
        let advice = failure.advice().unwrap_or_default();
        assert!(advice.contains("reference values") && advice.ends_with("countersign explain a1"), "{advice}");
    }

    #[test]
    fn statuses_are_what_the_help_says() {
        assert_eq!(Failure::from(SettingsError::NoPin).exit_status(), 2);
        assert_eq!(Failure::from(TransportError::NotOurs { status: 200, source: None }).exit_status(), 3);
        assert_eq!(Failure::EvidenceTimeout { limit: Duration::from_secs(1) }.exit_status(), 4);
    }
}
