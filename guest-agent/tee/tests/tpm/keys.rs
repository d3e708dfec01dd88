//! Keys come out of templates the same each time, and nothing stays loaded.

use evidence_formats::{
    digest::HashAlgorithm,
    tpm::{ObjectAttributes, SigningScheme, TpmKey},
};
use tee::tpm::{AkKind, EkKind, Hierarchy, PersistentHandle, PublicTemplate, TpmError};

use crate::{bare, said};

#[test]
fn attestation_keys_are_restricted_and_come_out_the_same() {
    let Some((machine, tpm)) = bare() else { return };
    let mut names = Vec::new();
    for kind in [AkKind::Rsa2048, AkKind::EccP256] {
        let ak = tpm.create_ak(kind).unwrap();
        let demanded = [
            ObjectAttributes::FIXED_TPM,
            ObjectAttributes::FIXED_PARENT,
            ObjectAttributes::SENSITIVE_DATA_ORIGIN,
            ObjectAttributes::RESTRICTED,
            ObjectAttributes::SIGN,
        ];
        let attributes = ak.public().attributes;
        assert!(demanded.into_iter().all(|bit| attributes.contains(bit)), "{attributes:?}");
        assert!(!attributes.intersects(ObjectAttributes::DECRYPT));
        match kind {
            AkKind::Rsa2048 => assert_eq!(ak.public().scheme, SigningScheme::Rsassa(HashAlgorithm::Sha256)),
            AkKind::EccP256 => assert_eq!(ak.public().scheme, SigningScheme::Ecdsa(HashAlgorithm::Sha256)),
        }
        assert_eq!(tpm.create_ak(kind).unwrap().name(), ak.name());
        names.push(ak.name());
    }
    drop(tpm);
    // Another process, later: the same keys, without anything kept.
    let again = machine.connect().unwrap();
    assert_eq!(again.create_ak(AkKind::EccP256).unwrap().name(), names[1]);
    let Some((_other, elsewhere)) = bare() else { return };
    assert_ne!(elsewhere.create_ak(AkKind::EccP256).unwrap().name(), names[1]);
}

#[test]
fn endorsement_keys_follow_the_profile() {
    let Some((_machine, tpm)) = bare() else { return };
    let rsa = tpm.create_ek(EkKind::Rsa2048).unwrap();
    assert!(matches!(&rsa.public().key, TpmKey::Rsa { modulus, exponent: 65_537 } if modulus.len() == 256));
    let ecc = tpm.create_ek(EkKind::EccP256).unwrap();
    assert!(matches!(&ecc.public().key, TpmKey::Ecc { .. }));
    assert_eq!(rsa.public().auth_policy, ecc.public().auth_policy);
    assert!(rsa.public().attributes.contains(ObjectAttributes::DECRYPT.union(ObjectAttributes::RESTRICTED)));
}

#[test]
fn an_endorsement_key_that_the_machine_keeps_is_taken() {
    let Some((_machine, tpm)) = bare() else { return };
    let made = tpm.create_ek(EkKind::Rsa2048).unwrap();
    tpm.persist(&made, PersistentHandle::EK_RSA_2048).unwrap();
    assert_eq!(tpm.create_ek(EkKind::Rsa2048).unwrap().name(), made.name());
    tpm.forget(PersistentHandle::EK_RSA_2048).unwrap();
    assert_eq!(said(tpm.persistent(PersistentHandle::EK_RSA_2048)), "TPM_RC_HANDLE");
    // Another key in its place is not taken for it.
    let other = tpm.create_ak(AkKind::Rsa2048).unwrap();
    tpm.persist(&other, PersistentHandle::EK_RSA_2048).unwrap();
    assert_eq!(tpm.create_ek(EkKind::Rsa2048).unwrap().name(), made.name());
}

#[test]
fn nothing_stays_loaded() {
    let Some((machine, tpm)) = bare() else { return };
    // Three places for objects, three for sessions: thirty of each go through them one after the other.
    for _ in 0..30 {
        tpm.create_ak(AkKind::EccP256).unwrap();
        tpm.policy_session().unwrap().require_endorsement().unwrap();
    }
    let places: Vec<_> = (0..3).map(|_| tpm.create_ak(AkKind::EccP256).unwrap()).collect();
    assert_eq!(said(tpm.create_ak(AkKind::EccP256)), "TPM_RC_OBJECT_MEMORY");
    drop(places);
    let sessions: Vec<_> = (0..3).map(|_| tpm.trial_session().unwrap()).collect();
    assert_eq!(said(tpm.trial_session()), "TPM_RC_SESSION_MEMORY");
    drop(sessions);
    drop(tpm);
    let again = machine.connect().unwrap();
    let _three: Vec<_> = (0..3).map(|_| again.create_ak(AkKind::EccP256).unwrap()).collect();
}

#[test]
fn a_template_that_is_none_is_refused_by_name() {
    let Some((_machine, tpm)) = bare() else { return };
    let cut = AkKind::EccP256.template().as_bytes()[..20].to_vec();
    assert_eq!(said(tpm.create_primary(Hierarchy::Owner, &PublicTemplate::new(cut))), "TPM_RC_SIZE");
    let huge = PublicTemplate::new(vec![0; 5000]);
    assert!(matches!(tpm.create_primary(Hierarchy::Owner, &huge), Err(TpmError::CommandSize { .. })));
}
