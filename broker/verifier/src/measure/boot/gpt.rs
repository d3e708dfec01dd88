//! The partition table of the disk that is booted from: firmware measures it before it starts an image from there.

use evidence_formats::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
};

use super::BootError;

/// Bytes at the start of a disk that hold its partition table.
pub const MAX_DISK_HEAD: usize = 1 << 20;
/// Bytes of the header that are measured: UEFI_PARTITION_TABLE_HEADER.
const HEADER: usize = 92;
/// Sector sizes of disks.
const SECTORS: [usize; 2] = [512, 4096];
/// Most entries, least and largest entry (UEFI 2.10 section 5.3.2: 128 times a power of two).
const MAX_ENTRIES: usize = 1024;
const MIN_ENTRY: usize = 128;
const MAX_ENTRY: usize = 4096;

/// What firmware measures of a partition table: UEFI_GPT_DATA (PFP 1.05 section 10.2.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable(Vec<u8>);

impl PartitionTable {
    /// Reads the table from the first bytes of a disk, at most [`MAX_DISK_HEAD`].
    ///
    /// # Errors
    /// [`BootError::PartitionTable`] when there is none, or it is not within these bytes.
    pub fn parse(disk: &[u8]) -> Result<Self, BootError> {
        let wrong = |expected| BootError::PartitionTable { expected };
        let found = SECTORS.iter().find_map(|sector| {
            let header = disk.get(*sector..sector.checked_add(HEADER)?)?;
            header.starts_with(b"EFI PART").then_some((*sector, header))
        });
        let (sector, header) = found.ok_or(wrong("EFI PART in the second sector"))?;
        let (first, count, size) = layout(header).ok_or(wrong("a whole header"))?;
        if count > MAX_ENTRIES || !(MIN_ENTRY..=MAX_ENTRY).contains(&size) || !size.is_power_of_two() {
            return Err(wrong("at most 1024 entries, each 128 bytes times a power of two, at most 4096"));
        }
        let start = first.checked_mul(sector).ok_or(wrong("entries within the first MiB"))?;
        let end = count.checked_mul(size).and_then(|length| length.checked_add(start));
        let entries = end.and_then(|end| disk.get(start..end)).ok_or(wrong("entries within the first MiB"))?;
        // An entry of an all-zero type is unused.
        let used: Vec<&[u8]> =
            entries.chunks_exact(size).filter(|entry| entry.iter().take(16).any(|byte| *byte != 0)).collect();
        let number = u64::try_from(used.len()).unwrap_or(u64::MAX);
        Ok(Self([header, &number.to_le_bytes(), &used.concat()].concat()))
    }

    /// Digest of the event.
    #[must_use]
    pub fn digest(&self, bank: HashAlgorithm) -> Digest {
        bank.digest(&[&self.0])
    }
}

/// First sector of the entries (offset 72, u64), their number (80, u32) and size (84, u32).
fn layout(header: &[u8]) -> Option<(usize, usize, usize)> {
    let mut reader = Reader::new(header);
    reader.take(72).ok()?;
    let first = usize::try_from(reader.u64_le().ok()?).ok()?;
    let count = usize::try_from(reader.u32_le().ok()?).ok()?;
    Some((first, count, usize::try_from(reader.u32_le().ok()?).ok()?))
}
