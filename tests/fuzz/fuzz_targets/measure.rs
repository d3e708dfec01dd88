//! Files that measurements are predicted from: firmware tables, PE images, partition tables.
#![no_main]

use evidence_formats::digest::HashAlgorithm;
use fuzz::within_memory;
use verifier::measure::{
    boot::{BootSource, PartitionTable, PeImage, Uki, steps},
    firmware::Firmware,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        // Pages are not hashed here: a few bytes of metadata can ask for 256 MiB of them, which is slow and bounded.
        if let Ok(firmware) = Firmware::parse(bytes) {
            let _ = (firmware.sev_sections(), firmware.tdx_sections());
            let _ = (firmware.ap_reset_eip(), firmware.kernel_hash_table(), firmware.svsm_entry_point());
        }
        let _ = PartitionTable::parse(bytes);
        let _ = PeImage::parse(bytes).map(|image| image.authenticode(HashAlgorithm::Sha256));
        if let Ok(uki) = Uki::parse(bytes) {
            let _ = steps(HashAlgorithm::Sha256, BootSource::Uki(&uki), None);
        }
    });
});
