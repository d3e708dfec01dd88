//! The inputs of a boot: what the firmware starts, from which disk, and a recorded log.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, anyhow};
use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    eventlog::{EventLog, tcg2::MAX_LOG_BYTES},
};
use verifier::{
    measure::boot::{
        BootError, BootSource, MAX_DISK_HEAD, PartitionTable, PeImage, Registers, Step, StepKind, Template,
        TemplateUse, Uki, from_template, steps,
    },
    reference::{HexDigest, RegisterName},
};

use super::{
    Failure,
    inputs::{Input, KernelArgs, KernelInputs},
};

/// What is booted, and how.
#[derive(Debug, clap::Args)]
pub(super) struct BootArgs {
    /// Unified kernel image that the firmware starts from a disk
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    image: Option<PathBuf>,
    #[command(flatten)]
    kernel: KernelArgs,
    /// The disk that the image is started from: its partition table is measured
    #[arg(long, value_name = "FILE", requires = "image")]
    disk: Option<PathBuf>,
    /// Log of an earlier boot on such a machine: what the files do not determine is taken from it
    #[arg(long, value_name = "FILE")]
    event_log_template: Option<PathBuf>,
}

/// The files of [`BootArgs`].
#[derive(Debug)]
pub(super) struct BootInputs {
    image: Option<Input>,
    kernel: Option<KernelInputs>,
    disk: Option<Input>,
    template: Option<(Input, EventLog)>,
}

impl BootArgs {
    /// Reads them.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn read(&self) -> Result<BootInputs, Failure> {
        let image = self.image.as_deref().map(|path| Input::image("image", path)).transpose()?;
        let disk = self.disk.as_deref().map(|path| Input::head("disk", path, MAX_DISK_HEAD)).transpose()?;
        let log = self.event_log_template.as_deref();
        let log = log.map(|path| Input::read("event log", path, MAX_LOG_BYTES)).transpose()?;
        let template = match log {
            Some(input) => {
                let log = EventLog::parse(&input.bytes).map_err(|error| Failure::refused(&error))?;
                Some((input, log))
            }
            None => None,
        };
        Ok(BootInputs { image, kernel: self.kernel.read()?, disk, template })
    }
}

impl BootInputs {
    /// Whether anything is started.
    pub(super) const fn has_source(&self) -> bool {
        self.image.is_some() || self.kernel.is_some()
    }

    /// Whether a unified kernel image is started.
    pub(super) const fn is_uki(&self) -> bool {
        self.image.is_some()
    }

    /// The recorded log.
    pub(super) fn template(&self) -> Option<&EventLog> {
        self.template.as_ref().map(|(_, log)| log)
    }

    /// Events of the boot; none when nothing is started.
    pub(super) fn steps(&self, bank: HashAlgorithm) -> Result<Vec<Step>, Failure> {
        let refused = |error: BootError| Failure::refused(&error);
        let disk = self.disk.as_ref().map(|disk| PartitionTable::parse(&disk.bytes)).transpose().map_err(refused)?;
        if let Some(image) = &self.image {
            let uki = Uki::parse(&image.bytes).map_err(refused)?;
            return steps(bank, BootSource::Uki(&uki), disk.as_ref()).map_err(refused);
        }
        let Some(inputs) = &self.kernel else { return Ok(Vec::new()) };
        let kernel = PeImage::parse(&inputs.kernel.bytes).map_err(|error| Failure::refused(&error))?;
        let source = BootSource::Direct {
            kernel: &kernel,
            initrd: inputs.initrd.as_ref().map(|initrd| initrd.bytes.as_slice()),
            command_line: &inputs.cmdline,
        };
        steps(bank, source, None).map_err(refused)
    }

    /// The unified kernel image.
    pub(super) fn uki(&self) -> Result<Option<Uki<'_>>, Failure> {
        self.image.as_ref().map(|image| Uki::parse(&image.bytes)).transpose().map_err(|error| Failure::refused(&error))
    }

    /// Every file by its digest.
    pub(super) fn sources(&self) -> Vec<String> {
        let mut sources: Vec<String> = self.image.iter().map(Input::source).collect();
        sources.extend(self.kernel.iter().flat_map(KernelInputs::sources));
        sources.extend(self.disk.iter().map(Input::source));
        sources.extend(self.template.iter().map(|(input, _)| input.source()));
        sources
    }
}

/// Registers by name, and what is to be said about the others.
#[derive(Debug, Default)]
pub(super) struct Predicted {
    pub(super) values: BTreeMap<String, Digest>,
    pub(super) notes: Vec<String>,
}

impl Predicted {
    /// What the files alone determine; `prefix` is `pcr` or `rtmr`.
    pub(super) fn from_files(prefix: &str, registers: &Registers) -> Self {
        let name = |register: &u8| format!("{prefix}{register}");
        Self {
            values: registers.values.iter().map(|(register, value)| (name(register), *value)).collect(),
            notes: registers
                .unknown
                .iter()
                .map(|(register, event)| format!("{} is not predicted: {}", name(register), missing(*event)))
                .collect(),
        }
    }

    /// What the files and a recorded log determine together.
    pub(super) fn from_template(prefix: &str, template: Template<'_>, steps: &[Step]) -> Result<Self, Failure> {
        let TemplateUse { values, recorded } =
            from_template(template, steps).map_err(|error| Failure::refused(&error))?;
        let name = |register: &u8| format!("{prefix}{register}");
        let notes = recorded.iter().map(|(register, count)| {
            let events = if *count == 1 { "event is" } else { "events are" };
            format!("{}: {count} {events} as recorded in the template, not computed", name(register))
        });
        Ok(Self {
            values: values.iter().map(|(register, value)| (name(register), *value)).collect(),
            notes: notes.collect(),
        })
    }

    /// Pins of these registers.
    ///
    /// # Errors
    /// When one of them is not predicted.
    pub(super) fn pins(&self, names: &[String]) -> Result<BTreeMap<RegisterName, HexDigest>, Failure> {
        let pin = |name: &String| {
            let value = self.values.get(name).ok_or_else(|| {
                let hint = self.notes.iter().find(|note| note.starts_with(&format!("{name} ")));
                Failure::Refused(anyhow!(
                    "measure.boot.register: {}",
                    hint.cloned().unwrap_or_else(|| format!("{name} is not predicted from these files"))
                ))
            })?;
            let register = name.parse().map_err(|error: &str| Failure::Usage(anyhow!(error)))?;
            let value = value.to_string().parse().map_err(|error| Failure::Usage(anyhow!("{error}")))?;
            Ok((register, value))
        };
        names.iter().map(pin).collect()
    }
}

/// What is missing of a register.
const fn missing(event: StepKind) -> &'static str {
    match event {
        StepKind::PartitionTable => "it holds the partition table of the boot disk, give it with --disk",
        StepKind::Initrd => {
            "it holds the initrd as the image's systemd-stub puts it together, and of this version it is not known how"
        }
        StepKind::Application => {
            "it holds the images that run, and whether this version of systemd-stub lets the firmware load the kernel is not \
             known: take it from a recorded log with --event-log-template"
        }
        StepKind::Action | StepKind::Separator | StepKind::Section | StepKind::LoadOptions => {
            "one of its events is not known"
        }
    }
}
