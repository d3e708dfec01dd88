//! Credentials.

use softtee::swtpm::make_credential;
use tee::tpm::{AkKind, EkKind, Hierarchy, TpmError};

use crate::{bare, said};

const SECRET: &[u8] = b"thirty-two bytes of a challenge.";

#[test]
fn a_credential_opens_beside_both_keys() {
    let Some((_machine, tpm)) = bare() else { return };
    for kind in EkKind::ALL {
        let (ek, ak) = (tpm.create_ek(kind).unwrap(), tpm.create_ak(AkKind::EccP256).unwrap());
        let credential = make_credential(ek.public(), &ak.name(), SECRET).unwrap();
        let opened = tpm.activate_credential(&ak, &ek, &credential.blob, &credential.secret).unwrap();
        assert_eq!(opened.as_slice(), SECRET, "{kind:?}");
    }
}

#[test]
fn a_credential_for_another_key_does_not_open() {
    let Some((_machine, tpm)) = bare() else { return };
    let ek = tpm.create_ek(EkKind::Rsa2048).unwrap();
    let ak = tpm.create_ak(AkKind::EccP256).unwrap();
    // The same template under another hierarchy: the same attributes, another key.
    let other = tpm.create_primary(Hierarchy::Owner, &AkKind::EccP256.template()).unwrap();
    let credential = make_credential(ek.public(), &other.name(), SECRET).unwrap();
    let refused = tpm.activate_credential(&ak, &ek, &credential.blob, &credential.secret);
    assert_eq!(said(refused), "TPM_RC_INTEGRITY");
}

#[test]
fn a_credential_for_another_tpm_does_not_open() {
    let (Some((_machine, tpm)), Some((_other, elsewhere))) = (bare(), bare()) else { return };
    let (ek, ak) = (tpm.create_ek(EkKind::Rsa2048).unwrap(), tpm.create_ak(AkKind::EccP256).unwrap());
    let foreign = elsewhere.create_ek(EkKind::Rsa2048).unwrap();
    let credential = make_credential(foreign.public(), &ak.name(), SECRET).unwrap();
    assert!(tpm.activate_credential(&ak, &ek, &credential.blob, &credential.secret).is_err());
}

#[test]
fn what_is_no_credential_is_not_sent() {
    let Some((_machine, tpm)) = bare() else { return };
    let (ek, ak) = (tpm.create_ek(EkKind::EccP256).unwrap(), tpm.create_ak(AkKind::EccP256).unwrap());
    let refused = tpm.activate_credential(&ak, &ek, &[0, 3, 1, 2], &[0, 0]);
    assert_eq!(refused, Err(TpmError::Sized { structure: "credential blob" }));
}
