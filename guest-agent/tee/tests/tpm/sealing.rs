//! Secrets that open only here, and only while the PCRs are as they should be.

use evidence_formats::digest::{Digest, HashAlgorithm};
use softtee::swtpm::wrap_secret;
use tee::tpm::{EkKind, Pcrs};

use crate::{bare, said};

const BANK: HashAlgorithm = HashAlgorithm::Sha256;

#[test]
fn a_wrapped_secret_opens_and_stops_opening_when_a_register_changes() {
    let Some((_machine, tpm)) = bare() else { return };
    let pcrs = Pcrs::new(BANK, [4, 7, 11]);
    for kind in EkKind::ALL {
        let ek = tpm.create_ek(kind).unwrap();
        let values = tpm.pcr_read(&pcrs).unwrap();
        let wrapped = wrap_secret(ek.public(), b"disk key", BANK, &values).unwrap();
        assert_eq!(tpm.unseal_imported(&ek, &wrapped, &pcrs).unwrap().as_slice(), b"disk key");
        // Again: nothing was used up.
        assert_eq!(tpm.unseal_imported(&ek, &wrapped, &pcrs).unwrap().as_slice(), b"disk key");
        tpm.pcr_extend(12, &[Digest::filled(BANK, 1)]).unwrap();
        assert_eq!(tpm.unseal_imported(&ek, &wrapped, &pcrs).unwrap().as_slice(), b"disk key");
        tpm.pcr_extend(11, &[Digest::filled(BANK, 1)]).unwrap();
        assert_eq!(said(tpm.unseal_imported(&ek, &wrapped, &pcrs)), "TPM_RC_POLICY_FAIL");
        // A selection that leaves out the register that changed is another policy.
        assert_eq!(said(tpm.unseal_imported(&ek, &wrapped, &Pcrs::new(BANK, [4, 7]))), "TPM_RC_POLICY_FAIL");
    }
}

#[test]
fn a_wrapped_secret_opens_in_no_other_tpm() {
    let (Some((_machine, tpm)), Some((_other, elsewhere))) = (bare(), bare()) else { return };
    let pcrs = Pcrs::new(BANK, [11]);
    let ek = tpm.create_ek(EkKind::Rsa2048).unwrap();
    let wrapped = wrap_secret(ek.public(), b"disk key", BANK, &tpm.pcr_read(&pcrs).unwrap()).unwrap();
    let foreign = elsewhere.create_ek(EkKind::Rsa2048).unwrap();
    assert!(elsewhere.unseal_imported(&foreign, &wrapped, &pcrs).is_err());
    let mut bent = wrapped;
    *bent.duplicate.last_mut().unwrap() ^= 1;
    assert_eq!(said(tpm.unseal_imported(&ek, &bent, &pcrs)), "TPM_RC_INTEGRITY");
}

#[test]
fn what_this_machine_sealed_opens_until_a_register_changes() {
    let Some((_machine, tpm)) = bare() else { return };
    let pcrs = Pcrs::new(BANK, [7, 11]);
    let sealed = tpm.seal_to_pcrs(&[9; 128], &pcrs).unwrap();
    assert_eq!(tpm.unseal(&sealed, &pcrs).unwrap().as_slice(), [9; 128]);
    tpm.pcr_extend(11, &[Digest::filled(BANK, 1)]).unwrap();
    assert_eq!(said(tpm.unseal(&sealed, &pcrs)), "TPM_RC_POLICY_FAIL");
    assert!(tpm.seal_to_pcrs(&[0; 129], &pcrs).is_err());
}
