//! Event logs in ACPI's CCEL, with the register values that they lead to.
use evidence_formats::bytes::Sha384Digest;
use evidence_formats::eventlog::EventType;
use evidence_formats::eventlog::uefi::{GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE};
use openssl::hash::MessageDigest;

use crate::keys::digest;

/// TPM algorithm id of SHA-384.
const SHA384: u16 = 0x000c;

/// A log under construction, and RTMR0 to RTMR3 so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CcelBuilder {
    bytes: Vec<u8>,
    registers: [Sha384Digest; 4],
}

impl Default for CcelBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl CcelBuilder {
    /// A log with its header event only.
    #[must_use]
    pub fn new() -> Self {
        let spec_id = [
            b"Spec ID Event03\0".as_slice(),
            &0_u32.to_le_bytes(),
            &[0, 2, 0, 2],
            &1_u32.to_le_bytes(),
            &SHA384.to_le_bytes(),
            &48_u16.to_le_bytes(),
            &[0],
        ]
        .concat();
        // PFP §10.4.5.1: the first record has the form of TPM 1.2, with a zero SHA-1 digest.
        let mut bytes = [1_u32.to_le_bytes().as_slice(), &EventType::NO_ACTION.0.to_le_bytes(), &[0; 20]].concat();
        push_sized(&mut bytes, &spec_id);
        Self { bytes, registers: [Sha384Digest([0; 48]); 4] }
    }

    /// The boot of a unified kernel image under secure boot.
    #[must_use]
    pub fn healthy(command_line: &str) -> Self {
        let mut log = Self::new();
        let variable = |vendor: [u8; 16], name: &str, data: &[u8]| uefi_variable(vendor, name, data);
        log.content(1, EventType::EFI_HANDOFF_TABLES2, b"TD HOB of the host", b"\x07TdxTable");
        log.content(1, EventType::EFI_PLATFORM_FIRMWARE_BLOB2, b"CFV", b"\x28Fv(00000000-0000-0000-0000-000000000000)");
        let keys: [([u8; 16], &str, &[u8]); 5] = [
            (GLOBAL_VARIABLE, "SecureBoot", &[1]),
            (GLOBAL_VARIABLE, "PK", b"platform key"),
            (GLOBAL_VARIABLE, "KEK", b"key exchange key"),
            (IMAGE_SECURITY_DATABASE, "db", b"certificates of boot loaders"),
            (IMAGE_SECURITY_DATABASE, "dbx", b"revoked boot loaders"),
        ];
        for (vendor, name, data) in keys {
            log.measured(1, EventType::EFI_VARIABLE_DRIVER_CONFIG, &variable(vendor, name, data));
        }
        log.measured(1, EventType::SEPARATOR, &[0; 4]);
        for table in [b"table-loader".as_slice(), b"rsdp", b"tables"] {
            log.content(1, EventType::PLATFORM_CONFIG_FLAGS, table, b"ACPI DATA");
        }
        let authority = variable(IMAGE_SECURITY_DATABASE, "db", b"certificate of the image");
        log.measured(1, EventType::EFI_VARIABLE_AUTHORITY, &authority);
        log.measured(2, EventType::EFI_ACTION, b"Calling EFI Application from Boot Option");
        log.measured(2, EventType::SEPARATOR, &[0; 4]);
        log.content(2, EventType::EFI_BOOT_SERVICES_APPLICATION, b"unified kernel image", b"device path");
        for (name, content) in
            [(".linux", "kernel"), (".osrel", "release"), (".cmdline", command_line), (".initrd", "initrd")]
        {
            log.section(name, content.as_bytes());
        }
        log.measured(2, EventType::EFI_ACTION, b"Exit Boot Services Invocation");
        log.measured(2, EventType::EFI_ACTION, b"Exit Boot Services Returned with Success");
        log
    }

    /// A section of a unified kernel image, as systemd-stub measures it: its name with NUL, then its content.
    pub fn section(&mut self, name: &str, content: &[u8]) -> &mut Self {
        let label: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.content(3, EventType::IPL, &[name.as_bytes(), b"\0"].concat(), &label);
        self.content(3, EventType::IPL, content, &label)
    }

    /// An event whose digest is that of its data.
    pub fn measured(&mut self, register: u32, kind: EventType, data: &[u8]) -> &mut Self {
        self.content(register, kind, data, data)
    }

    /// An event whose digest is that of `content`, which the log does not carry, and whose data is a label.
    pub fn content(&mut self, register: u32, kind: EventType, content: &[u8], data: &[u8]) -> &mut Self {
        let digest = sha384(&[content]);
        self.event(register, kind, &digest, data)
    }

    /// Any event. The digest is extended unless the event is `EV_NO_ACTION` or names no RTMR.
    pub fn event(&mut self, register: u32, kind: EventType, digest: &Sha384Digest, data: &[u8]) -> &mut Self {
        self.bytes.extend(register.to_le_bytes());
        self.bytes.extend(kind.0.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(SHA384.to_le_bytes());
        self.bytes.extend(digest.0);
        push_sized(&mut self.bytes, data);
        let rtmr = register.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        if kind != EventType::NO_ACTION
            && let Some(register) = rtmr.and_then(|index| self.registers.get_mut(index))
        {
            *register = sha384(&[&register.0, &digest.0]);
        }
        self
    }

    /// RTMR0 to RTMR3.
    #[must_use]
    pub const fn rtmrs(&self) -> [Sha384Digest; 4] {
        self.registers
    }

    /// The log without padding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// The log as the ACPI log area holds it: padded with 0xFF to `length`.
    #[must_use]
    pub fn to_padded_bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        if bytes.len() < length {
            bytes.resize(length, 0xff);
        }
        bytes
    }
}

/// `UEFI_VARIABLE_DATA`: what a measured variable's event carries.
#[must_use]
pub fn uefi_variable(vendor: [u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u16> = name.encode_utf16().collect();
    let length = |length: usize| u64::try_from(length).unwrap_or(u64::MAX).to_le_bytes();
    let mut bytes = [vendor.as_slice(), &length(name.len()), &length(data.len())].concat();
    bytes.extend(name.into_iter().flat_map(u16::to_le_bytes));
    bytes.extend_from_slice(data);
    bytes
}

fn push_sized(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(data);
}

fn sha384(parts: &[&[u8]]) -> Sha384Digest {
    let mut value = Sha384Digest([0; 48]);
    for (place, byte) in value.0.iter_mut().zip(digest(MessageDigest::sha384(), parts)) {
        *place = byte;
    }
    value
}
