//! What host and firmware say about a failed request.

use std::fmt;

/// The value of `exitinfo2`: what the host (VMM) and the secure processor's firmware said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo {
    /// The firmware's status.
    pub firmware: u32,
    /// The host's status (GHCB specification, guest request).
    pub host: u32,
}

impl ExitInfo {
    /// What the driver leaves when the firmware was never asked.
    pub(super) const NOT_REACHED: u64 = 0xff;

    const HOST_INVALID_LENGTH: u32 = 1;
    const HOST_BUSY: u32 = 2;

    /// Whether the host says that the certificate buffer is too small.
    #[must_use]
    pub const fn is_invalid_length(self) -> bool {
        self.host == Self::HOST_INVALID_LENGTH
    }

    /// Whether the request never reached the firmware: 0xff in old kernels, all ones in newer.
    #[must_use]
    pub const fn is_not_reached(self) -> bool {
        self.host == 0 && (self.firmware == 0xff || self.firmware == u32::MAX)
    }
}

impl From<u64> for ExitInfo {
    fn from(value: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        Self { firmware: u32::from_le_bytes([a, b, c, d]), host: u32::from_le_bytes([e, f, g, h]) }
    }
}

impl fmt::Display for ExitInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_not_reached() {
            return f.write_str("the firmware was not reached");
        }
        match self.host {
            0 => write!(f, "firmware status {:#x}", self.firmware),
            Self::HOST_INVALID_LENGTH => f.write_str("the host says that the certificate buffer is too small"),
            Self::HOST_BUSY => f.write_str("the host is busy"),
            host => write!(f, "host status {host:#x}, firmware status {:#x}", self.firmware),
        }
    }
}
