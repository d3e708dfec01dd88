//! The host's certificate table (GHCB 56421 §4.1.8.1), well-formed or not.
use crate::pem;

/// Identifiers of entries, in the byte order of the table.
pub mod guids {
    /// VCEK certificate, 63da758d-e664-4564-adc5-f4b93be8accd.
    pub const VCEK: [u8; 16] = 0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128.to_be_bytes();
    /// VLEK certificate, a8074bc2-a25a-483e-aae6-39c045a0b8a1.
    pub const VLEK: [u8; 16] = 0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1_u128.to_be_bytes();
    /// ASK or ASVK certificate, 4ab7b379-bbac-4fe4-a02f-05aef327c782.
    pub const ASK: [u8; 16] = 0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782_u128.to_be_bytes();
    /// ARK certificate, c0b406a4-a803-4952-9743-3fb6014cd0ae.
    pub const ARK: [u8; 16] = 0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae_u128.to_be_bytes();
    /// Revocation list, 92f81bc3-5811-4d3d-97ff-d19f88dc67ea.
    pub const CRL: [u8; 16] = 0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea_u128.to_be_bytes();
}

/// Length of one header entry: GUID, offset, length.
const ENTRY_LENGTH: usize = 24;

/// One entry. Offset and length follow from the layout unless they are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertEntry {
    /// What it is.
    pub guid: [u8; 16],
    /// The content, DER or PEM.
    pub bytes: Vec<u8>,
    /// Says another offset than the true one.
    pub offset: Option<u32>,
    /// Says another length than the true one.
    pub length: Option<u32>,
}

impl CertEntry {
    /// An honest entry.
    #[must_use]
    pub fn new(guid: [u8; 16], bytes: Vec<u8>) -> Self {
        Self { guid, bytes, offset: None, length: None }
    }
}

/// A certificate table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertTableSpec {
    /// The entries, in order.
    pub entries: Vec<CertEntry>,
    /// Whether the all-zero entry ends the header.
    pub terminated: bool,
}

impl CertTableSpec {
    /// A well-formed table.
    #[must_use]
    pub fn new(entries: Vec<CertEntry>) -> Self {
        Self { entries, terminated: true }
    }

    /// The same table with every DER certificate as PEM, as some hosts have it.
    #[must_use]
    pub fn into_pem(mut self) -> Self {
        for entry in &mut self.entries {
            let text = if entry.guid == guids::CRL { pem::crl(&entry.bytes) } else { pem::certificate(&entry.bytes) };
            entry.bytes = text.into_bytes();
        }
        self
    }

    /// The last entry claims the bytes of the first.
    #[must_use]
    pub fn overlapping(mut self) -> Self {
        let start = self.header_length();
        if let Some(last) = self.entries.last_mut() {
            last.offset = u32::try_from(start).ok();
        }
        self
    }

    /// The last entry claims a page more than there is.
    #[must_use]
    pub fn past_the_end(mut self) -> Self {
        if let Some(last) = self.entries.last_mut() {
            last.length = u32::try_from(last.bytes.len().saturating_add(0x1000)).ok();
        }
        self
    }

    /// The first entry occurs twice.
    #[must_use]
    pub fn duplicated(mut self) -> Self {
        self.entries.extend(self.entries.first().cloned());
        self
    }

    /// The header has no end.
    #[must_use]
    pub fn unterminated(mut self) -> Self {
        self.terminated = false;
        self
    }

    /// The table as the host writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut header = Vec::new();
        let mut content: Vec<u8> = Vec::new();
        for entry in &self.entries {
            let offset = self.header_length().saturating_add(content.len());
            let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
            header.extend_from_slice(&entry.guid);
            header.extend_from_slice(&entry.offset.unwrap_or_else(|| number(offset)).to_le_bytes());
            header.extend_from_slice(&entry.length.unwrap_or_else(|| number(entry.bytes.len())).to_le_bytes());
            content.extend_from_slice(&entry.bytes);
        }
        if self.terminated {
            header.extend_from_slice(&[0; ENTRY_LENGTH]);
        }
        [header, content].concat()
    }

    fn header_length(&self) -> usize {
        ENTRY_LENGTH.saturating_mul(self.entries.len().saturating_add(usize::from(self.terminated)))
    }
}
