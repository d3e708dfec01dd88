//! How a machine's key gets into the register, and what it may then.

use serde_json::Value;
use softtee::swtpm::{SwTpm, TpmPki, is_installed};

use crate::{
    SECRET,
    machine::{Machine, broker, machine},
};

#[test]
fn a_new_machine_enrols_itself_and_gets_its_key() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let first = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!((first.status, first.stdout.as_slice()), (0, SECRET), "{}", first.stderr);
    assert!(first.stderr.contains("enrolling it"), "{}", first.stderr);
    // From then on the broker knows it.
    let second = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!((second.status, second.stdout.as_slice()), (0, SECRET), "{}", second.stderr);
    assert!(!second.stderr.contains("enrolling"), "{}", second.stderr);
    let result = machine.run(&broker, &["attest"]).done().unwrap();
    assert_eq!(result.trim().split('.').count(), 3);
}

#[test]
fn both_kinds_of_keys_work_and_are_two_keys() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let enrol = |kind: &str| -> Value {
        let enrolled = machine.run(&broker, &["--tpm-ak", kind, "enroll"]).done().unwrap();
        serde_json::from_str(&enrolled).unwrap()
    };
    let (ecc, rsa) = (enrol("ecc-p256"), enrol("rsa-2048"));
    assert_eq!((&ecc["state"], &ecc["provenance"]), (&"enrolled".into(), &"ek-activated".into()));
    assert_ne!(ecc["ak_name"], rsa["ak_name"]);
    assert_eq!(enrol("ecc-p256"), ecc, "enrolled again is the same key");
    for kind in ["ecc-p256", "rsa-2048"] {
        let said = machine.run(&broker, &["--tpm-ak", kind, "--tpm-enroll", "never", "get", "disk-key"]);
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    }
}

#[test]
fn the_operator_decides_where_the_operator_wants_to() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "operator");
    let waits = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!(waits.status, 1, "{}", waits.stderr);
    assert!(waits.stderr.contains("waits for the operator's approval"), "{}", waits.stderr);
    let enrolled = machine.run(&broker, &["enroll"]).done().unwrap();
    let enrolled: Value = serde_json::from_str(&enrolled).unwrap();
    assert_eq!(enrolled["state"], "awaiting-approval");
    let still = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!(still.status, 1);
    assert!(still.stderr.contains("authenticate.tpm.ak_awaiting_approval"), "{}", still.stderr);
    let name = enrolled["ak_name"].as_str().unwrap();
    let mut approve = broker.admin(&["enrollments", "approve", name, "--owner", "team-a"]).unwrap();
    e2e::process::Said::by(&mut approve).unwrap().done().unwrap();
    let said = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    // And takes it back.
    let mut revoke = broker.admin(&["enrollments", "revoke", name, "--reason", "stolen"]).unwrap();
    e2e::process::Said::by(&mut revoke).unwrap().done().unwrap();
    let revoked = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!(revoked.status, 1);
    assert!(revoked.stderr.contains("authenticate.tpm.ak_revoked"), "{}", revoked.stderr);
}

#[test]
fn a_machine_that_may_not_enrol_itself_is_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let said = machine.run(&broker, &["--tpm-enroll", "never", "get", "disk-key"]);
    assert_eq!(said.status, 1, "{}", said.stderr);
    assert!(said.stderr.contains("authenticate.tpm.ak_unproven"), "{}", said.stderr);
}

#[test]
fn a_tpm_of_another_maker_is_refused() {
    let Some(known) = machine() else { return };
    let broker = broker(&known, "automatic");
    let foreign = SwTpm::bare().unwrap();
    foreign.certify(&TpmPki::rogue()).unwrap();
    let foreign = Machine::boot(foreign);
    let said = foreign.run(&broker, &["get", "disk-key"]);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()));
    assert!(said.stderr.contains("refused: enroll.ek."), "{}", said.stderr);
}

#[test]
fn a_tpm_without_a_certificate_says_what_is_missing() {
    if !is_installed() {
        return;
    }
    let machine = Machine::boot(SwTpm::bare().unwrap());
    let broker = broker(&machine, "automatic");
    let said = machine.run(&broker, &["enroll"]);
    assert_eq!(said.status, 4, "{}", said.stderr);
    assert!(said.stderr.contains("expected a certificate of the TPM's endorsement key"), "{}", said.stderr);
}
