//! The Debian package: what is in it, and that it installs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{binaries::binary, process::Said};

use crate::say_skipped;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn package(out: &Path) -> PathBuf {
    let mut command = Command::new(project().join("scripts/package"));
    command.arg("--agent").arg(binary("countersign-agent").unwrap()).arg("--out").arg(out);
    let said = Said::by(command.env("SOURCE_DATE_EPOCH", "1767225600")).unwrap().done().unwrap();
    said.trim_end().into()
}

#[test]
fn the_package_holds_everything_installs_and_is_the_same_twice() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return say_skipped("dpkg-deb");
    }
    let directory = tempfile::tempdir().unwrap();
    let deb = package(&directory.path().join("one"));
    assert_eq!(std::fs::read(&deb).unwrap(), std::fs::read(package(&directory.path().join("two"))).unwrap());
    let listing = Said::by(Command::new("dpkg-deb").arg("--contents").arg(&deb)).unwrap().done().unwrap();
    for file in [
        "-rwxr-xr-x root/root ./usr/bin/countersign-agent",
        "-rwxr-xr-x root/root ./usr/bin/clevis-encrypt-countersign",
        "-rwxr-xr-x root/root ./usr/bin/clevis-decrypt-countersign",
        "-rw-r--r-- root/root ./usr/lib/systemd/system/countersign-unlock@.socket",
        "-rw-r--r-- root/root ./usr/lib/systemd/system/countersign-unlock@.service",
        "-rwxr-xr-x root/root ./usr/lib/dracut/modules.d/95countersign/module-setup.sh",
        "-rwxr-xr-x root/root ./usr/share/initramfs-tools/hooks/countersign",
        "-rwxr-xr-x root/root ./usr/share/initramfs-tools/scripts/init-premount/countersign",
        "-rw-r--r-- root/root ./usr/share/doc/countersign-agent/examples/crypttab",
        "-rw-r--r-- root/root ./usr/share/doc/countersign-agent/examples/agent.toml",
        "-rw-r--r-- root/root ./usr/share/man/man1/countersign-agent-unlock.1.gz",
        "-rw-r--r-- root/root ./usr/share/man/man1/countersign-agent-luks-rotate.1.gz",
        "-rw-r--r-- root/root ./usr/share/man/man1/clevis-encrypt-countersign.1.gz",
    ] {
        let (mode, path) = file.split_once(" ./").unwrap();
        let found = listing.lines().any(|line| line.starts_with(mode) && line.ends_with(&format!(" ./{path}")));
        assert!(found, "expected {file} in\n{listing}");
    }
    // A root of its own, with an empty database: what it depends on is this machine's.
    let root = directory.path().join("root");
    for part in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log", "usr/bin", "usr/lib"]
    {
        std::fs::create_dir_all(root.join(part)).unwrap();
    }
    for part in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        std::fs::write(root.join(part), "").unwrap();
    }
    let mut install = Command::new("dpkg");
    install.arg(format!("--root={}", root.display())).args(["--force-depends", "--force-script-chrootless"]);
    let said = Said::by(install.arg("--install").arg(&deb)).unwrap();
    assert_eq!(said.status, 0, "{}", said.stderr);
    let version = Said::by(Command::new(root.join("usr/bin/countersign-agent")).arg("--version")).unwrap();
    assert!(version.done().unwrap().starts_with("countersign-agent "));
}

#[test]
fn the_units_are_what_systemd_reads() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return say_skipped("systemd-analyze");
    }
    let directory = tempfile::tempdir().unwrap();
    // As they would be installed, with the program where they look for it.
    for unit in ["countersign-unlock@.socket", "countersign-unlock@.service"] {
        let text = std::fs::read_to_string(project().join("guest-agent/systemd").join(unit)).unwrap();
        let program = binary("countersign-agent").unwrap();
        let text = text.replace("/usr/bin/countersign-agent", program.to_str().unwrap());
        std::fs::write(directory.path().join(unit), text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    for unit in ["countersign-unlock@data.socket", "countersign-unlock@data.service"] {
        verify.arg(directory.path().join(unit));
    }
    let said = Said::by(&mut verify).unwrap();
    assert!(said.status == 0 && said.stderr.is_empty(), "{}", said.stderr);
}
