//! Identities as files.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use e2e::{guest::can_mount, process::Said};

use crate::agent::{Agent, broker, until};

fn openssl(directory: &Path, args: &[&str]) -> String {
    Said::by(Command::new("openssl").args(args).current_dir(directory)).unwrap().done().unwrap()
}

#[test]
fn files_are_whole_change_together_and_go_with_the_agent() {
    if !can_mount() {
        return;
    }
    let broker = broker(6);
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (place, marks) = (memory.path().join("web"), memory.path().join("marks"));
    let sink = format!(
        "[[serve.files]]\nsvid = 'web'\ndirectory = {place:?}\njwt = [{{ audience = 'db.example', file = 'db.jwt' }}]\n\
         reload.command = ['/bin/sh', '-c', 'echo x >> {}']\n",
        marks.display()
    );
    let mut agent = Agent::start(&broker, &sink);
    until("files", || marks.exists());
    let serial = || openssl(&place, &["x509", "-in", "..data/svid.pem", "-noout", "-serial"]);
    let first = serial();
    assert!(openssl(&place, &["verify", "-CAfile", "bundle.pem", "svid.pem"]).contains("svid.pem: OK"));
    assert_eq!(place.join("key.pem").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(place.join("db.jwt")).unwrap();
    assert_eq!(token.split('.').count(), 3);
    until("a rotation", || serial() != first);
    // Read through the directory that the link leads to, they always fit.
    let data = fs::canonicalize(place.join("..data")).unwrap();
    let public = openssl(&data, &["x509", "-in", "svid.pem", "-noout", "-pubkey"]);
    assert_eq!(openssl(&data, &["pkey", "-in", "key.pem", "-pubout"]), public);
    until("another reload", || fs::read_to_string(&marks).unwrap().lines().count() > 1);
    agent.process.end().unwrap();
    assert!(!place.join("key.pem").exists() && !place.join("..data").exists(), "{}", agent.log());
    let left =
        fs::read_dir(&place).unwrap().filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count();
    assert_eq!(left, 0);
}

#[test]
fn a_disk_is_refused() {
    if !can_mount() {
        return;
    }
    let broker = broker(60);
    let guest = e2e::guest::Guest::start("").unwrap();
    let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let sink = format!("[[serve.files]]\nsvid = 'web'\ndirectory = {:?}\n", disk.path());
    let said = Said::by(&mut Agent::command(&guest, &broker, &sink)).unwrap();
    assert_eq!(said.status, 2);
    let log = fs::read_to_string(guest.path("log")).unwrap();
    assert!(log.contains("in memory (tmpfs), or persistent = true"), "{log}");
}
