//! The clevis pin, with the real clevis, jose and cryptsetup: header operations need no device mapper.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use e2e::{
    binaries::binary,
    broker::{Broker, Setup, WORKLOAD},
    guest::{Guest, can_mount},
    process::Said,
};

use crate::{disk, say_skipped};

const INSTALLER: &[u8; 32] = b"installer's key of 32 bytes long";

/// A directory for PATH with the pin, and an agent whose settings are those of this guest.
fn pin(guest: &Guest, broker: &Broker) -> String {
    let directory = guest.path("bin");
    fs::create_dir_all(&directory).unwrap();
    let settings = format!(
        "broker = {:?}\nbroker_ca = {:?}\ntsm_root = {:?}\ntimeout = 5\n[tpm]\naddress = \"none\"\n",
        broker.url(),
        broker.ca(),
        guest.path("tsm")
    );
    fs::write(guest.path("agent.toml"), settings).unwrap();
    let agent = format!(
        "#!/bin/sh\nexec {} --config {} \"$@\"\n",
        binary("countersign-agent").unwrap().display(),
        guest.path("agent.toml").display()
    );
    executable(&directory.join("countersign-agent"), agent.as_bytes());
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-agent/clevis");
    for name in ["clevis-encrypt-countersign", "clevis-decrypt-countersign"] {
        executable(&directory.join(name), &fs::read(sources.join(name)).unwrap());
    }
    format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", directory.display())
}

fn executable(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn bash(path: &str, guest: &Guest, script: &str) -> Said {
    let mut command = Command::new("bash");
    command.env("PATH", path).args(["-c", script]).current_dir(guest.path("")).stdin(Stdio::null());
    Said::by(&mut command).unwrap()
}

#[test]
fn a_disk_that_is_bound_with_clevis_opens_after_attestation() {
    if !can_mount() {
        return;
    }
    if Command::new("clevis-luks-bind").arg("--summary").output().is_err() || Command::new("jose").output().is_err() {
        return say_skipped("clevis");
    }
    let guest = Guest::start("").unwrap();
    let image = guest.path("disk.img");
    if !disk(&image, INSTALLER) {
        return;
    }
    fs::write(guest.path("installer"), INSTALLER).unwrap();
    let broker = Broker::start(&Setup::default()).unwrap();
    let mut generate = broker.admin(&["secrets", "generate", "luks/root", "--workload", WORKLOAD]).unwrap();
    Said::by(&mut generate).unwrap().done().unwrap();
    let path = pin(&guest, &broker);
    // Any text, also without a disk.
    let round =
        "printf 'a\\nb' | clevis encrypt countersign '{\"secret\":\"luks/root\"}' > jwe && clevis decrypt < jwe";
    let said = bash(&path, &guest, round);
    assert_eq!((said.status, said.stdout.as_slice()), (0, &b"a\nb"[..]), "{}", said.stderr);
    let bind = "clevis luks bind -y -k installer -d disk.img countersign '{\"secret\":\"luks/root\"}'";
    let said = bash(&path, &guest, bind);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let open =
        "clevis luks pass -d disk.img -s 1 | cryptsetup open --test-passphrase --key-slot 1 --key-file - disk.img";
    let said = bash(&path, &guest, &format!("set -o pipefail; {open}"));
    assert_eq!(said.status, 0, "{}", said.stderr);
    // Another guest, or this one changed: no passphrase.
    guest.becomes(&format!("[snp]\nmeasurement = \"{}\"", hex::encode([0x11; 48]))).unwrap();
    let said = bash(&path, &guest, &format!("set -o pipefail; {open}"));
    assert_ne!(said.status, 0);
    let said = bash(&path, &guest, "clevis decrypt < jwe");
    assert!(said.status != 0 && said.stdout.is_empty(), "{}", said.stderr);
    assert!(said.stderr.contains("refused: reference.no_match"), "{}", said.stderr);
}

#[test]
fn a_forged_jwe_asks_for_nothing_else() {
    if !can_mount() {
        return;
    }
    if Command::new("jose").output().is_err() {
        return say_skipped("jose");
    }
    let guest = Guest::start("").unwrap();
    let broker = Broker::start(&Setup::default()).unwrap();
    let path = pin(&guest, &broker);
    for header in [
        r#"{"clevis":{"pin":"tang"}}"#,
        r#"{"clevis":{"pin":"countersign","countersign":{}}}"#,
        r#"{"clevis":{"pin":"countersign","countersign":{"secret":"x"}}}"#,
        r#"{"clevis":{"pin":"countersign","countersign":{"secret":"x","version":"1 --broker https://evil"}}}"#,
        r#"{"clevis":{"pin":"countersign","countersign":{"secret":"--broker=https://evil.invalid","version":1}}}"#,
    ] {
        fs::write(guest.path("header"), header).unwrap();
        let script = "printf '%s....' \"$(jose b64 enc -I header)\" | clevis-decrypt-countersign";
        let said = bash(&path, &guest, script);
        assert!(said.status != 0 && said.stdout.is_empty(), "{header}: {}", said.stderr);
        assert!(!said.stderr.contains("evil.invalid:"), "{header}: {}", said.stderr);
    }
}
