//! The start of a disk with a GUID partition table.

use super::firmware::{guid, write_at};

/// EFI system partition c12a7328-f81f-11d2-ba4b-00a0c93ec93b.
const EFI_SYSTEM: u128 = 0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b;
const ENTRY: usize = 128;

/// A disk of which only the partition table is real.
#[derive(Debug, Clone, Copy)]
pub struct Disk {
    /// Bytes of a sector.
    pub sector: usize,
    /// Used entries.
    pub partitions: u8,
    /// Identifier of the disk.
    pub id: u128,
}

impl Disk {
    /// The first MiB: header in the second sector, 128 entries from the third one.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut disk = vec![0; 1 << 20];
        let mut header = b"EFI PART\0\0\x01\0".to_vec();
        header.extend([92_u32, 0, 0].map(u32::to_le_bytes).concat());
        header.extend([1_u64, 2047, 34, 2014].map(u64::to_le_bytes).concat());
        header.extend(guid(self.id));
        header.extend(2_u64.to_le_bytes());
        header.extend([128_u32, 128, 0].map(u32::to_le_bytes).concat());
        write_at(&mut disk, self.sector, &header);
        for number in 0..self.partitions {
            let entry = [guid(EFI_SYSTEM), guid(u128::from(number).wrapping_add(1)), [number; 16]].concat();
            let at = self.sector.saturating_mul(2).saturating_add(usize::from(number).saturating_mul(ENTRY));
            write_at(&mut disk, at, &entry);
        }
        disk
    }
}
