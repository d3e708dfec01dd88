use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    process::Said,
};

use crate::SECRET;

#[test]
fn the_right_guest_gets_its_secret_with_every_kind_of_key() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    for kind in ["p256", "x25519", "x-wing"] {
        let said = guest.get(&broker, "disk-key", &["--key-type", kind]).unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{kind}: {}", said.stderr);
    }
    broker.put_secret("disk-key", b"next version").unwrap();
    assert_eq!(guest.get(&broker, "disk-key", &[]).unwrap().stdout, b"next version");
    let log = broker.log().unwrap();
    assert!(!log.contains("disk key") && !log.contains("next version"));
}

#[test]
fn every_processor_generation_is_served() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    for product in ["milan", "genoa", "turin"] {
        guest.becomes(&format!("[snp]\nproduct = \"{product}\"\n")).unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{product}: {}", said.stderr);
    }
}

#[test]
fn a_hostile_certificate_table_is_dropped_and_the_broker_does_without_where_it_can() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    for table in ["overlapping", "past-the-end", "duplicated", "unterminated"] {
        guest.becomes(&format!("[snp]\ncertificates = \"{table}\"\n")).unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert!(said.stderr.contains("warning: dropped the host's certificate table"), "{table}: {}", said.stderr);
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{table}: {}", said.stderr);
    }
}

#[test]
fn a_secret_file_is_private_and_never_overwritten_unasked() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    let file = guest.path("key");
    let out = ["--out", "key"];
    assert_eq!(guest.get(&broker, "disk-key", &out).unwrap().status, 0);
    assert_eq!(fs::read(&file).unwrap(), SECRET);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = guest.get(&broker, "disk-key", &out).unwrap();
    assert_eq!(again.status, 2, "{}", again.stderr);
    assert_eq!(guest.get(&broker, "disk-key", &["--out", "key", "--replace"]).unwrap().status, 0);
}

#[test]
fn the_attestation_result_verifies_as_a_token_and_says_simulated() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let guest = Guest::start("").unwrap();
    let forms = [("ear04", "tag:ietf.org,2026:rats/ear#04"), ("legacy", "tag:github.com,2023:veraison/ear")];
    for (name, profile) in forms {
        let mut command = guest.agent().unwrap();
        command.args(["attest", "--profile", name, "--out", "token", "--broker", &broker.url(), "--broker-ca"]);
        Said::by(command.arg(broker.ca())).unwrap().done().unwrap();
        let mut verify = Command::new(binary("countersign").unwrap());
        verify.args(["token", "verify"]).arg(guest.path("token")).args(["--format", "json", "--server", &broker.url()]);
        verify.args(["--issuer", &broker.url(), "--audience", &broker.url(), "--ca"]).arg(broker.ca());
        let said = Said::by(&mut verify).unwrap();
        assert_eq!(said.status, 0, "{name}: {}", said.stderr);
        let printed = String::from_utf8(said.stdout).unwrap();
        assert!(printed.contains(profile), "{printed}");
        // Whoever relies on it sees that the hardware was none.
        assert!(printed.contains("simulated"), "{printed}");
    }
}
