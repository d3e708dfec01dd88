//! NV indices.

use softtee::swtpm::{SwTpm, is_installed, leave};
use tee::tpm::{EkKind, NvAttributes, NvIndex, NvPublic, TpmError};

use crate::{bare, said};

const INDEX: NvIndex = NvIndex(0x0140_0002);

#[test]
fn what_is_longer_than_a_command_is_written_and_read_whole() {
    let Some((_machine, tpm)) = bare() else { return };
    let content: Vec<u8> = (0..2048_u32).flat_map(|number| number.to_be_bytes()).take(2048).collect();
    leave(&tpm, INDEX, &content).unwrap();
    assert_eq!(tpm.nv_read(INDEX).unwrap(), content);
    let public = tpm.nv_public(INDEX).unwrap().unwrap();
    assert_eq!((public.index, public.size), (INDEX, 2048));
    assert!(public.attributes.contains(NvAttributes::PLATFORM_CREATE));
}

#[test]
fn an_index_of_the_owner_is_the_owners() {
    let Some((_machine, tpm)) = bare() else { return };
    let attributes = NvAttributes::OWNER_WRITE.union(NvAttributes::OWNER_READ);
    let public = NvPublic { index: INDEX, attributes, size: 64 };
    tpm.nv_define(&public).unwrap();
    assert_eq!(said(tpm.nv_define(&public)), "TPM_RC_NV_DEFINED");
    assert_eq!(tpm.nv_read_if_there(INDEX), Ok(None), "nothing was written");
    tpm.nv_write(INDEX, &[7; 64]).unwrap();
    assert_eq!(tpm.nv_read(INDEX).unwrap(), [7; 64]);
    assert_eq!(tpm.nv_write(INDEX, &[7; 65]), Err(TpmError::NvSize { index: INDEX, limit: 64, size: 65 }));
    tpm.nv_undefine(&public).unwrap();
    assert_eq!(tpm.nv_public(INDEX), Ok(None));
    assert_eq!(said(tpm.nv_read(INDEX)), "TPM_RC_HANDLE");
}

#[test]
fn an_index_that_nobody_may_read_is_told_by_name() {
    let Some((_machine, tpm)) = bare() else { return };
    let attributes = NvAttributes::OWNER_WRITE.union(NvAttributes(1 << 19));
    tpm.nv_define(&NvPublic { index: INDEX, attributes, size: 8 }).unwrap();
    assert_eq!(tpm.nv_read(INDEX), Err(TpmError::NvAccess { index: INDEX, what: "read" }));
}

#[test]
fn certificates_are_where_a_manufacturer_leaves_them() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::start().unwrap();
    let tpm = machine.connect().unwrap();
    for kind in EkKind::ALL {
        let certificate = tpm.nv_read(kind.certificate_index()).unwrap();
        assert_eq!(certificate[..2], [0x30, 0x82]);
    }
}
