//! SEV-SNP beside a vTPM that the host runs, with an attestation key that the cloud certified: softtee's report and a real TPM.

use e2e::{
    broker::Broker,
    guest::{Guest, can_mount},
    process::Said,
};
use softtee::swtpm::{SwTpm, TpmPki, is_installed, leave};
use tee::tpm::{AkKind, NvIndex};

use crate::{
    SECRET,
    machine::{Machine, broker, welcome_what_runs_it},
};

/// Certificate and template of the attestation key, as Google Cloud leaves them.
const CERTIFICATE: NvIndex = NvIndex(0x01C1_0002);
const TEMPLATE: NvIndex = NvIndex(0x01C1_0003);

/// A machine whose host certified the attestation key; by `pki`.
fn hosted(pki: &TpmPki) -> Machine {
    let tpm = SwTpm::bare().unwrap();
    {
        let client = tpm.connect().unwrap();
        let ak = client.create_ak(AkKind::EccP256).unwrap();
        leave(&client, CERTIFICATE, &pki.ak_certificate(ak.public()).unwrap().der()).unwrap();
        leave(&client, TEMPLATE, AkKind::EccP256.template().as_bytes()).unwrap();
    }
    Machine::boot(tpm)
}

fn get(guest: &Guest, machine: &Machine, broker: &Broker) -> Said {
    let mut agent = machine.agent();
    agent.arg("--tsm-root").arg(guest.path("tsm")).args(["get", "disk-key", "--timeout", "20", "--broker"]);
    Said::by(agent.arg(broker.url()).arg("--broker-ca").arg(broker.ca())).unwrap()
}

#[test]
fn hardware_and_a_certified_vtpm_attest_together() {
    if !can_mount() || !is_installed() {
        return;
    }
    let machine = hosted(&TpmPki::new());
    let broker = broker(&machine, "operator");
    let guest = Guest::start("").unwrap();
    let said = get(&guest, &machine, &broker);
    assert_eq!(said.status, 1, "{}", said.stderr);
    assert!(said.stderr.contains("paravisor_measurement"), "{}", said.stderr);
    welcome_what_runs_it(&broker);
    // Nothing has to be enrolled: the certificate proves the key.
    let said = get(&guest, &machine, &broker);
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    // The registers count, not the launch alone.
    machine.measures_more();
    let said = get(&guest, &machine, &broker);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.contains("reference.no_match"), "{}", said.stderr);
}

#[test]
fn a_key_that_somebody_else_certified_is_refused() {
    if !can_mount() || !is_installed() {
        return;
    }
    let machine = hosted(&TpmPki::rogue());
    let broker = broker(&machine, "automatic");
    welcome_what_runs_it(&broker);
    let said = get(&Guest::start("").unwrap(), &machine, &broker);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(
        said.stderr.contains("refused: authenticate.tpm.") || said.stderr.contains("endorsement.tpm."),
        "{}",
        said.stderr
    );
}
