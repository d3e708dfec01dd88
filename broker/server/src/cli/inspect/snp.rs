//! SNP reports and certificate tables.

use evidence_formats::snp::{CertTable, SnpReport, TcbLayout, TcbVersion};
use serde_json::{Value, json};

use super::Refusal;

pub(super) fn report(bytes: &[u8]) -> Result<Value, Refusal> {
    let report = SnpReport::parse(bytes)?;
    let fields = report.fields();
    // A version-2 report does not say which product made it; its TCB is shown raw only.
    let layout = fields.product.map(|product| product.tcb_layout());
    let tcb = |version: TcbVersion| tcb(version, layout);
    Ok(json!({
        "version": fields.version,
        "guest_svn": fields.guest_svn,
        "policy": format!("{:#x}", fields.policy.bits()),
        "family_id": fields.family_id,
        "image_id": fields.image_id,
        "vmpl": fields.vmpl.to_string(),
        "platform_info": format!("{:#x}", fields.platform_info.0),
        "author_key_enabled": fields.key_info.author_key_enabled,
        "mask_chip_key": fields.key_info.mask_chip_key,
        "signing_key": format!("{:?}", fields.key_info.signing_key).to_uppercase(),
        "report_data": fields.report_data,
        "measurement": fields.measurement,
        "host_data": fields.host_data,
        "id_key_digest": fields.id_key_digest,
        "author_key_digest": fields.author_key_digest,
        "report_id": fields.report_id,
        "report_id_ma": fields.report_id_ma,
        "product": fields.product.map(|product| product.name()),
        "chip_id": fields.chip_id,
        "current_tcb": tcb(fields.current_tcb),
        "reported_tcb": tcb(fields.reported_tcb),
        "committed_tcb": tcb(fields.committed_tcb),
        "launch_tcb": tcb(fields.launch_tcb),
        "current_version": fields.current_version.to_string(),
        "committed_version": fields.committed_version.to_string(),
        "launch_mit_vector": fields.launch_mit_vector,
        "current_mit_vector": fields.current_mit_vector,
    }))
}

fn tcb(version: TcbVersion, layout: Option<TcbLayout>) -> Value {
    json!({ "raw": version.to_string(), "components": layout.and_then(|layout| version.components(layout)) })
}

pub(super) fn cert_table(bytes: &[u8]) -> Result<Value, Refusal> {
    let table = CertTable::parse(bytes)?;
    let entries: Vec<_> =
        table.entries().map(|(guid, blob)| json!({ "guid": guid.to_string(), "bytes": blob.len() })).collect();
    Ok(json!({ "entries": entries }))
}
