//! What the TPM has (TPM2_GetCapability).

use std::collections::BTreeMap;

use evidence_formats::{bytes::Reader, digest::HashAlgorithm, tpm::PcrSelection};

use super::{
    Malformed, Pcrs, Tpm, TpmError,
    command::{Command, CommandCode, Writer},
};

/// TPM_CAP_PCRS and TPM_CAP_TPM_PROPERTIES.
const CAP_PCRS: u32 = 5;
const CAP_PROPERTIES: u32 = 6;
/// TPM_PT_NV_BUFFER_MAX.
const NV_BUFFER_MAX: u32 = 0x12C;
/// Most bank selections that a TPM may list.
const MAX_BANKS: u32 = 16;

impl Tpm {
    /// The active PCR banks whose algorithm is one of ours, with their PCRs. A bank without PCRs is not active.
    ///
    /// # Errors
    /// [`TpmError`] when the TPM gives no list.
    pub fn pcr_banks(&self) -> Result<BTreeMap<HashAlgorithm, Pcrs>, TpmError> {
        let selections = self.ask(capability(CAP_PCRS, 0), |reader| {
            header(reader, CAP_PCRS)?;
            selections(reader)
        })?;
        let banks = selections.into_iter().filter(|selection| !selection.pcrs.is_empty());
        Ok(banks.map(|selection| (selection.bank, Pcrs::new(selection.bank, selection.pcrs))).collect())
    }

    /// A property of the TPM; `None` when it does not have it.
    pub(super) fn nv_buffer_max(&self) -> Result<Option<u32>, TpmError> {
        self.ask(capability(CAP_PROPERTIES, NV_BUFFER_MAX), |reader| {
            header(reader, CAP_PROPERTIES)?;
            let count = reader.u32_be()?;
            if count > 1 {
                return Err(Malformed::Field { field: "properties.count", value: count.into() });
            }
            if count == 0 {
                return Ok(None);
            }
            // The TPM lists from the next property on that it has.
            let (property, value) = (reader.u32_be()?, reader.u32_be()?);
            Ok((property == NV_BUFFER_MAX).then_some(value))
        })
    }
}

fn capability(capability: u32, property: u32) -> Command {
    let parameters = Writer::default().u32(capability).u32(property).u32(1);
    Command::new(CommandCode::GET_CAPABILITY, &[]).parameters(parameters)
}

/// moreData and the capability that was asked for.
fn header(reader: &mut Reader<'_>, asked: u32) -> Result<(), Malformed> {
    reader.u8()?;
    match reader.u32_be()? {
        found if found == asked => Ok(()),
        other => Err(Malformed::Field { field: "capability", value: other.into() }),
    }
}

/// TPML_PCR_SELECTION; selections of algorithms that this project does not compute are left out.
pub(super) fn selections(reader: &mut Reader<'_>) -> Result<Vec<PcrSelection>, Malformed> {
    let count = reader.u32_be()?;
    if count > MAX_BANKS {
        return Err(Malformed::Field { field: "pcrSelections.count", value: count.into() });
    }
    let mut selections = Vec::new();
    for _ in 0..count {
        let (id, size) = (reader.u16_be()?, reader.u8()?);
        if size > 4 {
            return Err(Malformed::Field { field: "sizeofSelect", value: size.into() });
        }
        let bits = reader.take(size.into())?;
        let pcrs = (0_u8..).step_by(8).zip(bits).flat_map(|(base, byte)| {
            (0..8_u8).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| base.saturating_add(bit))
        });
        if let Some(bank) = HashAlgorithm::from_tpm_id(id) {
            selections.push(PcrSelection { bank, pcrs: pcrs.collect() });
        }
    }
    Ok(selections)
}
