//! PE32+ images: their sections and their Authenticode digest, which is what firmware measures when it loads them.

use evidence_formats::{
    bytes::{Reader, Truncated},
    code::{Code, Coded},
    digest::{Digest, HashAlgorithm},
};
use thiserror::Error;

use crate::measure::firmware::PAGE;

/// Most sections of an image (PE format, section table).
const MAX_SECTIONS: u16 = 96;
/// Offset of the offset of the PE header.
const PE_OFFSET_AT: usize = 0x3C;
/// From the start of the optional header: checksum, number of data directories, the directories.
const CHECKSUM_AT: usize = 64;
const HEADERS_SIZE_AT: usize = 60;
const DIRECTORY_COUNT_AT: usize = 108;
const DIRECTORIES_AT: usize = 112;
/// Index and size of the certificate table's directory.
const CERTIFICATE_DIRECTORY: usize = 4;
const DIRECTORY_LENGTH: usize = 8;
const PE32_PLUS: u16 = 0x20B;

/// A PE32+ image.
#[derive(Debug, Clone)]
pub struct PeImage<'a> {
    bytes: &'a [u8],
    checksum_at: usize,
    /// Where the certificate directory stands and how many bytes of certificates end the file.
    certificates: Option<(usize, usize)>,
    headers_size: usize,
    sections: Vec<Section<'a>>,
}

#[derive(Debug, Clone)]
struct Section<'a> {
    name: &'a [u8],
    memory_size: usize,
    offset: usize,
    data: &'a [u8],
}

/// Bytes are not a PE32+ image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeError {
    /// The image ends before a field does.
    #[error("expected a whole PE image")]
    Truncated(#[from] Truncated),
    /// A signature is missing, or the image is of another kind.
    #[error("expected {expected} at offset {offset}")]
    Format {
        /// What should stand there.
        expected: &'static str,
        /// Where.
        offset: usize,
    },
    /// A size or offset points outside the image.
    #[error("expected {what} within the image")]
    Bounds {
        /// What points outside.
        what: &'static str,
    },
    /// More sections than an image may have.
    #[error("expected at most {MAX_SECTIONS} sections, found {actual}")]
    Sections {
        /// Found.
        actual: u16,
    },
}

impl Coded for PeError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Truncated(_) => "measure.pe.truncated",
            Self::Format { .. } => "measure.pe.format",
            Self::Bounds { .. } | Self::Sections { .. } => "measure.pe.bounds",
        })
    }
}

impl<'a> PeImage<'a> {
    /// Reads the headers and the section table.
    ///
    /// # Errors
    /// [`PeError`] when the image is not PE32+ or anything points outside it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let mut reader = at(bytes, 0)?;
        expect(reader.array()? == *b"MZ", "MZ", 0)?;
        let header = index(at(bytes, PE_OFFSET_AT)?.u32_le()?);
        let mut reader = at(bytes, header)?;
        expect(reader.array()? == *b"PE\0\0", "a PE signature", header)?;
        // COFF header: machine u16, sections u16, time u32, symbols u32, count u32, optional header size u16, flags u16.
        reader.take(2)?;
        let count = reader.u16_le()?;
        reader.take(12)?;
        let optional_size = usize::from(reader.u16_le()?);
        reader.take(2)?;
        let optional = header.saturating_add(reader.offset());
        expect(reader.u16_le()? == PE32_PLUS, "a PE32+ optional header", optional)?;
        let headers_size = index(at(bytes, optional.saturating_add(HEADERS_SIZE_AT))?.u32_le()?);
        if count > MAX_SECTIONS {
            return Err(PeError::Sections { actual: count });
        }
        let certificates = certificates(bytes, optional)?;
        let table = optional.saturating_add(optional_size);
        let image = Self {
            bytes,
            checksum_at: optional.saturating_add(CHECKSUM_AT),
            certificates,
            headers_size,
            sections: sections(bytes, table, count)?,
        };
        image.check_headers(table)?;
        Ok(image)
    }

    /// Headers cover the section table and lie in the image; certificates and hashed parts together fit it.
    fn check_headers(&self, table: usize) -> Result<(), PeError> {
        let table_end = table.saturating_add(self.sections.len().saturating_mul(40));
        if self.headers_size < table_end || self.headers_size > self.bytes.len() {
            return Err(PeError::Bounds { what: "headers that cover the section table" });
        }
        // Sections that overlap would be hashed more than once.
        let data = self.sections.iter().fold(self.headers_size, |sum, section| sum.saturating_add(section.data.len()));
        let certificates = self.certificates.map_or(0, |(_, size)| size);
        if data.saturating_add(certificates) > self.bytes.len() {
            return Err(PeError::Bounds { what: "headers, sections and certificates beside each other" });
        }
        Ok(())
    }

    /// The Authenticode digest (Windows Authenticode Portable Executable Signature Format, "Calculating the PE image hash"):
    /// everything but checksum, certificate directory and certificates, with the sections in the order of the file.
    #[must_use]
    pub fn authenticode(&self, bank: HashAlgorithm) -> Digest {
        let mut parts: Vec<&[u8]> = vec![self.part(0, self.checksum_at)];
        let after_checksum = self.checksum_at.saturating_add(4);
        match self.certificates {
            Some((directory, _)) => {
                parts.push(self.part(after_checksum, directory));
                parts.push(self.part(directory.saturating_add(DIRECTORY_LENGTH), self.headers_size));
            }
            None => parts.push(self.part(after_checksum, self.headers_size)),
        }
        let mut in_file: Vec<&Section<'_>> = self.sections.iter().filter(|section| !section.data.is_empty()).collect();
        in_file.sort_by_key(|section| section.offset);
        let hashed = in_file.iter().fold(self.headers_size, |sum, section| sum.saturating_add(section.data.len()));
        parts.extend(in_file.iter().map(|section| section.data));
        // What follows the sections, up to the certificates. The sum counts hashed bytes, as the rule says, not the offset.
        let certificates = self.certificates.map_or(0, |(_, size)| size);
        parts.push(self.part(hashed, self.bytes.len().saturating_sub(certificates)));
        bank.digest(&parts)
    }

    /// How many sections have this name.
    pub(super) fn count(&self, name: &str) -> usize {
        self.sections.iter().filter(|section| section.name == name.as_bytes()).count()
    }

    /// Content of the first section of this name as it is in memory: its virtual size, zero where the file has nothing.
    /// `None` when there is none, or more than a page of it is not in the file.
    pub(super) fn section(&self, name: &str) -> Option<Vec<u8>> {
        let section = self.sections.iter().find(|section| section.name == name.as_bytes())?;
        if section.memory_size > section.data.len().saturating_add(PAGE) {
            return None;
        }
        let mut content = section.data.get(..section.memory_size).unwrap_or(section.data).to_vec();
        content.resize(section.memory_size, 0);
        Some(content)
    }

    fn part(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// The certificate directory, when the optional header has one: where it stands, and the size of what it names, which must be
/// the end of the file.
fn certificates(bytes: &[u8], optional: usize) -> Result<Option<(usize, usize)>, PeError> {
    let count = index(at(bytes, optional.saturating_add(DIRECTORY_COUNT_AT))?.u32_le()?);
    if count <= CERTIFICATE_DIRECTORY {
        return Ok(None);
    }
    let directory = optional.saturating_add(DIRECTORIES_AT).saturating_add(CERTIFICATE_DIRECTORY * DIRECTORY_LENGTH);
    let mut reader = at(bytes, directory)?;
    let (offset, size) = (index(reader.u32_le()?), index(reader.u32_le()?));
    if size > 0 && offset.checked_add(size) != Some(bytes.len()) {
        return Err(PeError::Bounds { what: "certificates that end the file" });
    }
    Ok(Some((directory, size)))
}

/// Name 8 bytes, virtual size u32, virtual address u32, raw size u32, raw offset u32, then 16 bytes that do not matter here.
fn sections(bytes: &[u8], table: usize, count: u16) -> Result<Vec<Section<'_>>, PeError> {
    let mut reader = at(bytes, table)?;
    let mut sections = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let name = reader.take(8)?;
        let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        let memory_size = index(reader.u32_le()?);
        reader.take(4)?;
        let (size, offset) = (index(reader.u32_le()?), index(reader.u32_le()?));
        reader.take(16)?;
        let data = offset.checked_add(size).and_then(|end| bytes.get(offset..end));
        let data = if size == 0 { Some(&[][..]) } else { data };
        sections.push(Section {
            name: name.get(..end).unwrap_or_default(),
            memory_size,
            offset,
            data: data.ok_or(PeError::Bounds { what: "the data of every section" })?,
        });
    }
    Ok(sections)
}

fn at(bytes: &[u8], offset: usize) -> Result<Reader<'_>, PeError> {
    bytes.get(offset..).map(Reader::new).ok_or(PeError::Bounds { what: "the headers" })
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn expect(holds: bool, expected: &'static str, offset: usize) -> Result<(), PeError> {
    if holds { Ok(()) } else { Err(PeError::Format { expected, offset }) }
}
