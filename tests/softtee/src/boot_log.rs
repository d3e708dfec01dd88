//! Measured boot into a TPM: a TCG2 event log of the SHA-256 bank, and the PCRs that it leads to.
use anyhow::Result;
use evidence_formats::digest::{Digest, HashAlgorithm};
use evidence_formats::eventlog::EventType;
use evidence_formats::eventlog::uefi::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE};
use tee::tpm::Tpm;

use crate::intel::uefi_variable;

const BANK: HashAlgorithm = HashAlgorithm::Sha256;
/// EFI_CERT_X509_GUID.
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];

/// A log under construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLog {
    bytes: Vec<u8>,
    measured: Vec<(u8, Digest)>,
}

impl Default for BootLog {
    fn default() -> Self {
        Self::new()
    }
}

impl BootLog {
    /// A log with its header event only (PFP §10.4.5.1).
    #[must_use]
    pub fn new() -> Self {
        let spec_id = [
            b"Spec ID Event03\0".as_slice(),
            &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0],
            &BANK.tpm_id().to_le_bytes(),
            &[32, 0, 0],
        ];
        let mut bytes = [[0; 4], EventType::NO_ACTION.0.to_le_bytes()].concat();
        bytes.extend([0; 20]);
        push_sized(&mut bytes, &spec_id.concat());
        Self { bytes, measured: Vec::new() }
    }

    /// The boot of a unified kernel image, with secure boot on or off.
    #[must_use]
    pub fn healthy(command_line: &str, secure_boot: bool) -> Self {
        let mut log = Self::new();
        log.measured(0, EventType::S_CRTM_VERSION, b"1\x002\0");
        let keys: [(_, _, Vec<u8>); 5] = [
            (GLOBAL_VARIABLE, "SecureBoot", vec![secure_boot.into()]),
            (GLOBAL_VARIABLE, "PK", signature_list(b"platform key")),
            (GLOBAL_VARIABLE, "KEK", signature_list(b"key exchange key")),
            (IMAGE_SECURITY_DATABASE, "db", signature_list(b"certificate of the image")),
            (IMAGE_SECURITY_DATABASE, "dbx", Vec::new()),
        ];
        for (vendor, name, data) in keys {
            log.measured(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &uefi_variable(vendor, name, &data));
        }
        log.measured(4, EventType::EFI_ACTION, b"Calling EFI Application from Boot Option");
        for pcr in 0..8 {
            log.measured(pcr, EventType::SEPARATOR, &[0; 4]);
        }
        let authority = [&[0; 16], b"certificate of the image".as_slice()].concat();
        let authority = uefi_variable(IMAGE_SECURITY_DATABASE, "db", &authority);
        log.measured(7, EventType::EFI_VARIABLE_AUTHORITY, &authority);
        log.content(4, EventType::EFI_BOOT_SERVICES_APPLICATION, b"unified kernel image", b"device path");
        for (name, content) in
            [(".linux", "kernel"), (".osrel", "release"), (".cmdline", command_line), (".initrd", "initrd")]
        {
            let label: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
            log.content(11, EventType::IPL, &[name.as_bytes(), b"\0"].concat(), &label);
            log.content(11, EventType::IPL, content.as_bytes(), &label);
        }
        log.measured(5, EventType::EFI_ACTION, b"Exit Boot Services Invocation");
        log.measured(5, EventType::EFI_ACTION, b"Exit Boot Services Returned with Success");
        log
    }

    /// An event whose digest is that of its data.
    pub fn measured(&mut self, pcr: u8, kind: EventType, data: &[u8]) -> &mut Self {
        self.content(pcr, kind, data, data)
    }

    /// An event whose digest is that of `content`, which the log does not carry, and whose data is a label.
    pub fn content(&mut self, pcr: u8, kind: EventType, content: &[u8], data: &[u8]) -> &mut Self {
        let digest = BANK.digest(&[content]);
        self.bytes.extend([u32::from(pcr), kind.0, 1].map(u32::to_le_bytes).concat());
        self.bytes.extend(BANK.tpm_id().to_le_bytes());
        self.bytes.extend(digest.as_bytes());
        push_sized(&mut self.bytes, data);
        self.measured.push((pcr, digest));
        self
    }

    /// The log as the kernel hands it out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Extends the PCRs of `tpm` as the firmware would have.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub fn measure_into(&self, tpm: &Tpm) -> Result<()> {
        for (pcr, digest) in &self.measured {
            tpm.pcr_extend(*pcr, &[*digest])?;
        }
        Ok(())
    }
}

/// EFI_SIGNATURE_LIST with one certificate, nobody's.
fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let size = u32::try_from(certificate.len()).unwrap_or(u32::MAX).saturating_add(16);
    let sizes = [size.saturating_add(28), 0, size].map(u32::to_le_bytes).concat();
    [&X509, sizes.as_slice(), &[0; 16], certificate].concat()
}

fn push_sized(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(data);
}
