//! The state file: what the simulated guest is, and what goes wrong.
use std::path::{Path, PathBuf};

use evidence_formats::bytes::{LaunchDigest, Sha384Digest};
use evidence_formats::snp::{FamilyId, FirmwareVersion, HostData, ImageId, ProductLine, TcbComponents};
use fuser::Errno;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;

use super::{Provider, TdxState};
use crate::amd::{AmdPki, CertTableSpec, ReportSpec, SecureProcessor, VekKind};

/// Where the state comes from.
#[derive(Debug, Clone)]
pub enum StateSource {
    /// A TOML file, or JSON when the name ends in `.json`; read each time.
    File(PathBuf),
    /// Always the same.
    Fixed(Box<GuestState>),
}

/// A state file that says nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("expected a readable state file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a state.
    #[error("expected a guest's state in {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
}

impl StateSource {
    /// The state now.
    ///
    /// # Errors
    /// [`StateError`] when the file is unreadable or malformed.
    pub fn load(&self) -> Result<GuestState, StateError> {
        match self {
            Self::File(path) => GuestState::from_file(path),
            Self::Fixed(state) => Ok(state.as_ref().clone()),
        }
    }
}

/// What the simulated guest is. Everything left out is healthy.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuestState {
    /// The driver that is loaded.
    pub provider: Provider,
    /// The guest as SEV-SNP sees it.
    pub snp: SnpState,
    /// The guest as TDX sees it.
    pub tdx: TdxState,
    /// What goes wrong.
    pub faults: Faults,
}

impl GuestState {
    /// The most privileged level that the guest may ask for.
    #[must_use]
    pub const fn privilege_floor(&self) -> u32 {
        match self.provider {
            Provider::SevGuest => self.snp.vmpl,
            Provider::TdxGuest => 0,
        }
    }

    /// Reads a state file.
    ///
    /// # Errors
    /// [`StateError`] when the file is unreadable or malformed.
    pub fn from_file(path: &Path) -> Result<Self, StateError> {
        let unreadable = |source| StateError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let parsed = if path.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        } else {
            toml::from_str(&text).map_err(|error| error.to_string())
        };
        parsed.map_err(|reason| StateError::Malformed { path: path.to_owned(), reason })
    }
}

/// Bytes written as hex in a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// How the host's certificate table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateTable {
    /// VEK, its issuer and the root in DER.
    #[default]
    Der,
    /// The same in PEM.
    Pem,
    /// No table.
    None,
    /// Two entries claim the same bytes.
    Overlapping,
    /// An entry claims bytes past the end.
    PastTheEnd,
    /// Two entries of one kind.
    Duplicated,
    /// No end of the header.
    Unterminated,
}

impl CertificateTable {
    /// The table of an honest host, made to look like this.
    #[must_use]
    pub fn to_bytes(self, honest: CertTableSpec) -> Vec<u8> {
        match self {
            Self::Der => honest.to_bytes(),
            Self::Pem => honest.into_pem().to_bytes(),
            Self::None => Vec::new(),
            Self::Overlapping => honest.overlapping().to_bytes(),
            Self::PastTheEnd => honest.past_the_end().to_bytes(),
            Self::Duplicated => honest.duplicated().to_bytes(),
            Self::Unterminated => honest.unterminated().to_bytes(),
        }
    }
}

/// The guest as SEV-SNP sees it. What is `None` is as in [`ReportSpec::healthy`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpState {
    /// The processor.
    pub product: ProductLine,
    /// The key that signs.
    pub signing_key: VekKind,
    /// Whether the whole hierarchy is an attacker's imitation.
    pub rogue: bool,
    /// From when the endorsement key is valid; default: thirty days before the report.
    #[serde(with = "time::serde::rfc3339::option")]
    pub issued_at: Option<OffsetDateTime>,
    /// The host's certificate table.
    pub certificates: CertificateTable,
    /// The chip's id.
    pub hardware_id: Option<HexBytes>,
    /// The cloud named in a VLEK.
    pub csp_id: Option<String>,
    /// The reported TCB, which is the endorsement key's, and the others unless they are given.
    pub tcb: Option<TcbComponents>,
    /// The running firmware's TCB.
    pub current_tcb: Option<TcbComponents>,
    /// The committed TCB.
    pub committed_tcb: Option<TcbComponents>,
    /// The TCB at launch.
    pub launch_tcb: Option<TcbComponents>,
    /// Report version.
    pub version: Option<u32>,
    /// The guest's own VMPL: the floor of what it can ask for. Above 0 it runs under an SVSM.
    pub vmpl: u32,
    /// The SVSM's manifest.
    pub service_manifest: Option<HexBytes>,
    /// Guest policy.
    pub policy: Option<u64>,
    /// Guest security version.
    pub guest_svn: Option<u32>,
    /// Platform flags.
    pub platform_info: Option<u64>,
    /// Launch measurement.
    pub measurement: Option<LaunchDigest>,
    /// Host data.
    pub host_data: Option<HostData>,
    /// Family id.
    pub family_id: Option<FamilyId>,
    /// Image id.
    pub image_id: Option<ImageId>,
    /// Digest of the ID key.
    pub id_key_digest: Option<Sha384Digest>,
    /// Digest of the author key; also sets `AUTHOR_KEY_EN`.
    pub author_key_digest: Option<Sha384Digest>,
    /// Running firmware.
    pub current_version: Option<FirmwareVersion>,
    /// Committed firmware.
    pub committed_version: Option<FirmwareVersion>,
    /// Launch mitigation vector.
    pub launch_mitigations: Option<u64>,
    /// Current mitigation vector.
    pub current_mitigations: Option<u64>,
}

impl Default for SnpState {
    fn default() -> Self {
        Self {
            product: ProductLine::Milan,
            signing_key: VekKind::Vcek,
            rogue: false,
            issued_at: None,
            certificates: CertificateTable::default(),
            hardware_id: None,
            csp_id: None,
            tcb: None,
            current_tcb: None,
            committed_tcb: None,
            launch_tcb: None,
            version: None,
            vmpl: 0,
            service_manifest: None,
            policy: None,
            guest_svn: None,
            platform_info: None,
            measurement: None,
            host_data: None,
            family_id: None,
            image_id: None,
            id_key_digest: None,
            author_key_digest: None,
            current_version: None,
            committed_version: None,
            launch_mitigations: None,
            current_mitigations: None,
        }
    }
}

impl SnpState {
    /// The chip under this guest.
    #[must_use]
    pub fn processor(&self) -> SecureProcessor {
        let mut processor = SecureProcessor::new(self.product);
        if self.rogue {
            processor.pki = AmdPki::rogue(self.product);
        }
        processor.kind = self.signing_key;
        processor.issued_at = self.issued_at.unwrap_or_else(a_month_ago);
        set(&mut processor.tcb, self.tcb.map(|tcb| self.complete(tcb)));
        set(&mut processor.csp_id, self.csp_id.clone());
        set(&mut processor.hardware_id, self.hardware_id.clone().map(|HexBytes(bytes)| bytes));
        processor
    }

    /// The TCB in the product's layout, whatever the file says of the FMC.
    fn complete(&self, tcb: TcbComponents) -> TcbComponents {
        let fmc = match self.product {
            ProductLine::Milan | ProductLine::Genoa => None,
            ProductLine::Turin => Some(tcb.fmc.unwrap_or_default()),
        };
        TcbComponents { fmc, ..tcb }
    }

    /// What its reports say, but for the request.
    #[must_use]
    pub fn guest(&self, processor: &SecureProcessor) -> ReportSpec {
        let mut report = processor.guest();
        let tcb = |tcb: Option<TcbComponents>| tcb.map(|tcb| self.complete(tcb).to_version());
        set(&mut report.current_tcb, tcb(self.current_tcb));
        set(&mut report.committed_tcb, tcb(self.committed_tcb));
        set(&mut report.launch_tcb, tcb(self.launch_tcb));
        set(&mut report.version, self.version);
        set(&mut report.policy, self.policy);
        set(&mut report.guest_svn, self.guest_svn);
        set(&mut report.platform_info, self.platform_info);
        set(&mut report.measurement, self.measurement);
        set(&mut report.host_data, self.host_data);
        set(&mut report.family_id, self.family_id);
        set(&mut report.image_id, self.image_id);
        set(&mut report.id_key_digest, self.id_key_digest);
        set(&mut report.current_version, self.current_version);
        set(&mut report.committed_version, self.committed_version);
        set(&mut report.launch_mitigations, self.launch_mitigations);
        set(&mut report.current_mitigations, self.current_mitigations);
        if let Some(author) = self.author_key_digest {
            report.author_key_digest = author;
            report.key_info |= 1;
        }
        report
    }
}

/// The start of the day thirty days ago, so that a certificate is the same all day.
pub(super) fn a_month_ago() -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_sub(time::Duration::days(30)).replace_time(time::Time::MIDNIGHT)
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What the driver returns instead of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Failure {
    /// Interrupted: to be tried again.
    #[serde(rename = "EINTR")]
    Interrupted,
    /// To be tried again.
    #[serde(rename = "EAGAIN")]
    TryAgain,
    /// The host or the firmware failed.
    #[serde(rename = "EIO")]
    InputOutput,
    /// The firmware refused.
    #[serde(rename = "ENXIO")]
    NoDevice,
    /// The VMPCK is gone until the guest restarts.
    #[serde(rename = "ENOTTY")]
    KeyWiped,
    /// The host throttled for too long.
    #[serde(rename = "ETIMEDOUT")]
    TimedOut,
    /// No memory.
    #[serde(rename = "ENOMEM")]
    NoMemory,
}

impl Failure {
    pub(super) const fn errno(self) -> Errno {
        match self {
            Self::Interrupted => Errno::EINTR,
            Self::TryAgain => Errno::EAGAIN,
            Self::InputOutput => Errno::EIO,
            Self::NoDevice => Errno::ENXIO,
            Self::KeyWiped => Errno::ENOTTY,
            Self::TimedOut => Errno::ETIMEDOUT,
            Self::NoMemory => Errno::ENOMEM,
        }
    }
}

/// What goes wrong. Counts are of reports since the state last changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// No driver: a directory cannot be made (`ENXIO`).
    pub no_provider: bool,
    /// Writes are refused (`EBUSY`), as after a wrapped generation.
    pub busy: bool,
    /// Every report fails, or the first [`Self::failing_reports`].
    pub failure: Option<Failure>,
    /// How many reports fail; all when left out.
    pub failing_reports: Option<u64>,
    /// During that many reports another process writes to the same directory, so the generation is one ahead.
    pub interrupted_reports: u64,
    /// Flips the lowest bit of the byte at this offset of `outblob`, after signing.
    pub flip_byte: Option<usize>,
    /// Cuts `outblob` to this length.
    pub truncate: Option<usize>,
    /// Appends that many zero bytes to `outblob`.
    pub append_zeros: usize,
}

impl Faults {
    pub(super) fn damage(&self, outblob: &mut Vec<u8>) {
        if let Some(byte) = self.flip_byte.and_then(|offset| outblob.get_mut(offset)) {
            *byte ^= 1;
        }
        if let Some(length) = self.truncate {
            outblob.truncate(length);
        }
        outblob.resize(outblob.len().saturating_add(self.append_zeros), 0);
    }
}
