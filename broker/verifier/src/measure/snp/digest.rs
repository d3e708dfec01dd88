//! The running launch digest: SHA-384 over the digest so far and a description of the next page.

use evidence_formats::{bytes::LaunchDigest, digest::HashAlgorithm};

use super::super::firmware::PAGE;

/// Bytes of PAGE_INFO (SNP ABI 56860, table 67).
const PAGE_INFO_LENGTH: u16 = 0x70;
/// Address under which VMSA pages are measured: all ones, cut to a page within 48 bits.
const VMSA_GPA: u64 = 0xFFFF_FFFF_F000;
/// Offset of a page's address from that of the page before.
const PAGE_STEP: u64 = 4096;

/// How a page is added (PAGE_TYPE of SNP_LAUNCH_UPDATE, SNP ABI 56860 section 8.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageType {
    /// Content is measured.
    Normal,
    /// State of a virtual processor; content is measured.
    Vmsa,
    /// Zeros.
    Zero,
    /// The content is not measured.
    Unmeasured,
    /// Secrets page, filled by the firmware.
    Secrets,
    /// CPUID page, checked by the firmware.
    Cpuid,
}

impl PageType {
    const fn number(self) -> u8 {
        match self {
            Self::Normal => 1,
            Self::Vmsa => 2,
            Self::Zero => 3,
            Self::Unmeasured => 4,
            Self::Secrets => 5,
            Self::Cpuid => 6,
        }
    }
}

/// The digest of the pages that were added so far.
#[derive(Debug, Clone)]
pub(super) struct Context(LaunchDigest);

impl Context {
    /// Before any page.
    pub(super) const fn new() -> Self {
        Self(LaunchDigest([0; 48]))
    }

    /// After the pages that `digest` stands for.
    pub(super) const fn continuing(digest: LaunchDigest) -> Self {
        Self(digest)
    }

    /// The digest so far.
    pub(super) const fn digest(&self) -> LaunchDigest {
        self.0
    }

    /// Adds pages with content; `content` is whole pages.
    pub(super) fn add_content(&mut self, gpa: u64, content: &[u8]) {
        let mut gpa = gpa;
        for page in content.chunks(PAGE) {
            self.add(PageType::Normal, gpa, &sha384(&[page]));
            gpa = gpa.saturating_add(PAGE_STEP);
        }
    }

    /// Adds `size` bytes of pages whose content is not part of the measurement.
    pub(super) fn add_without_content(&mut self, kind: PageType, gpa: u64, size: usize) {
        let mut gpa = gpa;
        for _ in 0..size.div_ceil(PAGE) {
            self.add(kind, gpa, &[0; 48]);
            gpa = gpa.saturating_add(PAGE_STEP);
        }
    }

    /// Adds the state of a virtual processor.
    pub(super) fn add_vmsa(&mut self, page: &[u8; PAGE]) {
        self.add(PageType::Vmsa, VMSA_GPA, &sha384(&[page]));
    }

    /// PAGE_INFO: digest so far, contents, length, type, then IMI bit and permissions of VMPL 3 to 1, all zero, and address.
    fn add(&mut self, kind: PageType, gpa: u64, contents: &[u8; 48]) {
        let [low, high] = PAGE_INFO_LENGTH.to_le_bytes();
        let described = [low, high, kind.number(), 0, 0, 0, 0, 0];
        self.0 = LaunchDigest(sha384(&[self.0.as_bytes(), contents, &described, &gpa.to_le_bytes()]));
    }
}

fn sha384(parts: &[&[u8]]) -> [u8; 48] {
    let mut bytes = [0; 48];
    for (to, from) in bytes.iter_mut().zip(HashAlgorithm::Sha384.digest(parts).as_bytes()) {
        *to = *from;
    }
    bytes
}
