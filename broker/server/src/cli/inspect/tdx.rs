//! TDX quotes.

use evidence_formats::tdx::{TdxQuote, Trailing};
use serde_json::{Value, json};

use super::Refusal;

pub(super) fn quote(bytes: &[u8]) -> Result<Value, Refusal> {
    let quote = TdxQuote::parse(bytes)?;
    let body = &quote.body;
    let trailing = match quote.trailing {
        Trailing::None => json!(null),
        other @ (Trailing::Padding { .. } | Trailing::Data { .. }) => json!(format!("{other:?}")),
    };
    Ok(json!({
        "version": format!("{:?}", quote.version),
        "tee_tcb_svn": hex::encode(body.tee_tcb_svn.0),
        "mr_seam": body.mr_seam,
        "mr_signer_seam": body.mr_signer_seam,
        "td_attributes": format!("{:#018x}", body.info.attributes.0),
        "xfam": format!("{:#018x}", body.info.xfam.0),
        "mr_td": body.info.mr_td,
        "mr_config_id": body.info.mr_config_id,
        "mr_owner": body.info.mr_owner,
        "mr_owner_config": body.info.mr_owner_config,
        "rtmr": body.info.rtmr,
        "report_data": body.report_data,
        "current_tee_tcb_svn": body.td15.as_ref().map(|td15| hex::encode(td15.current_tee_tcb_svn.0)),
        "mr_service_td": body.td15.as_ref().map(|td15| td15.mr_service_td),
        "certification_type": format!("{:?}", quote.certification_type),
        "trailing": trailing,
        "signed_bytes": quote.signed_bytes().len(),
    }))
}
