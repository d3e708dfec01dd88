//! Structures inside event data: UEFI_VARIABLE_DATA and signature lists (PFP 1.05 section 10.2.6, UEFI 2.10 section
//! 32.4.1). They say something only when the event's digest proves the data.

use crate::bytes::Reader;

/// A UEFI variable as it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UefiVariable<'a> {
    /// Vendor GUID in its 16 mixed-endian bytes.
    pub vendor: [u8; 16],
    /// Name, decoded from UTF-16LE.
    pub name: String,
    /// Data of the variable.
    pub data: &'a [u8],
}

/// EFI_GLOBAL_VARIABLE 8be4df61-93ca-11d2-aa0d-00e098032b8c.
pub const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];
/// EFI_IMAGE_SECURITY_DATABASE d719b2cb-3d3a-4596-a3bc-dad00e67656f.
pub const IMAGE_SECURITY_DATABASE: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// SHIM_LOCK 605dab50-e046-4300-abb6-3dd810dd8b23.
pub const SHIM_LOCK: [u8; 16] =
    [0x50, 0xab, 0x5d, 0x60, 0x46, 0xe0, 0x00, 0x43, 0xab, 0xb6, 0x3d, 0xd8, 0x10, 0xdd, 0x8b, 0x23];

/// Parses UEFI_VARIABLE_DATA: vendor GUID, name length in UTF-16 units u64, data length u64, name, data, nothing more.
#[must_use]
pub fn parse_variable(bytes: &[u8]) -> Option<UefiVariable<'_>> {
    let mut reader = Reader::new(bytes);
    let vendor = reader.array().ok()?;
    let name_units = usize::try_from(reader.u64_le().ok()?).ok()?;
    let data_length = usize::try_from(reader.u64_le().ok()?).ok()?;
    let name_bytes = reader.take(name_units.checked_mul(2)?).ok()?;
    let units = name_bytes.chunks_exact(2).map(|pair| match pair {
        [low, high] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    });
    let name = char::decode_utf16(units).collect::<Result<String, _>>().ok()?;
    let data = reader.take(data_length).ok()?;
    reader.is_empty().then_some(UefiVariable { vendor, name, data })
}

/// What one entry of a signature database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKind {
    /// X.509 certificate in DER.
    X509,
    /// SHA-256 hash of an image.
    Sha256,
    /// Any other registered type, by its GUID's bytes.
    Other([u8; 16]),
}

/// One entry of a signature database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Type of the list that the entry stands in.
    pub kind: SignatureKind,
    /// Owner GUID.
    pub owner: [u8; 16],
    /// The certificate or hash.
    pub data: &'a [u8],
}

/// EFI_CERT_X509_GUID a5c059a1-94e4-4aa7-87b5-ab155c2bf072.
const CERT_X509: [u8; 16] =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// EFI_CERT_SHA256_GUID c1c41626-504c-4092-aca9-41f936934328.
const CERT_SHA256: [u8; 16] =
    [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];

/// Parses a sequence of EFI_SIGNATURE_LISTs, exact to the last byte; `None` when it is not one.
#[must_use]
pub fn parse_signature_lists(bytes: &[u8]) -> Option<Vec<Signature<'_>>> {
    let mut reader = Reader::new(bytes);
    let mut signatures = Vec::new();
    while !reader.is_empty() {
        let kind = match reader.array().ok()? {
            CERT_X509 => SignatureKind::X509,
            CERT_SHA256 => SignatureKind::Sha256,
            other => SignatureKind::Other(other),
        };
        let list_size = usize::try_from(reader.u32_le().ok()?).ok()?;
        let header_size = usize::try_from(reader.u32_le().ok()?).ok()?;
        let signature_size = usize::try_from(reader.u32_le().ok()?).ok()?;
        reader.take(header_size).ok()?;
        let body_size = list_size.checked_sub(28)?.checked_sub(header_size)?;
        if signature_size < 16 || body_size.checked_rem(signature_size)? != 0 {
            return None;
        }
        let mut body = Reader::new(reader.take(body_size).ok()?);
        while !body.is_empty() {
            let mut entry = Reader::new(body.take(signature_size).ok()?);
            signatures.push(Signature { kind, owner: entry.array().ok()?, data: entry.rest() });
        }
    }
    Some(signatures)
}
