//! The host's certificate table (GHCB 56421 §4.1.8.1), well-formed or not.
use evidence_formats::snp::CertGuid;

use crate::pem;

/// Length of one header entry: GUID, offset, length.
const ENTRY_LENGTH: usize = 24;

/// One entry. Offset and length follow from the layout unless they are set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertEntry {
    /// What it is.
    pub guid: CertGuid,
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
    pub fn new(guid: CertGuid, bytes: Vec<u8>) -> Self {
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
            let text =
                if entry.guid == CertGuid::CRL { pem::crl(&entry.bytes) } else { pem::certificate(&entry.bytes) };
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
            header.extend_from_slice(&entry.guid.0);
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
