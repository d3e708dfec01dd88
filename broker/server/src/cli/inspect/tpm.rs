//! TPM quotes and Azure's HCL reports.

use evidence_formats::{
    hcl::{HclReport, RuntimeClaims},
    tpm::TpmQuote,
};
use serde_json::{Value, json};

use super::Refusal;

pub(super) fn quote(bytes: &[u8]) -> Result<Value, Refusal> {
    let quote = TpmQuote::parse(bytes)?;
    let selections: Vec<_> = quote
        .selections
        .iter()
        .map(|selection| json!({ "bank": selection.bank.to_string(), "pcrs": selection.pcrs }))
        .collect();
    Ok(json!({
        "qualified_signer": hex::encode(quote.qualified_signer.as_bytes()),
        "extra_data": hex::encode(&quote.extra_data),
        "clock": quote.clock.clock,
        "reset_count": quote.clock.reset_count,
        "restart_count": quote.clock.restart_count,
        "safe": quote.clock.safe,
        "firmware_version": format!("{:#018x}", quote.firmware_version),
        "selections": selections,
        "pcr_digest": hex::encode(&quote.pcr_digest),
    }))
}

pub(super) fn hcl(bytes: &[u8]) -> Result<Value, Refusal> {
    let report = HclReport::parse(bytes)?;
    let claims = RuntimeClaims::parse(report.claims())?;
    Ok(json!({
        "hardware": format!("{:?}", report.hardware()).to_lowercase(),
        "hardware_report_bytes": report.hardware_report().len(),
        "expected_report_data": report.expected_report_data(),
        "vm_configuration": claims.vm_configuration,
        "user_data": claims.user_data,
    }))
}
