//! A guest under an SVSM: softtee's SNP report and manifest, the key of a real TPM in it.

use e2e::{
    broker::Broker,
    guest::{Guest, can_mount},
    process::Said,
};
use softtee::swtpm::{SwTpm, is_installed};
use tee::tpm::EkKind;

use crate::{
    SECRET,
    machine::{Machine, broker, welcome_what_runs_it},
};

/// The state of a guest whose SVSM says that its vTPM has this endorsement key.
fn state(machine: &Machine) -> String {
    let tpm = machine.tpm.connect().unwrap();
    let ek = tpm.create_ek(EkKind::Rsa2048).unwrap();
    format!("[snp]\nvmpl = 2\nservice_manifest = \"{}\"\n", hex::encode(ek.public().as_bytes()))
}

fn get(guest: &Guest, machine: &Machine, broker: &Broker, more: &[&str]) -> Said {
    let mut agent = machine.agent();
    agent.arg("--tsm-root").arg(guest.path("tsm")).args(["get", "disk-key", "--timeout", "20", "--broker"]);
    agent.arg(broker.url()).arg("--broker-ca").arg(broker.ca()).args(more);
    Said::by(&mut agent).unwrap()
}

#[test]
fn a_guest_under_an_svsm_enrols_by_its_report() {
    if !can_mount() || !is_installed() {
        return;
    }
    // No certificate: the report is what proves the TPM.
    let machine = Machine::boot(SwTpm::bare().unwrap());
    let broker = broker(&machine, "automatic");
    let guest = Guest::start(&state(&machine)).unwrap();
    // An SVSM that nobody knows may have made up its TPM.
    let said = get(&guest, &machine, &broker, &[]);
    assert_eq!(said.status, 1, "{}", said.stderr);
    assert!(said.stderr.contains("paravisor_measurement"), "{}", said.stderr);
    welcome_what_runs_it(&broker);
    let said = get(&guest, &machine, &broker, &[]);
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    let said = get(&guest, &machine, &broker, &["--seal", "tpm"]);
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
}

#[test]
fn a_tpm_that_the_svsm_does_not_run_is_refused() {
    if !can_mount() || !is_installed() {
        return;
    }
    let (machine, beside) = (Machine::boot(SwTpm::bare().unwrap()), Machine::boot(SwTpm::start().unwrap()));
    let broker = broker(&machine, "automatic");
    welcome_what_runs_it(&broker);
    // The report speaks of one TPM, the quote is by another, which the host may have beside it.
    let guest = Guest::start(&state(&machine)).unwrap();
    let said = get(&guest, &beside, &broker, &[]);
    assert_eq!(said.status, 1, "{}", said.stderr);
    assert!(said.stderr.contains("refused: enroll.ek."), "{}", said.stderr);
    // Enrolled by its maker's certificate it is still not the TPM of the report.
    beside.run(&broker, &["enroll"]).done().unwrap();
    let said = get(&guest, &beside, &broker, &[]);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.contains("refused: authenticate."), "{}", said.stderr);
}
