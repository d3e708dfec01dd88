//! configfs-tsm: the kernel's common interface to the hardware of a confidential guest (Linux 6.7 and later).
//!
//! The protocol is the same for every provider: make a directory, write `inblob`, read `outblob` and `auxblob`, remove the
//! directory. `generation` counts the writes; reading it after each blob shows whether somebody else wrote between our
//! write and our read.

mod entry;
mod protocol;

use rustix::io::Errno;
use thiserror::Error;

pub use self::entry::{Attribute, EntryError, TsmRoot};
pub(crate) use self::protocol::{Blobs, Request, collect, is_under_svsm, probe};

/// The driver behind configfs-tsm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsmProvider {
    /// AMD SEV-SNP: `outblob` is a raw attestation report, `auxblob` the host's certificate table.
    SevGuest,
    /// Intel TDX: `outblob` is a quote.
    TdxGuest,
}

impl TsmProvider {
    /// The kernel's name of it, without the line feed that the attribute ends with.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SevGuest => "sev_guest",
            Self::TdxGuest => "tdx_guest",
        }
    }

    fn parse(text: &[u8]) -> Result<Self, TsmError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        [Self::SevGuest, Self::TdxGuest]
            .into_iter()
            .find(|provider| provider.name().as_bytes() == text)
            .ok_or_else(|| TsmError::UnknownProvider { name: String::from_utf8_lossy(text).chars().take(64).collect() })
    }
}

/// Why configfs-tsm gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TsmError {
    /// The kernel has no configfs-tsm, or configfs is not mounted.
    #[error("expected a configfs-tsm directory")]
    Absent,
    /// Report directories belong to root.
    #[error("expected permission to make a report directory: run as root")]
    Permission,
    /// configfs-tsm is there and no driver answers, or the driver went away.
    #[error("expected a driver behind configfs-tsm: load sev_guest or tdx_guest")]
    NoProvider,
    /// The driver is none that this agent knows.
    #[error("expected provider sev_guest or tdx_guest, found {name:?}")]
    UnknownProvider {
        /// What the attribute says.
        name: String,
    },
    /// The driver found our request wrong.
    #[error("expected the driver to accept the request, found EINVAL at {attribute}")]
    Rejected {
        /// Where.
        attribute: Attribute,
    },
    /// A blob is larger than any that this provider makes.
    #[error("expected at most {limit} bytes in {attribute}")]
    TooLarge {
        /// Where.
        attribute: Attribute,
        /// The bound, in bytes.
        limit: usize,
    },
    /// Another process wrote to every directory that we made.
    #[error("expected no other writer in the report directory, found one in each of {attempts} attempts")]
    Interference {
        /// How many directories were tried.
        attempts: u32,
    },
    /// `generation` is not a number.
    #[error("expected a decimal number in generation")]
    Generation,
    /// The kernel, the firmware or the host failed.
    #[error("expected {attribute} to work, found {errno}")]
    Failed {
        /// Where.
        attribute: Attribute,
        /// What the kernel said.
        errno: Errno,
    },
    /// The report directory could not be made.
    #[error("expected to make a report directory, found {errno}")]
    MakeDirectory {
        /// What the kernel said.
        errno: Errno,
    },
}
