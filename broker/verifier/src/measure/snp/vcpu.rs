//! How many virtual processors of which type.

use std::{collections::BTreeSet, fmt, str::FromStr};

use thiserror::Error;

/// Most virtual processors of a guest (KVM_MAX_VCPUS).
const MAX_VCPUS: u32 = 4096;
/// Most different counts at a time: as many as a reference set has alternatives.
const MAX_COUNTS: usize = 512;

/// A text names no processor type, or no counts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected {expected}, found {found}")]
pub struct NotAVcpu {
    expected: &'static str,
    found: String,
}

impl NotAVcpu {
    fn new(expected: &'static str, found: &str) -> Self {
        Self { expected, found: found.chars().take(64).collect() }
    }
}

/// CPUID Fn0000_0001_EAX of a virtual processor: family, model and stepping (AMD 25481).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuSignature(u32);

/// Families, models and steppings of QEMU's processor models (target/i386/cpu.c). Their versions differ in features, not here.
const QEMU_MODELS: [(&str, u8, u8, u8); 5] = [
    ("epyc", 23, 1, 2),
    ("epyc-rome", 23, 49, 0),
    ("epyc-milan", 25, 1, 1),
    ("epyc-genoa", 25, 17, 0),
    ("epyc-turin", 26, 0, 0),
];

impl VcpuSignature {
    /// Takes the register's value.
    #[must_use]
    pub const fn new(eax: u32) -> Self {
        Self(eax)
    }

    /// From family, model and stepping, as they are counted in data sheets.
    #[must_use]
    pub fn from_family(family: u8, model: u8, stepping: u8) -> Self {
        let family = u32::from(family);
        let (model, stepping) = (u32::from(model), u32::from(stepping));
        let (base, extended) = (family.min(0xf), family.saturating_sub(0xf));
        Self((extended << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 0xf) << 4) | (stepping & 0xf))
    }

    /// The register's value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// A QEMU model (`EPYC-v4`, `EPYC-Milan`, …) of any version, or the signature itself in hex (`0x800f12`).
impl FromStr for VcpuSignature {
    type Err = NotAVcpu;

    fn from_str(text: &str) -> Result<Self, NotAVcpu> {
        if let Some(digits) = text.strip_prefix("0x") {
            let wrong = |_not_hex| NotAVcpu::new("a CPUID signature of at most 8 hex digits", text);
            return u32::from_str_radix(digits, 16).map(Self).map_err(wrong);
        }
        let lower = text.to_ascii_lowercase();
        let version = |rest: &str| {
            rest.is_empty()
                || rest == "-ibpb"
                || rest
                    .strip_prefix("-v")
                    .is_some_and(|number| number.len() == 1 && number != "0" && number.parse::<u8>().is_ok())
        };
        QEMU_MODELS
            .iter()
            .rev()
            .find(|(name, ..)| lower.strip_prefix(name).is_some_and(version))
            .map(|(_, family, model, stepping)| Self::from_family(*family, *model, *stepping))
            .ok_or_else(|| {
                NotAVcpu::new(
                    "EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa or EPYC-Turin, with or without a version, or 0x…",
                    text,
                )
            })
    }
}

impl fmt::Display for VcpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Numbers of virtual processors, ascending, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VcpuCounts(BTreeSet<u32>);

impl VcpuCounts {
    /// One guest shape.
    ///
    /// # Errors
    /// When it is 0 or more than 4096.
    pub fn one(count: u32) -> Result<Self, NotAVcpu> {
        count.to_string().parse()
    }

    /// The counts.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

/// A list of numbers and ranges: `1,2,4-8`.
impl FromStr for VcpuCounts {
    type Err = NotAVcpu;

    fn from_str(text: &str) -> Result<Self, NotAVcpu> {
        let wrong = || NotAVcpu::new("numbers from 1 to 4096 and ranges such as 1,2,4-8, at most 512 in all", text);
        let number = |text: &str| match text.parse() {
            Ok(count @ 1..=MAX_VCPUS) => Ok(count),
            _ => Err(wrong()),
        };
        let mut counts = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong());
            }
            counts.extend(first..=last);
        }
        if counts.len() > MAX_COUNTS {
            return Err(wrong());
        }
        Ok(Self(counts))
    }
}
