//! Keys at a socket, asked for as systemd-cryptsetup does: from an abstract name that says which volume it opens.

use std::{
    fs,
    io::Read,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::{Process, Said},
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket};

use crate::{KEY, console, say_skipped, unlock};

/// Connects as `name` (abstract; none: unnamed) and reads to the end.
fn ask(path: &Path, name: Option<&str>) -> std::io::Result<Vec<u8>> {
    let client = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    if let Some(name) = name {
        bind(&client, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    }
    connect(&client, &SocketAddrUnix::new(path)?)?;
    let mut stream = UnixStream::from(client);
    // As systemd does: nothing is sent.
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut key = Vec::new();
    stream.read_to_end(&mut key)?;
    Ok(key)
}

fn wait_for(path: &Path) {
    let begun = Instant::now();
    while !path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "expected a socket at {}", path.display());
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn callers_that_are_named_as_systemd_names_them_get_their_key_and_others_nothing() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let guest = Guest::start("").unwrap();
    let path = guest.path("keys/data.key");
    let mut service = Process::start(unlock(&guest, &broker, "data").arg("--listen").arg(&path)).unwrap();
    wait_for(&path);
    assert_eq!(ask(&path, Some("5f2d9c/cryptsetup/data")).unwrap(), KEY);
    for name in [None, Some("5f2d9c/cryptsetup/other"), Some("data"), Some("5f2d9c/cryptsetup-tpm2/data")] {
        assert_eq!(ask(&path, name).unwrap(), b"", "{name:?}");
    }
    // Refused: no byte, and the reason on the console. Then good again: the service lives on.
    let other = hex::encode([0x11; 48]);
    guest.becomes(&format!("[snp]\nmeasurement = \"{other}\"")).unwrap();
    assert_eq!(ask(&path, Some("1/cryptsetup/data")).unwrap(), b"");
    assert!(console(&guest).contains("refused: reference.no_match"), "{}", console(&guest));
    guest.becomes("").unwrap();
    assert_eq!(ask(&path, Some("2/cryptsetup/data")).unwrap(), KEY);
    service.end().unwrap();
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn only_root_gets_a_key() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let guest = Guest::start("").unwrap();
    // Open to everybody, so that nothing but the check of the caller stands between.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = directory.path().join("data.key");
    let _service = Process::start(unlock(&guest, &broker, "data").arg("--listen").arg(&path)).unwrap();
    wait_for(&path);
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let script = "import socket, sys\n\
                  s = socket.socket(socket.AF_UNIX); s.bind('\\0aa%s/cryptsetup/data' % sys.argv[2]); s.connect(sys.argv[1])\n\
                  sys.stdout.buffer.write(s.makefile('rb').read())";
    let as_user = |uid: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", uid, "--clear-groups", "/usr/bin/python3", "-c", script]).arg(&path).arg(uid);
        Said::by(&mut command).unwrap()
    };
    let root = as_user("0");
    assert_eq!(root.stdout, KEY, "{}", root.stderr);
    let nobody = as_user("65534");
    assert_eq!((nobody.status, nobody.stdout.as_slice()), (0, &b""[..]), "{}", nobody.stderr);
}

#[test]
fn systemd_hands_the_socket_over() {
    if !can_mount() {
        return;
    }
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return say_skipped("systemd-socket-activate");
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("luks/data", KEY).unwrap();
    let guest = Guest::start("").unwrap();
    let path = guest.path("data.key");
    let mut command = Command::new("systemd-socket-activate");
    command.arg("--listen").arg(&path).arg(binary("countersign-agent").unwrap());
    // The volume comes from the caller's name; the service ends when nobody comes.
    let (url, ca) = (broker.url(), broker.ca());
    command
        .args(["--tpm-address", "none", "--tsm-root"])
        .arg(guest.path("tsm"))
        .args(["unlock", "data", "--broker", &url]);
    command.arg("--broker-ca").arg(ca).arg("--console").arg(guest.path("console")).args(["--idle", "1"]);
    let mut service = Process::start(command.stderr(Stdio::null())).unwrap();
    wait_for(&path);
    assert_eq!(ask(&path, Some("5f2d9c/cryptsetup/data")).unwrap(), KEY);
    let begun = Instant::now();
    while service.ended().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "expected the idle service to end");
        sleep(Duration::from_millis(50));
    }
    assert!(service.ended().unwrap().unwrap().success());
}
