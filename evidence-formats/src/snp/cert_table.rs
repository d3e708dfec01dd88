//! The certificate table that a host hands to its guest (GHCB 2.x section 4.1.8.1, configfs-tsm `auxblob`).
//!
//! The host writes it and nothing signs it: it only saves a download. Every offset in it is hostile.

use std::fmt;

use thiserror::Error;

use crate::{
    bytes::Reader,
    code::{Code, Coded},
};

/// What an entry is, by its GUID in RFC 4122 byte order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertGuid(pub [u8; 16]);

impl CertGuid {
    /// Versioned chip endorsement key certificate, 63da758d-e664-4564-adc5-f4b93be8accd.
    pub const VCEK: Self = Self(0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128.to_be_bytes());
    /// Versioned loaded endorsement key certificate, a8074bc2-a25a-483e-aae6-39c045a0b8a1.
    pub const VLEK: Self = Self(0xa807_4bc2_a25a_483e_aae6_39c0_45a0_b8a1_u128.to_be_bytes());
    /// Intermediate CA (ASK or ASVK), 4ab7b379-bbac-4fe4-a02f-05aef327c782.
    pub const ASK: Self = Self(0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782_u128.to_be_bytes());
    /// Root CA, c0b406a4-a803-4952-9743-3fb6014cd0ae.
    pub const ARK: Self = Self(0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae_u128.to_be_bytes());
    /// Revocation list, 92f81bc3-5811-4d3d-97ff-d19f88dc67ea.
    pub const CRL: Self = Self(0x92f8_1bc3_5811_4d3d_97ff_d19f_88dc_67ea_u128.to_be_bytes());

    const fn is_zero(self) -> bool {
        u128::from_be_bytes(self.0) == 0
    }
}

impl fmt::Display for CertGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CertGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertGuid({self})")
    }
}

/// A well-formed certificate table: GUIDs with their blobs (DER or PEM), each GUID once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertTable {
    entries: Vec<(CertGuid, Vec<u8>)>,
}

/// Why bytes are not a certificate table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertTableError {
    /// Longer than any host's table.
    #[error("expected a certificate table of at most {} bytes, found {length}", CertTable::MAX_LENGTH)]
    TooLong {
        /// Bytes given.
        length: usize,
    },
    /// The entries do not end with an all-zero one inside of the table.
    #[error("expected an all-zero entry at offset {offset} at the latest")]
    Terminator {
        /// Where the table ended or the limit of entries was reached.
        offset: usize,
    },
    /// The zero GUID with an offset or a length.
    #[error("expected a GUID in the entry at offset {offset}")]
    ZeroGuid {
        /// Where the entry stands.
        offset: usize,
    },
    /// The blob does not lie inside of the table after the entries, or is empty.
    #[error("expected a blob inside of the table for the entry at offset {offset}")]
    Bounds {
        /// Where the entry stands.
        offset: usize,
    },
    /// Two blobs share bytes.
    #[error("expected blobs that do not overlap")]
    Overlap,
    /// The same GUID twice.
    #[error("expected {guid} once")]
    Duplicate {
        /// The GUID.
        guid: CertGuid,
    },
}

impl Coded for CertTableError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::TooLong { .. } => "parse.cert_table.length",
            Self::Terminator { .. } => "parse.cert_table.terminator",
            Self::ZeroGuid { .. } => "parse.cert_table.zero_guid",
            Self::Bounds { .. } => "parse.cert_table.bounds",
            Self::Overlap => "parse.cert_table.overlap",
            Self::Duplicate { .. } => "parse.cert_table.duplicate",
        })
    }
}

/// One entry of the header: GUID, and where its blob lies.
struct Entry {
    guid: CertGuid,
    at: usize,
    start: usize,
    end: usize,
}

impl CertTable {
    /// Longest table that is read, in bytes.
    pub const MAX_LENGTH: usize = 64 * 1024;
    /// Most entries that are read.
    pub const MAX_ENTRIES: usize = 16;
    const ENTRY_LENGTH: usize = 24;

    /// Parses a table: entries of GUID, offset and length, an all-zero entry, then the blobs.
    ///
    /// # Errors
    /// [`CertTableError`] says which entry is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, CertTableError> {
        if bytes.len() > Self::MAX_LENGTH {
            return Err(CertTableError::TooLong { length: bytes.len() });
        }
        let (header, header_end) = read_header(bytes)?;
        let mut entries: Vec<(CertGuid, Vec<u8>)> = Vec::with_capacity(header.len());
        for entry in &header {
            let bounds = CertTableError::Bounds { offset: entry.at };
            let blob = bytes.get(entry.start..entry.end).ok_or(bounds)?;
            if entry.start < header_end || blob.is_empty() {
                return Err(bounds);
            }
            if entries.iter().any(|(guid, _)| *guid == entry.guid) {
                return Err(CertTableError::Duplicate { guid: entry.guid });
            }
            entries.push((entry.guid, blob.to_vec()));
        }
        let mut ranges: Vec<_> = header.iter().map(|entry| (entry.start, entry.end)).collect();
        ranges.sort_unstable();
        if ranges.iter().zip(ranges.iter().skip(1)).any(|((_, end), (start, _))| start < end) {
            return Err(CertTableError::Overlap);
        }
        Ok(Self { entries })
    }

    /// A table of these entries; the caller gives each GUID once.
    #[must_use]
    pub fn from_entries(entries: Vec<(CertGuid, Vec<u8>)>) -> Self {
        Self { entries }
    }

    /// Every entry in order.
    pub fn entries(&self) -> impl Iterator<Item = (CertGuid, &[u8])> {
        self.entries.iter().map(|(guid, blob)| (*guid, blob.as_slice()))
    }

    /// The blob of `guid`.
    #[must_use]
    pub fn get(&self, guid: CertGuid) -> Option<&[u8]> {
        self.entries().find(|(found, _)| *found == guid).map(|(_, blob)| blob)
    }

    /// Writes the table with its blobs in order behind the header.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut at = self.entries.len().saturating_add(1).saturating_mul(Self::ENTRY_LENGTH);
        let (mut header, mut blobs) = (Vec::new(), Vec::new());
        for (guid, blob) in &self.entries {
            header.extend_from_slice(&guid.0);
            for number in [at, blob.len()] {
                header.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
            }
            blobs.extend_from_slice(blob);
            at = at.saturating_add(blob.len());
        }
        header.extend_from_slice(&[0; Self::ENTRY_LENGTH]);
        header.extend_from_slice(&blobs);
        header
    }
}

fn read_header(bytes: &[u8]) -> Result<(Vec<Entry>, usize), CertTableError> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::new();
    loop {
        let at = reader.offset();
        let terminator = CertTableError::Terminator { offset: at };
        let guid = CertGuid(reader.array().ok().ok_or(terminator)?);
        let start = reader.u32_le().ok().ok_or(terminator)?;
        let length = reader.u32_le().ok().ok_or(terminator)?;
        if guid.is_zero() {
            return if start == 0 && length == 0 {
                Ok((entries, reader.offset()))
            } else {
                Err(CertTableError::ZeroGuid { offset: at })
            };
        }
        if entries.len() >= CertTable::MAX_ENTRIES {
            return Err(terminator);
        }
        // Checked in 32 bits: the sum may wrap.
        let end = start.checked_add(length).ok_or(CertTableError::Bounds { offset: at })?;
        let to_usize = |number: u32| usize::try_from(number).ok().ok_or(CertTableError::Bounds { offset: at });
        entries.push(Entry { guid, at, start: to_usize(start)?, end: to_usize(end)? });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_round_trips() {
        let table = CertTable::from_entries(vec![(CertGuid::VCEK, vec![1, 2, 3]), (CertGuid::ASK, vec![4])]);
        assert_eq!(CertTable::parse(&table.to_bytes()), Ok(table));
        assert_eq!(CertGuid::ARK.to_string(), "c0b406a4-a803-4952-9743-3fb6014cd0ae");
    }

    #[test]
    fn hostile_offsets_are_refused() {
        let entry = |guid: CertGuid, offset: u32, length: u32| {
            [guid.0.as_slice(), &offset.to_le_bytes(), &length.to_le_bytes()].concat()
        };
        let end = vec![0; 24];
        let parse = |parts: &[Vec<u8>]| CertTable::parse(&parts.concat());
        let blob = vec![7; 100];
        let bounds = Err(CertTableError::Bounds { offset: 0 });
        assert_eq!(parse(&[entry(CertGuid::VCEK, 0x1000, 0xffff_fff0), end.clone(), blob.clone()]), bounds);
        assert_eq!(parse(&[entry(CertGuid::VCEK, 48, 101), end.clone(), blob.clone()]), bounds);
        assert_eq!(parse(&[entry(CertGuid::VCEK, 8, 40), end.clone(), blob.clone()]), bounds);
        assert_eq!(parse(&[entry(CertGuid::VCEK, 48, 0), end.clone()]), bounds);
        assert_eq!(
            parse(&[entry(CertGuid::VCEK, 24, 100), blob.clone()]),
            Err(CertTableError::Terminator { offset: 120 })
        );
        assert_eq!(
            parse(&[entry(CertGuid([0; 16]), 48, 10), end.clone(), blob.clone()]),
            Err(CertTableError::ZeroGuid { offset: 0 })
        );
        assert_eq!(
            parse(&[entry(CertGuid::VCEK, 72, 50), entry(CertGuid::ASK, 80, 50), end.clone(), blob.clone()]),
            Err(CertTableError::Overlap)
        );
        assert_eq!(
            parse(&[entry(CertGuid::VCEK, 72, 50), entry(CertGuid::VCEK, 122, 50), end, blob]),
            Err(CertTableError::Duplicate { guid: CertGuid::VCEK })
        );
    }
}
