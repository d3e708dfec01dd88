//! A recorded log as a template: what the image determines is computed, what the machine determines is as it was recorded.
//!
//! The recorded log must be of the same kind of boot: each event that the image determines has its counterpart. The result
//! says how many events of each register were taken from the recording, because they are trusted, not computed.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::Reader,
    digest::{Digest, HashAlgorithm},
    eventlog::{Event, EventLog, EventType, ReplayError},
};

use super::{
    BootError, Step, StepKind,
    events::{CALLING, EXIT, SEPARATOR},
};
use crate::{
    measure::firmware::{TdxSection, TdxSectionKind},
    tpm::UkiSection,
};

/// Tags of the kernel's EFI stub (drivers/firmware/efi/libstub/efi-stub-helper.c).
const TAG_INITRD: u32 = 0x8F3B_22EC;
const TAG_LOAD_OPTIONS: u32 = 0x8F3B_22ED;

/// A recorded log, and how its registers are counted.
#[derive(Debug, Clone, Copy)]
pub enum Template<'a> {
    /// TCG2 log of a TPM.
    Tpm {
        /// The log.
        log: &'a EventLog,
        /// The bank to predict.
        bank: HashAlgorithm,
    },
    /// CCEL of a TDX guest; SHA-384.
    Tdx {
        /// The log.
        log: &'a EventLog,
        /// Sections of the firmware that will be used, whose variable store is measured into RTMR0.
        sections: &'a [TdxSection<'a>],
    },
}

/// What came of a template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateUse {
    /// Final values by register number: PCR, or RTMR.
    pub values: BTreeMap<u8, Digest>,
    /// How many events of each register are as they were recorded.
    pub recorded: BTreeMap<u8, usize>,
}

impl<'a> Template<'a> {
    const fn log(&self) -> &'a EventLog {
        match self {
            Self::Tpm { log, .. } | Self::Tdx { log, .. } => log,
        }
    }

    const fn bank(&self) -> HashAlgorithm {
        match self {
            Self::Tpm { bank, .. } => *bank,
            Self::Tdx { .. } => HashAlgorithm::Sha384,
        }
    }

    /// Number of the register: PCR 0 to 15, or RTMR 0 to 3. The CC register 0 is MRTD, which no event extends.
    fn register(&self, event: &Event<'_>) -> Result<Option<u8>, ReplayError> {
        let wrong = ReplayError::Register { event: event.number, index: event.register };
        let index = u8::try_from(event.register).map_err(|_too_large| wrong)?;
        match self {
            Self::Tpm { .. } if index < 24 => Ok(Some(index)),
            Self::Tdx { .. } if index <= 4 => Ok(index.checked_sub(1)),
            Self::Tpm { .. } | Self::Tdx { .. } => Err(wrong),
        }
    }

    /// Digest of the new firmware's variable store, when this event measured the one before: a blob at the same address.
    fn variable_store(&self, event: &Event<'_>) -> Option<Digest> {
        let Self::Tdx { sections, .. } = self else { return None };
        if event.kind != EventType::EFI_PLATFORM_FIRMWARE_BLOB2 {
            return None;
        }
        // UEFI_PLATFORM_FIRMWARE_BLOB2: description length u8, description, base u64, length u64.
        let mut reader = Reader::new(event.data);
        let description = usize::from(reader.u8().ok()?);
        reader.take(description).ok()?;
        let base = reader.u64_le().ok()?;
        let is_it = |section: &&TdxSection<'_>| section.kind == TdxSectionKind::Cfv && section.gpa == base;
        sections.iter().find(is_it).map(|section| self.bank().digest(&[section.data]))
    }
}

/// Steps of one kind that were not used yet.
struct Pending<'a>(Vec<&'a Step>);

impl Pending<'_> {
    fn of(steps: &[Step], kind: StepKind) -> Pending<'_> {
        Pending(steps.iter().filter(|step| step.kind == kind).rev().collect())
    }

    /// Whether a step is left that is certainly measured.
    fn is_left(&self) -> bool {
        self.0.iter().any(|step| step.certain)
    }

    fn next(&mut self, reason: &'static str) -> Result<Option<Digest>, BootError> {
        self.0.pop().map(|step| step.digest).ok_or(BootError::Template { reason })
    }
}

/// Registers of a boot whose events are `steps` where the image determines them, and as recorded where it does not.
///
/// # Errors
/// [`BootError::Template`] when the recorded boot has other events of the image than `steps`, [`BootError::Replay`] when the log
/// has no digest of the bank.
pub fn from_template(template: Template<'_>, steps: &[Step]) -> Result<TemplateUse, BootError> {
    let bank = template.bank();
    let mut applications = Pending::of(steps, StepKind::Application);
    let mut tables = Pending::of(steps, StepKind::PartitionTable);
    let mut options = Pending::of(steps, StepKind::LoadOptions);
    let mut initrds = Pending::of(steps, StepKind::Initrd);
    let mut sections = Pending::of(steps, StepKind::Section);
    let names = UkiSection::ALL.map(|section| section.name_digest(bank));
    let mut result = TemplateUse::default();
    let mut content_follows = false;
    for event in template.log().events().filter(Event::is_measured) {
        let Some(register) = template.register(&event)? else { continue };
        let recorded = event.digest(bank).ok_or(ReplayError::MissingDigest { event: event.number, bank })?;
        let is_section_content = std::mem::take(&mut content_follows);
        let computed = match event.kind {
            EventType::EFI_BOOT_SERVICES_APPLICATION => applications.next("it starts more images")?,
            EventType::EFI_GPT_EVENT => tables.next("it measures a partition table")?,
            EventType::EVENT_TAG => match Reader::new(event.data).u32_le() {
                Ok(TAG_LOAD_OPTIONS) => options.next("it has load options")?,
                Ok(TAG_INITRD) => initrds.next("it has an initrd")?,
                _ => None,
            },
            EventType::IPL if is_section_content || names.contains(&recorded) => {
                content_follows = !is_section_content;
                // All sections are put where the first one was recorded; the recorded ones are dropped.
                for step in std::mem::take(&mut sections.0).into_iter().rev() {
                    result.extend(bank, register, step.digest, recorded);
                }
                continue;
            }
            EventType::SEPARATOR => Some(bank.digest(&[&SEPARATOR])).filter(|zero| *zero == recorded),
            EventType::EFI_ACTION => fixed_text(&event, bank),
            _ => template.variable_store(&event),
        };
        result.extend(bank, register, computed, recorded);
    }
    let left = [
        (&applications, "it starts fewer images"),
        (&options, "it has no load options"),
        (&sections, "it has no sections of a unified kernel image"),
    ];
    match left.into_iter().find(|(pending, _)| pending.is_left()) {
        Some((_, reason)) => Err(BootError::Template { reason }),
        None => Ok(result),
    }
}

/// Digest of a text that every boot measures, when the event is that text.
fn fixed_text(event: &Event<'_>, bank: HashAlgorithm) -> Option<Digest> {
    let fixed = EXIT.into_iter().chain([CALLING]).any(|text| text == event.data);
    event.digest(bank).filter(|_| fixed && event.data_is_measured(bank))
}

impl TemplateUse {
    fn extend(&mut self, bank: HashAlgorithm, register: u8, computed: Option<Digest>, recorded: Digest) {
        if computed.is_none() {
            let count = self.recorded.entry(register).or_default();
            *count = count.saturating_add(1);
        }
        let value = self.values.entry(register).or_insert(Digest::zero(bank));
        *value = value.extended(computed.unwrap_or(recorded).as_bytes());
    }
}
