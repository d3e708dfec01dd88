//! TDX run-time measurement registers through sysfs (Linux 6.16 and later), and the log that explains them.
//!
//! A register takes a digest and appends nothing to the firmware's log. So the event is appended to a log of our own
//! first, safely on its way to the disk, and then the register is extended: a crash in between leaves a log that does not
//! replay, which is seen, and never an extension that nothing explains. One lock on the log orders writers, and keeps
//! evidence that is being gathered from seeing half of it.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use evidence_formats::{
    bundle::{BundleItem, ItemName, MediaType},
    digest::{Digest, HashAlgorithm},
    eventlog::{RuntimeEvent, RuntimeLog, RuntimeLogError, RuntimeRegister},
};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, openat},
    io::{Errno, read, write},
};
use thiserror::Error;

use crate::error::Warning;

/// Where the registers are, and where their log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterPaths {
    /// The directory with `rtmr2:sha384` and `rtmr3:sha384`.
    pub registers: PathBuf,
    /// The runtime event log. It must not outlive a reboot, as the registers do not.
    pub log: PathBuf,
}

impl Default for RegisterPaths {
    /// The kernel's own place, and a file below `/run`.
    fn default() -> Self {
        Self {
            registers: PathBuf::from("/sys/devices/virtual/misc/tdx_guest/measurements"),
            log: PathBuf::from("/run/countersign/runtime-eventlog"),
        }
    }
}

/// Why an event was not measured, or not as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The kernel does not offer the register.
    #[error("expected the register {}, found {errno}: it needs a TDX guest with Linux 6.16 and root", path.display())]
    Register {
        /// Its file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The log cannot be opened, read or written.
    #[error("expected to append to the runtime event log {}", path.display())]
    File {
        /// The log.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The log is damaged.
    #[error("expected a runtime event log in {}", path.display())]
    Log {
        /// The log.
        path: PathBuf,
        /// What is wrong with it.
        source: RuntimeLogError,
    },
    /// The log has no room for another event.
    #[error("expected room for another event in the runtime event log")]
    Full,
    /// Somebody else extended the register meanwhile: the log does not explain it any more.
    #[error("expected to be the only one that extends the register: its value is not the one that the event leads to")]
    Interleaved,
}

/// Measures `event` into `register`: appends it to the log, then extends the register.
///
/// # Errors
/// [`ExtendError`]. When the kernel refuses the extension, the event is taken out of the log again.
pub fn extend(paths: &RegisterPaths, register: RuntimeRegister, event: &RuntimeEvent) -> Result<(), ExtendError> {
    let path = paths.registers.join(format!("rtmr{}:sha384", register.number()));
    let refused = |errno| ExtendError::Register { path: path.clone(), errno };
    let before = value(&path).map_err(refused)?;
    let mut log = Writer::open(&paths.log)?;
    // Read again under the lock: another writer may have been first.
    let before = value(&path).unwrap_or(before);
    log.append(&event.to_record(register))?;
    if let Err(errno) = put(&path, event.digest().as_bytes()) {
        if value(&path).is_ok_and(|now| now == before) {
            log.take_back()?;
        }
        return Err(refused(errno));
    }
    let expected = before.extended(event.digest().as_bytes());
    if value(&path).map_err(refused)? == expected { Ok(()) } else { Err(ExtendError::Interleaved) }
}

fn value(path: &Path) -> Result<Digest, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = [0_u8; 49];
    let length = read(&file, &mut bytes[..])?;
    bytes.get(..length).and_then(|bytes| Digest::new(HashAlgorithm::Sha384, bytes)).ok_or(Errno::INVAL)
}

/// The whole digest in one write, as the driver wants it.
fn put(path: &Path, digest: &[u8]) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    if write(&file, digest)? == digest.len() { Ok(()) } else { Err(Errno::INVAL) }
}

/// The log, locked against everyone else.
struct Writer<'a> {
    file: File,
    path: &'a Path,
    /// Bytes before our event.
    length: u64,
}

impl<'a> Writer<'a> {
    fn open(path: &'a Path) -> Result<Self, ExtendError> {
        let failed = |source| ExtendError::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        let mut file = File::from(file);
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(limit().saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
        let mut writer = Self { file, path, length: u64::try_from(bytes.len()).unwrap_or(u64::MAX) };
        if bytes.is_empty() {
            writer.append(&RuntimeLog::empty())?;
            writer.length = u64::try_from(RuntimeLog::empty().len()).unwrap_or(u64::MAX);
        } else {
            let log = RuntimeLog::parse(&bytes);
            let log = log.map_err(|source| ExtendError::Log { path: path.to_owned(), source })?;
            if log.log().len() >= evidence_formats::eventlog::runtime::MAX_RUNTIME_EVENTS {
                return Err(ExtendError::Full);
            }
        }
        Ok(writer)
    }

    /// Appends, and waits until it is written.
    fn append(&mut self, bytes: &[u8]) -> Result<(), ExtendError> {
        let failed = |source| ExtendError::File { path: self.path.to_owned(), source };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.length.saturating_add(length) > limit() {
            return Err(ExtendError::Full);
        }
        self.file.seek(SeekFrom::Start(self.length)).map_err(failed)?;
        self.file.write_all(bytes).map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }

    fn take_back(&mut self) -> Result<(), ExtendError> {
        let failed = |source| ExtendError::File { path: self.path.to_owned(), source };
        self.file.set_len(self.length).map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }
}

fn limit() -> u64 {
    u64::try_from(ItemName::EventlogRuntime.limit()).unwrap_or(u64::MAX)
}

/// The log as it stands; while this lives nobody measures anything.
#[derive(Debug)]
pub(crate) struct HeldLog {
    _lock: OwnedFd,
    item: BundleItem,
}

impl HeldLog {
    /// Reads the log at `path`, where there is one with an event in it.
    pub(crate) fn hold(path: &Path) -> Result<Option<Self>, Warning> {
        let failed = |errno| Warning::RuntimeEventLog { errno };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = match openat(CWD, path, flags, Mode::empty()) {
            Ok(lock) => lock,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        flock(&lock, FlockOperation::LockShared).map_err(failed)?;
        let name = ItemName::EventlogRuntime;
        match crate::event_log::read_bounded(path, name.limit()).map_err(failed)? {
            Some(bytes) if bytes.is_empty() => Ok(None),
            Some(bytes) => {
                Ok(Some(Self { _lock: lock, item: BundleItem { media_type: MediaType::RuntimeLog, bytes } }))
            }
            None => Err(Warning::EventLogSize { limit: name.limit() }),
        }
    }

    pub(crate) fn into_item(self) -> BundleItem {
        self.item
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn paths(directory: &Path) -> RegisterPaths {
        RegisterPaths { registers: directory.to_owned(), log: directory.join("run/log") }
    }

    fn event(content: &str) -> RuntimeEvent {
        RuntimeEvent::new("app", "start", content).unwrap()
    }

    /// A plain file is no register: what was written stands there, not what it leads to.
    #[test]
    fn a_register_with_another_value_afterwards_is_told() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("rtmr3:sha384"), [0; 48]).unwrap();
        let outcome = extend(&paths(directory.path()), RuntimeRegister::Rtmr3, &event("a"));
        assert!(matches!(outcome, Err(ExtendError::Interleaved)));
        let log = RuntimeLog::parse(&fs::read(directory.path().join("run/log")).unwrap()).unwrap();
        assert_eq!(log.events(), [(RuntimeRegister::Rtmr3, event("a"))]);
    }

    #[test]
    fn without_a_register_nothing_is_logged() {
        let directory = tempfile::tempdir().unwrap();
        let outcome = extend(&paths(directory.path()), RuntimeRegister::Rtmr2, &event("a"));
        assert!(matches!(outcome, Err(ExtendError::Register { errno: Errno::NOENT, .. })));
        assert!(!directory.path().join("run/log").exists());
    }

    #[test]
    fn a_damaged_log_is_not_continued() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("rtmr3:sha384"), [0; 48]).unwrap();
        fs::create_dir(directory.path().join("run")).unwrap();
        fs::write(directory.path().join("run/log"), b"text").unwrap();
        let outcome = extend(&paths(directory.path()), RuntimeRegister::Rtmr3, &event("a"));
        assert!(matches!(outcome, Err(ExtendError::Log { .. })));
        assert_eq!(fs::read(directory.path().join("rtmr3:sha384")).unwrap(), [0; 48]);
    }

    #[test]
    fn evidence_waits_for_a_writer_and_carries_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(HeldLog::hold(&path).unwrap().is_none());
        let mut writer = Writer::open(&path).unwrap();
        writer.append(&event("a").to_record(RuntimeRegister::Rtmr3)).unwrap();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || HeldLog::hold(&path).unwrap().unwrap().into_item().bytes)
        };
        drop(writer);
        assert_eq!(reader.join().unwrap(), fs::read(&path).unwrap());
    }
}
