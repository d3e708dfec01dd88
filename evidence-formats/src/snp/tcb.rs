//! Product lines, TCB versions and firmware versions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A line of EPYC processors with one AMD key hierarchy (AMD 57230).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProductLine {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004: Genoa, Bergamo and Siena share one hierarchy.
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl ProductLine {
    /// Every known line.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The line of a processor by its combined CPUID family and model; `None` when it is not known.
    #[must_use]
    pub const fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            // 10h-1Fh Genoa, A0h-AFh Bergamo and Siena.
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x11) => Some(Self::Turin),
            _ => None,
        }
    }

    /// The name in AMD's certificates and key distribution service.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The layout of this line's TCB_VERSION.
    #[must_use]
    pub const fn tcb_layout(self) -> TcbLayout {
        match self {
            Self::Milan | Self::Genoa => TcbLayout::Milan,
            Self::Turin => TcbLayout::Turin,
        }
    }

    /// How many bytes of CHIP_ID this line uses; the rest is zero.
    #[must_use]
    pub const fn chip_id_length(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

impl fmt::Display for ProductLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which byte of TCB_VERSION means what (AMD 56860, TCB_VERSION).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan and Genoa: boot loader, TEE, four reserved, SNP, microcode.
    Milan,
    /// Turin: FMC, boot loader, TEE, SNP, three reserved, microcode.
    Turin,
}

/// TCB_VERSION as received: eight bytes whose meaning depends on the product line.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcbVersion(pub [u8; 8]);

/// The security patch levels of a TCB_VERSION.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbComponents {
    /// Firmware management controller; Turin only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl TcbVersion {
    /// The components in `layout`; `None` when a reserved byte is not zero.
    #[must_use]
    pub const fn components(self, layout: TcbLayout) -> Option<TcbComponents> {
        match (layout, self.0) {
            (TcbLayout::Milan, [bootloader, tee, 0, 0, 0, 0, snp, microcode]) => {
                Some(TcbComponents { fmc: None, bootloader, tee, snp, microcode })
            }
            (TcbLayout::Turin, [fmc, bootloader, tee, snp, 0, 0, 0, microcode]) => {
                Some(TcbComponents { fmc: Some(fmc), bootloader, tee, snp, microcode })
            }
            (TcbLayout::Milan | TcbLayout::Turin, _) => None,
        }
    }
}

impl TcbComponents {
    /// The TCB_VERSION in the layout that has these components.
    #[must_use]
    pub const fn to_version(self) -> TcbVersion {
        match self.fmc {
            None => TcbVersion([self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode]),
            Some(fmc) => TcbVersion([fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode]),
        }
    }

    /// Whether every component is at least that of `floor`. The number as a whole says nothing: microcode is its top byte.
    #[must_use]
    pub fn at_least(&self, floor: &Self) -> bool {
        self.fmc.is_some() == floor.fmc.is_some()
            && self.fmc >= floor.fmc
            && self.bootloader >= floor.bootloader
            && self.tee >= floor.tee
            && self.snp >= floor.snp
            && self.microcode >= floor.microcode
    }

    /// Every component by name, in order.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u8)> {
        let fmc = self.fmc.map(|fmc| ("fmc", fmc));
        let others =
            [("bootloader", self.bootloader), ("tee", self.tee), ("snp", self.snp), ("microcode", self.microcode)];
        fmc.into_iter().chain(others)
    }
}

impl fmt::Display for TcbComponents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, level) in self.named() {
            write!(f, "{separator}{name} {level}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcbVersion({self})")
    }
}

/// SNP firmware version, ordered by major, minor, build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_is_by_component() {
        let low_snp = TcbComponents { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 };
        let floor = TcbComponents { fmc: None, bootloader: 4, tee: 0, snp: 25, microcode: 1 };
        assert!(!low_snp.at_least(&floor));
        assert!(low_snp.at_least(&TcbComponents { snp: 24, ..floor }));
        assert!(!low_snp.at_least(&TcbComponents { fmc: Some(0), snp: 0, ..floor }));
    }

    #[test]
    fn both_layouts_round_trip() {
        let turin = TcbVersion([1, 2, 0, 4, 0, 0, 0, 0x47]);
        assert_eq!(turin.components(TcbLayout::Turin).map(TcbComponents::to_version), Some(turin));
        assert_eq!(turin.components(TcbLayout::Milan), None);
        let milan = TcbVersion([4, 0, 0, 0, 0, 0, 24, 219]);
        assert_eq!(milan.components(TcbLayout::Milan).map(TcbComponents::to_version), Some(milan));
        assert_eq!(milan.components(TcbLayout::Turin), None);
    }

    #[test]
    fn every_model_of_a_known_range_has_its_line() {
        assert_eq!(ProductLine::from_cpuid(0x19, 0x01), Some(ProductLine::Milan));
        assert_eq!(ProductLine::from_cpuid(0x19, 0xaf), Some(ProductLine::Genoa));
        assert_eq!(ProductLine::from_cpuid(0x1a, 0x11), Some(ProductLine::Turin));
        assert_eq!(ProductLine::from_cpuid(0x1a, 0x50), None);
        assert_eq!(ProductLine::from_cpuid(0x19, 0x50), None);
    }
}
