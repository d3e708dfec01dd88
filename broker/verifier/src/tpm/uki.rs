//! PCR 11 of a unified kernel image: what systemd-stub measures before the kernel runs.

use evidence_formats::digest::{Digest, HashAlgorithm};

/// Sections of a unified kernel image in the order in which they are measured; `.pcrsig` is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UkiSection {
    /// Kernel.
    Linux,
    /// os-release.
    OsRelease,
    /// Kernel command line.
    CommandLine,
    /// Initrd.
    Initrd,
    /// CPU microcode initrd.
    Microcode,
    /// Splash image.
    Splash,
    /// Device tree.
    DeviceTree,
    /// Kernel release.
    Uname,
    /// SBAT metadata.
    Sbat,
    /// Public key of the PCR signature.
    PcrPublicKey,
}

impl UkiSection {
    /// Every section, in measuring order.
    pub const ALL: [Self; 10] = [
        Self::Linux,
        Self::OsRelease,
        Self::CommandLine,
        Self::Initrd,
        Self::Microcode,
        Self::Splash,
        Self::DeviceTree,
        Self::Uname,
        Self::Sbat,
        Self::PcrPublicKey,
    ];

    /// PE section name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => ".linux",
            Self::OsRelease => ".osrel",
            Self::CommandLine => ".cmdline",
            Self::Initrd => ".initrd",
            Self::Microcode => ".ucode",
            Self::Splash => ".splash",
            Self::DeviceTree => ".dtb",
            Self::Uname => ".uname",
            Self::Sbat => ".sbat",
            Self::PcrPublicKey => ".pcrpkey",
        }
    }

    /// Digest that the name is measured as: with its terminating NUL.
    pub(crate) fn name_digest(self, bank: HashAlgorithm) -> Digest {
        bank.digest(&[self.name().as_bytes(), b"\0"])
    }
}

/// PCR 11 after an image with these sections booted and passed these phases (`enter-initrd`, `leave-initrd`, `sysinit`,
/// `ready`): each section present is measured by name and by content, each phase by its text.
#[must_use]
pub fn predict_pcr11(bank: HashAlgorithm, sections: &[(UkiSection, &[u8])], phases: &[&str]) -> Digest {
    let mut value = Digest::zero(bank);
    let mut ordered = sections.to_vec();
    ordered.sort_by_key(|(section, _)| *section);
    for (section, content) in ordered {
        value = value.extended(section.name_digest(bank).as_bytes());
        value = value.extended(bank.digest(&[content]).as_bytes());
    }
    for phase in phases {
        value = value.extended(bank.digest(&[phase.as_bytes()]).as_bytes());
    }
    value
}
