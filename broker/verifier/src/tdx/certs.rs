//! The PCK certificate chain of a quote: Intel SGX Root CA ← PCK Platform or Processor CA ← PCK certificate.

use evidence_formats::{
    code::{Code, Coded},
    tdx::{CpuSvn, EcdsaSignature, Fmspc, PceId, PceSvn, Ppid, SvnComponents},
};
use serde::Serialize;
use thiserror::Error;

use crate::{
    Timestamp, TrustAnchors,
    x509::{
        Certificate, CertificateError, DerError, Oid, PemError, PublicKey, SignatureError, ValidityError,
        der::{Der, Element, tag},
        parse_pem,
    },
};

pub(super) const PLATFORM_CA: &str = "Intel SGX PCK Platform CA";
pub(super) const PROCESSOR_CA: &str = "Intel SGX PCK Processor CA";
const PCK: &str = "Intel SGX PCK Certificate";
/// 1.2.840.113741.1.13.1, the extension and the prefix of everything in it.
const SGX_EXTENSION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
const SGX_EXTENSION_OID: Oid = Oid::from_der_contents(SGX_EXTENSION);
/// 1.2.840.113741.1.13.1.2 and 1.2.840.113741.1.13.1.7.
const TCB: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x02];
const CONFIGURATION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01, 0x07];

/// Which of Intel's intermediate CAs certified a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PckCa {
    /// Intel SGX PCK Platform CA: multi-package platforms.
    Platform,
    /// Intel SGX PCK Processor CA: single-package platforms.
    Processor,
}

/// SGX type of a platform (OID .5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SgxType {
    /// 0: standard.
    Standard,
    /// 1: scalable.
    Scalable,
    /// 2: scalable with integrity.
    ScalableWithIntegrity,
}

/// Configuration of a platform (OID .7); only Platform CA certificates have it. Each value is absent when the
/// certificate does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlatformConfiguration {
    /// Packages can be added after registration.
    pub dynamic_platform: Option<bool>,
    /// Platform root keys are kept by Intel's registration service.
    pub cached_keys: Option<bool>,
    /// Simultaneous multithreading is on.
    pub smt_enabled: Option<bool>,
}

/// An authenticated PCK certificate: its chain ends in the pinned root. Only this module makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct PckCertificate {
    certificate: Certificate,
    intermediate: Certificate,
    root: Certificate,
    key: [u8; 65],
    /// Who certified it.
    pub ca: PckCa,
    /// Platform provisioning id.
    pub ppid: Ppid,
    /// TCB components 1 to 16.
    pub components: SvnComponents,
    /// PCESVN.
    pub pce_svn: PceSvn,
    /// CPUSVN.
    pub cpu_svn: CpuSvn,
    /// PCEID.
    pub pce_id: PceId,
    /// FMSPC.
    pub fmspc: Fmspc,
    /// SGX type.
    pub sgx_type: SgxType,
    /// Platform instance id, of Platform CA certificates.
    pub platform_instance: Option<[u8; 16]>,
    /// Configuration, of Platform CA certificates.
    pub configuration: Option<PlatformConfiguration>,
}

/// A PCK chain does not lead to the pinned root, or its certificate does not describe a platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PckError {
    /// Not PEM.
    #[error("expected the PCK certificate chain in PEM")]
    Pem(#[from] PemError),
    /// Not three certificates.
    #[error("expected three certificates in the PCK chain, found {found}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A certificate is malformed.
    #[error("certificate {position} of the PCK chain is malformed")]
    Certificate {
        /// 0 is the leaf.
        position: usize,
        /// What was wrong.
        source: CertificateError,
    },
    /// The last certificate is not a trust anchor, byte for byte.
    #[error("expected the PCK chain to end in a trust anchor")]
    RootUntrusted,
    /// The second certificate is not one of Intel's two PCK CAs.
    #[error("expected the Intel SGX PCK Platform CA or Processor CA as intermediate")]
    Intermediate,
    /// The first certificate is not a PCK certificate.
    #[error("expected an Intel SGX PCK Certificate as leaf")]
    Leaf,
    /// A signature in the chain is wrong.
    #[error("certificate {position} of the PCK chain is not signed by the one after it")]
    Signature {
        /// 0 is the leaf.
        position: usize,
        /// What was wrong.
        source: SignatureError,
    },
    /// A certificate of the chain is not valid now.
    #[error("certificate {position} of the PCK chain is not valid now")]
    Validity {
        /// 0 is the leaf.
        position: usize,
        /// Which end was missed.
        source: ValidityError,
    },
    /// The SGX extension is missing, malformed or incomplete.
    #[error("expected a complete SGX extension in the PCK certificate")]
    Extension(#[from] DerError),
}

impl Coded for PckError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Pem(_) | Self::Certificate { .. } => "authenticate.tdx.pck_chain_format",
            Self::Length { .. } => "authenticate.tdx.pck_chain_length",
            Self::RootUntrusted => "authenticate.tdx.root_untrusted",
            Self::Intermediate => "authenticate.tdx.intermediate",
            Self::Leaf => "authenticate.tdx.pck_name",
            Self::Signature { .. } => "authenticate.tdx.pck_chain_signature",
            Self::Validity { .. } => "authenticate.tdx.pck_chain_validity",
            Self::Extension(_) => "authenticate.tdx.pck_extension",
        })
    }
}

impl PckCertificate {
    /// Authenticates the PEM chain of certification data type 5: leaf, intermediate, root, optionally a NUL.
    ///
    /// # Errors
    /// [`PckError`] names the first rule that is broken (DCAP QVL, PCK certificate chain verification).
    pub(crate) fn authenticate(pem: &[u8], anchors: &TrustAnchors, now: Timestamp) -> Result<Self, PckError> {
        let [leaf, intermediate, root] = parse_chain(pem)?;
        // Byte for byte: a certificate of the same name, even of the same key, is not the anchor.
        if !anchors.contains(&root) {
            return Err(PckError::RootUntrusted);
        }
        let ca = match intermediate.subject().common_name() {
            Some(PLATFORM_CA) => PckCa::Platform,
            Some(PROCESSOR_CA) => PckCa::Processor,
            _ => return Err(PckError::Intermediate),
        };
        if !intermediate.may_sign_certificates() || !intermediate.names_issuer(&root) {
            return Err(PckError::Intermediate);
        }
        let is_ca = leaf.basic_constraints().is_none_or(|constraints| constraints.ca);
        if leaf.subject().common_name() != Some(PCK) || is_ca || !leaf.names_issuer(&intermediate) {
            return Err(PckError::Leaf);
        }
        for (position, certificate, issuer) in [(1, &intermediate, &root), (0, &leaf, &intermediate)] {
            certificate
                .verify_signed_by(issuer.public_key())
                .map_err(|source| PckError::Signature { position, source })?;
        }
        for (position, certificate) in [&leaf, &intermediate, &root].into_iter().enumerate() {
            certificate.validity().at(now).map_err(|source| PckError::Validity { position, source })?;
        }
        Self::describe(leaf, intermediate, root, ca)
    }

    /// Processors and CA that an unauthenticated chain claims: good for a look into a cache.
    pub(crate) fn claimed(pem: &[u8]) -> Option<(Fmspc, PckCa)> {
        let [leaf, intermediate, root] = parse_chain(pem).ok()?;
        let ca = match intermediate.subject().common_name() {
            Some(PLATFORM_CA) => PckCa::Platform,
            Some(PROCESSOR_CA) => PckCa::Processor,
            _ => return None,
        };
        Self::describe(leaf, intermediate, root, ca).ok().map(|claimed| (claimed.fmspc, ca))
    }

    fn describe(leaf: Certificate, intermediate: Certificate, root: Certificate, ca: PckCa) -> Result<Self, PckError> {
        let PublicKey::P256(key) = *leaf.public_key() else { return Err(PckError::Leaf) };
        let value = leaf.extension(&SGX_EXTENSION_OID).ok_or(missing("an SGX extension"))?;
        let mut whole = Der::new(value);
        let fields = Members::read(&whole.sequence("an SGX extension")?, SGX_EXTENSION)?;
        whole.finish()?;
        let tcb = Members::read(&fields.get(2, tag::SEQUENCE, "a TCB")?, TCB)?;
        let mut components = [0; 16];
        for (component, number) in components.iter_mut().zip(1..) {
            *component = tcb.number(number, "a TCB component from 0 to 255")?;
        }
        let platform_instance = fields.optional(6, tag::OCTET_STRING, "a platform instance id")?;
        let configuration = fields.optional(7, tag::SEQUENCE, "a platform configuration")?;
        Ok(Self {
            key,
            ca,
            ppid: Ppid(fields.octets(1, "a PPID of 16 bytes")?),
            components: SvnComponents(components),
            pce_svn: PceSvn(tcb.number(17, "a PCESVN from 0 to 65535")?),
            cpu_svn: CpuSvn(tcb.octets(18, "a CPUSVN of 16 bytes")?),
            pce_id: PceId(fields.octets(3, "a PCEID of 2 bytes")?),
            fmspc: Fmspc(fields.octets(4, "an FMSPC of 6 bytes")?),
            sgx_type: sgx_type(&fields.get(5, tag::ENUMERATED, "an SGX type")?)?,
            platform_instance: platform_instance
                .map(|element| exact(element.contents, "a platform instance id of 16 bytes"))
                .transpose()?,
            configuration: configuration.map(|element| read_configuration(&element)).transpose()?,
            certificate: leaf,
            intermediate,
            root,
        })
    }

    /// The leaf.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The CA that certified it.
    #[must_use]
    pub const fn intermediate(&self) -> &Certificate {
        &self.intermediate
    }

    /// The trust anchor that the chain ended in.
    #[must_use]
    pub const fn root(&self) -> &Certificate {
        &self.root
    }

    /// Checks a signature `r‖s` by the PCK key.
    #[must_use]
    pub(crate) fn signed(&self, message: &[u8], signature: &EcdsaSignature) -> bool {
        verify_p256(&self.key, message, signature)
    }
}

/// Checks an ECDSA P-256 SHA-256 signature `r‖s` by the key of an uncompressed point. False, too, for a point that is not
/// on the curve and for `r` or `s` outside [1, n-1].
pub(super) fn verify_p256(key: &[u8; 65], message: &[u8], signature: &EcdsaSignature) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature.as_bytes()).is_ok()
}

/// Exactly three certificates. Text before the first is a comment of RFC 7468; after the last only white space and NUL
/// may stand. Their number is bounded by the size of certification data, which the quote parser limits.
fn parse_chain(pem: &[u8]) -> Result<[Certificate; 3], PckError> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let start = pem.windows(BEGIN.len()).position(|window| window == BEGIN).unwrap_or(0);
    let text = pem.get(start..).unwrap_or_default();
    let end = text
        .iter()
        .rposition(|byte| *byte != 0 && !byte.is_ascii_whitespace())
        .map_or(0, |last| last.saturating_add(1));
    let blocks = parse_pem(text.get(..end).unwrap_or_default())?;
    let found = blocks.len();
    let [leaf, intermediate, root] = <[_; 3]>::try_from(blocks).map_err(|_other| PckError::Length { found })?;
    let parse = |position, contents: &[u8]| {
        Certificate::parse_der(contents).map_err(|source| PckError::Certificate { position, source })
    };
    Ok([parse(0, &leaf.contents)?, parse(1, &intermediate.contents)?, parse(2, &root.contents)?])
}

const fn missing(expected: &'static str) -> DerError {
    DerError { offset: 0, expected }
}

fn exact<const N: usize>(contents: &[u8], expected: &'static str) -> Result<[u8; N], DerError> {
    contents.try_into().map_err(|_other_length| missing(expected))
}

/// The members of a SEQUENCE OF SEQUENCE { OID, value } whose OIDs are a common prefix and one number.
struct Members<'a>(Vec<(u8, Element<'a>)>);

impl<'a> Members<'a> {
    fn read(sequence: &Element<'a>, prefix: &[u8]) -> Result<Self, DerError> {
        let mut reader = sequence.reader();
        let mut members: Vec<(u8, Element<'a>)> = Vec::new();
        while !reader.is_empty() {
            let mut member = reader.sequence("a member of the SGX extension")?.reader();
            let oid = member.expect(tag::OBJECT_IDENTIFIER, "an OID of the SGX extension")?;
            let Some(&[number]) = oid.contents.strip_prefix(prefix) else {
                return Err(member.error("an OID of the SGX extension"));
            };
            let value = member.any()?;
            member.finish()?;
            if members.iter().any(|(other, _)| *other == number) {
                return Err(member.error("each member of the SGX extension once"));
            }
            members.push((number, value));
        }
        Ok(Self(members))
    }

    fn optional(&self, number: u8, tag: u8, expected: &'static str) -> Result<Option<Element<'a>>, DerError> {
        match self.0.iter().find(|(found, _)| *found == number) {
            None => Ok(None),
            Some((_, element)) if element.tag == tag => Ok(Some(*element)),
            Some((_, element)) => Err(DerError { offset: element.offset, expected }),
        }
    }

    fn get(&self, number: u8, tag: u8, expected: &'static str) -> Result<Element<'a>, DerError> {
        self.optional(number, tag, expected)?.ok_or(missing(expected))
    }

    fn octets<const N: usize>(&self, number: u8, expected: &'static str) -> Result<[u8; N], DerError> {
        exact(self.get(number, tag::OCTET_STRING, expected)?.contents, expected)
    }

    fn number<T: TryFrom<u32>>(&self, number: u8, expected: &'static str) -> Result<T, DerError> {
        let element = self.get(number, tag::INTEGER, expected)?;
        let value = Der::new(element.raw).small_unsigned(expected)?;
        T::try_from(value).ok().ok_or(DerError { offset: element.offset, expected })
    }

    fn boolean(&self, number: u8) -> Result<Option<bool>, DerError> {
        match self.optional(number, tag::BOOLEAN, "a BOOLEAN")? {
            Some(element) => Der::new(element.raw).optional_boolean(),
            None => Ok(None),
        }
    }
}

fn sgx_type(element: &Element<'_>) -> Result<SgxType, DerError> {
    match element.contents {
        [0] => Ok(SgxType::Standard),
        [1] => Ok(SgxType::Scalable),
        [2] => Ok(SgxType::ScalableWithIntegrity),
        _ => Err(DerError { offset: element.offset, expected: "an SGX type from 0 to 2" }),
    }
}

fn read_configuration(element: &Element<'_>) -> Result<PlatformConfiguration, DerError> {
    let members = Members::read(element, CONFIGURATION)?;
    Ok(PlatformConfiguration {
        dynamic_platform: members.boolean(1)?,
        cached_keys: members.boolean(2)?,
        smt_enabled: members.boolean(3)?,
    })
}
