//! Product lines and their TCB versions.
use serde::{Deserialize, Serialize};

/// Processor lines with a root of their own at AMD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProductLine {
    /// Third generation EPYC.
    Milan,
    /// Fourth generation EPYC; Bergamo and Siena share its root.
    Genoa,
    /// Fifth generation EPYC: another TCB layout, 8-byte chip ids.
    Turin,
}

impl ProductLine {
    /// All lines, oldest first.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name in certificates and KDS addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// Family, model and stepping of a healthy processor (combined values, as reports from version 3 carry them).
    #[must_use]
    pub const fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x01],
            Self::Turin => [0x1a, 0x02, 0x01],
        }
    }

    /// Length of the hardware id in VCEK certificates: 64 bytes, 8 on Turin.
    #[must_use]
    pub const fn hardware_id_length(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin => 8,
        }
    }
}

/// Security patch levels of one firmware set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// FMC, on Turin only; ignored elsewhere.
    #[serde(default)]
    pub fmc: u8,
    /// Boot loader.
    pub boot_loader: u8,
    /// TEE.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl Tcb {
    /// A recent, plausible set for a product line.
    #[must_use]
    pub const fn healthy(product: ProductLine) -> Self {
        match product {
            ProductLine::Milan => Self { fmc: 0, boot_loader: 4, tee: 0, snp: 24, microcode: 219 },
            ProductLine::Genoa => Self { fmc: 0, boot_loader: 10, tee: 0, snp: 27, microcode: 88 },
            ProductLine::Turin => Self { fmc: 1, boot_loader: 2, tee: 0, snp: 4, microcode: 71 },
        }
    }

    /// `TCB_VERSION` as a report carries it (56860 table 3; Turin has a layout of its own).
    #[must_use]
    pub const fn to_bytes(self, product: ProductLine) -> [u8; 8] {
        match product {
            ProductLine::Milan | ProductLine::Genoa => {
                [self.boot_loader, self.tee, 0, 0, 0, 0, self.snp, self.microcode]
            }
            ProductLine::Turin => [self.fmc, self.boot_loader, self.tee, self.snp, 0, 0, 0, self.microcode],
        }
    }
}
