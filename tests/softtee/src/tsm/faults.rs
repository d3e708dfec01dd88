//! What goes wrong, on demand.
use fuser::Errno;
use serde::Deserialize;

/// What the driver returns instead of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Failure {
    /// Interrupted: to be tried again.
    #[serde(rename = "EINTR")]
    Interrupted,
    /// To be tried again.
    #[serde(rename = "EAGAIN")]
    TryAgain,
    /// The host or the firmware failed.
    #[serde(rename = "EIO")]
    InputOutput,
    /// The firmware refused.
    #[serde(rename = "ENXIO")]
    NoDevice,
    /// The VMPCK is gone until the guest restarts.
    #[serde(rename = "ENOTTY")]
    KeyWiped,
    /// The host throttled for too long.
    #[serde(rename = "ETIMEDOUT")]
    TimedOut,
    /// No memory.
    #[serde(rename = "ENOMEM")]
    NoMemory,
}

impl Failure {
    pub(super) const fn errno(self) -> Errno {
        match self {
            Self::Interrupted => Errno::EINTR,
            Self::TryAgain => Errno::EAGAIN,
            Self::InputOutput => Errno::EIO,
            Self::NoDevice => Errno::ENXIO,
            Self::KeyWiped => Errno::ENOTTY,
            Self::TimedOut => Errno::ETIMEDOUT,
            Self::NoMemory => Errno::ENOMEM,
        }
    }
}

/// What goes wrong. Counts are of reports since the state last changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// No driver: a directory cannot be made (`ENXIO`).
    pub no_provider: bool,
    /// Writes are refused (`EBUSY`), as after a wrapped generation.
    pub busy: bool,
    /// Every report fails, or the first [`Self::failing_reports`].
    pub failure: Option<Failure>,
    /// How many reports fail; all when left out.
    pub failing_reports: Option<u64>,
    /// During that many reports another process writes to the same directory, so the generation is one ahead.
    pub interrupted_reports: u64,
    /// Flips the lowest bit of the byte at this offset of `outblob`, after signing.
    pub flip_byte: Option<usize>,
    /// Cuts `outblob` to this length.
    pub truncate: Option<usize>,
    /// Appends that many zero bytes to `outblob`.
    pub append_zeros: usize,
}

impl Faults {
    pub(super) fn damage(&self, outblob: &mut Vec<u8>) {
        if let Some(byte) = self.flip_byte.and_then(|offset| outblob.get_mut(offset)) {
            *byte ^= 1;
        }
        if let Some(length) = self.truncate {
            outblob.truncate(length);
        }
        outblob.resize(outblob.len().saturating_add(self.append_zeros), 0);
    }
}
