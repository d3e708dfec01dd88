//! Why a boot cannot be predicted.

use evidence_formats::{
    code::{Code, Coded},
    eventlog::ReplayError,
};
use thiserror::Error;

use super::PeError;

/// What a boot measures cannot be predicted from these inputs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BootError {
    /// The image, or the kernel in it.
    #[error("{what} cannot be measured")]
    Image {
        /// `unified kernel image` or `kernel`.
        what: &'static str,
        /// What is wrong with it.
        source: PeError,
    },
    /// A unified kernel image has no kernel.
    #[error("expected a unified kernel image: there is no .linux section")]
    NoKernel,
    /// A section that is chosen at boot, or stands twice: what is measured depends on the machine.
    #[error("expected a unified kernel image with one profile: what is measured of {section} depends on the machine")]
    Section {
        /// Name of the section.
        section: &'static str,
    },
    /// It is not known whether this version of the stub measures a section.
    #[error("expected a systemd-stub of which it is known whether it measures {section}, found version {version}")]
    StubSection {
        /// Name of the section.
        section: &'static str,
        /// Major version of the stub.
        version: u32,
    },
    /// A section is larger than the image that holds it.
    #[error("expected the section {section} to fit the image")]
    SectionSize {
        /// Name of the section.
        section: &'static str,
    },
    /// The command line is not UTF-8.
    #[error("expected a command line in UTF-8")]
    CommandLine,
    /// The disk has no partition table that is exactly as the specification says.
    #[error("expected a GUID partition table: {expected}")]
    PartitionTable {
        /// What was expected.
        expected: &'static str,
    },
    /// The recorded log cannot be replayed.
    #[error("the recorded log cannot be used")]
    Replay(#[from] ReplayError),
    /// The recorded log is of a boot that went another way.
    #[error("expected a recorded log of the same kind of boot: {reason}")]
    Template {
        /// Where it differs.
        reason: &'static str,
    },
    /// A text is not a path of boot phases.
    #[error("expected boot phases such as enter-initrd:leave-initrd, found {found}")]
    Phases {
        /// The text.
        found: String,
    },
}

impl Coded for BootError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Image { source, .. } => return source.code(),
            Self::NoKernel | Self::Section { .. } | Self::SectionSize { .. } => "measure.uki.section",
            Self::StubSection { .. } => "measure.uki.stub",
            Self::CommandLine => "measure.boot.command_line",
            Self::PartitionTable { .. } => "measure.boot.partition_table",
            Self::Replay(error) => return error.code(),
            Self::Template { .. } => "measure.boot.template",
            Self::Phases { .. } => "measure.boot.phases",
        })
    }
}
