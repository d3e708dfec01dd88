//! PCRs.

use evidence_formats::digest::{Digest, HashAlgorithm};
use tee::tpm::Pcrs;

use crate::{bare, said};

#[test]
fn an_extended_register_holds_the_hash_of_both() {
    let Some((_machine, tpm)) = bare() else { return };
    let banks: Vec<_> = tpm.pcr_banks().unwrap().into_keys().collect();
    let measured: Vec<_> = banks.iter().map(|bank| bank.digest(&[b"kernel"])).collect();
    tpm.pcr_extend(11, &measured).unwrap();
    for (bank, digest) in banks.into_iter().zip(measured) {
        let values = tpm.pcr_read(&Pcrs::new(bank, [11, 12])).unwrap();
        assert_eq!(values[&11], Digest::zero(bank).extended(digest.as_bytes()));
        assert_eq!(values[&12], Digest::zero(bank));
    }
}

#[test]
fn all_registers_are_read_though_eight_fit_in_an_answer() {
    let Some((_machine, tpm)) = bare() else { return };
    let values = tpm.pcr_read(&Pcrs::all(HashAlgorithm::Sha256)).unwrap();
    assert_eq!(values.keys().copied().collect::<Vec<_>>(), (0..24).collect::<Vec<u8>>());
    assert!(values[&0].is_zero());
    assert_eq!(values[&17], Digest::filled(HashAlgorithm::Sha256, 0xFF));
}

#[test]
fn only_the_debug_and_application_registers_can_be_reset() {
    let Some((_machine, tpm)) = bare() else { return };
    for pcr in [16, 23] {
        tpm.pcr_extend(pcr, &[Digest::filled(HashAlgorithm::Sha256, 1)]).unwrap();
        tpm.pcr_reset(pcr).unwrap();
        assert!(tpm.pcr_read(&Pcrs::new(HashAlgorithm::Sha256, [pcr])).unwrap()[&pcr].is_zero());
    }
    assert_eq!(said(tpm.pcr_reset(11)), "TPM_RC_LOCALITY");
}
