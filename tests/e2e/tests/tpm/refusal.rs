//! What an attacker tries who has a genuine TPM, and root on its machine.

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    tpm::PcrSelection,
};
use softtee::swtpm::{SwTpm, TpmPki};
use tee::tpm::{AkKind, Hierarchy, Pcrs, PublicTemplate};

use crate::{
    boot_log::BootLog,
    machine::{Attacker, Forged, Machine, agents_key, broker, enrol_request, machine},
};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// A key of the agent's template but for the bit that makes it sign what the TPM made only.
fn unrestricted() -> PublicTemplate {
    let mut template = AkKind::EccP256.template().as_bytes().to_vec();
    // objectAttributes stand at 4; bit 16 is restricted.
    template[5] &= 0xFE;
    PublicTemplate::new(template)
}

#[test]
fn a_key_of_another_machine_is_refused() {
    let Some(known) = machine() else { return };
    let broker = broker(&known, "automatic");
    known.run(&broker, &["enroll"]).done().unwrap();
    let other = Machine::boot(SwTpm::start().unwrap());
    // Honest evidence of a machine that nobody enrolled.
    let attacker = Attacker::new(&broker);
    let tpm = other.tpm.connect().unwrap();
    let theirs = agents_key(&tpm);
    let refused = attacker.send(&broker, &attacker.honest(&tpm, &theirs), false);
    assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.ak_unproven"));
    // The name of the known key over a quote of the other one.
    let known_key = agents_key(&known.tpm.connect().unwrap()).public().clone();
    let attacker = Attacker::new(&broker);
    let honest = attacker.honest(&tpm, &theirs);
    let refused = attacker.send(&broker, &Forged { ak_public: known_key.as_bytes(), ..honest }, false);
    assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.signature"));
}

#[test]
fn a_key_that_signs_anything_is_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let tpm = machine.tpm.connect().unwrap();
    let key = tpm.create_primary(Hierarchy::Endorsement, &unrestricted()).unwrap();
    let refused = enrol_request(&broker, &tpm, &TpmPki::new(), key.public().as_bytes());
    assert_eq!((refused.status, refused.code()), (403, "enroll.ak.attributes"));
    let attacker = Attacker::new(&broker);
    let refused = attacker.send(&broker, &attacker.honest(&tpm, &key), false);
    assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.ak_attributes"));
}

#[test]
fn other_selections_than_the_demanded_one_are_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["enroll"]).done().unwrap();
    let tpm = machine.tpm.connect().unwrap();
    let ak = agents_key(&tpm);
    let some = |bank, pcrs: Vec<u8>| PcrSelection { bank, pcrs: pcrs.into_iter().collect() };
    // PCR 16 can be reset and set to anything: here it stands where PCR 4 is expected.
    let replaced = vec![some(SHA256, (0..4).collect()), some(SHA256, vec![16]), some(SHA256, (5..24).collect())];
    for (name, selections, bank) in [
        ("a resettable PCR in another's place", replaced, SHA256),
        ("a few PCRs", vec![some(SHA256, vec![0, 7])], SHA256),
        ("the SHA-384 bank", vec![some(HashAlgorithm::Sha384, (0..24).collect())], HashAlgorithm::Sha384),
        ("the SHA-1 bank", vec![some(HashAlgorithm::Sha1, (0..24).collect())], HashAlgorithm::Sha1),
    ] {
        assert!(tpm.pcr_banks().unwrap().contains_key(&bank), "expected a TPM with {name}");
        let attacker = Attacker::new(&broker);
        let quote = tpm.quote(&ak, &attacker.binding().0, &selections).unwrap();
        let values = tpm.pcr_read(&Pcrs::all(bank)).unwrap();
        let forged = Forged { ak_public: ak.public().as_bytes(), quote, values, event_log: None };
        let refused = attacker.send(&broker, &forged, false);
        assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.pcr_selection"), "{name}");
    }
}

#[test]
fn a_quote_for_another_challenge_is_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["enroll"]).done().unwrap();
    let tpm = machine.tpm.connect().unwrap();
    let ak = agents_key(&tpm);
    let (old, fresh) = (Attacker::new(&broker), Attacker::new(&broker));
    let refused = fresh.send(&broker, &old.honest(&tpm, &ak), false);
    assert_eq!((refused.status, refused.code()), (403, "binding.tpm.extra_data"));
}

#[test]
fn values_that_were_not_quoted_are_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["enroll"]).done().unwrap();
    let tpm = machine.tpm.connect().unwrap();
    let ak = agents_key(&tpm);
    let attacker = Attacker::new(&broker);
    let mut forged = attacker.honest(&tpm, &ak);
    forged.values.insert(11, Digest::filled(SHA256, 5));
    let refused = attacker.send(&broker, &forged, false);
    assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.pcr_digest"));
}

#[test]
fn a_log_that_does_not_lead_to_the_registers_is_refused() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["enroll"]).done().unwrap();
    let tpm = machine.tpm.connect().unwrap();
    let ak = agents_key(&tpm);
    let attacker = Attacker::new(&broker);
    let forged =
        Forged { event_log: Some(BootLog::of(b"another kernel").bytes().to_vec()), ..attacker.honest(&tpm, &ak) };
    let refused = attacker.send(&broker, &forged, false);
    assert_eq!((refused.status, refused.code()), (403, "authenticate.tpm.log_replay"));
}

#[test]
fn another_kernel_is_not_the_reference() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["get", "disk-key"]).done().unwrap_or_default();
    let mut other = machine;
    other.tpm.restart().unwrap();
    other.boots(b"another kernel");
    let said = other.run(&broker, &["get", "disk-key"]);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.contains("reference.no_match"), "{}", said.stderr);
    other.tpm.restart().unwrap();
    other.boots(b"good kernel");
    let said = other.run(&broker, &["get", "disk-key"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
}

#[test]
fn a_machine_that_was_set_back_is_refused() {
    let Some(mut machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let earlier = machine.tpm.state_when_off().unwrap();
    for _ in 0..2 {
        machine.tpm.restart().unwrap();
        machine.boots(b"good kernel");
    }
    assert_eq!(machine.run(&broker, &["get", "disk-key"]).status, 0);
    machine.tpm.roll_back(&earlier).unwrap();
    machine.boots(b"good kernel");
    let said = machine.run(&broker, &["get", "disk-key"]);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.contains("authenticate.tpm.counters_went_back"), "{}", said.stderr);
}
