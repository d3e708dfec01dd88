//! configfs over FUSE.
//!
//! What differs from an ordinary file system, and from what FUSE offers:
//! - A text file is stored by each `write`, whole. A binary file is collected and stored when its last descriptor is
//!   closed, and what the driver answers then is lost: only the generation tells.
//! - A file's content is made once for each open file, at the first read.
//! - FUSE tells of the last close asynchronously (RELEASE), too late for a caller that reads right after it, and of every
//!   close of a duplicated descriptor (FLUSH), as a shell's redirection makes. So a flush stores what was written since
//!   the last one, and a flush without a write stores nothing. A caller that writes again through the other
//!   descriptor advances the generation a second time, where the kernel would count both as one.
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{Attribute, Guest, ReportItem};

/// Nothing is cached: the kernel must ask each time.
const NO_CACHE: Duration = Duration::ZERO;
/// Inode numbers: 1 is the root, `STRIDE * n` the n-th directory, and what follows it its files.
const STRIDE: u64 = 32;
/// Text attributes are at most a page, less the terminating NUL.
const TEXT_LIMIT: usize = 4095;

/// The file system. One lock: requests are rare and the kernel's own lock is as coarse.
#[derive(Debug)]
pub(super) struct TsmFileSystem(Mutex<Tree>);

#[derive(Debug)]
struct Tree {
    guest: Box<dyn Guest>,
    directories: BTreeMap<u64, Directory>,
    open_files: BTreeMap<u64, OpenFile>,
    last_directory: u64,
    last_handle: u64,
}

#[derive(Debug)]
struct Directory {
    name: Vec<u8>,
    item: ReportItem,
}

#[derive(Debug)]
struct OpenFile {
    directory: u64,
    attribute: Attribute,
    /// What reads give; made by the first.
    content: Option<Vec<u8>>,
    /// What was written to a binary attribute.
    written: Vec<u8>,
    /// Whether something was written since it was last stored.
    unstored: bool,
}

#[derive(Clone, Copy)]
enum Node {
    Root,
    Directory(u64),
    File(u64, Attribute),
}

impl Node {
    fn inode(self) -> u64 {
        match self {
            Self::Root => 1,
            Self::Directory(directory) => directory.saturating_mul(STRIDE),
            Self::File(directory, attribute) => {
                let position = Attribute::ALL.iter().position(|other| *other == attribute).unwrap_or_default();
                let index = u64::try_from(position).unwrap_or_default().saturating_add(1);
                directory.saturating_mul(STRIDE).saturating_add(index)
            }
        }
    }

    fn attributes(self) -> FileAttr {
        let (kind, perm, size, nlink) = match self {
            Self::Root | Self::Directory(_) => (FileType::Directory, 0o755, 0, 2),
            // configfs knows the size of no binary attribute beforehand.
            Self::File(_, attribute) => {
                let size = if attribute.binary_limit().is_some() { 0 } else { 4096 };
                (FileType::RegularFile, attribute.mode(), size, 1)
            }
        };
        FileAttr {
            ino: INodeNo(self.inode()),
            size,
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl TsmFileSystem {
    pub(super) fn new(guest: Box<dyn Guest>) -> Self {
        Self(Mutex::new(Tree {
            guest,
            directories: BTreeMap::new(),
            open_files: BTreeMap::new(),
            last_directory: 0,
            last_handle: 0,
        }))
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn node(&self, INodeNo(inode): INodeNo) -> Result<Node, Errno> {
        if inode == 1 {
            return Ok(Node::Root);
        }
        let directory = inode.div_euclid(STRIDE);
        let item = &self.directories.get(&directory).ok_or(Errno::ENOENT)?.item;
        match inode.rem_euclid(STRIDE).checked_sub(1) {
            None => Ok(Node::Directory(directory)),
            Some(index) => {
                let attribute = usize::try_from(index).ok().and_then(|index| Attribute::ALL.get(index).copied());
                let attribute = attribute.filter(|attribute| item.attributes().any(|visible| visible == *attribute));
                attribute.map(|attribute| Node::File(directory, attribute)).ok_or(Errno::ENOENT)
            }
        }
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<Node, Errno> {
        let found = match self.node(parent)? {
            Node::Root => self.directory_named(name).map(Node::Directory),
            Node::Directory(directory) => {
                let item = &self.directories.get(&directory).ok_or(Errno::ENOENT)?.item;
                let attribute = item.attributes().find(|attribute| attribute.name().as_bytes() == name.as_bytes());
                attribute.map(|attribute| Node::File(directory, attribute))
            }
            Node::File(..) => return Err(Errno::ENOTDIR),
        };
        found.ok_or(Errno::ENOENT)
    }

    fn directory_named(&self, name: &OsStr) -> Option<u64> {
        let mut directories = self.directories.iter();
        directories.find(|(_, directory)| directory.name == name.as_bytes()).map(|(number, _)| *number)
    }

    fn make_directory(&mut self, parent: INodeNo, name: &OsStr) -> Result<Node, Errno> {
        match self.node(parent)? {
            Node::Root => {}
            Node::Directory(_) | Node::File(..) => return Err(Errno::EPERM),
        }
        if self.directory_named(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let item = ReportItem::new(self.guest.as_mut())?;
        self.last_directory = self.last_directory.saturating_add(1);
        self.directories.insert(self.last_directory, Directory { name: name.as_bytes().to_vec(), item });
        Ok(Node::Directory(self.last_directory))
    }

    fn remove_directory(&mut self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        match self.child(parent, name)? {
            Node::Directory(directory) => {
                self.directories.remove(&directory);
                Ok(())
            }
            Node::Root | Node::File(..) => Err(Errno::ENOTDIR),
        }
    }

    fn open(&mut self, inode: INodeNo, flags: OpenFlags) -> Result<u64, Errno> {
        let Node::File(directory, attribute) = self.node(inode)? else { return Err(Errno::EISDIR) };
        let allowed = match flags.acc_mode() {
            OpenAccMode::O_RDONLY => !attribute.is_writable(),
            OpenAccMode::O_WRONLY => attribute.is_writable(),
            OpenAccMode::O_RDWR => false,
        };
        if !allowed {
            return Err(Errno::EACCES);
        }
        self.last_handle = self.last_handle.saturating_add(1);
        let file = OpenFile { directory, attribute, content: None, written: Vec::new(), unstored: false };
        self.open_files.insert(self.last_handle, file);
        Ok(self.last_handle)
    }

    fn read(&mut self, FileHandle(handle): FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let file = self.open_files.get_mut(&handle).ok_or(Errno::EBADF)?;
        let content = match &file.content {
            Some(content) => content,
            None => {
                let item = &mut self.directories.get_mut(&file.directory).ok_or(Errno::ENOENT)?.item;
                let content = item.show(file.attribute, self.guest.as_mut())?;
                if file.attribute.binary_limit().is_some_and(|limit| content.len() > limit) {
                    return Err(Errno::EFBIG);
                }
                file.content.insert(content)
            }
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(content.iter().skip(start).take(length).copied().collect())
    }

    fn write(&mut self, FileHandle(handle): FileHandle, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let file = self.open_files.get_mut(&handle).ok_or(Errno::EBADF)?;
        let Some(limit) = file.attribute.binary_limit() else {
            let page = data.get(..TEXT_LIMIT).unwrap_or(data);
            let item = &mut self.directories.get_mut(&file.directory).ok_or(Errno::ENOENT)?.item;
            item.store(file.attribute, page, self.guest.as_mut())?;
            return Ok(page.len());
        };
        let start = usize::try_from(offset).map_err(|_too_far| Errno::EFBIG)?;
        let end = start.checked_add(data.len()).filter(|end| *end <= limit).ok_or(Errno::EFBIG)?;
        if file.written.len() < end {
            file.written.resize(end, 0);
        }
        for (place, byte) in file.written.iter_mut().skip(start).zip(data) {
            *place = *byte;
        }
        file.unstored = true;
        Ok(data.len())
    }

    /// Stores what was collected. The result is dropped, as configfs drops it.
    fn store(&mut self, FileHandle(handle): FileHandle) {
        let Some(file) = self.open_files.get_mut(&handle).filter(|file| file.unstored) else { return };
        file.unstored = false;
        if let Some(directory) = self.directories.get_mut(&file.directory) {
            let _lost = directory.item.store(file.attribute, &file.written, self.guest.as_mut());
        }
    }

    fn entries(&self, inode: INodeNo) -> Result<Vec<(Node, Vec<u8>)>, Errno> {
        let own = self.node(inode)?;
        let mut entries = vec![(own, b".".to_vec()), (Node::Root, b"..".to_vec())];
        match own {
            Node::Root => {
                let directories = self.directories.iter();
                entries.extend(directories.map(|(number, it)| (Node::Directory(*number), it.name.clone())));
            }
            Node::Directory(number) => {
                let attributes = self.directories.get(&number).into_iter().flat_map(|it| it.item.attributes());
                entries.extend(attributes.map(|it| (Node::File(number, it), it.name().as_bytes().to_vec())));
            }
            Node::File(..) => return Err(Errno::ENOTDIR),
        }
        Ok(entries)
    }
}

impl Filesystem for TsmFileSystem {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.tree().child(parent, name) {
            Ok(node) => reply.entry(&NO_CACHE, &node.attributes(), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.tree().node(inode) {
            Ok(node) => reply.attr(&NO_CACHE, &node.attributes()),
            Err(errno) => reply.error(errno),
        }
    }

    /// Truncation by `O_TRUNC` is accepted and means nothing, as in configfs.
    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.getattr(request, inode, handle, reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.tree().make_directory(parent, name) {
            Ok(node) => reply.entry(&NO_CACHE, &node.attributes(), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.tree().remove_directory(parent, name) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    /// Files come and go with their directory only.
    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn rename(&self, _: &Request, _: INodeNo, _: &OsStr, _: INodeNo, _: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        reply.error(Errno::EPERM);
    }

    fn create(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        reply.error(Errno::EACCES);
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.tree().open(inode, flags) {
            // Direct: sizes are unknown, and each open file has its own content.
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree().read(handle, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree().write(handle, offset, data) {
            Ok(length) => reply.written(u32::try_from(length).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.tree().store(handle);
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree();
        tree.store(handle);
        tree.open_files.remove(&u64::from(handle));
        reply.ok();
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = match self.tree().entries(inode) {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        for ((node, name), next) in entries.iter().zip(1_u64..).skip(skip) {
            let attributes = node.attributes();
            if reply.add(attributes.ino, next, attributes.kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }
}
