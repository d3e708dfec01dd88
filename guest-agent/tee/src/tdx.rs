//! TDX: from what the hardware gave to a bundle.

use evidence_formats::bundle::{Bundle, BundleItem, ItemName, MediaType};

use crate::{attester::Collected, error::AttestError};

/// The bundle of a quote.
///
/// # Errors
/// When the quote is larger than a bundle's item may be.
pub(crate) fn evidence(quote: Vec<u8>) -> Result<Collected, AttestError> {
    let mut bundle = Bundle::new();
    bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::TdxQuote, bytes: quote })?;
    Ok(Collected { bundle, warnings: Vec::new() })
}
