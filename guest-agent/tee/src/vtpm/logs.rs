//! The logs that explain PCRs.

use std::path::Path;

use evidence_formats::bundle::{BundleItem, ItemName, MediaType};
use rustix::io::Errno;

use crate::{error::Warning, event_log::read_bounded};

/// The log at `path`, as the kernel has it; none when it is not there or empty.
pub(super) fn read(
    path: &Path,
    name: ItemName,
    media_type: MediaType,
) -> Result<Option<(ItemName, BundleItem)>, Warning> {
    match read_bounded(path, name.limit()) {
        Ok(Some(bytes)) => Ok((!bytes.is_empty()).then_some((name, BundleItem { media_type, bytes }))),
        Ok(None) => Err(Warning::EventLogSize { limit: name.limit() }),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Warning::EventLog { errno }),
    }
}
