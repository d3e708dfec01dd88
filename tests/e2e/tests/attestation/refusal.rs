use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
};

use crate::{SECRET, assert_refused, decision};

/// A guest that is refused: what it is, and the code that names the cause.
const REFUSED: [(&str, &str); 5] = [
    // Another image.
    (
        "[snp]\nmeasurement = \"4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\"",
        "reference.",
    ),
    // A guest that its host may debug: policy bit 19.
    ("[snp]\npolicy = 0xb0137", "baseline.snp.debug"),
    // Below an SVSM, which is somebody else's code.
    ("[snp]\nvmpl = 1", "baseline.snp.vmpl"),
    // A bit of the measurement changed after signing.
    ("[faults]\nflip_byte = 0x90", "authenticate.snp.signature"),
    // A chip that an attacker's imitation of the vendor vouches for.
    (
        "[snp]\nrogue = true\nhardware_id = \"66666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666\"",
        "authenticate.snp.",
    ),
];

#[test]
fn wrong_guests_are_refused_and_the_reason_is_explained() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let guest = Guest::start("").unwrap();
    for (state, code) in REFUSED {
        guest.becomes(state).unwrap();
        let said = guest.get(&broker, "disk-key", &[]).unwrap();
        assert_refused(&said, code);
        let explained = broker.explain(decision(&said)).unwrap();
        assert!(explained.contains(code), "{state}: {explained}");
    }
    guest.becomes("").unwrap();
    assert_eq!(guest.get(&broker, "disk-key", &[]).unwrap().status, 0);
}

#[test]
fn a_tcb_under_the_floor_is_refused() {
    if !can_mount() {
        return;
    }
    let floor = "[baseline.snp.minimum_tcb.milan.reported]\nbootloader = 0\ntee = 0\nsnp = 0\nmicrocode = 255\n";
    let broker = Broker::start(&Setup { more: floor, ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let said = Guest::start("").unwrap().get(&broker, "disk-key", &[]).unwrap();
    assert_refused(&said, "baseline.snp.tcb_reported");
}

#[test]
fn simulated_hardware_is_refused_without_an_explicit_anchor() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup { trusts_softtee: false, ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let said = Guest::start("").unwrap().get(&broker, "disk-key", &[]).unwrap();
    assert_refused(&said, "authenticate.snp.");
}

#[test]
fn simulated_hardware_gets_nothing_under_the_built_in_release_policy() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup { releases_to_simulated: false, ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let said = Guest::start("").unwrap().get(&broker, "disk-key", &[]).unwrap();
    assert_refused(&said, "release.policy.denied");
    assert!(said.stderr.contains("reason: the platform is simulated"), "{}", said.stderr);
}

#[test]
fn a_secret_of_another_workload_looks_like_one_that_does_not_exist() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let guest = Guest::start("").unwrap();
    assert_refused(&guest.get(&broker, "unknown", &[]).unwrap(), "release.policy.denied");
}
