//! Keys that a guest's TPM keeps for reboots without the broker: only when settings and operator allow it, only within what the
//! broker said, and only when nothing is heard from the broker.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::{
    broker::{Broker, Setup},
    process::Said,
};
use serde_json::Value;
use softtee::swtpm::SwTpm;

use crate::{
    SECRET,
    machine::{Machine, broker, machine},
};

/// A machine whose settings let its TPM keep keys, and what the operator said of the secret.
struct Guest {
    machine: Machine,
    broker: Broker,
}

impl Guest {
    /// `None` where there is no swtpm.
    fn new(allowed: &[&str]) -> Option<Self> {
        let machine = machine()?;
        let broker = broker(&machine, "automatic");
        let guest = Self { machine, broker };
        guest.settings(true);
        guest.operator(allowed);
        Some(guest)
    }

    fn operator(&self, words: &[&str]) {
        let mut command = self.broker.admin(&["secrets", "offline", "disk-key"]).unwrap();
        Said::by(command.args(words)).unwrap().done().unwrap();
    }

    fn settings(&self, enabled: bool) {
        let directory = self.path("kept");
        let text = format!("[unlock.offline]\nenabled = {enabled}\ndirectory = {directory:?}\nafter = 1\n");
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.machine.event_log().with_file_name(name)
    }

    fn kept(&self) -> PathBuf {
        self.path("kept").join("data.kept")
    }

    fn unlock_by(&self, machine: &Machine, broker: &str, ca: &Path) -> Said {
        let mut command = machine.agent();
        command.args(["--tsm-root", "/nonexistent", "--config"]).arg(self.path("agent.toml"));
        command.args(["unlock", "data", "--secret", "disk-key", "--out", "-", "--console", "/nonexistent"]);
        Said::by(command.args(["--timeout", "3", "--broker", broker, "--broker-ca"]).arg(ca)).unwrap()
    }

    fn unlock(&self) -> Said {
        self.unlock_by(&self.machine, &self.broker.url(), &self.broker.ca())
    }

    /// The broker releases the key.
    fn released(&self) -> Said {
        let said = self.unlock();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
        said
    }

    /// Without the broker: what the machine says when it gets the key.
    fn opens(&self) {
        let said = self.unlock();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
        assert!(said.stderr.contains("without the broker: the key of data"), "{}", said.stderr);
    }

    /// Without the broker: there is no key, and this is why.
    fn stays_closed(&self, why: &str) {
        let said = self.unlock();
        assert_eq!((said.status, said.stdout.as_slice()), (3, &b""[..]), "{}", said.stderr);
        assert!(said.stderr.contains(why), "expected {why:?}: {}", said.stderr);
    }

    fn reboots(&mut self, kernel: &[u8]) {
        self.machine.tpm.restart().unwrap();
        self.machine.boots(kernel);
    }
}

#[test]
fn a_machine_reboots_without_the_broker_as_often_as_it_may() {
    let Some(mut guest) = Guest::new(&["--offline-for", "1h", "--boots", "2"]) else { return };
    guest.released();
    // What is kept holds no key, and the operator sees until when it is.
    let kept = fs::read(guest.kept()).unwrap();
    assert!(!kept.windows(SECRET.len()).any(|window| window == SECRET));
    let decisions = guest.broker.administrator().unwrap().send("GET", "/v1/admin/decisions?limit=1", None).unwrap();
    assert!(decisions.text.contains("\"offline_until\":"), "{}", decisions.text);
    guest.broker.stop().unwrap();
    for _ in 0..2 {
        guest.reboots(b"good kernel");
        guest.opens();
    }
    guest.reboots(b"good kernel");
    guest.stays_closed("TPM2_PolicyCounterTimer failed with TPM_RC_POLICY");
    // A release counts anew, and its file takes the place of the old one.
    guest.broker.restart().unwrap();
    guest.released();
    guest.broker.stop().unwrap();
    guest.reboots(b"good kernel");
    guest.opens();
}

#[test]
fn a_kept_key_opens_under_no_other_image_in_no_other_machine_and_not_when_it_was_changed() {
    let Some(mut guest) = Guest::new(&["--offline-for", "1h"]) else { return };
    guest.released();
    guest.broker.stop().unwrap();
    guest.reboots(b"another kernel");
    guest.stays_closed("expected a kept secret that was made under these PCR values");
    guest.reboots(b"good kernel");
    let other = Machine::boot(SwTpm::start().unwrap());
    let said = guest.unlock_by(&other, &guest.broker.url(), &guest.broker.ca());
    assert_eq!((said.status, said.stdout.as_slice()), (3, &b""[..]), "{}", said.stderr);
    assert!(said.stderr.contains("TPM_RC_INTEGRITY"), "{}", said.stderr);

    // Whoever has the disk writes a later end.
    let good = fs::read(guest.kept()).unwrap();
    let mut file: Value = serde_json::from_slice(&good).unwrap();
    let terms = BASE64_URL_SAFE_NO_PAD.decode(file["terms"].as_str().unwrap()).unwrap();
    let mut terms: Value = serde_json::from_slice(&terms).unwrap();
    terms["until"] = 4_000_000_000_u64.into();
    file["terms"] = BASE64_URL_SAFE_NO_PAD.encode(terms.to_string()).into();
    fs::write(guest.kept(), file.to_string()).unwrap();
    guest.stays_closed("found one that was changed");
    fs::write(guest.kept(), good).unwrap();
    guest.opens();
}

#[test]
fn settings_and_operator_must_both_allow_it_and_time_ends_it() {
    let Some(mut guest) = Guest::new(&["--offline-for", "1s"]) else { return };
    guest.settings(false);
    guest.released();
    assert!(!guest.kept().exists(), "kept although the settings do not say so");
    guest.settings(true);
    guest.operator(&["--never"]);
    guest.released();
    assert!(!guest.kept().exists(), "kept although the operator does not allow it");

    guest.operator(&["--offline-for", "1s"]);
    guest.released();
    sleep(Duration::from_millis(1100));
    guest.broker.stop().unwrap();
    // By the TPM's own clock.
    guest.stays_closed("TPM2_PolicyCounterTimer failed with TPM_RC_POLICY");
    guest.broker.restart().unwrap();
    guest.operator(&["--offline-for", "8s"]);
    guest.released();
    let state = guest.machine.tpm.state_when_off().unwrap();
    guest.broker.stop().unwrap();
    sleep(Duration::from_secs(8));
    // To a TPM without power no time passes; to the machine it does.
    guest.machine.tpm.roll_back(&state).unwrap();
    guest.machine.boots(b"good kernel");
    guest.stays_closed("expected a kept key whose time is not over");

    guest.broker.restart().unwrap();
    guest.operator(&["--offline-for", "30d"]);
    guest.released();
    guest.broker.stop().unwrap();
    guest.opens();
    guest.settings(false);
    guest.stays_closed("no answer from the broker");
    // Taken back: the next release drops what is kept.
    guest.settings(true);
    guest.broker.restart().unwrap();
    guest.operator(&["--never"]);
    let said = guest.released();
    assert!(said.stderr.contains("is not kept any more") && !guest.kept().exists(), "{}", said.stderr);
    let mut too_long = guest.broker.admin(&["secrets", "offline", "disk-key", "--offline-for", "31d"]).unwrap();
    assert_eq!(Said::by(&mut too_long).unwrap().status, 1);
}

#[test]
fn an_answer_is_never_passed_over() {
    let Some(guest) = Guest::new(&["--offline-for", "1h"]) else { return };
    guest.released();
    // Another server: no key, and nothing is dropped at its word.
    let other = Broker::start(&Setup::default()).unwrap();
    let said = guest.unlock_by(&guest.machine, &other.url(), &guest.broker.ca());
    assert_eq!((said.status, said.stdout.as_slice()), (5, &b""[..]), "{}", said.stderr);
    assert!(guest.kept().exists());
    // The broker refuses: no key, and the kept one is gone.
    guest.machine.measures_more();
    let said = guest.unlock();
    assert_eq!((said.status, said.stdout.as_slice()), (1, &b""[..]), "{}", said.stderr);
    assert!(said.stderr.contains("reference.no_match") && !guest.kept().exists(), "{}", said.stderr);
}
