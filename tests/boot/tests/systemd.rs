//! Real systemd and systemd-cryptsetup, with the units of the agent's package: `/etc/crypttab` names a volume and no key file.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests; what systemd says is for people")]

use boot::{
    deployment::{Deployment, Plan, RAN},
    files::{BootFiles, Part},
};

const PLAN: fn() -> Plan<'static> = || Plan { systemd: true, ..Plan::default() };

/// What the workload, or what runs in its place, says last.
const DONE: &str = "workload: done";

#[test]
fn systemd_cryptsetup_opens_a_volume_with_the_key_of_our_socket() {
    let deployment = Deployment::new(&PLAN()).unwrap();
    let console = deployment.boot().unwrap().wait_for(DONE).unwrap();
    println!("{console}");
    for told in [RAN, "systemd: Result=success ActiveState=active", "the key of data is handed over"] {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    let reported = deployment.last_decision().unwrap();
    let reported = reported.pointer("/claims/measurement/launch").cloned();
    assert_eq!(reported.as_ref(), deployment.predicted("snp").unwrap().get("launch"));
    assert!(deployment.inventory().unwrap().contains("secret/disk-key"));
}

/// systemd-cryptsetup gets no byte, asks nobody for a passphrase, and the person at the console reads why.
#[test]
fn systemd_cryptsetup_gets_no_key_when_the_broker_refuses() {
    let deployment = Deployment::new(&PLAN()).unwrap();
    let changed = BootFiles::with_changed(&deployment.image, Part::CommandLine).unwrap();
    let mut machine = deployment.boot_files(&changed, &changed.hash_table().unwrap()).unwrap();
    let console = machine.wait_for(DONE).unwrap();
    let decision = deployment.last_decision().unwrap();
    let id = decision.get("id").and_then(serde_json::Value::as_str).unwrap();
    let told =
        ["workload: did not run", "ActiveState=failed", "the volume data stays closed", "refused: reference.", id];
    for told in told {
        assert!(console.contains(told), "expected {told:?} on the console:\n{console}");
    }
    assert!(!console.contains(RAN) && !console.contains("passphrase"), "{console}");
    assert!(!deployment.inventory().unwrap().contains("disk-key"));
}
