//! Grants that only one TPM opens, while its registers are what the operator expects.

use evidence_formats::digest::HashAlgorithm;
use keys::{seal::Sealed, secret::SecretBytes, tpm::TpmGrant};
use softtee::swtpm::SwTpm;
use tee::tpm::{EkKind, ImportedSecret, Pcrs, Tpm, TpmError};

use crate::{
    SECRET,
    machine::{Attacker, Machine, agents_key, broker, machine},
};

#[test]
fn the_agent_opens_what_is_sealed_to_its_tpm() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    let said = machine.run(&broker, &["get", "disk-key", "--seal", "tpm"]);
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    // More than a TPM object holds.
    let long: Vec<u8> = (0..4000_u32).flat_map(u32::to_le_bytes).collect();
    broker.put_secret("long", &long).unwrap();
    let said = machine.run(&broker, &["get", "long", "--seal", "tpm"]);
    assert_eq!((said.status, said.stdout), (0, long), "{}", said.stderr);
}

fn unseal(tpm: &Tpm, grant: &TpmGrant) -> Result<SecretBytes, TpmError> {
    let object = grant.object.clone();
    let wrapped = ImportedSecret { public: object.public, duplicate: object.duplicate, symseed: object.symseed };
    let pcrs = Pcrs::new(HashAlgorithm::Sha256, grant.pcrs.iter().copied());
    let ek = tpm.create_ek(EkKind::Rsa2048).unwrap();
    let unsealed = tpm.unseal_imported(&ek, &wrapped, &pcrs)?;
    Ok(grant.open(SecretBytes::new(unsealed.to_vec())).unwrap())
}

#[test]
fn a_stolen_grant_opens_nowhere_else_and_not_after_a_register_changed() {
    let Some(machine) = machine() else { return };
    let broker = broker(&machine, "automatic");
    machine.run(&broker, &["enroll"]).done().unwrap();
    let tpm = machine.tpm.connect().unwrap();
    let grant = {
        let (attacker, ak) = (Attacker::new(&broker), agents_key(&tpm));
        let answer = attacker.send(&broker, &attacker.honest(&tpm, &ak), true);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let sealed: Sealed = serde_json::from_value(answer.body["grants"][0]["sealed"].clone()).unwrap();
        // Even the guest's own key gives no secret without the TPM.
        let plaintext = attacker.key.open(&sealed).unwrap();
        assert!(!plaintext.expose().windows(8).any(|window| window == &SECRET[..8]));
        TpmGrant::parse(&plaintext).unwrap()
    };
    assert_eq!(unseal(&tpm, &grant).unwrap().expose(), SECRET);
    let other = Machine::boot(SwTpm::start().unwrap());
    assert!(unseal(&other.tpm.connect().unwrap(), &grant).is_err());
    drop(tpm);
    machine.measures_more();
    let refused = unseal(&machine.tpm.connect().unwrap(), &grant).map(drop).unwrap_err();
    assert_eq!(refused.response_code().and_then(|code| code.name()), Some("TPM_RC_POLICY_FAIL"));
    // Nor does the broker give another one.
    let said = machine.run(&broker, &["get", "disk-key", "--seal", "tpm"]);
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.contains("reference.no_match"), "{}", said.stderr);
}
