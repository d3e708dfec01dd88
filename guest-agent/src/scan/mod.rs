//! `scan`: static secrets that lie in an image or a running system.
//!
//! What is printed is where, by which rule, and a keyed fingerprint; never the value. Nothing outside the tree is opened, and
//! what a tree can make this program do is bounded.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::{
    hmac::{HMAC_SHA256, Key, sign},
    rand::{SecureRandom, SystemRandom},
};
use evidence_formats::guest_report::GuestReport;
use keys::secret::SecretBytes;
use serde::Serialize;
use thiserror::Error;

mod dialect;
mod processes;
mod report;
mod risk;
mod rules;
mod walk;

pub(crate) use report::{ReportFormat, render};
pub(crate) use risk::Risk;
pub(crate) use rules::Rules;
pub use rules::RulesError;

/// Bytes that are searched at once, and how far two such windows overlap: longer secrets than that are not known.
const WINDOW: usize = 256 * 1024;
const OVERLAP: usize = 16 * 1024;
/// A zero byte among the first so many bytes makes a file binary.
const TEXT_HEAD: usize = 8000;
/// Most findings; with more, the rest is not listed and the scan is not complete.
const FINDINGS: usize = 10_000;
/// Shortest and longest fingerprint key, in bytes.
const KEY: std::ops::RangeInclusive<u64> = 16..=4096;

/// A scan that could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The rules are no good.
    #[error("the rules cannot be used")]
    Rules(#[from] RulesError),
    /// What is to be scanned is not there.
    #[error("expected a file or directory at {}", path.display())]
    Root {
        /// Where.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no list of processes.
    #[error("expected the processes of this system in /proc")]
    Processes(#[source] io::Error),
    /// The key of the fingerprints is no good.
    #[error("expected a key of 16 to 4096 bytes in {}", path.display())]
    Key {
        /// Where.
        path: std::path::PathBuf,
        /// Why not, if the system said so.
        source: Option<io::Error>,
    },
    /// The system gives no randomness.
    #[error("expected randomness")]
    Random,
}

/// Bounds of a scan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Largest file, in bytes.
    pub(crate) file_bytes: u64,
    /// Most files.
    pub(crate) files: u64,
    /// Deepest directory.
    pub(crate) depth: usize,
    /// Whether binary files are searched, too.
    pub(crate) binary: bool,
}

/// One static secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How soon somebody should look at it.
    pub(crate) risk: Risk,
    /// By which rule.
    pub(crate) rule: String,
    /// The same for the same secret under the same key; nobody without the key can test a guess against it. Absent where a
    /// place alone was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    /// A file, or a process and a variable of its environment.
    pub(crate) location: String,
    /// Line of the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
}

/// What was looked at and what was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Tally {
    /// Files that were searched.
    pub(crate) files: u64,
    /// Processes whose environment was searched.
    pub(crate) processes: u64,
    /// Files that the rules say to leave out.
    pub(crate) left_out: u64,
    /// Binary files; only their place was looked at.
    pub(crate) binary: u64,
    /// Links, devices, sockets, pipes, and file systems of the kernel.
    pub(crate) special: u64,
    /// Files over the limit.
    pub(crate) too_large: u64,
    /// Files, directories and environments that could not be read.
    pub(crate) unreadable: u64,
    /// Whether a limit ended the scan early.
    pub(crate) cut_short: bool,
}

impl Tally {
    /// Whether everything was looked at that should be.
    pub(crate) const fn is_complete(&self) -> bool {
        !self.cut_short && self.too_large == 0 && self.unreadable == 0
    }
}

/// A scan and what it found so far.
pub(crate) struct Scan {
    rules: Rules,
    limits: Limits,
    key: Key,
    pub(crate) findings: Vec<Finding>,
    pub(crate) tally: Tally,
}

impl Scan {
    /// Nothing is looked at yet.
    pub(crate) fn new(rules: Rules, limits: Limits, key: Option<&Path>) -> Result<Self, ScanError> {
        let key = match key {
            Some(path) => read_key(path)?,
            None => {
                let mut bytes = [0; 32];
                SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| ScanError::Random)?;
                SecretBytes::new(bytes.to_vec())
            }
        };
        let key = Key::new(HMAC_SHA256, key.expose());
        Ok(Self { rules, limits, key, findings: Vec::new(), tally: Tally::default() })
    }

    /// What the guest says of itself.
    pub(crate) fn guest_report(&self) -> GuestReport {
        let static_secrets = u32::try_from(self.findings.len()).unwrap_or(u32::MAX);
        GuestReport { static_secrets, complete: self.tally.is_complete() }
    }

    /// Puts what is most urgent first.
    pub(crate) fn rank(&mut self) {
        self.findings
            .sort_by(|a, b| (a.risk, &a.location, a.line, &a.rule).cmp(&(b.risk, &b.location, b.line, &b.rule)));
    }

    /// Searches the content of a file at `path` in the tree, shown as `location`.
    fn search(&mut self, path: &str, location: &str, content: &[u8]) {
        let text = content.get(..TEXT_HEAD).unwrap_or(content);
        let binary = text.contains(&0);
        if binary && !self.limits.binary {
            self.tally.binary = self.tally.binary.saturating_add(1);
        }
        let searched = !binary || self.limits.binary;
        let before = self.findings.len();
        if searched {
            self.tally.files = self.tally.files.saturating_add(1);
            for secret in self.secrets(path, content, binary) {
                let line = content.get(..secret.start).unwrap_or_default();
                let line = line.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
                self.add(path, secret, location.to_owned(), Some(line));
            }
        }
        // A place says less than what was found in it.
        if self.findings.len() == before && !content.is_empty() {
            let placed: Vec<String> = self.rules.by_path(path).map(|rule| rule.id.clone()).collect();
            for rule in placed {
                self.push(Finding {
                    risk: Risk::of(&rule, path),
                    rule,
                    fingerprint: None,
                    location: location.to_owned(),
                    line: None,
                });
            }
        }
    }

    /// Every secret once, in the order in which they stand.
    fn secrets(&self, path: &str, content: &[u8], binary: bool) -> Vec<Secret> {
        let mut secrets: Vec<Secret> = Vec::new();
        let mut start = 0_usize;
        loop {
            let end = content.len().min(start.saturating_add(WINDOW));
            let window = content.get(start..end).unwrap_or_default();
            for hit in self.rules.hits(path, window) {
                let generic = hit.rule.is_generic();
                // Names beside values mean nothing in compiled code.
                if generic && binary {
                    continue;
                }
                let value = window.get(hit.start..hit.end).unwrap_or_default();
                secrets.push(Secret {
                    start: start.saturating_add(hit.start),
                    end: start.saturating_add(hit.end),
                    generic,
                    rule: hit.rule.id.clone(),
                    fingerprint: self.fingerprint(value),
                });
            }
            if end == content.len() {
                break;
            }
            start = end.saturating_sub(OVERLAP);
        }
        secrets.sort_by(|a, b| (a.start, &a.rule).cmp(&(b.start, &b.rule)));
        secrets.dedup_by(|a, b| a.start == b.start && a.rule == b.rule);
        let known: Vec<(usize, usize)> =
            secrets.iter().filter(|secret| !secret.generic).map(|secret| (secret.start, secret.end)).collect();
        // A guess says nothing where a rule knows.
        secrets.retain(|secret| {
            !secret.generic || !known.iter().any(|(start, end)| secret.start < *end && *start < secret.end)
        });
        secrets
    }

    fn fingerprint(&self, secret: &[u8]) -> String {
        let tag = sign(&self.key, secret);
        hex::encode(tag.as_ref().get(..8).unwrap_or_default())
    }

    fn add(&mut self, path: &str, secret: Secret, location: String, line: Option<usize>) {
        let Secret { rule, fingerprint, .. } = secret;
        self.push(Finding { risk: Risk::of(&rule, path), rule, fingerprint: Some(fingerprint), location, line });
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        } else {
            self.tally.cut_short = true;
        }
    }
}

/// One secret in a text, without its value.
struct Secret {
    start: usize,
    end: usize,
    generic: bool,
    rule: String,
    fingerprint: String,
}

fn read_key(path: &Path) -> Result<SecretBytes, ScanError> {
    let wrong = |source| ScanError::Key { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(|error| wrong(Some(error)))?;
    let mut key = Vec::new();
    file.take(KEY.end().saturating_add(1)).read_to_end(&mut key).map_err(|error| wrong(Some(error)))?;
    let key = SecretBytes::new(key);
    let long = u64::try_from(key.expose().len()).is_ok_and(|length| KEY.contains(&length));
    if long { Ok(key) } else { Err(wrong(None)) }
}

#[cfg(test)]
mod tests;
