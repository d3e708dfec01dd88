//! The profiles that are read, and what their keys mean.

use evidence_formats::corim::{ClassId, CorimDocument, Environment, Profile};

use super::{CorimRefusal, write::PROFILE};

/// How a manifest is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownProfile {
    /// AMD SEV-SNP (draft-deeglaze-amd-sev-snp-corim-profile).
    Snp,
    /// Intel (draft-cds-rats-intel-corim-profile).
    Intel,
    /// Ours: everything that a reference set can say.
    Countersign,
    /// None: integrity registers by name.
    Base,
}

/// The draft's URI, and the one that was registered before it.
const SNP: [&str; 2] = ["tag:amd.com,2025:snp-corim-profile", "tag:amd.com,2024:snp-corim-profile"];
const INTEL: &str = "2.16.840.1.113741.1.16.1";
/// Intel's arc of object identifiers.
const INTEL_ARC: &str = "2.16.840.1.113741.";
/// Classes of the SNP profile: by chip, by cloud provider.
const SNP_CLASSES: [&str; 2] = ["1.3.6.1.4.1.3704.3.1", "1.3.6.1.4.1.3704.3.2"];

/// Keys of the SNP profile that describe the platform, the request or this one launch: what the baseline judges, or
/// nobody can know in advance. VERSION, POLICY, FAMILY_ID, IMAGE_ID, VMPL, CURRENT_TCB, PLATFORM_INFO, REPORT_DATA,
/// REPORT_ID, REPORT_ID_MA, REPORTED_TCB, CPUID, CHIP_ID, COMMITTED_TCB, versions, LAUNCH_TCB.
const SNP_PLATFORM: [u64; 19] = [0, 2, 3, 4, 5, 6, 7, 640, 645, 646, 647, 648, 649, 650, 3328, 3329, 3330, 3936, 3968];

impl KnownProfile {
    pub(super) fn of(document: &CorimDocument) -> Result<Self, CorimRefusal> {
        match &document.profile {
            None => Ok(Self::Base),
            Some(Profile::Uri(uri)) if SNP.contains(&uri.as_str()) => Ok(Self::Snp),
            Some(Profile::Uri(uri)) if uri == PROFILE => Ok(Self::Countersign),
            Some(Profile::Oid(oid)) if oid == INTEL => Ok(Self::Intel),
            Some(other) => Err(CorimRefusal::Profile { found: other.to_string() }),
        }
    }

    /// Whether the key of a measurement describes the platform.
    pub(super) fn is_of_platform(self, key: u64) -> bool {
        match self {
            Self::Snp => SNP_PLATFORM.contains(&key),
            Self::Intel | Self::Countersign | Self::Base => false,
        }
    }

    /// Refuses an environment that the profile does not describe.
    pub(super) fn fits(self, environment: &Environment) -> Result<(), CorimRefusal> {
        let class = environment.class.as_ref();
        let oid = class.and_then(|class| match &class.id {
            Some(ClassId::Oid(oid)) => Some(oid.as_str()),
            Some(ClassId::Uuid(_) | ClassId::Bytes(_)) | None => None,
        });
        let vendor = class.and_then(|class| class.vendor.as_deref()).unwrap_or_default();
        let (fits, expected) = match self {
            Self::Snp => (oid.is_some_and(|oid| SNP_CLASSES.contains(&oid)), "a class of the SNP profile"),
            Self::Intel => match oid {
                Some(oid) => (oid.starts_with(INTEL_ARC), "a class of Intel's"),
                None => (vendor.starts_with("Intel"), "a class of Intel's"),
            },
            Self::Countersign => (matches!(vendor, "workload" | "paravisor"), "the kind of the set as vendor"),
            Self::Base => (true, "any class"),
        };
        if !fits {
            return Err(CorimRefusal::Environment { expected });
        }
        // A layer or index picks one of several environments; a set has no word for that.
        if class.is_some_and(|class| class.layer.is_some() || class.index.is_some()) {
            return Err(CorimRefusal::Environment { expected: "no layer and no index" });
        }
        Ok(())
    }
}
