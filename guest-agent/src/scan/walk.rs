//! Through a tree, by directory handles: a link is never followed, so nothing outside the tree is opened, also when somebody
//! changes the tree meanwhile.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
};

use keys::secret::SecretBytes;
use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, openat, statat},
    io::Errno,
};

use super::{Scan, ScanError};

/// File systems that the kernel makes up (`statfs(2)`): proc, sysfs, cgroup2, cgroup, debugfs, tracefs, securityfs, configfs,
/// devpts, bpf, pstore, efivarfs, selinuxfs, mqueue, binfmt_misc; and FUSE, whose server may never answer.
const KERNEL: [u64; 16] = [
    0x9fa0,
    0x6265_6572,
    0x6367_7270,
    0x27_e0eb,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0x1cd1,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0xf97c_ff8c,
    0x1980_0202,
    0x4249_4e4d,
    0x6573_5546,
];

const HOW: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What may be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    /// Links, devices, sockets, pipes.
    Special,
}

impl Kind {
    fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind.is_dir() {
            Self::Directory
        } else if kind.is_file() {
            Self::File
        } else {
            Self::Special
        }
    }
}

impl Scan {
    /// Searches a file, or a directory with all below it.
    ///
    /// # Errors
    /// When it cannot be opened at all; what lies below it and cannot be read is counted.
    pub(crate) fn tree(&mut self, root: &Path) -> Result<(), ScanError> {
        let wrong = |errno: Errno| ScanError::Root { path: root.to_owned(), source: errno.into() };
        // What the operator named may be a link; what lies below it may not.
        let fd = openat(CWD, root, HOW, Mode::empty()).map_err(wrong)?;
        let stat = fstat(&fd).map_err(wrong)?;
        let location = root.to_string_lossy().into_owned();
        match Kind::of(&stat) {
            Kind::Directory => self.directory(&fd, &stat, ("", location.trim_end_matches('/')), 0),
            Kind::File => {
                let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                self.file(fd, &stat, (&name, &location));
            }
            Kind::Special => {
                return Err(ScanError::Root { path: root.to_owned(), source: io::ErrorKind::InvalidInput.into() });
            }
        }
        Ok(())
    }

    /// `path` is from the root of the tree, `location` as it is shown.
    fn directory(&mut self, fd: &OwnedFd, stat: &Stat, (path, location): (&str, &str), depth: usize) {
        let Some(names) = self.names(fd) else {
            self.tally.unreadable = self.tally.unreadable.saturating_add(1);
            return;
        };
        for name in names {
            if self.tally.cut_short {
                return;
            }
            let text = name.to_string_lossy();
            let path = if path.is_empty() { text.clone().into_owned() } else { format!("{path}/{text}") };
            self.entry((fd, stat), &name, (&path, &format!("{location}/{text}")), depth.saturating_add(1));
        }
    }

    /// The names in a directory, sorted, as many as may still be looked at.
    fn names(&mut self, fd: &OwnedFd) -> Option<Vec<CString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(fd).ok()? {
            let entry = entry.ok()?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if u64::try_from(names.len()).unwrap_or(u64::MAX) >= self.limits.files {
                self.tally.cut_short = true;
                break;
            }
            names.push(name.to_owned());
        }
        names.sort_unstable();
        Some(names)
    }

    fn entry(
        &mut self,
        (parent, parent_stat): (&OwnedFd, &Stat),
        name: &CString,
        (path, location): (&str, &str),
        depth: usize,
    ) {
        let opened = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).and_then(|stat| {
            match Kind::of(&stat) {
                Kind::Directory => openat(parent, name, HOW | OFlags::NOFOLLOW | OFlags::DIRECTORY, Mode::empty()),
                Kind::File => openat(parent, name, HOW | OFlags::NOFOLLOW, Mode::empty()),
                // Opening a device or a pipe may do something.
                Kind::Special => Err(Errno::LOOP),
            }
        });
        // Only what was opened is believed about what it is.
        let opened = opened.and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(Errno::LOOP) => return self.special(),
            // It is gone.
            Err(Errno::NOENT) => return,
            Err(_) => {
                self.tally.unreadable = self.tally.unreadable.saturating_add(1);
                return;
            }
        };
        match Kind::of(&stat) {
            Kind::Directory if stat.st_dev != parent_stat.st_dev && is_kernels(&fd) => self.special(),
            Kind::Directory if self.rules.skips(path) => {
                self.tally.left_out = self.tally.left_out.saturating_add(1);
            }
            Kind::Directory if depth >= self.limits.depth => self.tally.cut_short = true,
            Kind::Directory => self.directory(&fd, &stat, (path, location), depth),
            Kind::File => self.file(fd, &stat, (path, location)),
            Kind::Special => self.special(),
        }
    }

    fn special(&mut self) {
        self.tally.special = self.tally.special.saturating_add(1);
    }

    fn file(&mut self, fd: OwnedFd, stat: &Stat, (path, location): (&str, &str)) {
        let seen = self.tally.files.saturating_add(self.tally.binary);
        if seen >= self.limits.files {
            self.tally.cut_short = true;
            return;
        }
        if self.rules.skips(path) {
            self.tally.left_out = self.tally.left_out.saturating_add(1);
            return;
        }
        match read(fd, stat, self.limits.file_bytes) {
            Ok(Some(content)) => self.search(path, location, content.expose()),
            Ok(None) => self.tally.too_large = self.tally.too_large.saturating_add(1),
            Err(_) => self.tally.unreadable = self.tally.unreadable.saturating_add(1),
        }
    }
}

/// The whole content, unless it is longer than `most`.
fn read(fd: OwnedFd, stat: &Stat, most: u64) -> io::Result<Option<SecretBytes>> {
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if size > most {
        return Ok(None);
    }
    // Room for all of it and one byte more: a buffer that grows would leave copies behind.
    let room = usize::try_from(size).unwrap_or(0).saturating_add(1);
    let mut content = Vec::with_capacity(room);
    File::from(fd).take(most.saturating_add(1)).read_to_end(&mut content)?;
    let content = SecretBytes::new(content);
    let grew = u64::try_from(content.expose().len()).unwrap_or(u64::MAX) > most;
    Ok((!grew).then_some(content))
}

fn is_kernels(fd: &OwnedFd) -> bool {
    // What cannot be asked is not entered.
    fstatfs(fd).map_or(true, |stat| u64::try_from(stat.f_type).is_ok_and(|kind| KERNEL.contains(&kind)))
}
