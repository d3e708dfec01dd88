//! Names of the documents that vendors publish about their hardware.
//!
//! A name is a closed set of numbers, so that an address, a row of a cache or a file of a bundle is made from it and never
//! from text that a guest sent. Its text form is stable: `amd/crl/Milan/vcek`, `intel/tcb-info/b0c06f000000/standard`.
//!
//! Sources: AMD 57230 chapter 4 (key distribution service), Intel PCS API v4.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};
use thiserror::Error;

use crate::{
    snp::{ChipId, ProductLine, TcbComponents, TcbVersion},
    tdx::Fmspc,
};

/// Which of AMD's two key hierarchies under a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AmdService {
    /// Chip keys: VCEK, issued by the ASK.
    Vcek,
    /// Loaded keys: VLEK, issued by the ASVK.
    Vlek,
}

/// Which of Intel's two intermediate CAs certifies a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PckAuthority {
    /// Multi-package platforms.
    Platform,
    /// Single-package platforms.
    Processor,
}

/// When Intel's newest judgement counts (PCS API v4, parameter `update`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcbUpdate {
    /// Months after publication, when operators had time to update.
    #[default]
    Standard,
    /// As soon as it is published.
    Early,
}

/// Names one vendor document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndorsementId {
    /// The certificate of a chip's endorsement key at a TCB.
    Vcek {
        /// Product line of the chip.
        line: ProductLine,
        /// CHIP_ID of the report; never all zero.
        chip_id: ChipId,
        /// REPORTED_TCB.
        tcb: TcbComponents,
    },
    /// The intermediate CA of one of AMD's hierarchies and its root.
    AmdChain {
        /// Product line.
        line: ProductLine,
        /// Which hierarchy.
        service: AmdService,
    },
    /// The revocation list of an AMD root, as published for one of its hierarchies.
    AmdCrl {
        /// Product line.
        line: ProductLine,
        /// Which hierarchy.
        service: AmdService,
    },
    /// TCB info for TDX.
    TcbInfo {
        /// The processors that it is about.
        fmspc: Fmspc,
        /// Which update.
        update: TcbUpdate,
    },
    /// Identity of the TD quoting enclave.
    QeIdentity {
        /// Which update.
        update: TcbUpdate,
    },
    /// The revocation list of a PCK CA.
    PckCrl {
        /// Which CA.
        ca: PckAuthority,
    },
    /// The revocation list of Intel's root.
    IntelRootCrl,
}

/// Text does not name a vendor document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected the name of a vendor document, for example amd/crl/Milan/vcek")]
pub struct NotAnEndorsementId;

impl AmdService {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// As in addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// From the name in addresses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }
}

impl PckAuthority {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Platform, Self::Processor];

    /// As in addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Processor => "processor",
        }
    }

    /// From the name in addresses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|authority| authority.name() == name)
    }
}

impl TcbUpdate {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Standard, Self::Early];

    /// As in addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Early => "early",
        }
    }

    /// From the name in addresses.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|update| update.name() == name)
    }
}

/// A product line by the name in AMD's addresses.
fn line(name: &str) -> Option<ProductLine> {
    ProductLine::ALL.into_iter().find(|line| line.name() == name)
}

impl EndorsementId {
    /// A VCEK's name; `None` for a masked chip id, a TCB of another layout, and an id longer than the product line's.
    #[must_use]
    pub fn vcek(line: ProductLine, chip_id: ChipId, tcb: TcbVersion) -> Option<Self> {
        let tcb = tcb.components(line.tcb_layout())?;
        let id = Self::Vcek { line, chip_id, tcb };
        let (used, rest) = chip_id.0.split_at_checked(line.chip_id_length())?;
        let plain = used.iter().any(|byte| *byte != 0) && rest.iter().all(|byte| *byte == 0);
        plain.then_some(id)
    }

    /// The bytes of a chip id that the product line uses, in hex: what AMD's addresses have.
    #[must_use]
    pub fn hardware_id(line: ProductLine, chip_id: &ChipId) -> String {
        hex::encode(chip_id.0.get(..line.chip_id_length()).unwrap_or_default())
    }

    /// The inverse of [`Self::hardware_id`]: exactly the length of the product line.
    #[must_use]
    pub fn chip_id(line: ProductLine, hardware_id: &str) -> Option<ChipId> {
        let mut chip_id = ChipId([0; 64]);
        hex::decode_to_slice(hardware_id, chip_id.0.get_mut(..line.chip_id_length())?).ok()?;
        Some(chip_id)
    }

    /// Whether the document is about one machine; the others are shared by many.
    #[must_use]
    pub const fn is_of_one_machine(&self) -> bool {
        match self {
            Self::Vcek { .. } => true,
            Self::AmdChain { .. }
            | Self::AmdCrl { .. }
            | Self::TcbInfo { .. }
            | Self::QeIdentity { .. }
            | Self::PckCrl { .. }
            | Self::IntelRootCrl => false,
        }
    }

    /// Whether it is a revocation list.
    #[must_use]
    pub const fn is_crl(&self) -> bool {
        match self {
            Self::AmdCrl { .. } | Self::PckCrl { .. } | Self::IntelRootCrl => true,
            Self::Vcek { .. } | Self::AmdChain { .. } | Self::TcbInfo { .. } | Self::QeIdentity { .. } => false,
        }
    }

    /// Whose document it is.
    #[must_use]
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::Vcek { .. } | Self::AmdChain { .. } | Self::AmdCrl { .. } => Vendor::Amd,
            Self::TcbInfo { .. } | Self::QeIdentity { .. } | Self::PckCrl { .. } | Self::IntelRootCrl => Vendor::Intel,
        }
    }
}

/// Who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl fmt::Display for EndorsementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek { line, chip_id, tcb } => {
                write!(f, "amd/vcek/{line}/{}/{}", Self::hardware_id(*line, chip_id), tcb.to_version())
            }
            Self::AmdChain { line, service } => write!(f, "amd/chain/{line}/{}", service.name()),
            Self::AmdCrl { line, service } => write!(f, "amd/crl/{line}/{}", service.name()),
            Self::TcbInfo { fmspc, update } => write!(f, "intel/tcb-info/{fmspc}/{}", update.name()),
            Self::QeIdentity { update } => write!(f, "intel/qe-identity/{}", update.name()),
            Self::PckCrl { ca } => write!(f, "intel/pck-crl/{}", ca.name()),
            Self::IntelRootCrl => f.write_str("intel/root-crl"),
        }
    }
}

impl FromStr for EndorsementId {
    type Err = NotAnEndorsementId;

    fn from_str(text: &str) -> Result<Self, NotAnEndorsementId> {
        let parts: Vec<&str> = text.split('/').collect();
        let id = match parts.as_slice() {
            ["amd", "vcek", product, chip, tcb] => line(product).and_then(|line| {
                let mut version = TcbVersion([0; 8]);
                hex::decode_to_slice(tcb, &mut version.0).ok()?;
                Self::vcek(line, Self::chip_id(line, chip)?, version)
            }),
            ["amd", "chain", product, service] => line(product)
                .and_then(|line| AmdService::from_name(service).map(|service| Self::AmdChain { line, service })),
            ["amd", "crl", product, service] => line(product)
                .and_then(|line| AmdService::from_name(service).map(|service| Self::AmdCrl { line, service })),
            ["intel", "tcb-info", fmspc, update] => fmspc
                .parse()
                .ok()
                .and_then(|fmspc| TcbUpdate::from_name(update).map(|update| Self::TcbInfo { fmspc, update })),
            ["intel", "qe-identity", update] => TcbUpdate::from_name(update).map(|update| Self::QeIdentity { update }),
            ["intel", "pck-crl", ca] => PckAuthority::from_name(ca).map(|ca| Self::PckCrl { ca }),
            ["intel", "root-crl"] => Some(Self::IntelRootCrl),
            _ => None,
        };
        // One name, one text: upper-case hex would be a second one.
        id.filter(|id| id.to_string() == text).ok_or(NotAnEndorsementId)
    }
}

impl Serialize for EndorsementId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EndorsementId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_has_one_text() {
        let chip = "07".repeat(64);
        let texts = [
            &format!("amd/vcek/Milan/{chip}/04000000000018db"),
            "amd/vcek/Turin/0102030405060708/0102000400000047",
            "amd/chain/Genoa/vlek",
            "amd/crl/Milan/vcek",
            "intel/tcb-info/b0c06f000000/early",
            "intel/qe-identity/standard",
            "intel/pck-crl/processor",
            "intel/root-crl",
        ];
        for text in texts {
            let id: EndorsementId = text.parse().unwrap();
            assert_eq!(id.to_string(), *text);
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn other_texts_name_nothing() {
        let masked = format!("amd/vcek/Milan/{}/04000000000018db", "00".repeat(64));
        let reserved = format!("amd/vcek/Milan/{}/04000100000018db", "07".repeat(64));
        let long = format!("amd/vcek/Turin/{}/0102000400000047", "07".repeat(64));
        for text in [
            "",
            "amd",
            "amd/crl/Rome/vcek",
            "amd/crl/milan/vcek",
            "amd/crl/Milan/vcek/",
            "amd/crl/Milan/../x",
            "intel/tcb-info/B0C06F000000/early",
            "intel/tcb-info/b0c06f0000/early",
            "intel/root-crl?x=1",
            &masked,
            &reserved,
            &long,
        ] {
            assert_eq!(text.parse::<EndorsementId>(), Err(NotAnEndorsementId), "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_reads_back(text in "(amd|intel)/[a-zA-Z0-9/-]{0,180}") {
            if let Ok(id) = text.parse::<EndorsementId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
