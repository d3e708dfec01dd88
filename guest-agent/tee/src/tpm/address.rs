//! Where a TPM is.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

/// Where a TPM is: `/dev/tpmrm0`, `unix:/run/tpm.sock` or `tcp:127.0.0.1:2321`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmAddress {
    /// A character device of the kernel; the one with a resource manager, since others may use the TPM too.
    Device(PathBuf),
    /// The unix socket of a software TPM.
    Unix(PathBuf),
    /// The TCP socket of a software TPM, `host:port`.
    Tcp(String),
}

impl TpmAddress {
    /// The path to look at before it is opened; `None` for TCP.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Device(path) | Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }

    /// Whether there is something to open. Always for TCP.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path().is_none_or(Path::exists)
    }
}

impl Default for TpmAddress {
    /// The kernel's first TPM.
    fn default() -> Self {
        Self::Device(PathBuf::from("/dev/tpmrm0"))
    }
}

impl fmt::Display for TpmAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp:{authority}"),
        }
    }
}

/// A text that says no TPM.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected the absolute path of a TPM device, unix:/path or tcp:host:port, found {found:?}")]
pub struct NotAnAddress {
    /// What was given.
    pub found: String,
}

impl FromStr for TpmAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let wrong = || NotAnAddress { found: text.to_owned() };
        if let Some(authority) = text.strip_prefix("tcp:") {
            let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
            let whole = !host.is_empty() && port.parse::<u16>().is_ok();
            return if whole { Ok(Self::Tcp(authority.to_owned())) } else { Err(wrong()) };
        }
        let (path, address): (_, fn(PathBuf) -> Self) = match text.strip_prefix("unix:") {
            Some(path) => (path, Self::Unix),
            None => (text, Self::Device),
        };
        if path.starts_with('/') { Ok(address(PathBuf::from(path))) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for text in ["/dev/tpmrm0", "unix:/run/tpm/socket", "tcp:localhost:2321", "tcp:[::1]:2321"] {
            assert_eq!(text.parse::<TpmAddress>().map(|address| address.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "tpmrm0", "unix:relative", "tcp:localhost", "tcp::1", "tcp:host:x", "http://host"] {
            assert_eq!(text.parse::<TpmAddress>(), Err(NotAnAddress { found: text.to_owned() }));
        }
    }
}
