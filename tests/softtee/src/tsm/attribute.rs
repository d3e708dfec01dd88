//! The files of a report directory.
use serde::{Deserialize, Serialize};

/// The driver that provides reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// AMD SEV-SNP.
    #[default]
    SevGuest,
    /// Intel TDX.
    TdxGuest,
}

impl Provider {
    /// The content of `provider`, without the line end.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevGuest => "sev_guest",
            Self::TdxGuest => "tdx_guest",
        }
    }
}

/// A file of a report directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// Counts writes.
    Generation,
    /// Name of the driver.
    Provider,
    /// Privilege level to report (VMPL).
    Privlevel,
    /// Most privileged level that may be asked for.
    PrivlevelFloor,
    /// Service that makes the report; `svsm` is the only one.
    ServiceProvider,
    /// Which of its services.
    ServiceGuid,
    /// Version of the service's manifest.
    ServiceManifestVersion,
    /// What the report shall carry.
    Inblob,
    /// The report.
    Outblob,
    /// The host's certificates.
    Auxblob,
    /// The service's manifest.
    Manifestblob,
}

impl Attribute {
    /// Every file, in the order of the kernel's tables.
    pub const ALL: [Self; 11] = [
        Self::Generation,
        Self::Provider,
        Self::Privlevel,
        Self::PrivlevelFloor,
        Self::ServiceProvider,
        Self::ServiceGuid,
        Self::ServiceManifestVersion,
        Self::Inblob,
        Self::Outblob,
        Self::Auxblob,
        Self::Manifestblob,
    ];

    /// File name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generation => "generation",
            Self::Provider => "provider",
            Self::Privlevel => "privlevel",
            Self::PrivlevelFloor => "privlevel_floor",
            Self::ServiceProvider => "service_provider",
            Self::ServiceGuid => "service_guid",
            Self::ServiceManifestVersion => "service_manifest_version",
            Self::Inblob => "inblob",
            Self::Outblob => "outblob",
            Self::Auxblob => "auxblob",
            Self::Manifestblob => "manifestblob",
        }
    }

    /// Whether it is written; everything else is read. configfs keeps to this even for root.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        match self {
            Self::Privlevel
            | Self::ServiceProvider
            | Self::ServiceGuid
            | Self::ServiceManifestVersion
            | Self::Inblob => true,
            Self::Generation
            | Self::Provider
            | Self::PrivlevelFloor
            | Self::Outblob
            | Self::Auxblob
            | Self::Manifestblob => false,
        }
    }

    /// Permission bits (`CONFIGFS_ATTR_WO` and `_RO`).
    #[must_use]
    pub const fn mode(self) -> u16 {
        if self.is_writable() { 0o200 } else { 0o444 }
    }

    /// Most bytes of a binary attribute; `None` for text, which is at most a page.
    #[must_use]
    pub const fn binary_limit(self) -> Option<usize> {
        match self {
            Self::Inblob => Some(64),
            Self::Outblob | Self::Auxblob | Self::Manifestblob => Some(32 * 1024),
            Self::Generation
            | Self::Provider
            | Self::Privlevel
            | Self::PrivlevelFloor
            | Self::ServiceProvider
            | Self::ServiceGuid
            | Self::ServiceManifestVersion => None,
        }
    }

    /// Whether the driver shows it. The attributes of services exist below an SVSM only, that is above VMPL 0.
    #[must_use]
    pub const fn is_visible(self, provider: Provider, privilege_floor: u32) -> bool {
        match (self, provider) {
            (Self::Generation | Self::Provider | Self::Inblob | Self::Outblob, _) => true,
            (Self::Privlevel | Self::PrivlevelFloor | Self::Auxblob, Provider::SevGuest) => true,
            (
                Self::ServiceProvider | Self::ServiceGuid | Self::ServiceManifestVersion | Self::Manifestblob,
                Provider::SevGuest,
            ) => privilege_floor > 0,
            // `tdx_report_attr_visible`: a TD has neither levels nor services, and its host gives no certificates.
            (
                Self::Privlevel
                | Self::PrivlevelFloor
                | Self::Auxblob
                | Self::ServiceProvider
                | Self::ServiceGuid
                | Self::ServiceManifestVersion
                | Self::Manifestblob,
                Provider::TdxGuest,
            ) => false,
        }
    }
}
