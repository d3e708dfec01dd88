//! What a quote is held against.

use super::{EnrolledAk, PcrSet, PinnedAk};
use crate::Expected;

/// Terms for TPM evidence, alone or in a composite.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TpmTerms {
    /// The exact PCRs that the quote must sign.
    pub pcrs: PcrSet,
    /// An attestation key that the operator enrolled: the quote must be by this one.
    pub pinned_ak: Option<PinnedAk>,
    /// What the operator's register says of the attestation key that the evidence brings.
    pub enrolled_ak: Option<EnrolledAk>,
    /// Exact qualifying data, for quotes that carry neither 64 bytes nor a binding digest; replaces the expected report
    /// data in the quote.
    pub extra_data: Option<Vec<u8>>,
}

impl TpmTerms {
    /// All 24 SHA-256 PCRs, no enrolled key, qualifying data as the evidence's binding prescribes.
    pub const DEFAULT: &'static Self =
        &Self { pcrs: PcrSet::SHA256_ALL, pinned_ak: None, enrolled_ak: None, extra_data: None };
}

/// Qualifying data that a quote must carry, compared whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExpectedExtraData {
    /// One of these values: the placements of one binding. Never empty.
    OneOf(Vec<Vec<u8>>),
    /// Not compared, for this reason.
    Unchecked {
        /// Why.
        reason: &'static str,
    },
}

impl ExpectedExtraData {
    /// A binding digest stands bare in a quote. Report data stands whole, or, when it is a binding digest and 16 zero
    /// bytes, as that digest.
    pub(crate) fn new(expected: &Expected, terms: &TpmTerms) -> Self {
        if let Some(exact) = &terms.extra_data {
            return Self::OneOf(vec![exact.clone()]);
        }
        match expected {
            Expected::Binding(digest) => Self::OneOf(vec![digest.0.to_vec()]),
            Expected::ReportData(data) => {
                let mut placements = vec![data.0.to_vec()];
                if let (digest, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) = data.0.split_at(48) {
                    placements.push(digest.to_vec());
                }
                Self::OneOf(placements)
            }
            Expected::Unchecked { reason } => Self::Unchecked { reason },
        }
    }
}

/// What one quote is held against.
#[derive(Debug)]
pub(crate) struct QuoteTerms<'a> {
    /// The exact set that must be signed.
    pub(crate) pcrs: &'a PcrSet,
    /// Freshness and key binding.
    pub(crate) extra_data: ExpectedExtraData,
}
