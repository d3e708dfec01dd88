//! `unlock VOLUME --device DEVICE`, with the real cryptsetup as far as this machine goes: without a device mapper, opening is
//! recorded by a stand-in and done with `--test-passphrase`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};
use evidence_formats::digest::HashAlgorithm;

use crate::{KEY, console, disk, unlock};

/// cryptsetup, which writes down how it was called and opens nothing but the key slot.
fn stand_in(directory: &Path) -> PathBuf {
    let path = directory.join("cryptsetup");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {0}/calls; env >> {0}/calls\n\
         case $1 in open) shift; eval \"set -- $(printf '\"%s\" ' \"$@\")\"\n\
         exec /usr/sbin/cryptsetup open --test-passphrase \"$@\";; esac\nexec /usr/sbin/cryptsetup \"$@\"\n",
        directory.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_disk_opens_and_its_key_stands_nowhere() {
    let (true, guest) = (can_mount(), Guest::start("")) else { return };
    let guest = guest.unwrap();
    let image = guest.path("disk.img");
    if !disk(&image, KEY) {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let program = stand_in(&guest.path(""));
    let open = |secret: &[&str]| {
        let mut command = unlock(&guest, &broker, "data");
        Said::by(command.args(secret).arg("--device").arg(&image).arg("--cryptsetup").arg(&program)).unwrap()
    };
    let said = open(&[]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(said.stdout.is_empty());
    let shown = format!("countersign-agent: {} is open as data\n", image.display());
    assert_eq!(console(&guest), shown);
    let calls = fs::read(guest.path("calls")).unwrap();
    assert!(!calls.windows(8).any(|window| KEY.windows(8).any(|part| part == window)), "the key is in a call");
    let calls = String::from_utf8(calls).unwrap();
    assert!(calls.contains("open --batch-mode --type luks2 --header"), "{calls}");
    assert_eq!(fs::read_dir(guest.path("run")).unwrap().count(), 0, "the copy of the header stays");
    // Another key: the disk stays closed.
    broker.put_secret("other", b"another key of thirty-two bytes!").unwrap();
    let said = open(&["--secret", "other"]);
    assert_eq!(said.status, 7, "{}", said.stderr);
    assert!(said.stderr.contains("the volume data stays closed"), "{}", said.stderr);
    assert!(said.stderr.contains("the broker's key opens no slot of this disk"), "{}", said.stderr);
}

#[test]
fn a_disk_whose_header_the_host_forged_gets_no_key() {
    let (true, guest) = (can_mount(), Guest::start("")) else { return };
    let guest = guest.unwrap();
    let image = guest.path("disk.img");
    if !disk(&image, KEY) {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    // Data under a null cipher: whatever the guest writes, the host reads.
    forge(&image, "aes-xts-plain64", "cipher_null-ecb");
    let program = stand_in(&guest.path(""));
    let mut command = unlock(&guest, &broker, "data");
    let said = Said::by(command.arg("--device").arg(&image).arg("--cryptsetup").arg(&program)).unwrap();
    assert_eq!(said.status, 7, "{}", said.stderr);
    assert!(said.stderr.contains("expected a known cipher in the data, found cipher_null"), "{}", said.stderr);
    let calls = fs::read_to_string(guest.path("calls")).unwrap();
    assert!(!calls.lines().any(|line| line.starts_with("open")), "the key was handed over: {calls}");
}

#[test]
fn the_key_goes_to_a_pipe() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let guest = Guest::start("").unwrap();
    let said = Said::by(unlock(&guest, &broker, "data").args(["--out", "-"])).unwrap();
    assert_eq!(said.stdout, KEY, "{}", said.stderr);
    let said = Said::by(&mut unlock(&guest, &broker, "data")).unwrap();
    assert_eq!(said.status, 2);
    assert!(said.stderr.contains("expected a socket from systemd (LISTEN_FDS)"), "{}", said.stderr);
}

/// Does what the host can do: replaces the last `from` in the disk's metadata, in both copies, with fresh checksums (LUKS2
/// On-Disk Format 1.1, section 2: 4096 bytes of binary header, checksum at 448, JSON up to the header's size at 8).
fn forge(image: &Path, from: &str, to: &str) {
    let mut disk = fs::read(image).unwrap();
    let size = usize::try_from(u64::from_be_bytes(disk[8..16].try_into().unwrap())).unwrap();
    for begin in [0, size] {
        let header = &mut disk[begin..begin + size];
        let json = String::from_utf8(header[4096..].to_vec()).unwrap();
        let (before, after) = json.trim_end_matches('\0').rsplit_once(from).unwrap();
        let mut json = format!("{before}{to}{after}").into_bytes();
        json.resize(size - 4096, 0);
        header[4096..].copy_from_slice(&json);
        header[448..512].fill(0);
        let checksum = HashAlgorithm::Sha256.digest(&[&*header]);
        header[448..480].copy_from_slice(checksum.as_bytes());
    }
    fs::write(image, disk).unwrap();
}
