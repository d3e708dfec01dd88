//! TD attributes and the extended features mask.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// ATTRIBUTES of a TD (TDX Module ABI, "TD attributes"): 64 bits; the low byte makes a TD untrusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TdAttributes(pub u64);

/// A defined bit of [`TdAttributes`]. Every bit that has no name here is reserved and must be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TdAttribute {
    /// Bit 0: the host may read and write the TD.
    Debug,
    /// Bit 4: host-guest shared profiling.
    HgsPlusProfiling,
    /// Bit 5: performance profiling by the host.
    PerfProfiling,
    /// Bit 6: platform telemetry profiling by the host.
    PmtProfiling,
    /// Bit 16: the interrupts of the TD are not isolated as usual.
    Icssd,
    /// Bit 17: extended service TD binding.
    ServtdExt,
    /// Bit 27: linear address space separation.
    Lass,
    /// Bit 28: a page the host took away is an error, not an exception that the host can steer.
    SeptVeDisable,
    /// Bit 29: the TD can be migrated by a migration TD.
    Migratable,
    /// Bit 30: supervisor protection keys.
    Pks,
    /// Bit 31: key locker.
    Kl,
    /// Bit 62: the TD is a quoting TD.
    Tpa,
    /// Bit 63: performance monitoring.
    Perfmon,
}

impl TdAttribute {
    /// Every defined bit, from low to high.
    pub const ALL: [Self; 13] = [
        Self::Debug,
        Self::HgsPlusProfiling,
        Self::PerfProfiling,
        Self::PmtProfiling,
        Self::Icssd,
        Self::ServtdExt,
        Self::Lass,
        Self::SeptVeDisable,
        Self::Migratable,
        Self::Pks,
        Self::Kl,
        Self::Tpa,
        Self::Perfmon,
    ];

    /// The mask of this bit.
    #[must_use]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Debug => 1,
            Self::HgsPlusProfiling => 1 << 4,
            Self::PerfProfiling => 1 << 5,
            Self::PmtProfiling => 1 << 6,
            Self::Icssd => 1 << 16,
            Self::ServtdExt => 1 << 17,
            Self::Lass => 1 << 27,
            Self::SeptVeDisable => 1 << 28,
            Self::Migratable => 1 << 29,
            Self::Pks => 1 << 30,
            Self::Kl => 1 << 31,
            Self::Tpa => 1 << 62,
            Self::Perfmon => 1 << 63,
        }
    }

    /// The name in configuration and claims.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::HgsPlusProfiling => "hgs_plus_profiling",
            Self::PerfProfiling => "perf_profiling",
            Self::PmtProfiling => "pmt_profiling",
            Self::Icssd => "icssd",
            Self::ServtdExt => "servtd_ext",
            Self::Lass => "lass",
            Self::SeptVeDisable => "sept_ve_disable",
            Self::Migratable => "migratable",
            Self::Pks => "pks",
            Self::Kl => "kl",
            Self::Tpa => "tpa",
            Self::Perfmon => "perfmon",
        }
    }
}

/// Bits of [`TdAttributes`] that have no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected only defined TD attribute bits, found {bits:#018x}")]
pub struct UnknownAttribute {
    /// The bits without a name.
    pub bits: u64,
}

impl TdAttributes {
    /// Reads the field as it stands in a report.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// Whether `attribute` is set.
    #[must_use]
    pub const fn has(self, attribute: TdAttribute) -> bool {
        self.0 & attribute.mask() != 0
    }

    /// The defined attributes that are set, from low to high.
    pub fn set(self) -> impl Iterator<Item = TdAttribute> {
        TdAttribute::ALL.into_iter().filter(move |attribute| self.has(*attribute))
    }

    /// Refuses bits without a name.
    ///
    /// # Errors
    /// [`UnknownAttribute`] with the reserved bits that are set.
    pub fn require_defined(self) -> Result<(), UnknownAttribute> {
        let defined = TdAttribute::ALL.iter().fold(0, |mask, attribute| mask | attribute.mask());
        match self.0 & !defined {
            0 => Ok(()),
            bits => Err(UnknownAttribute { bits }),
        }
    }
}

/// XFAM: the extended processor features that the TD may use, as in XCR0 and IA32_XSS.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Xfam(pub u64);

impl Xfam {
    /// Bits that must be one: x87 and SSE (TDX Module ABI, XFAM).
    pub const REQUIRED: u64 = 0x3;
    /// Bits that a known feature uses; the others must be zero.
    pub const KNOWN: u64 = 0x0006_dbe7;

    /// Reads the field as it stands in a report.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }
}

macro_rules! hex_u64 {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{:016x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}
hex_u64!(TdAttributes);
hex_u64!(Xfam);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_masks_are_distinct_bits() {
        let mut seen = 0;
        for attribute in TdAttribute::ALL {
            assert_eq!(attribute.mask().count_ones(), 1);
            assert_eq!(seen & attribute.mask(), 0, "{attribute:?}");
            seen |= attribute.mask();
            assert_eq!(serde_json::to_value(attribute).ok(), Some(attribute.name().into()));
        }
    }

    #[test]
    fn reserved_bits_are_named() {
        assert_eq!(TdAttributes(0x8000_0000_1000_0000).require_defined(), Ok(()));
        assert_eq!(TdAttributes(1 << 28 | 2).require_defined(), Err(UnknownAttribute { bits: 2 }));
        assert_eq!(TdAttributes(1 << 32).require_defined(), Err(UnknownAttribute { bits: 1 << 32 }));
    }
}
