//! The mounted file system behaves like configfs-tsm, by its system calls.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use softtee::tsm::{StateSource, TsmMount};
use tempfile::TempDir;

struct Mounted {
    mount: TsmMount,
    directory: TempDir,
}

impl Mounted {
    /// `None`, after a line that says so, where this process may not mount.
    fn new(source: StateSource) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        match TsmMount::new(directory.path(), source) {
            Ok(mount) => Some(Self { mount, directory }),
            Err(error) if error.kind() == ErrorKind::PermissionDenied || error.kind() == ErrorKind::NotFound => {
                #[expect(clippy::print_stderr, reason = "the reader of the test's output must know")]
                {
                    eprintln!("cannot mount FUSE file systems here ({error}): skipped");
                }
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn healthy() -> Option<Self> {
        Self::new(StateSource::Fixed(Box::default()))
    }

    fn item(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

fn write(item: &Path, attribute: &str, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(item.join(attribute))?.write_all(bytes)
}

fn read(item: &Path, attribute: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(item.join(attribute))?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn raw_error<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

#[test]
fn a_report_is_made_as_the_kernel_makes_it() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    assert_eq!(read(&item, "provider").unwrap(), b"sev_guest\n");
    assert_eq!(read(&item, "generation").unwrap(), b"0\n");
    assert_eq!(read(&item, "privlevel_floor").unwrap(), b"0\n");
    assert_eq!(raw_error(read(&item, "outblob")), libc::EINVAL);

    write(&item, "privlevel", b"1").unwrap();
    write(&item, "inblob", &[0xab; 64]).unwrap();
    assert_eq!(read(&item, "generation").unwrap(), b"2\n");
    let report = read(&item, "outblob").unwrap();
    assert_eq!((report.len(), report[0x30]), (1184, 1));
    assert_eq!(report[0x50..0x90], [0xab; 64]);
    assert!(read(&item, "auxblob").unwrap().len() > 4000);
    assert_eq!(read(&item, "generation").unwrap(), b"2\n");

    fs::remove_dir(&item).unwrap();
    assert!(!item.exists());
    mounted.mount.unmount().unwrap();
}

#[test]
fn wrong_inputs_give_the_errors_of_the_kernel() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    assert_eq!(raw_error(write(&item, "inblob", &[0; 65])), libc::EFBIG);
    assert_eq!(read(&item, "generation").unwrap(), b"0\n");
    write(&item, "inblob", &[1; 63]).unwrap();
    assert_eq!(raw_error(read(&item, "outblob")), libc::EINVAL);
    assert_eq!(raw_error(write(&item, "privlevel", b"4")), libc::EINVAL);
    assert_eq!(raw_error(write(&item, "privlevel", &[1])), libc::EINVAL);
    // configfs keeps root to the modes too.
    assert_eq!(raw_error(read(&item, "inblob")), libc::EACCES);
    assert_eq!(raw_error(write(&item, "outblob", b"x")), libc::EACCES);
    assert_eq!(raw_error(File::open(item.join("manifestblob"))), libc::ENOENT);
    assert_eq!(raw_error(File::create(item.join("new"))), libc::EACCES);
    assert_eq!(raw_error(fs::remove_file(item.join("outblob"))), libc::EPERM);
    assert_eq!(raw_error(fs::create_dir(item.join("below"))), libc::EPERM);
    assert_eq!(raw_error(fs::create_dir(&item)), libc::EEXIST);
    assert_eq!(raw_error(fs::rename(&item, mounted.directory.path().join("other"))), libc::EPERM);
}

#[test]
fn files_have_the_modes_of_the_kernel() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    let mut files: Vec<(String, u32)> = fs::read_dir(&item)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    files.sort();
    let expected = [
        ("auxblob", 0o444),
        ("generation", 0o444),
        ("inblob", 0o200),
        ("outblob", 0o444),
        ("privlevel", 0o200),
        ("privlevel_floor", 0o444),
        ("provider", 0o444),
    ];
    assert_eq!(files, expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn a_shells_redirection_writes_once() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    let script = "head -c 64 /dev/zero > inblob && printf 3 > privlevel && cat generation && wc -c < outblob";
    let output = std::process::Command::new("sh").args(["-ec", script]).current_dir(&item).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "2\n1184\n");
}

#[test]
fn a_duplicated_descriptor_that_is_closed_early_stores_nothing() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    let mut file = OpenOptions::new().write(true).open(item.join("inblob")).unwrap();
    drop(file.as_fd().try_clone_to_owned().unwrap());
    file.write_all(&[1; 32]).unwrap();
    file.write_all(&[2; 32]).unwrap();
    drop(file);
    assert_eq!(read(&item, "generation").unwrap(), b"1\n");
    assert_eq!(read(&item, "outblob").unwrap()[0x6f..0x71], [1, 2]);
}

#[test]
fn an_open_file_keeps_its_content_and_a_removed_directory_ends_it() {
    let Some(mounted) = Mounted::healthy() else { return };
    let item = mounted.item("one");
    write(&item, "inblob", &[1; 64]).unwrap();
    let mut open = File::open(item.join("outblob")).unwrap();
    let mut start = [0; 0x51];
    open.read_exact(&mut start).unwrap();
    write(&item, "inblob", &[2; 64]).unwrap();
    let mut next = [0];
    open.read_exact(&mut next).unwrap();
    assert_eq!((start[0x50], next), (1, [1]));

    let late = File::open(item.join("outblob")).unwrap();
    fs::remove_dir(&item).unwrap();
    assert_eq!(raw_error((&late).read(&mut next)), libc::ENOENT);
}

#[test]
fn the_state_file_is_read_again_for_each_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("guest.toml");
    fs::write(&path, "").unwrap();
    let Some(mounted) = Mounted::new(StateSource::File(path.clone())) else { return };
    let item = mounted.item("one");
    let measurement = |state: &str| {
        fs::write(&path, state).unwrap();
        write(&item, "inblob", &[1; 64]).unwrap();
        read(&item, "outblob").map(|report| hex::encode(&report[0x90..0x92]))
    };
    assert_eq!(measurement("").unwrap(), "4d4d");
    assert_eq!(measurement(&format!("[snp]\nmeasurement = \"{}\"", "5e".repeat(48))).unwrap(), "5e5e");
    assert_eq!(raw_error(measurement("[snp]\nmeasurment = 1")), libc::EIO);
    assert_eq!(raw_error(measurement("[faults]\nfailure = \"ENXIO\"")), libc::ENXIO);
    fs::write(&path, "[faults]\nno_provider = true").unwrap();
    assert_eq!(raw_error(fs::create_dir(mounted.directory.path().join("two"))), libc::ENXIO);
}
