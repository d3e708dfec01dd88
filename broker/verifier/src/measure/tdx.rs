//! MRTD: what the host adds to a TDX guest before it runs (Intel TDX Module Base Architecture, "Measurement of the initial TD").

use aws_lc_rs::digest::{Context, SHA384};
use evidence_formats::{
    bytes::LaunchDigest,
    code::{Code, Coded},
};
use thiserror::Error;

use super::firmware::{Firmware, FirmwareError, PAGE, TdxSection};

/// Bytes that one MR.EXTEND measures.
const CHUNK: usize = 256;
/// Bytes of the record of each operation: 16 of its name, 8 of the address, zeros.
const RECORD: usize = 128;

/// In which order the host adds and measures the pages of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// Each page is added and measured, then the next: Linux 6.16 and later, and most hosts before it.
    Interleaved,
    /// All pages of a section are added, then all are measured.
    TwoPasses,
}

/// The firmware cannot be measured as a TDX guest's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxLaunchError {
    /// The image or its TDX metadata.
    #[error("firmware cannot be measured")]
    Firmware(#[from] FirmwareError),
    /// No section is measured, so that MRTD would not depend on the firmware.
    #[error("expected firmware with a measured section")]
    NothingMeasured,
}

impl Coded for TdxLaunchError {
    fn code(&self) -> Code {
        match self {
            Self::Firmware(error) => error.code(),
            Self::NothingMeasured => Code::new("measure.tdx.nothing_measured"),
        }
    }
}

/// MRTD of a guest with this firmware: MEM.PAGE.ADD for every page that its metadata lists, in order, and MR.EXTEND over the content of
/// the measured ones.
///
/// # Errors
/// [`TdxLaunchError`] when the firmware has no TDX metadata, or nothing of it is measured.
pub fn mrtd(firmware: &Firmware<'_>, order: PageOrder) -> Result<LaunchDigest, TdxLaunchError> {
    let sections = firmware.tdx_sections()?;
    if !sections.iter().any(|section| section.measured && !section.added_later && section.size > 0) {
        return Err(TdxLaunchError::NothingMeasured);
    }
    let mut context = Mrtd(Context::new(&SHA384));
    for section in sections.iter().filter(|section| !section.added_later) {
        match order {
            PageOrder::Interleaved => {
                for offset in (0..section.size).step_by(PAGE) {
                    context.add(section, offset);
                    context.extend(section, offset);
                }
            }
            PageOrder::TwoPasses => {
                (0..section.size).step_by(PAGE).for_each(|offset| context.add(section, offset));
                (0..section.size).step_by(PAGE).for_each(|offset| context.extend(section, offset));
            }
        }
    }
    Ok(context.finish())
}

struct Mrtd(Context);

impl Mrtd {
    fn add(&mut self, section: &TdxSection<'_>, offset: usize) {
        self.record(*b"MEM.PAGE.ADD\0\0\0\0", section, offset);
    }

    fn extend(&mut self, section: &TdxSection<'_>, offset: usize) {
        if !section.measured {
            return;
        }
        for chunk in (offset..offset.saturating_add(PAGE)).step_by(CHUNK) {
            self.record(*b"MR.EXTEND\0\0\0\0\0\0\0", section, chunk);
            let mut content = [0; CHUNK];
            for (to, from) in content.iter_mut().zip(section.data.iter().skip(chunk)) {
                *to = *from;
            }
            self.0.update(&content);
        }
    }

    fn record(&mut self, name: [u8; 16], section: &TdxSection<'_>, offset: usize) {
        let gpa = section.gpa.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
        let mut record = [0; RECORD];
        for (to, from) in record.iter_mut().zip(name.iter().chain(&gpa.to_le_bytes())) {
            *to = *from;
        }
        self.0.update(&record);
    }

    fn finish(self) -> LaunchDigest {
        let mut bytes = [0; 48];
        for (to, from) in bytes.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        LaunchDigest(bytes)
    }
}
