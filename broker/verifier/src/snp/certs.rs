//! The profile of AMD's certificates: who issues what, and what an endorsement key certificate says.

use std::fmt;

use evidence_formats::snp::{ChipId, ProductLine, ReportFields, SigningKey, TcbComponents, TcbLayout, TcbVersion};
use serde::Serialize;

use super::SnpError;
use crate::{
    Endorsements,
    x509::{
        Certificate, Name, Oid,
        der::{Der, tag},
    },
};

/// Which kind of key endorses reports (AMD 56860: VCEK and VLEK).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VekKind {
    /// Of one chip at one TCB.
    Vcek,
    /// Of a cloud provider's fleet at one TCB.
    Vlek,
}

impl VekKind {
    /// The kind that a report says it was signed with.
    pub(super) const fn of_report(key: SigningKey) -> Option<Self> {
        match key {
            SigningKey::Vcek => Some(Self::Vcek),
            SigningKey::Vlek => Some(Self::Vlek),
            SigningKey::Unsigned => None,
        }
    }

    const fn common_name(self) -> &'static str {
        match self {
            Self::Vcek => "SEV-VCEK",
            Self::Vlek => "SEV-VLEK",
        }
    }

    /// The kind that a certificate's subject claims.
    pub(super) fn of_subject(subject: &Name) -> Option<Self> {
        [Self::Vcek, Self::Vlek].into_iter().find(|kind| subject.common_name() == Some(kind.common_name()))
    }
}

impl fmt::Display for VekKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        })
    }
}

/// What a certificate stands for in AMD's hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthorityRole {
    /// The root.
    Ark,
    /// The intermediate that issues VCEKs (ASK) or VLEKs (ASVK).
    Intermediate,
    /// The endorsement key.
    Vek,
}

impl fmt::Display for AuthorityRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ark => "the root (ARK)",
            Self::Intermediate => "the intermediate CA (ASK or ASVK)",
            Self::Vek => "the endorsement key (VCEK or VLEK)",
        })
    }
}

/// The product line and VEK kind that an intermediate CA of this name serves.
pub(super) fn intermediate(name: &Name) -> Option<(ProductLine, VekKind)> {
    let name = name.common_name()?;
    ProductLine::ALL.into_iter().find_map(|line| {
        let rest = name.strip_prefix("SEV-")?;
        match rest.strip_prefix("VLEK-") {
            Some(product) => (product == line.name()).then_some((line, VekKind::Vlek)),
            None => (rest == line.name()).then_some((line, VekKind::Vcek)),
        }
    })
}

/// The product line whose root has this name.
pub(super) fn root(name: &Name) -> Option<ProductLine> {
    let product = name.common_name()?.strip_prefix("ARK-")?;
    ProductLine::ALL.into_iter().find(|line| line.name() == product)
}

/// Whether a certificate could be meant as an endorsement key certificate.
pub(super) fn may_be_vek(certificate: &Certificate) -> bool {
    let named =
        |name: &Name| name.common_name().is_some_and(|name| name.starts_with("SEV-") || name.starts_with("ARK-"));
    !certificate.may_sign_certificates()
        && (named(certificate.subject())
            || named(certificate.issuer())
            || certificate.extensions().any(|(oid, ..)| oid.der_contents().starts_with(AMD_ARC)))
}

/// 1.3.6.1.4.1.3704.1, AMD's arc for these certificates.
const AMD_ARC: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];

/// AMD 57230 section 3.1, by the last arcs.
mod oid {
    use super::Oid;

    const fn amd(contents: &'static [u8]) -> Oid {
        Oid::from_der_contents(contents)
    }
    pub(super) const STRUCT_VERSION: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 1]);
    pub(super) const PRODUCT_NAME: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 2]);
    pub(super) const BL_SPL: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 1]);
    pub(super) const TEE_SPL: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 2]);
    pub(super) const SNP_SPL: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 3]);
    pub(super) const SPL_4: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 4]);
    pub(super) const SPL_5: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 5]);
    pub(super) const SPL_6: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 6]);
    pub(super) const SPL_7: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 7]);
    pub(super) const UCODE_SPL: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 8]);
    pub(super) const FMC_SPL: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3, 9]);
    pub(super) const HARDWARE_ID: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 4]);
    pub(super) const CSP_ID: Oid = amd(&[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 5]);
}

/// What an endorsement key certificate of the right profile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VekProfile {
    /// productName as received, for example `Milan-B0`.
    pub(super) product_name: String,
    /// The TCB that the key was derived for, in report order.
    pub(super) tcb: TcbVersion,
    /// Whom the key belongs to.
    pub(super) owner: VekOwner,
}

/// Whom an endorsement key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum VekOwner {
    /// The chip with this id, padded as CHIP_ID is.
    Chip(ChipId),
    /// The cloud provider with this CSP_ID.
    Csp(String),
}

/// How many of chip and TCB a certificate claims as the report does, to rank candidates before anything is verified.
pub(super) fn claims_to_fit(certificate: &Certificate, fields: &ReportFields) -> u8 {
    let Some((line, _)) = intermediate(certificate.issuer()) else { return 0 };
    let chip = read_hardware_id(certificate, line).is_ok_and(|chip| chip == fields.chip_id);
    let tcb = read_tcb(certificate, line).is_ok_and(|tcb| tcb == fields.reported_tcb);
    u8::from(chip).saturating_add(u8::from(tcb))
}

/// Whether bytes are a certificate that claims chip and TCB of the report.
pub(crate) fn claims_to_be_for(blob: &[u8], fields: &ReportFields) -> bool {
    let mut parsed = Endorsements::new();
    drop(parsed.add(blob));
    parsed.certificates().any(|certificate| claims_to_fit(certificate, fields) == 2)
}

impl VekProfile {
    /// Reads a certificate as the VEK of `kind` for `line`: subject, and exactly the extensions of AMD 57230 section 3.1.
    pub(super) fn read(vek: &Certificate, line: ProductLine, kind: VekKind) -> Result<Self, SnpError> {
        read_subject(vek, kind)?;
        let tcb = read_tcb(vek, line)?;
        let product_name = read_product_name(vek, line)?;
        let struct_version = match line {
            ProductLine::Milan | ProductLine::Genoa => 0,
            ProductLine::Turin => 1,
        };
        if read_level(vek, &oid::STRUCT_VERSION)? != struct_version {
            return Err(SnpError::VekExtension { oid: oid::STRUCT_VERSION });
        }
        let (owner, owner_oid) = match kind {
            VekKind::Vcek => (VekOwner::Chip(read_hardware_id(vek, line)?), oid::HARDWARE_ID),
            VekKind::Vlek => (VekOwner::Csp(read_text(vek, &oid::CSP_ID)?), oid::CSP_ID),
        };
        refuse_other_extensions(vek, line, &owner_oid)?;
        Ok(Self { product_name, tcb, owner })
    }
}

/// Every attribute exactly once, and no other.
fn read_subject(vek: &Certificate, kind: VekKind) -> Result<(), SnpError> {
    let subject = vek.subject();
    let expected = [
        (Oid::ORGANIZATIONAL_UNIT, "Engineering"),
        (Oid::COUNTRY, "US"),
        (Oid::LOCALITY, "Santa Clara"),
        (Oid::STATE, "CA"),
        (Oid::ORGANIZATION, "Advanced Micro Devices"),
        (Oid::COMMON_NAME, kind.common_name()),
    ];
    let complete = expected.iter().all(|(oid, value)| subject.only(oid) == Some(value));
    if complete && subject.attributes().len() == expected.len() {
        return Ok(());
    }
    Err(SnpError::VekSubject { subject: subject.to_string() })
}

fn read_tcb(vek: &Certificate, line: ProductLine) -> Result<TcbVersion, SnpError> {
    let reserved: &[Oid] = match line {
        ProductLine::Milan | ProductLine::Genoa => &[oid::SPL_4, oid::SPL_5, oid::SPL_6, oid::SPL_7],
        ProductLine::Turin => &[oid::SPL_5, oid::SPL_6, oid::SPL_7],
    };
    let components = TcbComponents {
        fmc: match line.tcb_layout() {
            TcbLayout::Milan => None,
            TcbLayout::Turin => Some(read_level(vek, &oid::FMC_SPL)?),
        },
        bootloader: read_level(vek, &oid::BL_SPL)?,
        tee: read_level(vek, &oid::TEE_SPL)?,
        snp: read_level(vek, &oid::SNP_SPL)?,
        microcode: read_level(vek, &oid::UCODE_SPL)?,
    };
    for oid in reserved {
        // They stand for the reserved bytes of TCB_VERSION, which are zero.
        if read_level(vek, oid)? != 0 {
            return Err(SnpError::ReservedTcb { oid: oid.clone() });
        }
    }
    Ok(components.to_version())
}

fn value<'a>(vek: &'a Certificate, oid: &Oid) -> Result<&'a [u8], SnpError> {
    vek.extension(oid).ok_or_else(|| SnpError::VekExtensionMissing { oid: oid.clone() })
}

/// An INTEGER from 0 to 255 in its minimal encoding, and nothing after it.
fn read_level(vek: &Certificate, oid: &Oid) -> Result<u8, SnpError> {
    let mut reader = Der::new(value(vek, oid)?);
    let level = reader.small_unsigned("a patch level").ok().and_then(|level| u8::try_from(level).ok());
    level.filter(|_| reader.is_empty()).ok_or_else(|| SnpError::VekExtension { oid: oid.clone() })
}

/// An IA5String of printable characters, and nothing after it.
fn read_text(vek: &Certificate, oid: &Oid) -> Result<String, SnpError> {
    let mut reader = Der::new(value(vek, oid)?);
    let text = reader.expect(tag::IA5_STRING, "an IA5String").ok().map(|element| element.contents);
    text.filter(|text| reader.is_empty() && !text.is_empty())
        .filter(|text| text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '))
        .and_then(|text| std::str::from_utf8(text).ok())
        .map(str::to_owned)
        .ok_or_else(|| SnpError::VekExtension { oid: oid.clone() })
}

/// The product line's name, with or without a stepping such as `-B0`.
fn read_product_name(vek: &Certificate, line: ProductLine) -> Result<String, SnpError> {
    let name = read_text(vek, &oid::PRODUCT_NAME)?;
    let known = match name.strip_prefix(line.name()).map(str::as_bytes) {
        Some([]) => true,
        Some([b'-', letter, digit]) => letter.is_ascii_uppercase() && digit.is_ascii_digit(),
        Some(_) | None => false,
    };
    if known { Ok(name) } else { Err(SnpError::Product { report: line, certificate: name }) }
}

/// The raw id, or a DER OCTET STRING of it: told apart by the total length, as an id may start with any byte.
fn read_hardware_id(vek: &Certificate, line: ProductLine) -> Result<ChipId, SnpError> {
    let malformed = || SnpError::VekExtension { oid: oid::HARDWARE_ID };
    let bytes = value(vek, &oid::HARDWARE_ID)?;
    let length = line.chip_id_length();
    let id = if bytes.len() == length {
        bytes
    } else {
        let mut reader = Der::new(bytes);
        let element = reader.expect(tag::OCTET_STRING, "an OCTET STRING").ok().ok_or_else(malformed)?;
        if !reader.is_empty() || element.contents.len() != length {
            return Err(malformed());
        }
        element.contents
    };
    let mut chip_id = ChipId([0; 64]);
    chip_id.0.get_mut(..length).ok_or_else(malformed)?.copy_from_slice(id);
    Ok(chip_id)
}

fn refuse_other_extensions(vek: &Certificate, line: ProductLine, owner: &Oid) -> Result<(), SnpError> {
    let layout = match line.tcb_layout() {
        TcbLayout::Milan => oid::SPL_4,
        TcbLayout::Turin => oid::FMC_SPL,
    };
    let known = [
        oid::STRUCT_VERSION,
        oid::PRODUCT_NAME,
        oid::BL_SPL,
        oid::TEE_SPL,
        oid::SNP_SPL,
        oid::SPL_5,
        oid::SPL_6,
        oid::SPL_7,
        oid::UCODE_SPL,
        layout,
        owner.clone(),
    ];
    match vek.extensions().find(|(oid, critical, _)| *critical || !known.contains(oid)) {
        Some((oid, ..)) => Err(SnpError::VekExtension { oid: oid.clone() }),
        None => Ok(()),
    }
}
