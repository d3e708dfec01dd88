//! Who is at the other end of a connection.
//!
//! User and group are what the kernel recorded when the process connected (`SO_PEERCRED`). Everything else is read from
//! `/proc`, and counts only while the process that connected, known by its pidfd (`SO_PEERPIDFD`), is still there afterwards:
//! a process that took over the number of a dead one is never asked about. On a kernel without such handles (before Linux
//! 6.5) nothing but user and group is known.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, fd::OwnedFd, unix::ffi::OsStringExt, unix::fs::MetadataExt},
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest::{Context, SHA256};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, openat, readlinkat},
};
use tokio::{net::UnixStream, task::spawn_blocking};

use super::selector::{Facts, Selectors};

/// Most bytes of `/proc/PID/cgroup`.
const CGROUP: u64 = 8 * 1024;
/// Programs whose digest is remembered.
const PROGRAMS: usize = 256;
/// Largest program that is read: more is no program, but a way to keep us busy.
const PROGRAM: u64 = 1024 * 1024 * 1024;

/// The process that connected.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    gid: u32,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    pid: i32,
    handle: OwnedFd,
}

/// The digests of programs that are running, by file.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: Mutex<HashMap<FileId, [u8; 32]>>,
    /// One file is read at a time: who has many large ones waits.
    reading: tokio::sync::Mutex<()>,
}

/// A file and its state: another content is another id, whoever wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Peer {
    /// Of a connection that was just accepted.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let handle = tee::peer_process(stream.as_fd()).ok();
        let process = credentials.pid().zip(handle).map(|(pid, handle)| Process { pid, handle });
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), process })
    }

    /// The places of those of `wanted` that match.
    pub(crate) async fn matching(&self, wanted: impl Iterator<Item = &Selectors>, digests: &Digests) -> Vec<usize> {
        let mine = |(_, selectors): &(usize, &Selectors)| selectors.match_user(self.uid, self.gid);
        let candidates: Vec<_> = wanted.enumerate().filter(mine).collect();
        let process = candidates.iter().any(|(_, selectors)| selectors.ask_for_process());
        let digest = candidates.iter().any(|(_, selectors)| selectors.ask_for_digest());
        let mut facts = Facts { uid: self.uid, gid: self.gid, ..Facts::default() };
        if let Some(peer) = self.process.as_ref().filter(|_| process) {
            // What cannot be read matches nothing.
            let _unknown = peer.read(&mut facts, digest, digests).await;
            if peer.is_gone() {
                return Vec::new();
            }
        }
        candidates
            .into_iter()
            .filter(|(_, selectors)| selectors.match_process(&facts))
            .map(|(place, _)| place)
            .collect()
    }
}

impl Process {
    async fn read(&self, facts: &mut Facts, digest: bool, digests: &Digests) -> io::Result<()> {
        // Everything through one directory, which belongs to one process: when that ends, reading fails.
        let path = format!("/proc/{}", self.pid);
        let directory = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let open = |name: &str| openat(&directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let mut groups = String::new();
        File::from(open("cgroup")?).take(CGROUP).read_to_string(&mut groups)?;
        facts.cgroup = cgroup(&groups);
        let link = readlinkat(&directory, "exe", Vec::new())?;
        let exe = File::from(open("exe")?);
        facts.exe = same_here(PathBuf::from(std::ffi::OsString::from_vec(link.into_bytes())), &exe);
        if digest {
            facts.digest = Some(digests.of(exe).await?);
        }
        Ok(())
    }

    /// Whether the process ended: then its number may be another's.
    fn is_gone(&self) -> bool {
        let mut handle = [PollFd::new(&self.handle, PollFlags::IN)];
        !matches!(poll(&mut handle, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }
}

/// The group in the one hierarchy of control groups version 2.
fn cgroup(groups: &str) -> Option<String> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The path, when it means the same file for us: a process in a file system of its own may call its program as it likes.
fn same_here(path: PathBuf, exe: &File) -> Option<PathBuf> {
    let (theirs, ours) = (exe.metadata().ok()?, path.metadata().ok()?);
    (theirs.dev() == ours.dev() && theirs.ino() == ours.ino()).then_some(path)
}

impl Digests {
    /// SHA-256 of a file, read only when it is not the one that was read before.
    async fn of(&self, file: File) -> io::Result<[u8; 32]> {
        let id = FileId::of(&file)?;
        if let Some(known) = self.lock().get(&id) {
            return Ok(*known);
        }
        let _turn = self.reading.lock().await;
        if let Some(known) = self.lock().get(&id) {
            return Ok(*known);
        }
        let digest = spawn_blocking(move || digest(file)).await.map_err(io::Error::other)??;
        let mut programs = self.lock();
        if programs.len() >= PROGRAMS {
            programs.clear();
        }
        programs.insert(id, digest);
        Ok(digest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FileId, [u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FileId {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > PROGRAM {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

fn digest(mut file: File) -> io::Result<[u8; 32]> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        context.update(buffer.get(..length).unwrap_or_default());
    }
    context.finish().as_ref().try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::process::Command;

    use super::*;
    use crate::serve::selector::SelectorSection;

    fn selectors(toml: &str) -> Selectors {
        Selectors::new(toml::from_str::<SelectorSection>(toml).unwrap()).unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn this_very_process_is_known_by_its_program() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        let exe = std::env::current_exe().unwrap();
        let sum = hex::encode(digest(File::open(&exe).unwrap()).unwrap());
        let mine = [
            selectors(&format!("uid = {}", rustix::process::getuid().as_raw())),
            selectors(&format!("exe = {exe:?}\nexe_sha256 = {sum:?}")),
            selectors("exe = \"/bin/sh\""),
            selectors(&format!("exe_sha256 = {:?}", "00".repeat(32))),
        ];
        let matching = peer.matching(mine.iter(), &Digests::default()).await;
        if peer.process.is_some() {
            assert_eq!(matching, [0, 1]);
        } else {
            // Without a handle of the process (before Linux 6.5) nothing but the user counts.
            assert_eq!(matching, [0]);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_process_that_is_gone_matches_nothing_that_was_read_of_its_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let handle = rustix::process::pidfd_open(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::PidfdFlags::empty(),
        );
        let uid = rustix::process::getuid().as_raw();
        let sleep = std::fs::canonicalize("/bin/sleep").unwrap();
        let wanted = [selectors(&format!("exe = {sleep:?}"))];
        let peer = Peer { uid, gid: 0, process: Some(Process { pid, handle: handle.unwrap() }) };
        // The child is `sleep` only after it called exec.
        while std::fs::read_link(format!("/proc/{pid}/exe")).unwrap() != sleep {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(peer.matching(wanted.iter(), &Digests::default()).await, [0]);
        child.kill().unwrap();
        child.wait().unwrap();
        // As if the number belonged to another process of the same program now.
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let reused = Peer {
            process: peer.process.map(|old| Process { pid: i32::try_from(other.id()).unwrap(), ..old }),
            ..peer
        };
        assert!(reused.matching(wanted.iter(), &Digests::default()).await.is_empty());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn a_path_counts_where_it_means_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("program"), directory.path().join("other"));
        for file in [&path, &other] {
            std::fs::write(file, b"program").unwrap();
        }
        let file = File::open(&path).unwrap();
        assert_eq!(same_here(path.clone(), &file), Some(path));
        assert_eq!(same_here(other, &file), None, "as a process in a file system of its own calls its program");
        assert_eq!(same_here(directory.path().join("gone"), &file), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_changed_program_is_read_again_and_a_huge_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let digests = Digests::default();
        std::fs::write(&path, b"one").unwrap();
        let one = digests.of(File::open(&path).unwrap()).await.unwrap();
        assert_eq!(digests.of(File::open(&path).unwrap()).await.unwrap(), one);
        // Times of files have the kernel's own tick.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(&path, b"two").unwrap();
        assert_ne!(digests.of(File::open(&path).unwrap()).await.unwrap(), one);
        let sparse = File::options().write(true).open(&path).unwrap();
        sparse.set_len(PROGRAM.saturating_add(1)).unwrap();
        assert!(FileId::of(&sparse).is_err());
        assert!(FileId::of(&File::open(directory.path()).unwrap()).is_err());
    }

    #[test]
    fn only_the_one_hierarchy_counts() {
        assert_eq!(cgroup("1:cpu:/x\n0::/system.slice/a.service\n").unwrap(), "/system.slice/a.service");
        assert_eq!(cgroup("1:name=systemd:/system.slice/a.service\n"), None);
    }
}
