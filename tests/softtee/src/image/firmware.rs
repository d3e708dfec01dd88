//! A firmware image with the table and the metadata of OVMF.

/// Bytes between the table and the end of the image.
const AFTER_TABLE: usize = 32;
/// Bytes from the start of each metadata block to the end of the image.
const SEV_FROM_END: u32 = 0x400;
const TDX_FROM_END: u32 = 0x800;

const FOOTER: u128 = 0x96b582de_1fb2_45f7_baea_a366c55a082d;
const SEV_METADATA: u128 = 0xdc886566_984a_4798_a75e_5585a7bf67cc;
const SEV_HASH_TABLE: u128 = 0x7255371f_3a3b_4b04_927b_1da6efa8d454;
const SEV_ES_RESET: u128 = 0x00f771de_1a7e_4fcb_890e_68c77e2fb44e;
const SVSM_INFO: u128 = 0xa789a612_0597_4c4b_a49f_cbb1fe9d1ddd;
const TDX_METADATA: u128 = 0xe47a6535_984a_4798_865e_4685a7bf8ec2;

/// A section of TDX metadata.
#[derive(Debug, Clone, Copy)]
pub struct TdxPart {
    /// Offset and length of the data in the image.
    pub data: (u32, u32),
    /// Guest physical address and size of the memory.
    pub memory: (u64, u64),
    /// Type: 0 code, 1 variable store, 2 hand-off blocks, 3 temporary memory.
    pub kind: u32,
    /// Attributes: bit 0 measured, bit 1 added later.
    pub attributes: u32,
}

/// A firmware image of any size, with what its table says.
#[derive(Debug, Clone)]
pub struct FirmwareImage {
    /// Bytes.
    pub size: usize,
    /// Seed of the content.
    pub seed: u8,
    /// Sections of SEV metadata: address, size, type.
    pub sev: Vec<(u32, u32, u32)>,
    /// Sections of TDX metadata.
    pub tdx: Vec<TdxPart>,
    /// Address of the kernel hash table.
    pub hash_table: Option<u32>,
    /// Where further processors start.
    pub reset: Option<u32>,
    /// Offset of an SVSM's entry point.
    pub svsm: Option<u32>,
}

impl FirmwareImage {
    /// Like OVMF for AMD SEV with direct kernel boot, and for Intel TDX: 64 KiB, of which the first 16 KiB are the variable store.
    #[must_use]
    pub fn ovmf() -> Self {
        let part = |data, memory, kind, attributes| TdxPart { data, memory, kind, attributes };
        Self {
            size: 0x10000,
            seed: 7,
            sev: vec![
                (0x80_0000, 0x9000, 1),
                (0x80_D000, 0x1000, 2),
                (0x80_E000, 0x1000, 3),
                (0x80_F000, 0x1000, 4),
                (0x81_1000, 0x2000, 1),
                (0x81_0000, 0x1000, 0x10),
            ],
            tdx: vec![
                part((0x4000, 0xC000), (0xFFFF_4000, 0xC000), 0, 1),
                part((0, 0x4000), (0xFFFF_0000, 0x4000), 1, 0),
                part((0, 0), (0x81_0000, 0x1_0000), 3, 0),
                part((0, 0), (0x80_9000, 0x2000), 2, 0),
            ],
            hash_table: Some(0x81_0C00),
            reset: Some(0x0080_B004),
            svsm: None,
        }
    }

    /// The image.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut image = content(self.size, self.seed);
        let sev: Vec<u8> =
            self.sev.iter().flat_map(|(gpa, size, kind)| [*gpa, *size, *kind].map(u32::to_le_bytes).concat()).collect();
        write_from_end(&mut image, SEV_FROM_END, &metadata(*b"ASEV", self.sev.len(), &sev));
        let tdx: Vec<u8> = self.tdx.iter().flat_map(TdxPart::bytes).collect();
        write_from_end(&mut image, TDX_FROM_END, &metadata(*b"TDVF", self.tdx.len(), &tdx));
        let table = self.table();
        let at = image.len().saturating_sub(AFTER_TABLE).saturating_sub(table.len());
        write_at(&mut image, at, &table);
        image
    }

    /// Entries, then the footer whose length covers them all.
    fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let mut add = |guid: u128, data: &[u8]| table.extend(entry(guid, data, data.len().saturating_add(18)));
        add(TDX_METADATA, &TDX_FROM_END.to_le_bytes());
        add(SEV_METADATA, &SEV_FROM_END.to_le_bytes());
        if let Some(gpa) = self.hash_table {
            add(SEV_HASH_TABLE, &[gpa.to_le_bytes(), 0x400_u32.to_le_bytes()].concat());
        }
        if let Some(eip) = self.reset {
            add(SEV_ES_RESET, &eip.to_le_bytes());
        }
        if let Some(offset) = self.svsm {
            add(SVSM_INFO, &offset.to_le_bytes());
        }
        let length = table.len().saturating_add(18);
        table.extend(entry(FOOTER, &[], length));
        table
    }
}

impl TdxPart {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.data.0, self.data.1].map(u32::to_le_bytes).concat();
        bytes.extend([self.memory.0, self.memory.1].map(u64::to_le_bytes).concat());
        bytes.extend([self.kind, self.attributes].map(u32::to_le_bytes).concat());
        bytes
    }
}

/// Bytes that repeat in no page.
pub(super) fn content(size: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed).wrapping_add(1);
    std::iter::repeat_with(|| {
        // A linear congruential generator: enough to tell pages apart.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    })
    .take(size)
    .collect()
}

/// A GUID in its mixed-endian bytes.
pub(super) fn guid(value: u128) -> [u8; 16] {
    let mut bytes = value.to_be_bytes();
    for field in [0..4, 4..6, 6..8] {
        if let Some(field) = bytes.get_mut(field) {
            field.reverse();
        }
    }
    bytes
}

fn entry(id: u128, data: &[u8], length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    [data, &length.to_le_bytes(), &guid(id)].concat()
}

fn metadata(signature: [u8; 4], count: usize, items: &[u8]) -> Vec<u8> {
    let length = u32::try_from(items.len().saturating_add(16)).unwrap_or(u32::MAX);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    [&signature, &length.to_le_bytes(), &1_u32.to_le_bytes(), &count.to_le_bytes(), items].concat()
}

fn write_from_end(image: &mut [u8], from_end: u32, bytes: &[u8]) {
    let at = image.len().saturating_sub(usize::try_from(from_end).unwrap_or_default());
    write_at(image, at, bytes);
}

/// Overwrites what is at `at`.
pub(super) fn write_at(image: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in image.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
