//! What boot loaders measured: command lines, files, sections of a unified kernel image, machine owner keys.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::Reader,
    digest::HashAlgorithm,
    eventlog::{Event, EventType},
};
use serde::Serialize;

use super::{BootLogError, ProvenLog};
use crate::tpm::UkiSection;

/// Event tags of the Linux EFI stub (PCR 9): initrd and LOADED_IMAGE::LoadOptions.
const TAG_INITRD: u32 = 0x8F3B_22EC;
const TAG_LOAD_OPTIONS: u32 = 0x8F3B_22ED;

/// Something that was measured by its content: the digest is proven, the label is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MeasuredFile {
    /// What kind of thing it is: `file`, `initrd`, `load_options`, `machine_owner`.
    pub kind: &'static str,
    /// Digest of its content.
    pub digest: String,
    /// What the log calls it: free text that nothing proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untrusted_label: Option<String>,
}

/// Claims from texts and labels.
pub(super) struct Text {
    pub(super) kernel_command_lines: Vec<String>,
    pub(super) files: Vec<MeasuredFile>,
    pub(super) machine_owner: Vec<MeasuredFile>,
}

pub(super) fn read(log: &ProvenLog<'_>) -> Result<Text, BootLogError> {
    let mut text = Text { kernel_command_lines: Vec::new(), files: Vec::new(), machine_owner: Vec::new() };
    for pcr in [8, 12] {
        for event in log.of_pcr(pcr).filter(|event| event.kind == EventType::IPL) {
            text.kernel_command_lines.extend(command_line(event, pcr, log.bank)?);
        }
    }
    for event in log.of_pcr(9) {
        let kind = match event.kind {
            EventType::EVENT_TAG => tag_kind(event),
            _ => Some("file"),
        };
        text.files.extend(kind.and_then(|kind| measured(event, kind, log.bank)));
    }
    for event in log.of_pcr(14).filter(|event| event.kind == EventType::IPL) {
        text.machine_owner.extend(measured(event, "machine_owner", log.bank));
    }
    Ok(text)
}

/// GRUB's `kernel_cmdline: ` in PCR 8 must be what was measured; systemd's UTF-16 command line counts when it is.
fn command_line(event: &Event<'_>, pcr: u8, bank: HashAlgorithm) -> Result<Option<String>, BootLogError> {
    const GRUB: &str = "kernel_cmdline: ";
    if event.text().is_some_and(|text| text.starts_with(GRUB)) {
        return match event.measured_text(bank) {
            Some((GRUB, text)) => Ok(Some(text.to_owned())),
            _ => Err(BootLogError::EventData { event: event.number, pcr }),
        };
    }
    Ok(utf16(event.data).filter(|_| event.data_is_measured(bank)))
}

/// UTF-16LE text with its terminating NUL.
fn utf16(data: &[u8]) -> Option<String> {
    let units: Vec<u16> = data
        .chunks_exact(2)
        .map(|pair| match pair {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => 0,
        })
        .collect();
    let (0, text) = units.split_last()? else { return None };
    let printable = !text.is_empty() && data.len().is_multiple_of(2) && !text.contains(&0);
    printable.then(|| String::from_utf16(text).ok()).flatten()
}

/// TCG_PCClientTaggedEvent: tag u32, size u32, data.
fn tag_kind(event: &Event<'_>) -> Option<&'static str> {
    match Reader::new(event.data).u32_le() {
        Ok(TAG_INITRD) => Some("initrd"),
        Ok(TAG_LOAD_OPTIONS) => Some("load_options"),
        _ => None,
    }
}

fn measured(event: &Event<'_>, kind: &'static str, bank: HashAlgorithm) -> Option<MeasuredFile> {
    let untrusted_label = match event.kind {
        EventType::IPL => event.text().map(ToOwned::to_owned),
        _ => None,
    };
    Some(MeasuredFile { kind, digest: event.digest(bank)?.to_string(), untrusted_label })
}

/// Sections of a unified kernel image (PCR 11): a name that its own digest proves, then the digest of the content.
pub(super) fn read_uki(log: &ProvenLog<'_>) -> BTreeMap<&'static str, String> {
    let names = UkiSection::ALL.map(|section| (section.name(), section.name_digest(log.bank)));
    let mut sections = BTreeMap::new();
    let mut events = log.of_pcr(11);
    while let Some(event) = events.next() {
        let named = names.iter().find(|(_, digest)| event.digest(log.bank) == Some(*digest));
        let (Some((name, _)), Some(content)) = (named, named.and_then(|_| events.next())) else { continue };
        sections.extend(content.digest(log.bank).map(|digest| (*name, digest.to_string())));
    }
    sections
}
