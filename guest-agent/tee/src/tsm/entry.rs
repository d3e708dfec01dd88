//! One report directory of configfs-tsm, and the file operations on it.

use std::{
    fmt,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, statat, unlinkat},
    io::{Errno, read, write},
    rand::{GetRandomFlags, getrandom},
};
use thiserror::Error;

/// A file of a report directory (Linux `Documentation/ABI/testing/configfs-tsm-report`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The 64 bytes that the report carries.
    InBlob,
    /// The privilege level (VMPL) to report, in ASCII decimal.
    PrivLevel,
    /// The lowest privilege level that this guest may ask for.
    PrivLevelFloor,
    /// The name of the driver that answers.
    Provider,
    /// Which service makes the report: exists in guests under an SVSM only.
    ServiceProvider,
    /// Which of its services the report is about; nothing: all.
    ServiceGuid,
    /// Which form the service's manifest shall have.
    ServiceManifestVersion,
    /// How many writes this directory has seen.
    Generation,
    /// The report or quote.
    OutBlob,
    /// What the host adds to it: certificates.
    AuxBlob,
    /// What the service says of itself, which the report commits to.
    ManifestBlob,
}

impl Attribute {
    /// The file name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InBlob => "inblob",
            Self::PrivLevel => "privlevel",
            Self::PrivLevelFloor => "privlevel_floor",
            Self::Provider => "provider",
            Self::ServiceProvider => "service_provider",
            Self::ServiceGuid => "service_guid",
            Self::ServiceManifestVersion => "service_manifest_version",
            Self::Generation => "generation",
            Self::OutBlob => "outblob",
            Self::AuxBlob => "auxblob",
            Self::ManifestBlob => "manifestblob",
        }
    }

    /// The most bytes that are read from it. The kernel's own bounds are 32 KiB for the report, 64 KiB for the host's part.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::InBlob
            | Self::PrivLevel
            | Self::PrivLevelFloor
            | Self::Provider
            | Self::ServiceProvider
            | Self::ServiceGuid
            | Self::ServiceManifestVersion
            | Self::Generation => 4096,
            Self::OutBlob | Self::AuxBlob | Self::ManifestBlob => 64 * 1024,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a file operation on a report directory failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The system said no.
    #[error(transparent)]
    Errno(#[from] Errno),
    /// More bytes than the attribute may have.
    #[error("expected at most {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

/// Where report directories are made. The second implementation is a fake in tests.
pub(crate) trait Entries {
    /// A report directory; dropping it removes it.
    type Entry: Entry;

    /// Makes a directory with a name that no other process can guess.
    fn make(&self) -> Result<Self::Entry, Errno>;
}

/// The operations on one report directory.
pub(crate) trait Entry {
    /// Reads a whole attribute, at most [`Attribute::limit`] bytes.
    fn read(&self, attribute: Attribute) -> Result<Vec<u8>, EntryError>;

    /// Whether the driver shows this attribute; some can be written only.
    fn has(&self, attribute: Attribute) -> Result<bool, EntryError>;

    /// Writes a whole attribute in one system call.
    fn write(&mut self, attribute: Attribute, bytes: &[u8]) -> Result<(), EntryError>;
}

/// The directory that holds the report directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsmRoot(PathBuf);

impl TsmRoot {
    /// Another place than the kernel's, for tests.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TsmRoot {
    /// Where the kernel has it: `/sys/kernel/config/tsm/report`.
    fn default() -> Self {
        Self(PathBuf::from("/sys/kernel/config/tsm/report"))
    }
}

impl Entries for TsmRoot {
    type Entry = ReportDirectory;

    fn make(&self) -> Result<ReportDirectory, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = openat(CWD, &self.0, flags, Mode::empty())?;
        let name = unguessable_name()?;
        mkdirat(&root, &name, Mode::RWXU)?;
        // From here on dropping `made` removes the directory, also when it cannot be opened.
        let mut made = ReportDirectory { root, name, directory: None };
        made.directory = Some(openat(&made.root, &made.name, flags | OFlags::NOFOLLOW, Mode::empty())?);
        Ok(made)
    }
}

/// `countersign-` and 32 hex digits. Report directories are writable by every root process, so a guessable name could be
/// shared by another one between our write and our read.
fn unguessable_name() -> Result<String, Errno> {
    let mut random = [0_u8; 16];
    let filled = getrandom(&mut random[..], GetRandomFlags::empty())?;
    if filled != random.len() {
        return Err(Errno::INTR);
    }
    let mut name = String::from("countersign-");
    for byte in random {
        name.push_str(&format!("{byte:02x}"));
    }
    Ok(name)
}

/// A report directory of ours, removed when dropped.
#[derive(Debug)]
pub(crate) struct ReportDirectory {
    root: OwnedFd,
    name: String,
    directory: Option<OwnedFd>,
}

impl ReportDirectory {
    fn open(&self, attribute: Attribute, access: OFlags) -> Result<OwnedFd, Errno> {
        let directory = self.directory.as_ref().ok_or(Errno::BADF)?;
        openat(directory, attribute.name(), access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
    }
}

impl Entry for ReportDirectory {
    fn read(&self, attribute: Attribute) -> Result<Vec<u8>, EntryError> {
        let file = self.open(attribute, OFlags::RDONLY)?;
        let limit = attribute.limit();
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            let count = read(&file, &mut chunk[..])?;
            let Some(fresh) = chunk.get(..count).filter(|fresh| !fresh.is_empty()) else { return Ok(bytes) };
            if bytes.len().saturating_add(fresh.len()) > limit {
                return Err(EntryError::TooLarge { limit });
            }
            bytes.extend_from_slice(fresh);
        }
    }

    fn has(&self, attribute: Attribute) -> Result<bool, EntryError> {
        let directory = self.directory.as_ref().ok_or(Errno::BADF)?;
        match statat(directory, attribute.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_stat) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write(&mut self, attribute: Attribute, bytes: &[u8]) -> Result<(), EntryError> {
        let file = self.open(attribute, OFlags::WRONLY)?;
        // configfs commits a binary attribute when the file is closed and drops the error of that: the generation check
        // after the write is what notices it.
        let count = write(&file, bytes)?;
        if count == bytes.len() { Ok(()) } else { Err(Errno::IO.into()) }
    }
}

impl Drop for ReportDirectory {
    fn drop(&mut self) {
        self.directory = None;
        // Only ever rmdir: the kernel removes the attributes with the directory. A failure leaves an empty directory in a
        // file system that lives in memory; there is nobody to tell.
        let _left_behind = unlinkat(&self.root, &self.name, AtFlags::REMOVEDIR);
    }
}
