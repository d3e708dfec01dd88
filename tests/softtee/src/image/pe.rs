//! PE images: what a kernel with an EFI stub and a unified kernel image look like from outside.

use super::firmware::write_at;

const DOS_HEADER: usize = 0x40;
const OPTIONAL_HEADER: usize = 240;
const SECTION_HEADER: usize = 40;
const ALIGNMENT: usize = 0x200;
const PAGE: usize = 0x1000;

/// A PE32+ image with these sections.
#[derive(Debug, Clone, Default)]
pub struct PeFile {
    /// Names and contents, in the order of the file.
    pub sections: Vec<(String, Vec<u8>)>,
    /// Bytes after the last section.
    pub trailer: Vec<u8>,
    /// Certificates at the end of the file.
    pub certificates: Vec<u8>,
    /// Number of data directories, 16 in most images.
    pub directories: u32,
    /// The checksum, which no digest covers.
    pub checksum: u32,
}

impl PeFile {
    /// A kernel, told apart by its code.
    #[must_use]
    pub fn kernel(code: &[u8]) -> Self {
        Self { sections: vec![(".text".to_owned(), code.to_vec())], directories: 6, ..Self::default() }
    }

    /// A unified kernel image: code of a stub of this version, and these sections.
    #[must_use]
    pub fn uki(stub_version: &str, sections: &[(&str, &[u8])]) -> Self {
        let magic = format!("#### LoaderInfo: systemd-stub {stub_version} ####\0");
        let mut all =
            vec![(".text".to_owned(), b"the code of a stub".to_vec()), (".sdmagic".to_owned(), magic.into_bytes())];
        all.extend(sections.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())));
        Self { sections: all, directories: 16, ..Self::default() }
    }

    /// The file.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let table = DOS_HEADER.saturating_add(24).saturating_add(OPTIONAL_HEADER);
        let headers =
            table.saturating_add(self.sections.len().saturating_mul(SECTION_HEADER)).next_multiple_of(ALIGNMENT);
        let mut file = vec![0; headers];
        let mut address = PAGE;
        for (number, (name, content)) in self.sections.iter().enumerate() {
            let raw = content.len().next_multiple_of(ALIGNMENT);
            let header = [
                name.bytes().chain(std::iter::repeat(0)).take(8).collect(),
                numbers(&[content.len(), address, raw, file.len()]),
                vec![0; 16],
            ]
            .concat();
            write_at(&mut file, table.saturating_add(number.saturating_mul(SECTION_HEADER)), &header);
            file.extend_from_slice(content);
            file.resize(file.len().next_multiple_of(ALIGNMENT), 0);
            address = address.saturating_add(raw).next_multiple_of(PAGE);
        }
        file.extend_from_slice(&self.trailer);
        let certificates = if self.certificates.is_empty() { 0 } else { file.len() };
        file.extend_from_slice(&self.certificates);
        self.write_headers(&mut file, headers, certificates);
        file
    }

    fn write_headers(&self, file: &mut [u8], headers: usize, certificates: usize) {
        write_at(file, 0, b"MZ");
        write_at(file, 0x3C, &numbers(&[DOS_HEADER]));
        let count = u16::try_from(self.sections.len()).unwrap_or(u16::MAX);
        let size = u16::try_from(OPTIONAL_HEADER).unwrap_or(u16::MAX);
        let coff = [&b"PE\0\0"[..], &[0x64, 0x86], &count.to_le_bytes(), &[0; 12], &size.to_le_bytes(), &[0x22, 0]];
        write_at(file, DOS_HEADER, &coff.concat());
        let optional = DOS_HEADER.saturating_add(24);
        write_at(file, optional, &0x20B_u16.to_le_bytes());
        write_at(file, optional.saturating_add(60), &numbers(&[headers]));
        write_at(file, optional.saturating_add(64), &self.checksum.to_le_bytes());
        write_at(file, optional.saturating_add(108), &self.directories.to_le_bytes());
        if self.directories > 4 {
            write_at(file, optional.saturating_add(144), &numbers(&[certificates, self.certificates.len()]));
        }
    }
}

fn numbers(values: &[usize]) -> Vec<u8> {
    values.iter().flat_map(|value| u32::try_from(*value).unwrap_or(u32::MAX).to_le_bytes()).collect()
}
