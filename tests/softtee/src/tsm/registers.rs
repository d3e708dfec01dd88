//! `/sys/devices/virtual/misc/tdx_guest/measurements` over FUSE (Linux 6.16 and later): a directory of files that show the
//! registers of the TD; writing 48 bytes to `rtmrN:sha384` extends the register.
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use evidence_formats::bytes::Sha384Digest;
use evidence_formats::digest::{Digest, HashAlgorithm};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

use super::StateSource;

/// What was extended into RTMR0 to RTMR3 since the boot; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Extensions(Arc<Mutex<[Vec<Sha384Digest>; 4]>>);

impl Extensions {
    /// Extends a register of 0 to 3; others do not exist.
    pub fn extend(&self, register: usize, digest: Sha384Digest) {
        let mut extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(register) = extensions.get_mut(register) {
            register.push(digest);
        }
    }

    /// What registers hold that held `rtmrs` at the end of the boot.
    #[must_use]
    pub fn onto(&self, rtmrs: [Sha384Digest; 4]) -> [Sha384Digest; 4] {
        let extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut registers = rtmrs;
        for (register, digests) in registers.iter_mut().zip(extensions.iter()) {
            for digest in digests {
                let before = Digest::new(HashAlgorithm::Sha384, &register.0);
                let after = before.map(|before| before.extended(&digest.0));
                for (place, byte) in register.0.iter_mut().zip(after.iter().flat_map(|after| after.as_bytes())) {
                    *place = *byte;
                }
            }
        }
        registers
    }
}

const NAMES: [&str; 5] = ["mrtd:sha384", "rtmr0:sha384", "rtmr1:sha384", "rtmr2:sha384", "rtmr3:sha384"];
const NO_CACHE: Duration = Duration::ZERO;

/// A mounted directory of registers; gone when dropped.
#[derive(Debug)]
pub struct RegisterMount(BackgroundSession);

impl RegisterMount {
    /// Mounts over an existing directory.
    ///
    /// # Errors
    /// When the mount is refused.
    pub fn new(directory: &Path, source: StateSource, extensions: Extensions) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("softtee-rtmr".to_owned()), MountOption::NoDev];
        fuser::spawn_mount(RegisterFileSystem { source, extensions }, directory, &config).map(Self)
    }

    /// Unmounts and waits until nothing is served any more.
    ///
    /// # Errors
    /// When the directory is busy.
    pub fn unmount(self) -> io::Result<()> {
        self.0.umount_and_join()
    }
}

#[derive(Debug)]
struct RegisterFileSystem {
    source: StateSource,
    extensions: Extensions,
}

impl RegisterFileSystem {
    fn value(&self, inode: INodeNo) -> Result<[u8; 48], Errno> {
        let state = self.source.load().map_err(|_unreadable| Errno::EIO)?;
        let info = state.tdx.td(&state.tdx.platform()).info;
        let index = file(inode).ok_or(Errno::EISDIR)?;
        let registers = self.extensions.onto(info.rtmr);
        match index.checked_sub(1) {
            None => Ok(info.mr_td.0),
            Some(register) => registers.get(register).map(|register| register.0).ok_or(Errno::ENOENT),
        }
    }
}

/// Inode 1 is the directory, 2 the first file.
fn file(INodeNo(inode): INodeNo) -> Option<usize> {
    usize::try_from(inode).ok()?.checked_sub(2)
}

fn inode(index: usize) -> INodeNo {
    INodeNo(u64::try_from(index).unwrap_or_default().saturating_add(2))
}

fn attributes(ino: INodeNo) -> FileAttr {
    let (kind, perm, size) = match file(ino) {
        None => (FileType::Directory, 0o755, 0),
        Some(0) => (FileType::RegularFile, 0o444, 48),
        Some(_) => (FileType::RegularFile, 0o644, 48),
    };
    FileAttr {
        ino,
        size,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for RegisterFileSystem {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match NAMES.iter().position(|known| known.as_bytes() == name.as_bytes()) {
            Some(index) => reply.entry(&NO_CACHE, &attributes(inode(index)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&NO_CACHE, &attributes(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (start, length) = (usize::try_from(offset).unwrap_or(48), usize::try_from(size).unwrap_or(48));
        match self.value(ino) {
            Ok(value) => reply.data(&value.iter().skip(start).take(length).copied().collect::<Vec<_>>()),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let register = file(ino).and_then(|index| index.checked_sub(1));
        // drivers/virt/coco/guest/tsm-mr.c: all of the register in one write, nothing else.
        match (register, <[u8; 48]>::try_from(data)) {
            (Some(register), Ok(digest)) if offset == 0 => {
                self.extensions.extend(register, Sha384Digest(digest));
                reply.written(48);
            }
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((index, name), next) in NAMES.iter().enumerate().zip(1_u64..).skip(skip) {
            if reply.add(inode(index), next, FileType::RegularFile, OsStr::new(name)) {
                break;
            }
        }
        reply.ok();
    }
}
