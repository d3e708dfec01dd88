//! PCR 10: what the kernel measured, and the boot that it is tied to.

use evidence_formats::{
    digest::Digest,
    eventlog::ima::{IMA_PCR, ImaLog},
};
use serde::Serialize;

use crate::tpm::{TpmAuthenticateError, VerifiedPcrs};

/// What an IMA list proves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImaClaims {
    /// Entries that the quoted PCR 10 covers.
    pub entries: usize,
    /// Entries appended after the quote: not proven.
    pub unproven_entries: usize,
    /// Violations among the covered entries (a measured file was open for writing).
    pub violations: usize,
    /// Whether the first entry is the hash of the quoted PCR 0 to 9, so that the list belongs to this boot.
    pub boot_aggregate: bool,
    /// Covered entries: file digest and path, as the kernel hashed them.
    pub files: Vec<ImaFile>,
}

/// A measured file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImaFile {
    /// Path or event name.
    pub path: String,
    /// Digest with its algorithm, for example `sha256:9f…`.
    pub digest: String,
}

impl ImaClaims {
    /// Finds the prefix of the list that leads to the quoted PCR 10.
    pub(crate) fn read(log: &ImaLog, pcrs: &VerifiedPcrs) -> Result<Self, TpmAuthenticateError> {
        let quoted = pcrs.value(IMA_PCR).ok_or(TpmAuthenticateError::Ima)?;
        let covered = log.entries_up_to(IMA_PCR, quoted).ok_or(TpmAuthenticateError::Ima)?;
        let entries = log.entries().get(..covered).unwrap_or_default();
        let files = entries
            .iter()
            .filter(|entry| !entry.violation)
            .filter_map(|entry| Some(ImaFile { path: entry.path.clone()?, digest: entry.file_digest.clone()? }));
        Ok(Self {
            entries: covered,
            unproven_entries: log.entries().len().saturating_sub(covered),
            violations: entries.iter().filter(|entry| entry.violation).count(),
            boot_aggregate: boot_aggregate(pcrs).is_some_and(|aggregate| {
                entries.first().is_some_and(|entry| {
                    entry.path.as_deref() == Some("boot_aggregate") && entry.file_digest.as_ref() == Some(&aggregate)
                })
            }),
            files: files.collect(),
        })
    }
}

/// Hash over PCR 0 to 9 of the bank (Linux `ima_calc_boot_aggregate`, kernel 5.8 and later).
fn boot_aggregate(pcrs: &VerifiedPcrs) -> Option<String> {
    let values = (0..10).map(|pcr| pcrs.value(pcr).map(Digest::as_bytes)).collect::<Option<Vec<_>>>()?;
    Some(format!("{}:{}", pcrs.bank(), pcrs.bank().digest(&values)))
}
