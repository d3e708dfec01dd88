//! Init-data that the host handed over at launch: carried so that the verifier can compare it with the launch.

use std::path::Path;

use evidence_formats::{
    bundle::{BundleItem, ItemName, MediaType},
    init_data::InitData,
};
use rustix::io::Errno;

use crate::{attester::Collected, error::AttestError, event_log::read_bounded};

/// Adds the document at `path`, which the operator named: evidence without it is not what was asked for.
///
/// # Errors
/// When it cannot be read or is not init-data.
pub(crate) fn beside(mut collected: Collected, path: Option<&Path>) -> Result<Collected, AttestError> {
    let Some(path) = path else { return Ok(collected) };
    let unreadable = |errno| AttestError::InitDataFile { path: path.to_owned(), errno };
    let bytes = read_bounded(path, ItemName::Initdata.limit()).map_err(unreadable)?;
    let bytes = bytes.ok_or_else(|| unreadable(Errno::FBIG))?;
    InitData::parse(&bytes)?;
    collected.bundle.insert(ItemName::Initdata, BundleItem { media_type: MediaType::Toml, bytes })?;
    Ok(collected)
}
