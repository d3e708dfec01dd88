//! Reference sets from CoRIM: who signed it, whether it still stands, and what it pins.
//!
//! A manifest is verified against the signers that the operator configured before anything in it is read, and one manifest
//! becomes one set: each reference-value triple is an alternative. What a set cannot compare is never dropped silently: it
//! refuses the manifest, or, where the operator allowed that by name, is listed beside the set.

mod convert;
mod error;
mod profile;
mod signer;
#[cfg(test)]
mod tests;
mod write;

pub use error::{CorimRefusal, SignerError};
pub use signer::{CorimSigner, SignerIdentity};
pub use write::{MEDIA_TYPE, PROFILE, unsigned};

use evidence_formats::corim::{Corim, CorimDocument, Validity};

use super::{ReferenceSet, SetId, WorkloadName};
use crate::Timestamp;

/// What a manifest is judged by. There is no default.
#[derive(Debug, Clone, Copy)]
pub struct CorimTerms<'a> {
    /// Who may sign for this tenant.
    pub signers: &'a [CorimSigner],
    /// Whether one without a signature is taken.
    pub unsigned: UnsignedCorim,
    /// What becomes of values that describe the platform.
    pub platform_values: PlatformValues,
    /// The time.
    pub now: Timestamp,
}

/// Whether a manifest without a signature is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsignedCorim {
    /// It is refused.
    Refuse,
    /// It is taken on the administrator's word.
    Allow,
}

/// What becomes of values that describe the platform under the guest (TCB, chip, report fields): the baseline judges
/// those, a reference set does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlatformValues {
    /// The manifest is refused.
    Refuse,
    /// They are left out and listed.
    LeaveOut,
}

/// What the administrator says where the manifest does not, or instead of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorimNames {
    /// Id of the set; default: the manifest's.
    pub id: Option<SetId>,
    /// Version of the set; default: that of the manifest's tags.
    pub version: Option<u32>,
    /// The workload; default: the model that the manifest names, else the id.
    pub workload: Option<WorkloadName>,
    /// Whether the set is proposed only.
    pub proposed: bool,
}

/// A manifest that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCorim {
    /// What it pins.
    pub set: ReferenceSet,
    /// Who signed it; absent: nobody, and the terms allow that.
    pub signer: Option<SignerIdentity>,
    /// What is in the manifest and not in the set, in words.
    pub left_out: Vec<String>,
}

/// Verifies a manifest and turns it into a reference set.
///
/// # Errors
/// [`CorimRefusal`] says why it is refused.
pub fn import(bytes: &[u8], terms: &CorimTerms<'_>, names: &CorimNames) -> Result<ImportedCorim, CorimRefusal> {
    let (document, signature, signer) = match Corim::parse(bytes)? {
        Corim::Signed(signed) => {
            let signer = signer::authenticate(&signed, terms.signers, terms.now)?;
            (CorimDocument::parse(signed.payload())?, signed.header().validity, Some(signer))
        }
        Corim::Unsigned(document) => match terms.unsigned {
            UnsignedCorim::Refuse => return Err(CorimRefusal::Unsigned),
            UnsignedCorim::Allow => (*document, Validity::default(), None),
        },
    };
    let window = window(&[document.validity, signature], terms.now)?;
    let (set, left_out) = convert::to_set(&document, window, terms.platform_values, names)?;
    Ok(ImportedCorim { set, signer, left_out })
}

/// The time in which everything is valid, as a set has it: the end is the first moment after it.
fn window(validities: &[Validity], now: Timestamp) -> Result<(Timestamp, Timestamp), CorimRefusal> {
    let begin = validities.iter().filter_map(|validity| validity.not_before).max();
    let end = validities.iter().filter_map(|validity| validity.not_after).min().ok_or(CorimRefusal::NoValidity)?;
    let not_after = Timestamp::from_unix(end).plus_seconds(1);
    if now >= not_after {
        return Err(CorimRefusal::Expired { at: not_after });
    }
    Ok((begin.map_or(now, Timestamp::from_unix), not_after))
}
