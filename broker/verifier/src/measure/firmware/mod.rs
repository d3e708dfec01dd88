//! OVMF firmware: the table of GUIDs at its end, and the sections that SEV and TDX metadata list.
//!
//! The table ends 32 bytes before the end of the image and is read backwards: each entry is its data, a length u16 over the
//! whole entry, and a GUID. Its first entry from the end is the footer, whose length covers the table.

mod error;

use evidence_formats::bytes::Reader;

pub use error::FirmwareError;

/// Largest firmware image in bytes.
pub const MAX_FIRMWARE: usize = 64 << 20;
/// Bytes of a page: the unit in which hosts add memory to a guest.
pub const PAGE: usize = 4096;
/// The first address after the firmware of a PC: 4 GiB.
pub const FOUR_GIB: u64 = 1 << 32;

/// Bytes between the table and the end of the image: the reset vector.
const AFTER_TABLE: usize = 32;
/// Length u16 and GUID of an entry.
const ENTRY_HEADER: usize = 18;
/// Most entries of a table, most sections of metadata.
const MAX_ENTRIES: usize = 64;
/// Most bytes of all sections of one metadata block.
const MAX_SECTIONS: usize = 256 << 20;
/// Bytes of a section's entry in SEV and in TDX metadata, and of the header of both.
const SEV_ITEM: u32 = 12;
const TDX_ITEM: u32 = 32;
const METADATA_HEADER: u32 = 16;

/// 96b582de-1fb2-45f7-baea-a366c55a082d
const FOOTER: [u8; 16] =
    [0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d];
/// dc886566-984a-4798-a75e-5585a7bf67cc
const SEV_METADATA: [u8; 16] =
    [0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc];
/// 7255371f-3a3b-4b04-927b-1da6efa8d454
const SEV_HASH_TABLE: [u8; 16] =
    [0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54];
/// 00f771de-1a7e-4fcb-890e-68c77e2fb44e
const SEV_ES_RESET: [u8; 16] =
    [0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e];
/// a789a612-0597-4c4b-a49f-cbb1fe9d1ddd
const SVSM_INFO: [u8; 16] =
    [0x12, 0xa6, 0x89, 0xa7, 0x97, 0x05, 0x4b, 0x4c, 0xa4, 0x9f, 0xcb, 0xb1, 0xfe, 0x9d, 0x1d, 0xdd];
/// e47a6535-984a-4798-865e-4685a7bf8ec2
const TDX_METADATA: [u8; 16] =
    [0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2];

/// A firmware image with its table, placed so that it ends at a guest physical address.
#[derive(Debug, Clone)]
pub struct Firmware<'a> {
    bytes: &'a [u8],
    gpa: u64,
    entries: Vec<Entry<'a>>,
}

/// GUID and data of an entry of the table.
type Entry<'a> = ([u8; 16], &'a [u8]);

/// What a section of SEV metadata is for (OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SevSectionKind {
    /// 1: memory that the firmware uses before it accepts any.
    Memory,
    /// 2: the secrets page.
    Secrets,
    /// 3: the CPUID page.
    Cpuid,
    /// 4: the calling area of an SVSM.
    SvsmCallingArea,
    /// 0x10: the page with hashes of kernel, initrd and command line.
    KernelHashes,
}

/// A section of SEV metadata: guest memory that is part of the launch. Address and size are whole pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SevSection {
    /// Guest physical address.
    pub gpa: u64,
    /// Bytes; may be 0.
    pub size: usize,
    /// Purpose.
    pub kind: SevSectionKind,
}

/// What a section of TDX metadata is for (Intel TDX Virtual Firmware Design Guide, table 11-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TdxSectionKind {
    /// 0: boot firmware volume, the code.
    Bfv,
    /// 1: configuration firmware volume, the variable store.
    Cfv,
    /// 2: where the host writes the hand-off blocks.
    TdHob,
    /// 3: memory that the firmware uses before it accepts any.
    TempMemory,
    /// 4: memory that stays.
    PermanentMemory,
    /// 5: a payload such as a kernel.
    Payload,
    /// 6: parameters of the payload.
    PayloadParameters,
    /// 7: information for the guest.
    TdInfo,
}

/// A section of TDX metadata. Memory address and size are whole pages; the data lies within the image and fits the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TdxSection<'a> {
    /// Purpose.
    pub kind: TdxSectionKind,
    /// Guest physical address.
    pub gpa: u64,
    /// Bytes of memory.
    pub size: usize,
    /// What the memory starts with; the rest is zero.
    pub data: &'a [u8],
    /// The content is measured page by page (MR.EXTEND, attribute bit 0).
    pub measured: bool,
    /// The memory is added after the launch (PAGE.AUG, attribute bit 1), so it is not part of MRTD.
    pub added_later: bool,
}

impl<'a> Firmware<'a> {
    /// Reads the table of an image that ends at 4 GiB, where the reset vector is.
    ///
    /// # Errors
    /// [`FirmwareError`] when the image is not whole pages or its table is not exactly as OVMF writes it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FirmwareError> {
        Self::ending_at(bytes, FOUR_GIB)
    }

    /// Reads the table of an image that ends at another guest physical address, such as an SVSM below the firmware.
    ///
    /// # Errors
    /// As [`Firmware::parse`].
    pub fn ending_at(bytes: &'a [u8], end: u64) -> Result<Self, FirmwareError> {
        if bytes.is_empty() || bytes.len() > MAX_FIRMWARE || !bytes.len().is_multiple_of(PAGE) {
            return Err(FirmwareError::Size { actual: bytes.len() });
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let gpa = end.checked_sub(length).ok_or(FirmwareError::Address { end })?;
        let table_end = bytes.len().checked_sub(AFTER_TABLE).ok_or(FirmwareError::NoTable)?;
        let (footer, footer_length, body_end) = entry_header(bytes, table_end).ok_or(FirmwareError::NoTable)?;
        if footer != FOOTER {
            return Err(FirmwareError::NoTable);
        }
        let wrong = FirmwareError::Entry { offset: body_end, length: footer_length };
        let start = table_end.checked_sub(usize::from(footer_length)).ok_or(wrong)?;
        Ok(Self { bytes, gpa, entries: entries(bytes, start, body_end)? })
    }

    /// The image.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Guest physical address of the image's first byte.
    #[must_use]
    pub const fn gpa(&self) -> u64 {
        self.gpa
    }

    fn entry(&self, guid: &[u8; 16], what: &'static str) -> Result<Reader<'a>, FirmwareError> {
        let data = self.entries.iter().find(|(found, _)| found == guid).map(|(_, data)| *data);
        data.filter(|data| data.len() >= 4).map(Reader::new).ok_or(FirmwareError::Missing { what })
    }

    /// Where processors other than the first start: SEV-ES reset block.
    ///
    /// # Errors
    /// When the firmware has none.
    pub fn ap_reset_eip(&self) -> Result<u32, FirmwareError> {
        Ok(self.entry(&SEV_ES_RESET, "an SEV-ES reset block")?.u32_le()?)
    }

    /// Guest physical address of the table of kernel hashes.
    ///
    /// # Errors
    /// When the firmware has none: it does not measure a kernel that is handed over beside it.
    pub fn kernel_hash_table(&self) -> Result<u64, FirmwareError> {
        let what = "a table for kernel hashes";
        match self.entry(&SEV_HASH_TABLE, what)?.u32_le()? {
            0 => Err(FirmwareError::Missing { what }),
            gpa => Ok(u64::from(gpa)),
        }
    }

    /// Guest physical address at which an SVSM image starts: its info entry is an offset into the image.
    ///
    /// # Errors
    /// When the image is not an SVSM.
    pub fn svsm_entry_point(&self) -> Result<u64, FirmwareError> {
        let offset = u64::from(self.entry(&SVSM_INFO, "an SVSM info entry")?.u32_le()?);
        self.gpa.checked_add(offset).ok_or(FirmwareError::Missing { what: "an SVSM entry point within its image" })
    }

    /// Sections of the SEV metadata, in their order.
    ///
    /// # Errors
    /// When there is no metadata, or a section is of an unknown type or not whole pages below 4 GiB.
    pub fn sev_sections(&self) -> Result<Vec<SevSection>, FirmwareError> {
        const WHAT: &str = "SEV";
        let (mut reader, count) = self.metadata(&SEV_METADATA, *b"ASEV", WHAT, SEV_ITEM)?;
        let mut sections = Vec::with_capacity(count);
        let mut budget = MAX_SECTIONS;
        for index in 0..count {
            let (gpa, size, kind) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
            let kind = match kind {
                1 => SevSectionKind::Memory,
                2 => SevSectionKind::Secrets,
                3 => SevSectionKind::Cpuid,
                4 => SevSectionKind::SvsmCallingArea,
                0x10 => SevSectionKind::KernelHashes,
                other => return Err(FirmwareError::SectionKind { what: WHAT, kind: other }),
            };
            let (gpa, size) = pages(u64::from(gpa), u64::from(size), &mut budget)
                .ok_or(FirmwareError::Section { what: WHAT, index })?;
            sections.push(SevSection { gpa, size, kind });
        }
        Ok(sections)
    }

    /// Sections of the TDX metadata, in their order.
    ///
    /// # Errors
    /// When there is no metadata, or a section is of an unknown type, not whole pages, or its data lies outside the image.
    pub fn tdx_sections(&self) -> Result<Vec<TdxSection<'a>>, FirmwareError> {
        const WHAT: &str = "TDX";
        let (mut reader, count) = self.metadata(&TDX_METADATA, *b"TDVF", WHAT, TDX_ITEM)?;
        let mut sections = Vec::with_capacity(count);
        let mut budget = MAX_SECTIONS;
        for index in 0..count {
            let (offset, length) = (reader.u32_le()?, reader.u32_le()?);
            let (gpa, size) = (reader.u64_le()?, reader.u64_le()?);
            let (kind, attributes) = (tdx_kind(reader.u32_le()?)?, reader.u32_le()?);
            let wrong = FirmwareError::Section { what: WHAT, index };
            let (gpa, size) = pages(gpa, size, &mut budget).ok_or(wrong.clone())?;
            let data = slice(self.bytes, offset, length).filter(|data| data.len() <= size).ok_or(wrong.clone())?;
            if attributes & !3 != 0 {
                return Err(wrong);
            }
            let (measured, added_later) = (attributes & 1 != 0, attributes & 2 != 0);
            sections.push(TdxSection { kind, gpa, size, data, measured, added_later });
        }
        Ok(sections)
    }

    /// Header of a metadata block {signature, length u32, version u32, count u32}; the entry says how far from the end of
    /// the image it starts.
    fn metadata(
        &self,
        guid: &[u8; 16],
        signature: [u8; 4],
        what: &'static str,
        item: u32,
    ) -> Result<(Reader<'a>, usize), FirmwareError> {
        let name = if signature == *b"ASEV" { "SEV metadata" } else { "TDX metadata" };
        let from_end = usize::try_from(self.entry(guid, name)?.u32_le()?).unwrap_or(usize::MAX);
        let offset = self.bytes.len().checked_sub(from_end).ok_or(FirmwareError::Metadata { what, offset: 0 })?;
        let mut reader = Reader::new(self.bytes.get(offset..).unwrap_or_default());
        let found: [u8; 4] = reader.array()?;
        let (length, version, items) = (reader.u32_le()?, reader.u32_le()?, reader.u32_le()?);
        let exact = items.checked_mul(item).and_then(|items| items.checked_add(METADATA_HEADER)) == Some(length);
        let count = usize::try_from(items).unwrap_or(usize::MAX);
        if found != signature || version != 1 || !exact || count > MAX_ENTRIES {
            return Err(FirmwareError::Metadata { what, offset });
        }
        Ok((reader, count))
    }
}

/// GUID and length of the entry that ends at `end`, and where its header starts.
fn entry_header(bytes: &[u8], end: usize) -> Option<([u8; 16], u16, usize)> {
    let start = end.checked_sub(ENTRY_HEADER)?;
    let mut reader = Reader::new(bytes.get(start..end)?);
    let length = reader.u16_le().ok()?;
    Some((reader.array().ok()?, length, start))
}

/// Entries of the table between `start` and `end`, the last first.
fn entries(bytes: &[u8], start: usize, end: usize) -> Result<Vec<Entry<'_>>, FirmwareError> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut end = end;
    while end > start {
        let (guid, length, header) = entry_header(bytes, end).ok_or(FirmwareError::NoTable)?;
        let wrong = FirmwareError::Entry { offset: header, length };
        let begin = end.checked_sub(usize::from(length)).filter(|begin| *begin >= start).ok_or(wrong.clone())?;
        let data = bytes.get(begin..header).ok_or(wrong)?;
        if entries.len() >= MAX_ENTRIES || entries.iter().any(|(found, _)| *found == guid) {
            return Err(FirmwareError::Entries);
        }
        entries.push((guid, data));
        end = begin;
    }
    Ok(entries)
}

fn tdx_kind(kind: u32) -> Result<TdxSectionKind, FirmwareError> {
    Ok(match kind {
        0 => TdxSectionKind::Bfv,
        1 => TdxSectionKind::Cfv,
        2 => TdxSectionKind::TdHob,
        3 => TdxSectionKind::TempMemory,
        4 => TdxSectionKind::PermanentMemory,
        5 => TdxSectionKind::Payload,
        6 => TdxSectionKind::PayloadParameters,
        7 => TdxSectionKind::TdInfo,
        kind => return Err(FirmwareError::SectionKind { what: "TDX", kind }),
    })
}

/// Address and size of a section, when both are whole pages, the section ends within the first 4 GiB, and the sections
/// together stay within `budget`, so that hashing them is bounded.
fn pages(gpa: u64, size: u64, budget: &mut usize) -> Option<(u64, usize)> {
    let page = u64::try_from(PAGE).ok()?;
    let ends_in_bounds = gpa.checked_add(size).is_some_and(|end| end <= FOUR_GIB);
    let whole = gpa.is_multiple_of(page) && size.is_multiple_of(page);
    let bytes = usize::try_from(size).ok()?;
    *budget = budget.checked_sub(bytes)?;
    (ends_in_bounds && whole).then_some((gpa, bytes))
}

fn slice(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    bytes.get(start..end)
}
