//! Slots for the broker's key: enrolment, change of the key, and what is left when power fails at any step of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use e2e::{
    broker::{Broker, Setup, WORKLOAD},
    guest::{Guest, can_mount},
    process::Said,
    random::Seeded,
};
use serde_json::Value;

use crate::disk;

/// The key that the installer left.
const INSTALLER: &[u8; 32] = b"installer's key of 32 bytes long";

/// A guest with a disk that the installer's key opens, and a broker that has a key for it.
struct Case {
    guest: Guest,
    broker: Broker,
    image: PathBuf,
}

impl Case {
    /// `None` where this machine cannot do it.
    fn new(guest_rotates: bool) -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let guest = Guest::start("").unwrap();
        let image = guest.path("disk.img");
        if !disk(&image, INSTALLER) {
            return None;
        }
        fs::write(guest.path("installer"), INSTALLER).unwrap();
        let broker = Broker::start(&Setup::default()).unwrap();
        let mut generate = broker.admin(&["secrets", "generate", "luks/data", "--workload", WORKLOAD]).unwrap();
        if guest_rotates {
            generate.arg("--guest-rotates");
        }
        Said::by(&mut generate).unwrap().done().unwrap();
        Some(Self { guest, broker, image })
    }

    /// `countersign-agent luks ACT data`.
    fn luks(&self, act: &str, more: &[&str]) -> Command {
        let mut command = self.guest.agent().unwrap();
        command.args(["luks", act, "data", "--device"]).arg(&self.image);
        command.arg("--runtime-directory").arg(self.guest.path("run"));
        if act != "status" {
            command.args(["--broker", &self.broker.url(), "--broker-ca"]).arg(self.broker.ca());
        }
        command.args(more);
        command
    }

    fn enroll(&self, more: &[&str]) -> Command {
        let mut command = self.luks("enroll", more);
        command.arg("--key-file").arg(self.guest.path("installer"));
        command
    }

    fn done(&self, act: &str) {
        let said = Said::by(&mut self.luks(act, &[])).unwrap();
        assert_eq!(said.status, 0, "{act}: {}", said.stderr);
    }

    fn status(&self) -> Value {
        let said = Said::by(&mut self.luks("status", &[])).unwrap();
        serde_json::from_str(&said.done().unwrap()).unwrap()
    }

    /// What the broker releases under the name alone.
    fn key(&self) -> Vec<u8> {
        let said = self.guest.get(&self.broker, "luks/data", &[]).unwrap();
        assert_eq!(said.status, 0, "{}", said.stderr);
        said.stdout
    }

    /// Whether `key` opens the disk, as cryptsetup says.
    fn opens(&self, key: &[u8]) -> bool {
        let file = self.guest.path("try");
        fs::write(&file, key).unwrap();
        let mut open = Command::new("cryptsetup");
        open.args(["open", "--test-passphrase", "--type", "luks2", "--key-file"]).arg(&file).arg(&self.image);
        open.stderr(Stdio::null()).status().unwrap().success()
    }

    fn versions(&self) -> Vec<(u64, bool)> {
        let mut list = self.broker.admin(&["secrets", "get-metadata", "luks/data"]).unwrap();
        let said = Said::by(list.args(["--format", "json"])).unwrap().done().unwrap();
        let versions: Vec<Value> = serde_json::from_str(&said).unwrap();
        versions.iter().map(|one| (one["version"].as_u64().unwrap(), one["staged"].as_bool().unwrap())).collect()
    }

    /// What the name of the secret stands for; beside it at most one version that was staged and not put to use.
    fn version(&self) -> u64 {
        let versions = self.versions();
        let (current, staged): (Vec<(u64, bool)>, Vec<_>) = versions.iter().partition(|(_, staged)| !staged);
        assert!(current.len() == 1 && staged.len() <= 1, "{versions:?}");
        current[0].0
    }

    fn is_steady(&self, version: u64, slots: usize) {
        let status = self.status();
        assert_eq!(status["journal"]["state"], "steady", "{status}");
        assert_eq!(status["journal"]["version"], version, "{status}");
        assert_eq!(status["slots"].as_array().unwrap().len(), slots, "{status}");
        assert_eq!(self.version(), version);
        assert!(self.opens(&self.key()));
    }
}

#[test]
fn the_brokers_key_gets_a_slot_and_then_the_disk_is_its_own() {
    let Some(case) = Case::new(false) else { return };
    let before = Said::by(&mut case.luks("rotate", &[])).unwrap();
    assert!(
        before.status == 7 && before.stderr.contains("what to do: run: countersign-agent luks enroll"),
        "{}",
        before.stderr
    );
    let said = Said::by(&mut case.enroll(&["--wipe-others"])).unwrap();
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(said.stderr.ends_with("version 1 of the broker's key opens slot 1 of data\n"), "{}", said.stderr);
    case.is_steady(1, 1);
    assert!(!case.opens(INSTALLER));
    assert_eq!(case.key().len(), 32);
    // Not again, and not with a key that opens nothing.
    let again = Said::by(&mut case.enroll(&[])).unwrap();
    assert!(again.status == 7 && again.stderr.contains("expected a disk without the broker's key"), "{}", again.stderr);
    // The operator did not allow the guest to change it.
    let rotated = Said::by(&mut case.luks("rotate", &[])).unwrap();
    assert!(rotated.status == 1 && rotated.stderr.contains("refused: release.rotation.operator"), "{}", rotated.stderr);
    case.is_steady(1, 1);
}

#[test]
fn the_key_changes_without_a_reboot() {
    let Some(case) = Case::new(true) else { return };
    Said::by(&mut case.enroll(&[])).unwrap().done().unwrap();
    let first = case.key();
    case.done("rotate");
    case.is_steady(2, 2);
    assert_ne!(case.key(), first);
    assert!(!case.opens(&first), "the old key still opens the disk");
    assert!(case.opens(INSTALLER), "another slot was touched");
    let old = case.guest.get(&case.broker, "luks/data", &["--version", "1"]).unwrap();
    assert!(old.status == 1, "the old version is still released: {}", old.stderr);
    // What a guest changes, the operator does not overwrite by mistake.
    let file = case.guest.path("installer");
    let put = ["secrets", "put", "luks/data", "--workload", WORKLOAD, "--file", file.to_str().unwrap()];
    let said = Said::by(&mut case.broker.admin(&put).unwrap()).unwrap();
    assert!(said.status != 0 && said.stderr.contains("its guest changes"), "{}", said.stderr);
    case.done("recover");
    case.is_steady(2, 2);
}

/// cryptsetup, which at its `at`-th run kills the agent: before it does anything, or with itself in the middle.
fn deadly(case: &Case, at: u32, during: Option<u32>) -> PathBuf {
    let (path, count) = (case.guest.path("deadly"), case.guest.path("count"));
    fs::write(&count, "0").unwrap();
    let deed = match during {
        None => "kill -9 $PPID; exit 9".to_owned(),
        Some(milliseconds) => {
            format!("exec 3<&0; /usr/sbin/cryptsetup \"$@\" <&3 & sleep 0.{milliseconds:03}; kill -9 $! $PPID; exit 9")
        }
    };
    let script = format!(
        "#!/bin/sh\nn=$(($(cat {0}) + 1)); echo $n > {0}\nif [ $n = {at} ]; then {deed}; fi\nexec /usr/sbin/cryptsetup \"$@\"\n",
        count.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run_deadly(mut command: Command, program: &Path) -> i32 {
    Said::by(command.arg("--cryptsetup").arg(program)).unwrap().status
}

#[test]
fn power_may_fail_at_every_step_of_a_change() {
    let Some(case) = Case::new(true) else { return };
    Said::by(&mut case.enroll(&[])).unwrap().done().unwrap();
    let (mut step, mut version) = (0, 1);
    loop {
        step += 1;
        let ended = run_deadly(case.luks("rotate", &[]), &deadly(&case, step, None));
        assert!(case.opens(&case.key()), "killed at step {step}: what the broker releases does not open the disk");
        if ended == 0 {
            break;
        }
        case.done("recover");
        version = case.version();
        case.is_steady(version, 2);
    }
    assert!(step > 12, "only {step} steps");
    case.is_steady(version + 1, 2);
}

#[test]
fn power_may_fail_in_the_middle_of_every_step_of_a_change() {
    let Some(case) = Case::new(true) else { return };
    Said::by(&mut case.enroll(&[])).unwrap().done().unwrap();
    let mut random = Seeded::new(u64::from(std::process::id()));
    for round in 0..16 {
        let (step, after) = (random.below(20) + 1, random.below(60));
        let (step, after) = (u32::try_from(step).unwrap(), u32::try_from(after).unwrap());
        let seed = format!("round {round}, step {step}, after {after} ms");
        // Recovery may be interrupted as well.
        for act in ["rotate", "recover"] {
            run_deadly(case.luks(act, &[]), &deadly(&case, step, Some(after)));
            assert!(case.opens(&case.key()), "{seed}, {act}: what the broker releases does not open the disk");
        }
        case.done("recover");
        let version = case.version();
        case.is_steady(version, 2);
    }
}

#[test]
fn power_may_fail_at_every_step_of_an_enrolment() {
    let Some(mut case) = Case::new(true) else { return };
    for step in 1.. {
        case.image = case.guest.path(&format!("disk-{step}.img"));
        assert!(disk(&case.image, INSTALLER));
        let ended = run_deadly(case.enroll(&["--wipe-others"]), &deadly(&case, step, None));
        let key = case.key();
        assert!(case.opens(INSTALLER) || case.opens(&key), "killed at step {step}: nothing opens the disk");
        if ended != 0 {
            let recovered = Said::by(&mut case.luks("recover", &[])).unwrap();
            if recovered.status != 0 {
                let words = "what to do: run: countersign-agent luks enroll";
                assert!(recovered.stderr.contains(words), "{}", recovered.stderr);
                Said::by(&mut case.enroll(&["--wipe-others"])).unwrap().done().unwrap();
            }
        }
        case.is_steady(1, 1);
        fs::remove_file(&case.image).unwrap();
        if ended == 0 {
            assert!(step > 12, "only {step} steps");
            break;
        }
    }
}
