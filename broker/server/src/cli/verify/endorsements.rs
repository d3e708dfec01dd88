//! The endorsement files: each is recognised by its content.

use std::path::PathBuf;

use anyhow::Result;
use evidence_formats::snp::{CertGuid, CertTable};
use verifier::{EndorsementError, Endorsements};

use super::{
    super::files::{self, Candidate},
    outcome::{Outcome, Verdict},
};

/// What the files held.
pub(super) struct Gathered {
    pub(super) endorsements: Endorsements,
    /// A certificate table of an SNP host: part of the evidence, kept in its own file.
    pub(super) cert_table: Option<CertTable>,
    /// Files that were ignored.
    pub(super) notes: Vec<String>,
}

/// Reads every file. A file that was named and is no endorsement is a refusal; one that merely lies in a folder is a note.
///
/// # Errors
/// When something named cannot be read.
pub(super) fn gather(paths: &[PathBuf]) -> Result<Result<Gathered, Box<Outcome>>> {
    let mut gathered = Gathered { endorsements: Endorsements::new(), cert_table: None, notes: Vec::new() };
    for candidate in files::candidates(paths, &mut gathered.notes)? {
        if let Err(outcome) = gathered.take(&candidate) {
            return Ok(Err(outcome));
        }
    }
    Ok(Ok(gathered))
}

impl Gathered {
    fn take(&mut self, candidate: &Candidate) -> Result<(), Box<Outcome>> {
        if is_cert_table(&candidate.bytes) {
            let table = CertTable::parse(&candidate.bytes);
            self.cert_table = Some(table.map_err(|error| Outcome::refused(Verdict::Rejected, &error))?);
            return Ok(());
        }
        match self.endorsements.add(&candidate.bytes) {
            Ok(_) => Ok(()),
            Err(error @ (EndorsementError::Unknown | EndorsementError::TooMuch)) if candidate.named => {
                Err(Outcome::refused(Verdict::Rejected, &error))
            }
            // A malformed document is remembered there, and is the verdict when it is missed.
            Err(error) => {
                self.notes.push(format!("{} ignored: {error}", candidate.path.display()));
                Ok(())
            }
        }
    }
}

/// Whether the first entry is one that a certificate table has (GHCB 2.03 §4.1.8.1). Clouds put entries of their own
/// before: then it is one when it is well-formed to its last entry.
fn is_cert_table(bytes: &[u8]) -> bool {
    let known = [CertGuid::VCEK, CertGuid::VLEK, CertGuid::ASK, CertGuid::ARK, CertGuid::CRL];
    let holds_known = |table: CertTable| table.entries().any(|(guid, _)| known.contains(&guid));
    known.iter().any(|guid| bytes.starts_with(&guid.0)) || CertTable::parse(bytes).is_ok_and(holds_known)
}
