//! The HCL report of an Azure confidential VM: what its paravisor puts into vTPM NV index 0x01400001.
//!
//! Little-endian: header (32 bytes), hardware report area (1184), request data header (20), runtime claims, zero
//! padding. Only the hardware report is signed; the claims are bound by its report data, and neither header is measured
//! at all, so nothing in them may weaken a check.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    bytes::{Reader, ReportData, Truncated},
    code::{Code, Coded},
    digest::HashAlgorithm,
    json,
};

/// Largest blob that is read, in bytes (the NV index has 2600 today).
pub const MAX_HCL_BYTES: usize = 64 << 10;
/// Bytes before the request data header: header and hardware report area.
const HARDWARE_REPORT_AT: usize = 32;
const HARDWARE_REPORT_AREA: usize = 1184;
const REQUEST_HEADER: usize = 20;
/// TDREPORT_STRUCT (Intel TDX module ABI); the rest of the area is zero.
const TD_REPORT_LENGTH: usize = 1024;
/// Request type of a guest's own report.
const REQUEST_AK_CERT: u32 = 2;
/// RSA-2048: what every paravisor makes.
const MODULUS_LENGTH: usize = 256;

/// Which hardware report the blob carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HclHardware {
    /// AMD SEV-SNP attestation report, 1184 bytes.
    Snp,
    /// Intel TDREPORT, 1024 bytes: only its TD quote can be checked remotely.
    Tdx,
}

/// A parsed blob. The claims are still text: they are read once the hardware has vouched for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclReport {
    hardware: HclHardware,
    header_version: u32,
    hardware_report: Vec<u8>,
    claims: Vec<u8>,
}

impl HclReport {
    /// Parses a blob and enforces every size rule.
    ///
    /// # Errors
    /// [`HclError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, HclError> {
        if bytes.len() > MAX_HCL_BYTES {
            return Err(HclError::TooLarge { length: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        if reader.take(4)? != b"HCLA" {
            return Err(HclError::Magic);
        }
        let header_version = one_of("version", reader.u32_le()?, &[1, 2])?;
        let report_size = reader.u32_le()?;
        one_of("request_type", reader.u32_le()?, &[REQUEST_AK_CERT])?;
        one_of("status", reader.u32_le()?, &[0])?;
        for _ in 0..3 {
            one_of("reserved", reader.u32_le()?, &[0])?;
        }
        let area = reader.take(HARDWARE_REPORT_AREA)?;
        let data_size = reader.u32_le()?;
        one_of("request_data.version", reader.u32_le()?, &[1])?;
        let hardware = match reader.u32_le()? {
            2 => HclHardware::Snp,
            4 => HclHardware::Tdx,
            other => return Err(HclError::ReportType { value: other }),
        };
        let hash_type = reader.u32_le()?;
        if hash_type != 1 {
            return Err(HclError::HashType { value: hash_type });
        }
        let claims_size = reader.u32_le()?;
        let claims_length = usize::try_from(claims_size).unwrap_or(usize::MAX);
        let sizes_agree = claims_length.checked_add(REQUEST_HEADER) == usize::try_from(data_size).ok()
            && usize::try_from(data_size)
                .ok()
                .and_then(|size| size.checked_add(HARDWARE_REPORT_AT + HARDWARE_REPORT_AREA))
                == usize::try_from(report_size).ok();
        if !sizes_agree {
            return Err(HclError::Sizes { report_size, data_size, claims_size });
        }
        let claims = reader.take(claims_length)?.to_vec();
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(HclError::Padding);
        }
        Ok(Self { hardware, header_version, hardware_report: hardware_report(hardware, area)?, claims })
    }

    /// Which hardware the report is of.
    #[must_use]
    pub const fn hardware(&self) -> HclHardware {
        self.hardware
    }

    /// Version of the header: 1 for the first paravisor, 2 for its successor. Unmeasured: a hint.
    #[must_use]
    pub const fn header_version(&self) -> u32 {
        self.header_version
    }

    /// The SNP report (1184 bytes) or the TDREPORT (1024 bytes).
    #[must_use]
    pub fn hardware_report(&self) -> &[u8] {
        &self.hardware_report
    }

    /// The runtime claims as the paravisor wrote them: JSON text that the hardware report's report data binds.
    #[must_use]
    pub fn claims(&self) -> &[u8] {
        &self.claims
    }

    /// The report data that binds the claims: SHA-256 of them, then 32 zero bytes.
    #[must_use]
    pub fn expected_report_data(&self) -> ReportData {
        let mut bytes = [0; ReportData::LENGTH];
        for (to, from) in bytes.iter_mut().zip(HashAlgorithm::Sha256.digest(&[&self.claims]).as_bytes()) {
            *to = *from;
        }
        ReportData(bytes)
    }
}

fn one_of(field: &'static str, value: u32, allowed: &[u32]) -> Result<u32, HclError> {
    if allowed.contains(&value) { Ok(value) } else { Err(HclError::Field { field, value }) }
}

/// The report inside its area; the unmeasured type field must agree with what stands there.
fn hardware_report(hardware: HclHardware, area: &[u8]) -> Result<Vec<u8>, HclError> {
    match hardware {
        HclHardware::Snp => Ok(area.to_vec()),
        HclHardware::Tdx => {
            let (report, padding) = area.split_at_checked(TD_REPORT_LENGTH).ok_or(HclError::HardwareReport)?;
            // REPORTTYPE.TYPE of a TDX report is 0x81.
            if report.first() != Some(&0x81) || padding.iter().any(|byte| *byte != 0) {
                return Err(HclError::HardwareReport);
            }
            Ok(report.to_vec())
        }
    }
}

/// An RSA-2048 key of the vTPM with exponent 65537, from the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HclKey {
    modulus: [u8; MODULUS_LENGTH],
}

impl HclKey {
    /// Modulus, big-endian; the exponent is 65537.
    #[must_use]
    pub const fn modulus(&self) -> &[u8; MODULUS_LENGTH] {
        &self.modulus
    }
}

/// The runtime claims, strictly read. They are proven only when [`HclReport::expected_report_data`] is what the
/// authenticated hardware report says.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeClaims {
    /// The vTPM's attestation key.
    pub attestation_key: HclKey,
    /// The vTPM's endorsement key; the first paravisor did not publish it.
    pub endorsement_key: Option<HclKey>,
    /// `vm-configuration` as it stands.
    pub vm_configuration: Map<String, Value>,
    /// The 64 bytes that the guest wrote into NV 0x01400002, zero-padded; absent in the first paravisor's claims.
    pub user_data: Option<ReportData>,
}

#[derive(Deserialize)]
struct ClaimsDocument {
    keys: Vec<KeyDocument>,
    #[serde(rename = "vm-configuration")]
    vm_configuration: Map<String, Value>,
    #[serde(rename = "user-data")]
    user_data: Option<String>,
}

#[derive(Deserialize)]
struct KeyDocument {
    kid: String,
    kty: String,
    e: String,
    n: String,
}

impl RuntimeClaims {
    /// Parses the claims: no duplicate members, exactly one `HCLAkPub`, at most one `HCLEkPub` and no other key.
    ///
    /// # Errors
    /// [`HclError`] naming what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, HclError> {
        let document: ClaimsDocument = json::require_unique_members(bytes)
            .and_then(|()| serde_json::from_slice(bytes))
            .map_err(|error| HclError::Claims(error.to_string()))?;
        let (mut attestation_key, mut endorsement_key) = (None, None);
        for key in &document.keys {
            let slot = match key.kid.as_str() {
                "HCLAkPub" => &mut attestation_key,
                "HCLEkPub" => &mut endorsement_key,
                // Keys of other requests (for example HCLTransferKey) belong to another context.
                _ => return Err(HclError::Key { kid: key.kid.clone() }),
            };
            if slot.is_some() {
                return Err(HclError::Key { kid: key.kid.clone() });
            }
            *slot = Some(parse_key(key)?);
        }
        let attestation_key = attestation_key.ok_or(HclError::NoAttestationKey)?;
        let user_data =
            document.user_data.map(|text| text.parse().map_err(|_not_hex| HclError::UserData)).transpose()?;
        Ok(Self { attestation_key, endorsement_key, vm_configuration: document.vm_configuration, user_data })
    }

    /// A boolean of `vm-configuration`, for example `secure-boot` or `console-enabled`.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.vm_configuration.get(name).and_then(Value::as_bool)
    }
}

/// RSA, e = AQAB, n of exactly 2048 bits and odd. The paravisor publishes an all-zero modulus when it could not make
/// the key, and the hardware vouches for that too.
fn parse_key(key: &KeyDocument) -> Result<HclKey, HclError> {
    let weak = || HclError::Key { kid: key.kid.clone() };
    if key.kty != "RSA" || key.e != "AQAB" {
        return Err(weak());
    }
    let bytes = URL_SAFE_NO_PAD.decode(&key.n).map_err(|_not_base64| weak())?;
    let modulus: [u8; MODULUS_LENGTH] = bytes.try_into().map_err(|_wrong_length| weak())?;
    let full_length = modulus.first().is_some_and(|byte| byte & 0x80 != 0);
    let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
    if full_length && odd { Ok(HclKey { modulus }) } else { Err(weak()) }
}

/// Bytes are not an HCL report of a guest, or its claims are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HclError {
    /// Longer than [`MAX_HCL_BYTES`].
    #[error("expected an HCL report of at most {MAX_HCL_BYTES} bytes, found {length}")]
    TooLarge {
        /// Bytes of the blob.
        length: usize,
    },
    /// The blob ends inside a field.
    #[error("HCL report ends early")]
    Truncated(#[from] Truncated),
    /// It does not start with `HCLA`.
    #[error("expected the signature HCLA")]
    Magic,
    /// A header field with a value that a guest's report does not have.
    #[error("HCL header field {field} has the value {value}, which is not allowed here")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// Neither SNP nor TDX.
    #[error("expected HCL report type 2 (SNP) or 4 (TDX), found {value}")]
    ReportType {
        /// What stands there.
        value: u32,
    },
    /// The report type says TDX and the area holds something else.
    #[error("the hardware report is not of the type that the HCL header says")]
    HardwareReport,
    /// Not SHA-256.
    #[error("expected HCL report data hash type 1 (SHA-256), found {value}")]
    HashType {
        /// What stands there.
        value: u32,
    },
    /// The three size fields contradict each other.
    #[error("HCL sizes disagree: report {report_size}, request data {data_size}, claims {claims_size}")]
    Sizes {
        /// Size of the whole report.
        report_size: u32,
        /// Size of the request data with its header.
        data_size: u32,
        /// Size of the claims.
        claims_size: u32,
    },
    /// Something stands after the claims.
    #[error("expected zeros after the runtime claims")]
    Padding,
    /// The claims are not JSON of the expected form.
    #[error("runtime claims: {0}")]
    Claims(String),
    /// A key that is unknown, repeated, or not RSA-2048 with exponent 65537.
    #[error("runtime claims key {kid} is unknown, repeated, or not RSA-2048 with exponent 65537")]
    Key {
        /// Its key id.
        kid: String,
    },
    /// No `HCLAkPub`.
    #[error("expected exactly one HCLAkPub in the runtime claims")]
    NoAttestationKey,
    /// `user-data` is not hex of 64 bytes.
    #[error("expected user-data as hex of 64 bytes")]
    UserData,
}

impl Coded for HclError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLarge { .. } => "parse.hcl.too_large",
            Self::Truncated(_) => "parse.hcl.truncated",
            Self::Magic => "parse.hcl.magic",
            Self::Field { .. } => "parse.hcl.field",
            Self::ReportType { .. } => "parse.hcl.report_type",
            Self::HardwareReport => "parse.hcl.hardware_report",
            Self::HashType { .. } => "parse.hcl.hash_type",
            Self::Sizes { .. } => "parse.hcl.sizes",
            Self::Padding => "parse.hcl.padding",
            Self::Claims(_) => "parse.hcl.claims",
            Self::Key { .. } => "parse.hcl.key",
            Self::NoAttestationKey => "parse.hcl.attestation_key",
            Self::UserData => "parse.hcl.user_data",
        })
    }
}
