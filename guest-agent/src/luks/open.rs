//! Opening a disk.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keys::secret::SecretBytes;

use super::{Cryptsetup, CryptsetupError, VolumeName, header::Metadata};

/// How a disk is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenOptions {
    /// For reading only.
    pub(crate) read_only: bool,
    /// Whether the host may know which blocks are free.
    pub(crate) allow_discards: bool,
}

/// A copy of a header in memory. Dropping it removes it.
pub(crate) struct HeaderCopy {
    directory: PathBuf,
    file: PathBuf,
    pub(super) metadata: Metadata,
}

impl HeaderCopy {
    /// Where it is.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Numbers of the slots that hold a key, the lowest first.
    pub(crate) fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<u32> = self.metadata.slots().collect();
        slots.sort_unstable();
        slots
    }
}

impl Drop for HeaderCopy {
    fn drop(&mut self) {
        // In memory, readable by root alone, and nothing in it is secret by itself.
        let _gone_at_shutdown = fs::remove_dir_all(&self.directory);
    }
}

impl Cryptsetup {
    /// Opens `device` as `volume`: from a copy of its header that was examined, so that the host cannot exchange it in between.
    pub(crate) fn open(
        &self,
        device: &Path,
        volume: &VolumeName,
        key: &SecretBytes,
        options: OpenOptions,
    ) -> Result<(), CryptsetupError> {
        let header = self.examined_header(device)?;
        if !options.allow_discards {
            let forbidden = header.metadata.forbid_discards();
            forbidden.map_err(|source| CryptsetupError::Header { device: device.to_owned(), source })?;
        }
        let mut run = self.run("open").args(&["--batch-mode", "--type", "luks2"]).arg("--header").arg(&header.file);
        if options.read_only {
            run = run.arg("--readonly");
        }
        if options.allow_discards {
            run = run.arg("--allow-discards");
        }
        run.arg("--key-file").key(key)?.on(device, &[OsStr::new(volume.as_str())])?;
        Ok(())
    }

    /// A copy of the header of `device` that a key may be given to.
    pub(crate) fn examined_header(&self, device: &Path) -> Result<HeaderCopy, CryptsetupError> {
        let copy = self.copy_header(device)?;
        let examined = copy.metadata.examine();
        examined.map_err(|source| CryptsetupError::Header { device: device.to_owned(), source })?;
        Ok(copy)
    }

    fn copy_header(&self, device: &Path) -> Result<HeaderCopy, CryptsetupError> {
        let directory = private_directory(&self.runtime_directory)
            .map_err(|source| CryptsetupError::Make { what: "a directory for the disk's header", source })?;
        let file = directory.join("header");
        let mut copy = HeaderCopy { directory, file, metadata: Metadata::default() };
        let backup = self.run("luksHeaderBackup").args(&["--batch-mode", "--header-backup-file"]).arg(&copy.file);
        backup.on(device, &[])?;
        let dump = self.run("luksDump").arg("--dump-json-metadata").on(&copy.file, &[])?;
        let metadata = Metadata::parse(&dump);
        copy.metadata = metadata.map_err(|source| CryptsetupError::Header { device: device.to_owned(), source })?;
        Ok(copy)
    }
}

/// A new directory below `parent` for us alone.
fn private_directory(parent: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    SystemRandom::new().fill(&mut random).map_err(|_unspecified| io::ErrorKind::Other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let directory = parent.join(format!("luks-{}", hex::encode(random)));
    DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}
