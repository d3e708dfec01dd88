//! One event of a log, and which of its data its digest proves.

use crate::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
};

/// Type of an event (PFP 1.05 section 10.4.1). Types are not measured: a relabelled event replays to the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(pub u32);

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl EventType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Name of the type in the profile, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

event_types! {
    /// Must not appear in a conformant log; measured text of old firmware.
    PREBOOT_CERT = 0x0000_0000, "EV_PREBOOT_CERT";
    /// Firmware code that was measured by its content.
    POST_CODE = 0x0000_0001, "EV_POST_CODE";
    /// Reserved.
    UNUSED = 0x0000_0002, "EV_UNUSED";
    /// Informational: never extended.
    NO_ACTION = 0x0000_0003, "EV_NO_ACTION";
    /// Border between firmware and operating system.
    SEPARATOR = 0x0000_0004, "EV_SEPARATOR";
    /// Text.
    ACTION = 0x0000_0005, "EV_ACTION";
    /// Tagged data of the operating system.
    EVENT_TAG = 0x0000_0006, "EV_EVENT_TAG";
    /// Identifier of the S-CRTM, measured by its content.
    S_CRTM_CONTENTS = 0x0000_0007, "EV_S_CRTM_CONTENTS";
    /// Version of the S-CRTM.
    S_CRTM_VERSION = 0x0000_0008, "EV_S_CRTM_VERSION";
    /// Processor microcode.
    CPU_MICROCODE = 0x0000_0009, "EV_CPU_MICROCODE";
    /// Platform configuration flags.
    PLATFORM_CONFIG_FLAGS = 0x0000_000A, "EV_PLATFORM_CONFIG_FLAGS";
    /// Table of devices.
    TABLE_OF_DEVICES = 0x0000_000B, "EV_TABLE_OF_DEVICES";
    /// Compact hash with caller-chosen data.
    COMPACT_HASH = 0x0000_000C, "EV_COMPACT_HASH";
    /// Initial program loader: text or a file of a boot loader.
    IPL = 0x0000_000D, "EV_IPL";
    /// Partition data of a boot loader.
    IPL_PARTITION_DATA = 0x0000_000E, "EV_IPL_PARTITION_DATA";
    /// Code of a non-host platform.
    NONHOST_CODE = 0x0000_000F, "EV_NONHOST_CODE";
    /// Configuration of a non-host platform.
    NONHOST_CONFIG = 0x0000_0010, "EV_NONHOST_CONFIG";
    /// Information about a non-host platform.
    NONHOST_INFO = 0x0000_0011, "EV_NONHOST_INFO";
    /// Events left out by the firmware.
    OMIT_BOOT_DEVICE_EVENTS = 0x0000_0012, "EV_OMIT_BOOT_DEVICE_EVENTS";
    /// UEFI variable with its data (secure boot state).
    EFI_VARIABLE_DRIVER_CONFIG = 0x8000_0001, "EV_EFI_VARIABLE_DRIVER_CONFIG";
    /// UEFI boot variable; only the variable's data is hashed.
    EFI_VARIABLE_BOOT = 0x8000_0002, "EV_EFI_VARIABLE_BOOT";
    /// Boot application by its Authenticode hash.
    EFI_BOOT_SERVICES_APPLICATION = 0x8000_0003, "EV_EFI_BOOT_SERVICES_APPLICATION";
    /// Boot driver by its Authenticode hash.
    EFI_BOOT_SERVICES_DRIVER = 0x8000_0004, "EV_EFI_BOOT_SERVICES_DRIVER";
    /// Runtime driver by its Authenticode hash.
    EFI_RUNTIME_SERVICES_DRIVER = 0x8000_0005, "EV_EFI_RUNTIME_SERVICES_DRIVER";
    /// Partition table.
    EFI_GPT_EVENT = 0x8000_0006, "EV_EFI_GPT_EVENT";
    /// Text of the firmware.
    EFI_ACTION = 0x8000_0007, "EV_EFI_ACTION";
    /// Firmware volume by its content.
    EFI_PLATFORM_FIRMWARE_BLOB = 0x8000_0008, "EV_EFI_PLATFORM_FIRMWARE_BLOB";
    /// Hand-off tables by their content.
    EFI_HANDOFF_TABLES = 0x8000_0009, "EV_EFI_HANDOFF_TABLES";
    /// Firmware volume by its content, with a description.
    EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000_000A, "EV_EFI_PLATFORM_FIRMWARE_BLOB2";
    /// Hand-off tables by their content, with a description.
    EFI_HANDOFF_TABLES2 = 0x8000_000B, "EV_EFI_HANDOFF_TABLES2";
    /// UEFI boot variable with its name.
    EFI_VARIABLE_BOOT2 = 0x8000_000C, "EV_EFI_VARIABLE_BOOT2";
    /// Hardware CRTM event.
    EFI_HCRTM_EVENT = 0x8000_0010, "EV_EFI_HCRTM_EVENT";
    /// Which certificate or hash allowed an image.
    EFI_VARIABLE_AUTHORITY = 0x8000_00E0, "EV_EFI_VARIABLE_AUTHORITY";
    /// SPDM firmware blob.
    EFI_SPDM_FIRMWARE_BLOB = 0x8000_00E1, "EV_EFI_SPDM_FIRMWARE_BLOB";
    /// SPDM firmware configuration.
    EFI_SPDM_FIRMWARE_CONFIG = 0x8000_00E2, "EV_EFI_SPDM_FIRMWARE_CONFIG";
}

/// Prefixes that boot loaders put before the text that they measure (GRUB `tpm` module).
const TEXT_PREFIXES: [&str; 3] = ["kernel_cmdline: ", "grub_cmd: ", "module_cmdline: "];

/// One event: a view into its log.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Position in the log; the header event is 0.
    pub number: usize,
    /// PCR index, or the CC measurement register index in a CCEL.
    pub register: u32,
    /// What the event says that it is.
    pub kind: EventType,
    /// Data of the event: unproven unless [`Event::data_is_measured`].
    pub data: &'a [u8],
    pub(super) digests: &'a [u8],
    pub(super) crypto_agile: bool,
}

impl<'a> Event<'a> {
    /// The event's digest in `bank`, if it has one.
    #[must_use]
    pub fn digest(&self, bank: HashAlgorithm) -> Option<Digest> {
        Digest::new(bank, self.digest_bytes(bank)?)
    }

    pub(super) fn digest_bytes(&self, bank: HashAlgorithm) -> Option<&'a [u8]> {
        if !self.crypto_agile {
            return (bank == HashAlgorithm::Sha1).then_some(self.digests);
        }
        let mut reader = Reader::new(self.digests);
        while let Ok(id) = reader.u16_le() {
            let algorithm = HashAlgorithm::from_tpm_id(id)?;
            let bytes = reader.take(algorithm.length()).ok()?;
            if algorithm == bank {
                return Some(bytes);
            }
        }
        None
    }

    /// Whether the event was extended into its register: all but EV_NO_ACTION.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.kind != EventType::NO_ACTION
    }

    /// Whether the digest in `bank` is the digest of `text`.
    #[must_use]
    pub fn measures(&self, bank: HashAlgorithm, text: &[u8]) -> bool {
        self.is_measured() && self.digest_bytes(bank).is_some_and(|digest| bank.digest(&[text]).as_bytes() == digest)
    }

    /// Whether the digest in `bank` is the digest of the whole data, so that the data is as proven as the register.
    ///
    /// Events whose digest covers something else (an image, a file, a table in memory) answer false: their data is a
    /// label that anyone could have changed.
    #[must_use]
    pub fn data_is_measured(&self, bank: HashAlgorithm) -> bool {
        self.measures(bank, self.data)
    }

    /// Text of a boot-loader event (EV_IPL of GRUB and systemd-boot) when the digest in `bank` proves it: the prefix
    /// (for example `kernel_cmdline: `, empty if none) and the measured text without its terminating NUL.
    #[must_use]
    pub fn measured_text(&self, bank: HashAlgorithm) -> Option<(&'static str, &'a str)> {
        let text = self.text()?;
        for prefix in TEXT_PREFIXES {
            if let Some(rest) = text.strip_prefix(prefix) {
                return self.measures(bank, rest.as_bytes()).then_some((prefix, rest));
            }
        }
        (self.measures(bank, text.as_bytes()) || self.data_is_measured(bank)).then_some(("", text))
    }

    /// The data as UTF-8 text without one terminating NUL, proven or not.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.data.strip_suffix(&[0]).unwrap_or(self.data)).ok()
    }
}
