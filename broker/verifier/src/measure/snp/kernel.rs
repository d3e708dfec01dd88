//! The table through which the host tells the firmware the hashes of kernel, initrd and command line
//! (OvmfPkg/AmdSev/BlobVerifierLibSevHashes; QEMU, target/i386/sev.c).

use evidence_formats::digest::HashAlgorithm;

use super::super::firmware::PAGE;

/// 9438d606-4f22-4cc9-b479-a793d411fd21
const TABLE: [u8; 16] =
    [0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21];
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const COMMAND_LINE: [u8; 16] =
    [0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a];
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRD: [u8; 16] =
    [0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d];
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL: [u8; 16] =
    [0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b];
/// GUID, length u16 and SHA-256.
const ENTRY_LENGTH: u16 = 50;
/// GUID, length u16 and three entries.
const TABLE_LENGTH: u16 = 168;

/// SHA-256 digests of what is started directly, without a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

impl KernelHashes {
    /// Digests of these contents. The command line is hashed with its terminating NUL; without an initrd the digest is that
    /// of nothing.
    #[must_use]
    pub fn new(kernel: &[u8], initrd: &[u8], command_line: &str) -> Self {
        Self {
            kernel: sha256(&[kernel]),
            initrd: sha256(&[initrd]),
            command_line: sha256(&[command_line.as_bytes(), b"\0"]),
        }
    }

    /// A page of zeros with the table at `offset`; `None` when it does not fit.
    pub(super) fn page(&self, offset: usize) -> Option<Box<[u8; PAGE]>> {
        let mut table = Vec::with_capacity(usize::from(TABLE_LENGTH));
        table.extend_from_slice(&TABLE);
        table.extend_from_slice(&TABLE_LENGTH.to_le_bytes());
        for (guid, digest) in [(COMMAND_LINE, self.command_line), (INITRD, self.initrd), (KERNEL, self.kernel)] {
            table.extend_from_slice(&guid);
            table.extend_from_slice(&ENTRY_LENGTH.to_le_bytes());
            table.extend_from_slice(&digest);
        }
        let mut page = Box::new([0; PAGE]);
        page.get_mut(offset..offset.checked_add(table.len())?)?.copy_from_slice(&table);
        Some(page)
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (to, from) in bytes.iter_mut().zip(HashAlgorithm::Sha256.digest(parts).as_bytes()) {
        *to = *from;
    }
    bytes
}
