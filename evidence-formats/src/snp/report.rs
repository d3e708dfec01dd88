//! The attestation report.

use std::fmt;

use thiserror::Error;

use super::{
    ChipId, FamilyId, FirmwareVersion, GuestPolicy, HostData, ImageId, KeyInfo, PlatformInfo, ProductLine, ReportId,
    SigningKey, TcbVersion, Vmpl,
    offset::{self, LENGTH, SIGNED_LENGTH},
};
use crate::{
    bytes::{LaunchDigest, ReportData, Sha384Digest},
    code::{Code, Coded},
};

/// A well-formed report of a known version with the bytes it was received in. Nothing about it is authenticated.
#[derive(Clone, PartialEq, Eq)]
pub struct SnpReport {
    bytes: Box<[u8; LENGTH]>,
    fields: ReportFields,
}

/// The fields of a report, named as in AMD 56860.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFields {
    /// VERSION: 2 to 5.
    pub version: u32,
    /// GUEST_SVN: from the ID block, or chosen by the host when there is none.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicy,
    /// FAMILY_ID: as [`Self::guest_svn`].
    pub family_id: FamilyId,
    /// IMAGE_ID: as [`Self::guest_svn`].
    pub image_id: ImageId,
    /// VMPL.
    pub vmpl: Vmpl,
    /// CURRENT_TCB.
    pub current_tcb: TcbVersion,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// Key information.
    pub key_info: KeyInfo,
    /// REPORT_DATA: what the guest commits to.
    pub report_data: ReportData,
    /// MEASUREMENT: launch digest.
    pub measurement: LaunchDigest,
    /// HOST_DATA: fixed by the host at launch.
    pub host_data: HostData,
    /// ID_KEY_DIGEST: zero without an ID block.
    pub id_key_digest: Sha384Digest,
    /// AUTHOR_KEY_DIGEST: counts only when AUTHOR_KEY_EN is set.
    pub author_key_digest: Sha384Digest,
    /// REPORT_ID: this guest instance.
    pub report_id: ReportId,
    /// REPORT_ID_MA: its migration agent; all ones when there is none.
    pub report_id_ma: ReportId,
    /// REPORTED_TCB: the one that the signing key was derived for.
    pub reported_tcb: TcbVersion,
    /// CPUID family, model and stepping; absent in version 2.
    pub cpuid: Option<(u8, u8, u8)>,
    /// Product line by CPUID; absent in version 2, where only the certificate chain tells it.
    pub product: Option<ProductLine>,
    /// CHIP_ID: all zero when masked.
    pub chip_id: ChipId,
    /// COMMITTED_TCB: firmware cannot be rolled back below it.
    pub committed_tcb: TcbVersion,
    /// Firmware version that is running.
    pub current_version: FirmwareVersion,
    /// Firmware version that is committed.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_TCB: CURRENT_TCB when the guest was launched or imported.
    pub launch_tcb: TcbVersion,
    /// LAUNCH_MIT_VECTOR; absent before version 5.
    pub launch_mit_vector: Option<u64>,
    /// CURRENT_MIT_VECTOR; absent before version 5.
    pub current_mit_vector: Option<u64>,
    /// The signature's scalars.
    pub signature: ReportSignature,
}

/// r ‖ s, 48 bytes each, big-endian: the fixed-size form of ECDSA P-384. Their range is checked with the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportSignature(pub [u8; 96]);

impl ReportSignature {
    /// Whether both scalars are zero, which is what firmware writes when it does not sign.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

/// Why bytes are not a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnpReportError {
    /// Not exactly 1184 bytes.
    #[error("expected a report of exactly {LENGTH} bytes, found {actual}")]
    Length {
        /// Bytes given.
        actual: usize,
    },
    /// VERSION is not known.
    #[error("expected report version 2, 3, 4 or 5, found {actual}")]
    Version {
        /// VERSION.
        actual: u32,
    },
    /// SIGNATURE_ALGO is not ECDSA P-384 with SHA-384.
    #[error("expected signature algorithm 1 (ECDSA P-384 with SHA-384), found {actual}")]
    SignatureAlgorithm {
        /// SIGNATURE_ALGO.
        actual: u32,
    },
    /// A reserved byte or bit is not zero.
    #[error("expected zero in the reserved field at offset {offset:#05x}")]
    Reserved {
        /// Where the field that contains it starts.
        offset: usize,
    },
    /// SIGNING_KEY is a reserved value.
    #[error("expected signing key 0 (VCEK), 1 (VLEK) or 7 (none), found {actual}")]
    SigningKey {
        /// SIGNING_KEY.
        actual: u32,
    },
    /// POLICY has a reserved bit set or bit 17 clear.
    #[error("expected guest policy with bit 17 set and bits 63:26 clear, found {actual:#x}")]
    Policy {
        /// POLICY.
        actual: u64,
    },
    /// VMPL is neither 0 to 3 nor 0xFFFFFFFF.
    #[error("expected VMPL 0 to 3, or {:#x} for the host, found {actual:#x}", u32::MAX)]
    Vmpl {
        /// VMPL.
        actual: u32,
    },
    /// The processor is of no known product line.
    #[error("expected a Milan, Genoa or Turin processor, found CPUID family {family:#x} model {model:#x}")]
    Product {
        /// Combined family.
        family: u8,
        /// Combined model.
        model: u8,
    },
    /// CHIP_ID is longer than the product line's.
    #[error("expected zeros after the first {length} bytes of the chip id")]
    ChipId {
        /// Bytes that the product line uses.
        length: usize,
    },
    /// AUTHOR_KEY_EN is set, but the digest is zero.
    #[error("expected an author key digest, as the author key is enabled")]
    AuthorKey,
}

impl Coded for SnpReportError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Length { .. } => "parse.snp.length",
            Self::Version { .. } => "parse.snp.version",
            Self::SignatureAlgorithm { .. } => "parse.snp.signature_algorithm",
            Self::Reserved { .. } => "parse.snp.reserved",
            Self::SigningKey { .. } => "parse.snp.signing_key",
            Self::Policy { .. } => "parse.snp.policy",
            Self::Vmpl { .. } => "parse.snp.vmpl",
            Self::Product { .. } => "parse.snp.product",
            Self::ChipId { .. } => "parse.snp.chip_id",
            Self::AuthorKey => "parse.snp.author_key",
        })
    }
}

impl SnpReport {
    /// Length of a report in bytes.
    pub const LENGTH: usize = LENGTH;

    /// Parses exactly one report: known version, reserved fields zero, nothing left over.
    ///
    /// # Errors
    /// [`SnpReportError`] names the first field that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpReportError> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok().ok_or(SnpReportError::Length { actual: bytes.len() })?;
        let fields = ReportFields::read(bytes)?;
        Ok(Self { bytes: Box::new(*bytes), fields })
    }

    /// The received bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.bytes
    }

    /// The received bytes that are signed.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8; SIGNED_LENGTH] {
        const { assert!(SIGNED_LENGTH <= LENGTH) };
        self.bytes.first_chunk().unwrap_or(&[0; SIGNED_LENGTH])
    }

    /// The parsed fields.
    #[must_use]
    pub const fn fields(&self) -> &ReportFields {
        &self.fields
    }
}

impl fmt::Debug for SnpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.fields, f)
    }
}

impl ReportFields {
    fn read(bytes: &[u8; LENGTH]) -> Result<Self, SnpReportError> {
        let version = u32::from_le_bytes(field::<{ offset::VERSION }, 4>(bytes));
        if !(2..=5).contains(&version) {
            return Err(SnpReportError::Version { actual: version });
        }
        let algorithm = u32::from_le_bytes(field::<{ offset::SIGNATURE_ALGO }, 4>(bytes));
        if algorithm != 1 {
            return Err(SnpReportError::SignatureAlgorithm { actual: algorithm });
        }
        reserved_is_zero(bytes, version)?;
        let (cpuid, product) = read_product(bytes, version)?;
        let mitigation = |vector: [u8; 8]| (version >= 5).then(|| u64::from_le_bytes(vector));
        let fields = Self {
            version,
            guest_svn: u32::from_le_bytes(field::<{ offset::GUEST_SVN }, 4>(bytes)),
            policy: read_policy(bytes)?,
            family_id: FamilyId(field::<{ offset::FAMILY_ID }, 16>(bytes)),
            image_id: ImageId(field::<{ offset::IMAGE_ID }, 16>(bytes)),
            vmpl: read_vmpl(bytes)?,
            current_tcb: TcbVersion(field::<{ offset::CURRENT_TCB }, 8>(bytes)),
            platform_info: PlatformInfo(u64::from_le_bytes(field::<{ offset::PLATFORM_INFO }, 8>(bytes))),
            key_info: read_key_info(bytes)?,
            report_data: ReportData(field::<{ offset::REPORT_DATA }, 64>(bytes)),
            measurement: LaunchDigest(field::<{ offset::MEASUREMENT }, 48>(bytes)),
            host_data: HostData(field::<{ offset::HOST_DATA }, 32>(bytes)),
            id_key_digest: Sha384Digest(field::<{ offset::ID_KEY_DIGEST }, 48>(bytes)),
            author_key_digest: Sha384Digest(field::<{ offset::AUTHOR_KEY_DIGEST }, 48>(bytes)),
            report_id: ReportId(field::<{ offset::REPORT_ID }, 32>(bytes)),
            report_id_ma: ReportId(field::<{ offset::REPORT_ID_MA }, 32>(bytes)),
            reported_tcb: TcbVersion(field::<{ offset::REPORTED_TCB }, 8>(bytes)),
            cpuid,
            product,
            chip_id: ChipId(field::<{ offset::CHIP_ID }, 64>(bytes)),
            committed_tcb: TcbVersion(field::<{ offset::COMMITTED_TCB }, 8>(bytes)),
            current_version: firmware_version(field::<{ offset::CURRENT_VERSION }, 3>(bytes)),
            committed_version: firmware_version(field::<{ offset::COMMITTED_VERSION }, 3>(bytes)),
            launch_tcb: TcbVersion(field::<{ offset::LAUNCH_TCB }, 8>(bytes)),
            launch_mit_vector: mitigation(field::<{ offset::LAUNCH_MIT_VECTOR }, 8>(bytes)),
            current_mit_vector: mitigation(field::<{ offset::CURRENT_MIT_VECTOR }, 8>(bytes)),
            signature: read_signature(bytes),
        };
        fields.agree_with_each_other()?;
        Ok(fields)
    }

    /// Checks that need more than one field: those that hang on the product line, and the author key.
    fn agree_with_each_other(&self) -> Result<(), SnpReportError> {
        if let Some(product) = self.product {
            self.fits_product(product)?;
        }
        // A zero digest must never match a missing or zero entry of a trust set.
        if self.key_info.author_key_enabled && self.author_key_digest.is_zero() {
            return Err(SnpReportError::AuthorKey);
        }
        Ok(())
    }

    /// Checks the layout of the TCB versions and of CHIP_ID for `product`. Parsing does it where the report names its
    /// processor; for version 2 the verifier does it with the line that the certificate chain proves.
    ///
    /// # Errors
    /// [`SnpReportError::Reserved`] or [`SnpReportError::ChipId`].
    pub fn fits_product(&self, product: ProductLine) -> Result<(), SnpReportError> {
        let layout = product.tcb_layout();
        let versions = [
            (offset::CURRENT_TCB, self.current_tcb),
            (offset::REPORTED_TCB, self.reported_tcb),
            (offset::COMMITTED_TCB, self.committed_tcb),
            (offset::LAUNCH_TCB, self.launch_tcb),
        ];
        if let Some((offset, _)) = versions.iter().find(|(_, version)| version.components(layout).is_none()) {
            return Err(SnpReportError::Reserved { offset: *offset });
        }
        let length = product.chip_id_length();
        if self.chip_id.as_bytes().iter().skip(length).any(|byte| *byte != 0) {
            return Err(SnpReportError::ChipId { length });
        }
        Ok(())
    }
}

/// The field of `N` bytes at `OFFSET`; that it lies inside of the report is checked at compile time.
fn field<const OFFSET: usize, const N: usize>(bytes: &[u8; LENGTH]) -> [u8; N] {
    const { assert!(OFFSET.saturating_add(N) <= LENGTH) };
    bytes.get(OFFSET..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// Every range that AMD 56860 reserves in `version`, signed or not: what is not signed would be malleable otherwise.
fn reserved_is_zero(bytes: &[u8; LENGTH], version: u32) -> Result<(), SnpReportError> {
    let ranges = [
        (offset::RESERVED_04C, offset::REPORT_DATA),
        (if version >= 3 { offset::RESERVED_18B } else { offset::CPUID_FAM_ID }, offset::CHIP_ID),
        (offset::RESERVED_1EB, offset::COMMITTED_VERSION),
        (offset::RESERVED_1EF, offset::LAUNCH_TCB),
        (if version >= 5 { offset::RESERVED_208 } else { offset::LAUNCH_MIT_VECTOR }, offset::SIGNATURE_R),
        // The scalars are 48 bytes in fields of 72.
        (offset::SIGNATURE_R + 48, offset::SIGNATURE_S),
        (offset::SIGNATURE_S + 48, offset::SIGNATURE_RESERVED),
        (offset::SIGNATURE_RESERVED, LENGTH),
    ];
    for (start, end) in ranges {
        // All bytes are folded before the comparison, which compiles to wide loads.
        let any = bytes.get(start..end).unwrap_or(&[1]).iter().fold(0, |any, byte| any | byte);
        if any != 0 {
            return Err(SnpReportError::Reserved { offset: start });
        }
    }
    Ok(())
}

type Product = (Option<(u8, u8, u8)>, Option<ProductLine>);

fn read_product(bytes: &[u8; LENGTH], version: u32) -> Result<Product, SnpReportError> {
    if version < 3 {
        return Ok((None, None));
    }
    let [family, model, stepping] = field::<{ offset::CPUID_FAM_ID }, 3>(bytes);
    let product = ProductLine::from_cpuid(family, model).ok_or(SnpReportError::Product { family, model })?;
    Ok((Some((family, model, stepping)), Some(product)))
}

fn read_policy(bytes: &[u8; LENGTH]) -> Result<GuestPolicy, SnpReportError> {
    let actual = u64::from_le_bytes(field::<{ offset::POLICY }, 8>(bytes));
    GuestPolicy::from_bits(actual).ok_or(SnpReportError::Policy { actual })
}

fn read_vmpl(bytes: &[u8; LENGTH]) -> Result<Vmpl, SnpReportError> {
    match u32::from_le_bytes(field::<{ offset::VMPL }, 4>(bytes)) {
        0 => Ok(Vmpl::Guest(0)),
        1 => Ok(Vmpl::Guest(1)),
        2 => Ok(Vmpl::Guest(2)),
        3 => Ok(Vmpl::Guest(3)),
        u32::MAX => Ok(Vmpl::Host),
        actual => Err(SnpReportError::Vmpl { actual }),
    }
}

fn read_key_info(bytes: &[u8; LENGTH]) -> Result<KeyInfo, SnpReportError> {
    let bits = u32::from_le_bytes(field::<{ offset::KEY_INFO }, 4>(bytes));
    if bits >> 5 != 0 {
        return Err(SnpReportError::Reserved { offset: offset::KEY_INFO });
    }
    let signing_key = match bits >> 2 {
        0 => SigningKey::Vcek,
        1 => SigningKey::Vlek,
        7 => SigningKey::Unsigned,
        actual => return Err(SnpReportError::SigningKey { actual }),
    };
    Ok(KeyInfo { author_key_enabled: bits & 1 != 0, mask_chip_key: bits & 2 != 0, signing_key })
}

fn firmware_version([build, minor, major]: [u8; 3]) -> FirmwareVersion {
    FirmwareVersion { major, minor, build }
}

fn read_signature(bytes: &[u8; LENGTH]) -> ReportSignature {
    let mut signature = [0; 96];
    let (r, s) = signature.split_at_mut(48);
    r.copy_from_slice(&field::<{ offset::SIGNATURE_R }, 48>(bytes));
    s.copy_from_slice(&field::<{ offset::SIGNATURE_S }, 48>(bytes));
    r.reverse();
    s.reverse();
    ReportSignature(signature)
}
