//! The events of a boot in their order, as OVMF, systemd-stub and the kernel's EFI stub measure them.

use evidence_formats::digest::{Digest, HashAlgorithm};

use super::{BootError, PartitionTable, PeImage, Uki};

/// Texts of the firmware (PFP 1.05 section 10.4.4).
pub(super) const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
pub(super) const EXIT: [&[u8]; 2] = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"];
pub(super) const SEPARATOR: [u8; 4] = [0; 4];
/// OVMF tells the kernel that its initrd comes from the firmware (OvmfPkg/Library/GenericQemuLoadImageLib).
const INITRD_OPTION: &str = " initrd=initrd";

/// What the firmware starts.
#[derive(Debug, Clone, Copy)]
pub enum BootSource<'a> {
    /// A unified kernel image, from a boot option of a disk.
    Uki(&'a Uki<'a>),
    /// A kernel that the host hands over beside the firmware (QEMU `-kernel`).
    Direct {
        /// The kernel.
        kernel: &'a PeImage<'a>,
        /// Its initrd.
        initrd: Option<&'a [u8]>,
        /// Its command line.
        command_line: &'a str,
    },
}

/// What kind of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Text of the firmware.
    Action,
    /// Border between firmware and what it starts.
    Separator,
    /// The partition table of the boot disk.
    PartitionTable,
    /// An image that the firmware loads.
    Application,
    /// Name or content of a section of a unified kernel image.
    Section,
    /// The command line, as the kernel's EFI stub gets it.
    LoadOptions,
    /// The initrd, as the kernel's EFI stub gets it.
    Initrd,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The PCR that it extends.
    pub pcr: u8,
    /// What it is.
    pub kind: StepKind,
    /// What is extended; `None`: the inputs do not say.
    pub digest: Option<Digest>,
    /// Whether it is measured at all: `false` where it is not known.
    pub certain: bool,
}

/// Events of a boot from `source` in the order in which they are measured, up to the kernel.
///
/// # Errors
/// [`BootError`] when the kernel is not a PE image or its command line is not text.
pub fn steps(
    bank: HashAlgorithm,
    source: BootSource<'_>,
    table: Option<&PartitionTable>,
) -> Result<Vec<Step>, BootError> {
    let text = |pcr, text: &[u8]| step(pcr, StepKind::Action, bank.digest(&[text]));
    let mut steps = match source {
        BootSource::Uki(uki) => uki_steps(bank, uki, table)?,
        BootSource::Direct { kernel, initrd, command_line } => {
            // The image is loaded before the firmware says that it is ready to boot.
            let mut steps = vec![step(4, StepKind::Application, kernel.authenticode(bank))];
            steps.extend(ready_to_boot(bank));
            let option = if initrd.is_some() { INITRD_OPTION } else { "" };
            steps.push(step(9, StepKind::LoadOptions, load_options(bank, &format!("{command_line}{option}"))));
            steps.extend(initrd.map(|initrd| step(9, StepKind::Initrd, bank.digest(&[initrd]))));
            steps
        }
    };
    steps.extend(EXIT.map(|exit| text(5, exit)));
    Ok(steps)
}

fn uki_steps(bank: HashAlgorithm, uki: &Uki<'_>, table: Option<&PartitionTable>) -> Result<Vec<Step>, BootError> {
    let mut steps = ready_to_boot(bank);
    let table = table.map(|table| table.digest(bank));
    steps.push(Step { pcr: 5, kind: StepKind::PartitionTable, digest: table, certain: true });
    steps.push(step(4, StepKind::Application, uki.authenticode(bank)));
    for (section, content) in uki.sections() {
        steps.push(step(11, StepKind::Section, section.name_digest(bank)));
        steps.push(step(11, StepKind::Section, bank.digest(&[content])));
    }
    let kernel = step(4, StepKind::Application, uki.kernel_authenticode(bank)?);
    steps.push(Step { certain: uki.firmware_loads_kernel(), ..kernel });
    if let Some(command_line) = uki.command_line()? {
        steps.push(step(9, StepKind::LoadOptions, load_options(bank, &command_line)));
    }
    let initrd = uki.combined_initrd().map(|initrd| bank.digest(&[&initrd]));
    steps.push(Step { pcr: 9, kind: StepKind::Initrd, digest: initrd, certain: true });
    Ok(steps)
}

/// The firmware says that it boots, and ends its own part of each register.
fn ready_to_boot(bank: HashAlgorithm) -> Vec<Step> {
    let mut steps = vec![step(4, StepKind::Action, bank.digest(&[CALLING]))];
    steps.extend([4, 5].map(|pcr| step(pcr, StepKind::Separator, bank.digest(&[&SEPARATOR]))));
    steps
}

const fn step(pcr: u8, kind: StepKind, digest: Digest) -> Step {
    Step { pcr, kind, digest: Some(digest), certain: true }
}

/// UTF-16LE with its terminating NUL.
fn load_options(bank: HashAlgorithm, text: &str) -> Digest {
    let units: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    bank.digest(&[&units])
}
