//! The table of hashes that the host of an SEV guest puts into its memory for the firmware (QEMU, target/i386/sev.c). QEMU
//! does so for hardware only; here it is loaded as a file. Written apart from the verifier's own, so that a mistake in
//! one of the two shows.

use anyhow::{Context, Result};
use evidence_formats::digest::HashAlgorithm;

// GUIDs as they stand in memory.
const TABLE: &str = "06d63894224fc94cb479a793d411fd21";
const COMMAND_LINE: &str = "d82dd09720bd944caa78e7714d36ab2a";
const INITRD: &str = "31f7ba442f3ad74b9af141e29169781d";
const KERNEL: &str = "3794e74dd2ab7f42b835d5b172d2045b";

/// SEV_HASH_TABLE_RV_GUID: the entry of the firmware's table of contents that says where in memory it looks.
const PLACE: &str = "1f3755723b3a044b927b1da6efa8d454";

/// The table over these contents, padded to 16 bytes.
///
/// # Errors
/// Never: the GUIDs are hex.
pub fn hash_table(kernel: &[u8], initrd: &[u8], command_line: &str) -> Result<Vec<u8>> {
    let entries = [
        (COMMAND_LINE, [command_line.as_bytes(), b"\0"].concat()),
        (INITRD, initrd.to_vec()),
        (KERNEL, kernel.to_vec()),
    ];
    let mut table = element(TABLE, 168)?;
    for (guid, content) in entries {
        table.extend(element(guid, 50)?);
        table.extend(HashAlgorithm::Sha256.digest(&[&content]).as_bytes());
    }
    table.resize(table.len().next_multiple_of(16), 0);
    Ok(table)
}

/// GUID and length.
fn element(guid: &str, length: u16) -> Result<Vec<u8>> {
    let mut bytes = hex::decode(guid)?;
    bytes.extend(length.to_le_bytes());
    Ok(bytes)
}

/// The guest-physical address at which `firmware` looks for the table.
///
/// # Errors
/// When it looks nowhere.
pub fn place(firmware: &[u8]) -> Result<u32> {
    let guid = hex::decode(PLACE)?;
    let at = firmware
        .windows(guid.len())
        .rposition(|window| window == guid)
        .context("expected firmware with a place for hashes")?;
    // Before the GUID: base u32, size u32, length u16.
    let base = at.checked_sub(10).and_then(|base| firmware.get(base..)).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*base.context("expected an address before the GUID")?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_table_is_three_hashes_in_the_order_of_qemu() {
        let table = hash_table(b"kernel", b"initrd", "quiet").unwrap();
        assert_eq!((table.len(), table.get(16..18)), (176, Some([168, 0].as_slice())));
        let command_line = HashAlgorithm::Sha256.digest(&[b"quiet\0"]);
        assert_eq!(table.get(36..68), Some(command_line.as_bytes()));
    }
}
