//! Names, media types and limits of the items of a bundle.

use std::fmt;

use serde::{Serialize, Serializer};

use super::BundleError;

/// Defines a closed set of texts with `as_str`, `from_text`, `Display`, `Debug` as written and `Serialize`.
macro_rules! closed_texts {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value of a wire text, when it is one.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

closed_texts! {
    /// What an item is.
    ItemName {
        /// SNP report or TDX quote.
        Cpu = "cpu",
        /// The host's certificate table.
        Certs = "certs",
        /// vTPM quote, signature, PCRs and attestation key.
        Tpm = "tpm",
        /// Azure paravisor report with its runtime claims.
        Hcl = "hcl",
        /// Services manifest of an SVSM, which its SNP report commits to.
        Svsm = "svsm",
        /// TCG2 measured-boot log of a TPM.
        EventlogTcg2 = "eventlog.tcg2",
        /// Confidential-computing event log (CCEL) of the RTMRs.
        EventlogCc = "eventlog.cc",
        /// What a running TD measured into RTMR2 and RTMR3 after the boot: continues `eventlog.cc`.
        EventlogRuntime = "eventlog.runtime",
        /// Linux IMA runtime log.
        EventlogIma = "eventlog.ima",
        /// Data that the host handed over at launch, committed to by the launch (HOST_DATA, MRCONFIGID).
        Initdata = "initdata",
    }
}

closed_texts! {
    /// How the bytes of an item are to be read.
    MediaType {
        /// Raw SNP attestation report.
        SnpReport = "application/vnd.countersign.snp-report",
        /// Raw GHCB certificate table.
        SnpCertTable = "application/vnd.countersign.snp-cert-table",
        /// Raw TDX DCAP quote.
        TdxQuote = "application/vnd.countersign.tdx-quote",
        /// JSON of a TPM quote with its PCRs and attestation key.
        TpmQuote = "application/vnd.countersign.tpm-quote+json",
        /// Raw Azure paravisor (HCL) report.
        HclReport = "application/vnd.countersign.hcl-report",
        /// Raw services manifest of an SVSM: that of all services, or that of the vTPM alone.
        SvsmManifest = "application/vnd.countersign.svsm-manifest",
        /// Raw TCG PC-client event log, crypto-agile format.
        Tcg2Log = "application/vnd.countersign.tcg2-eventlog",
        /// Raw CCEL event log.
        CcelLog = "application/vnd.countersign.ccel-eventlog",
        /// Raw runtime event log, crypto-agile format with AAEL events.
        RuntimeLog = "application/vnd.countersign.runtime-eventlog",
        /// Raw binary IMA log.
        ImaLog = "application/vnd.countersign.ima-eventlog",
        /// Initdata as TOML.
        Toml = "application/toml",
    }
}

const KIB: usize = 1024;

impl ItemName {
    /// Most bytes of an item of this name.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::EventlogTcg2 | Self::EventlogCc => 1024 * KIB,
            // Every event of it stands in results and records.
            Self::EventlogRuntime => 256 * KIB,
            Self::EventlogIma => 2048 * KIB,
            Self::Cpu | Self::Certs | Self::Tpm | Self::Hcl | Self::Svsm | Self::Initdata => 64 * KIB,
        }
    }

    /// Whether an item of this name may be of `media_type`.
    #[must_use]
    pub const fn admits(self, media_type: MediaType) -> bool {
        match media_type {
            MediaType::SnpReport | MediaType::TdxQuote => matches!(self, Self::Cpu),
            MediaType::SnpCertTable => matches!(self, Self::Certs),
            MediaType::TpmQuote => matches!(self, Self::Tpm),
            MediaType::HclReport => matches!(self, Self::Hcl),
            MediaType::SvsmManifest => matches!(self, Self::Svsm),
            MediaType::Tcg2Log => matches!(self, Self::EventlogTcg2),
            MediaType::CcelLog => matches!(self, Self::EventlogCc),
            MediaType::RuntimeLog => matches!(self, Self::EventlogRuntime),
            MediaType::ImaLog => matches!(self, Self::EventlogIma),
            MediaType::Toml => matches!(self, Self::Initdata),
        }
    }

    pub(super) const fn within_limit(self, actual: usize) -> Result<(), BundleError> {
        let limit = self.limit();
        if actual > limit { Err(BundleError::ItemTooLarge { name: self, limit, actual }) } else { Ok(()) }
    }
}

/// One item: raw bytes and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleItem {
    /// How to read the bytes.
    pub media_type: MediaType,
    /// The bytes as the hardware or firmware gave them.
    pub bytes: Vec<u8>,
}
