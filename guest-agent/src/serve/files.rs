//! Credentials as files, for programs that do not speak the Workload API.
//!
//! All files of a directory change together: they lie in a directory of their own, `..data` is a link to it that is moved in
//! one step, and the names that programs open are links through `..data`. A program that opens certificate and key
//! through `..data` once sees a pair; one that watches the directory (Envoy's SDS over files) sees one move.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use keys::secret::SecretBytes;
use rustix::{fs::statfs, process::geteuid};
use thiserror::Error;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    reload,
    settings::Sink,
    world::{Certificate, Standing, World},
};
use crate::{console, svid::to_pem};

/// The link that is moved.
const DATA: &str = "..data";
/// How directories of files begin; DATA does not.
const GENERATION: &str = "..generation-";
/// File systems in memory: tmpfs and ramfs (linux/magic.h).
const IN_MEMORY: [rustix::fs::FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// Why there are no files.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A key on a disk outlives its end.
    #[error("expected {} in memory (tmpfs), or persistent = true", directory.display())]
    Persistent {
        /// Which directory.
        directory: PathBuf,
    },
    /// Others could lead us elsewhere.
    #[error("expected {} to be a directory that belongs to the agent's user, and that nobody else may change or put another in the place of", directory.display())]
    NotOurs {
        /// Which directory.
        directory: PathBuf,
    },
    /// Something in the way is not ours.
    #[error("expected {} to be missing or a link of ours", path.display())]
    InTheWay {
        /// What.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("expected to write in {}", directory.display())]
    Io {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is to be in the files.
#[derive(PartialEq, Eq)]
struct Content {
    /// Name and bytes of each.
    files: Vec<(String, Arc<SecretBytes>)>,
}

/// Makes the directory where it is missing, and looks whether it is in memory.
pub(crate) fn prepare(sink: &Sink) -> Result<(), SinkError> {
    let failed = |source| SinkError::Io { directory: sink.directory.clone(), source };
    match DirBuilder::new().recursive(true).mode(directory_mode(sink)).create(&sink.directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(&sink.directory).map_err(failed)?;
    // In a directory that somebody else may change, they could lead us elsewhere.
    let ours = found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !ours || !leads_nowhere_else(&sink.directory).map_err(failed)? {
        return Err(SinkError::NotOurs { directory: sink.directory.clone() });
    }
    chown(&sink.directory, None, sink.group).map_err(failed)?;
    let kind = statfs(&sink.directory).map_err(|errno| failed(errno.into()))?.f_type;
    if !sink.persistent && !IN_MEMORY.contains(&kind) {
        return Err(SinkError::Persistent { directory: sink.directory.clone() });
    }
    Ok(())
}

/// Whether nobody else may put another directory in the place of this one: every directory above, as it is written and as it
/// is, belongs to root or to us, and others may not change it, or not what is not theirs (the sticky bit).
fn leads_nowhere_else(directory: &Path) -> io::Result<bool> {
    let real = fs::canonicalize(directory)?;
    for above in directory.ancestors().chain(real.ancestors()).filter(|above| *above != directory && *above != real) {
        let found = fs::symlink_metadata(above)?;
        let owned = found.uid() == 0 || found.uid() == geteuid().as_raw();
        let changed_by_others = found.is_dir() && found.mode() & 0o022 != 0 && found.mode() & 0o1000 == 0;
        if !owned || changed_by_others {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The directory stays the agent's; who owns the files has to find them in it. Their names are no secret.
const fn directory_mode(sink: &Sink) -> u32 {
    if sink.group.is_some() { 0o750 } else { 0o755 }
}

/// Keeps the files of `sink` as the world is, until the world ends; then removes them. When it is stopped they stay.
pub(crate) async fn follow(sink: Sink, mut worlds: watch::Receiver<Arc<World>>, stop: CancellationToken) {
    let sink = Arc::new(sink);
    let mut written: Option<Content> = None;
    loop {
        let world = Arc::clone(&worlds.borrow_and_update());
        let content = if world.stopping { Some(None) } else { content(&world, &sink) };
        if let Some(content) = content
            && content != written
        {
            match write(&sink, content).await {
                Ok(content) => {
                    if content.is_some()
                        && let Some(reload) = &sink.reload
                    {
                        reload::run(reload).await;
                    }
                    written = content;
                }
                Err(error) => console::say(&console::chain(&error)),
            }
        }
        if world.stopping {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            // The sender outlives us.
            _changed = worlds.changed() => {}
        }
    }
}

/// What the files should be: `None` when they stay as they are, nothing when they go.
fn content(world: &World, sink: &Sink) -> Option<Option<Content>> {
    let certificate = match world.certificates.get(&sink.svid) {
        Some(Standing::Held(certificate)) => certificate,
        Some(Standing::Refused | Standing::Absent) | None => return Some(None),
    };
    let mut files = vec![
        ("svid.pem".to_owned(), Arc::new(certificate.svid.chain_pem().into_bytes().into())),
        ("key.pem".to_owned(), Arc::new(certificate.svid.key_pem())),
        ("bundle.pem".to_owned(), Arc::new(bundle(world, certificate).into_bytes().into())),
    ];
    for jwt in &sink.jwt {
        if let Some(Standing::Held(token)) = world.tokens.get(&(sink.svid.clone(), jwt.audience.clone())) {
            files.push((jwt.file.clone(), Arc::new(SecretBytes::new(token.jwt.expose().to_vec()))));
        }
    }
    Some(Some(Content { files }))
}

fn bundle(world: &World, certificate: &Certificate) -> String {
    let known = world.trust.own.as_ref().and_then(|own| world.trust.bundles.get(own));
    to_pem(known.map_or(&certificate.svid.bundle, |bundle| &bundle.authorities))
}

async fn write(sink: &Arc<Sink>, content: Option<Content>) -> Result<Option<Content>, SinkError> {
    let sink = Arc::clone(sink);
    let failed = SinkError::Io { directory: sink.directory.clone(), source: ErrorKind::Interrupted.into() };
    let writing = spawn_blocking(move || {
        let outcome = match &content {
            Some(content) => replace(&sink, content),
            None => remove(&sink),
        };
        outcome.map(|()| content)
    });
    writing.await.unwrap_or(Err(failed))
}

/// Puts all files in place in one step.
fn replace(sink: &Sink, content: &Content) -> Result<(), SinkError> {
    let failed = |source| SinkError::Io { directory: sink.directory.clone(), source };
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let generation = format!("{GENERATION}{nanoseconds}");
    let place = sink.directory.join(&generation);
    DirBuilder::new().mode(directory_mode(sink)).create(&place).map_err(failed)?;
    fill(sink, content, &place).map_err(failed)?;
    let (beside, data) = (sink.directory.join("..data.new"), sink.directory.join(DATA));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    symlink(&generation, &beside).and_then(|()| fs::rename(&beside, &data)).map_err(failed)?;
    for (name, _) in &content.files {
        link(sink, name)?;
    }
    File::open(&sink.directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    sweep(sink, Some(&generation)).map_err(failed)
}

fn fill(sink: &Sink, content: &Content, place: &Path) -> io::Result<()> {
    let mode = if sink.group.is_some() { 0o640 } else { 0o600 };
    for (name, bytes) in &content.files {
        let path = place.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(bytes.expose())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fchown(&file, sink.owner, sink.group)?;
        file.sync_all()?;
    }
    chown(place, None, sink.group)?;
    File::open(place)?.sync_all()
}

/// The name that programs open, as a link through `..data`.
fn link(sink: &Sink, name: &str) -> Result<(), SinkError> {
    let (path, target) = (sink.directory.join(name), Path::new(DATA).join(name));
    match fs::read_link(&path) {
        Ok(found) if found == target => Ok(()),
        Ok(_) => Err(SinkError::InTheWay { path }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            symlink(&target, &path).map_err(|source| SinkError::Io { directory: sink.directory.clone(), source })
        }
        Err(_not_a_link) => Err(SinkError::InTheWay { path }),
    }
}

/// Takes the files away: what the links lead to, and the link that leads there.
pub(crate) fn remove(sink: &Sink) -> Result<(), SinkError> {
    let failed = |source| SinkError::Io { directory: sink.directory.clone(), source };
    match fs::remove_file(sink.directory.join(DATA)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    sweep(sink, None).map_err(failed)
}

/// Removes every directory of files but `keep`.
fn sweep(sink: &Sink, keep: Option<&str>) -> io::Result<()> {
    for entry in fs::read_dir(&sink.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(GENERATION) && Some(name) != keep);
        if ours && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn sink(directory: &Path) -> Sink {
        Sink {
            svid: "web".into(),
            directory: directory.join("web"),
            owner: None,
            group: None,
            persistent: true,
            jwt: Vec::new(),
            reload: None,
        }
    }

    fn content(values: &[(&str, &str)]) -> Content {
        let files = values.iter().map(|(name, value)| ((*name).to_owned(), Arc::new(value.as_bytes().to_vec().into())));
        Content { files: files.collect() }
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_change_together_and_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(directory.path());
        prepare(&sink).unwrap();
        replace(&sink, &content(&[("svid.pem", "a"), ("key.pem", "b")])).unwrap();
        let data = fs::read_link(sink.directory.join(DATA)).unwrap();
        replace(&sink, &content(&[("svid.pem", "c"), ("key.pem", "d")])).unwrap();
        assert_ne!(fs::read_link(sink.directory.join(DATA)).unwrap(), data);
        let key = sink.directory.join("key.pem");
        assert_eq!(
            (fs::read(&key).unwrap(), fs::read(sink.directory.join("svid.pem")).unwrap()),
            (b"d".to_vec(), b"c".to_vec())
        );
        assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(sink.directory.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(names(&sink.directory).len(), 4, "the last files, the link to them, and two names");
        remove(&sink).unwrap();
        assert!(!key.exists() && names(&sink.directory) == ["key.pem", "svid.pem"], "only the names are left");
        replace(&sink, &content(&[("svid.pem", "e"), ("key.pem", "f")])).unwrap();
        assert_eq!(fs::read(&key).unwrap(), b"f");
    }

    #[test]
    fn what_is_not_ours_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(directory.path());
        prepare(&sink).unwrap();
        fs::write(sink.directory.join("key.pem"), b"mine").unwrap();
        assert!(matches!(replace(&sink, &content(&[("key.pem", "b")])), Err(SinkError::InTheWay { .. })));
        assert_eq!(fs::read(sink.directory.join("key.pem")).unwrap(), b"mine");
        symlink("/etc/hostname", sink.directory.join("svid.pem")).unwrap();
        assert!(matches!(replace(&sink, &content(&[("svid.pem", "a")])), Err(SinkError::InTheWay { .. })));
    }

    #[test]
    fn a_directory_that_others_may_change_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(directory.path());
        prepare(&sink).unwrap();
        fs::set_permissions(&sink.directory, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare(&sink), Err(SinkError::NotOurs { .. })));
        let linked = Sink { directory: directory.path().join("link"), ..sink };
        symlink("/tmp", &linked.directory).unwrap();
        assert!(matches!(prepare(&linked), Err(SinkError::NotOurs { .. })));
        let file = Sink { directory: directory.path().join("file"), ..linked.clone() };
        fs::write(&file.directory, b"x").unwrap();
        assert!(matches!(prepare(&file), Err(SinkError::NotOurs { .. })));
        let theirs = Sink { directory: directory.path().join("theirs"), ..linked.clone() };
        fs::create_dir(&theirs.directory).unwrap();
        if chown(&theirs.directory, Some(4321), None).is_ok() {
            assert!(matches!(prepare(&theirs), Err(SinkError::NotOurs { .. })));
        }
        // Who may change the directory above puts another one in its place.
        let above = directory.path().join("above");
        fs::create_dir(&above).unwrap();
        let below = Sink { directory: above.join("web"), ..linked };
        prepare(&below).unwrap();
        fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare(&below), Err(SinkError::NotOurs { .. })));
        // Also when it is a link that leads there.
        let around = Sink { directory: directory.path().join("around/web"), ..below };
        symlink(&above, directory.path().join("around")).unwrap();
        assert!(matches!(prepare(&around), Err(SinkError::NotOurs { .. })));
        fs::set_permissions(&above, fs::Permissions::from_mode(0o1777)).unwrap();
        prepare(&around).unwrap();
    }

    #[test]
    fn a_disk_is_refused_unless_it_is_named() {
        let shm = Path::new("/dev/shm");
        let in_memory = tempfile::tempdir_in(shm).unwrap();
        prepare(&Sink { persistent: false, ..sink(in_memory.path()) }).unwrap();
        let target = tempfile::tempdir_in("/var/tmp").unwrap();
        let on_disk = Sink { persistent: false, ..sink(target.path()) };
        let kind = statfs(target.path()).unwrap().f_type;
        if !IN_MEMORY.contains(&kind) {
            assert!(matches!(prepare(&on_disk), Err(SinkError::Persistent { .. })));
        }
        prepare(&Sink { persistent: true, ..on_disk }).unwrap();
    }
}
