//! Event logs that firmware leaves for the guest.

use std::path::Path;

use evidence_formats::bundle::{BundleItem, ItemName, MediaType};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno, read},
};

use crate::error::Warning;

/// The confidential-computing event log (CCEL), which explains the RTMRs, where the firmware made one.
///
/// The bytes go on as the kernel has them: what they say counts only where it replays to the registers of the quote.
pub(crate) fn cc(path: &Path) -> Result<Option<BundleItem>, Warning> {
    match read_bounded(path, ItemName::EventlogCc.limit()) {
        Ok(Some(bytes)) => Ok(Some(BundleItem { media_type: MediaType::CcelLog, bytes })),
        Ok(None) => Err(Warning::EventLogSize { limit: ItemName::EventlogCc.limit() }),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Warning::EventLog { errno }),
    }
}

/// The whole file, or `None` when it is longer than `limit`.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = match read(&file, &mut chunk[..]) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        let Some(fresh) = chunk.get(..count).filter(|fresh| !fresh.is_empty()) else { return Ok(Some(bytes)) };
        if bytes.len().saturating_add(fresh.len()) > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(fresh);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_log_is_carried_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 10_000]).unwrap();
        let item = cc(file.path()).unwrap().unwrap();
        assert_eq!((item.media_type, item.bytes), (MediaType::CcelLog, vec![7; 10_000]));
    }

    #[test]
    fn no_log_is_fine_and_one_that_cannot_be_read_is_named() {
        assert_eq!(cc(Path::new("/nonexistent/CCEL")), Ok(None));
        assert_eq!(cc(Path::new("/")), Err(Warning::EventLog { errno: Errno::ISDIR }));
        let limit = ItemName::EventlogCc.limit();
        assert_eq!(cc(Path::new("/dev/zero")), Err(Warning::EventLogSize { limit }));
    }
}
