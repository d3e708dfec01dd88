//! Vendor documents under the paths of their vendors' services (AMD 57230 chapter 4, Intel PCS API v4 and PCCS), so that other
//! verifiers of a site ask this broker instead. Only what is held and current is served: nobody can make this broker ask
//! a vendor.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use evidence_formats::{
    endorsement::{AmdService, EndorsementId, PckAuthority, TcbUpdate},
    snp::{ProductLine, TcbComponents},
};
use serde::Deserialize;

use super::{
    Path, Query, crl,
    problem::{Problem, RequestError},
};
use crate::{broker::Broker, store::StoredEndorsement};

const DER: &str = "application/octet-stream";

/// The routes.
pub(super) fn routes() -> Router<Arc<Broker>> {
    Router::new()
        .route("/vcek/v1/{product}/{what}", get(vcek_or_list))
        .route("/vlek/v1/{product}/{what}", get(vcek_or_list))
        .route("/tdx/certification/v4/tcb", get(tcb_info))
        .route("/tdx/certification/v4/qe/identity", get(qe_identity))
        .route("/sgx/certification/v4/pckcrl", get(pck_crl))
        .route("/sgx/certification/v4/rootcacrl", get(root_crl))
        .route("/v1/crl", get(crl::all))
        .route("/v1/crl/{authority}", get(crl::one))
}

/// Patch levels, decimal.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PatchLevels {
    #[serde(rename = "fmcSPL")]
    fmc: Option<u8>,
    #[serde(rename = "blSPL")]
    bootloader: Option<u8>,
    #[serde(rename = "teeSPL")]
    tee: Option<u8>,
    #[serde(rename = "snpSPL")]
    snp: Option<u8>,
    #[serde(rename = "ucodeSPL")]
    microcode: Option<u8>,
}

impl PatchLevels {
    fn components(&self) -> Option<TcbComponents> {
        let Self { fmc, bootloader, tee, snp, microcode } = *self;
        Some(TcbComponents { fmc, bootloader: bootloader?, tee: tee?, snp: snp?, microcode: microcode? })
    }
}

async fn vcek_or_list(
    State(broker): State<Arc<Broker>>,
    uri: Uri,
    Path((product, what)): Path<(String, String)>,
    Query(levels): Query<PatchLevels>,
) -> Result<Response, Problem> {
    let service = if uri.path().starts_with("/vlek/") { AmdService::Vlek } else { AmdService::Vcek };
    let line = ProductLine::ALL.into_iter().find(|line| line.name() == product);
    let id = line.and_then(|line| match (what.as_str(), service) {
        ("crl", _) => Some(EndorsementId::AmdCrl { line, service }),
        ("cert_chain", _) => Some(EndorsementId::AmdChain { line, service }),
        (chip, AmdService::Vcek) => {
            let tcb = levels.components().filter(|tcb| tcb.fmc.is_some() == (line == ProductLine::Turin))?;
            EndorsementId::vcek(line, EndorsementId::chip_id(line, chip)?, tcb.to_version())
        }
        (_, AmdService::Vlek) => None,
    });
    let document = find(&broker, id).await?;
    Ok(([(header::CONTENT_TYPE, DER)], document.body).into_response())
}

#[derive(Debug, Deserialize)]
struct TcbQuery {
    fmspc: String,
    update: Option<TcbUpdate>,
}

async fn tcb_info(State(broker): State<Arc<Broker>>, Query(query): Query<TcbQuery>) -> Result<Response, Problem> {
    // Services take either case.
    let fmspc = query.fmspc.to_ascii_lowercase().parse().ok();
    let id = fmspc.map(|fmspc| EndorsementId::TcbInfo { fmspc, update: query.update.unwrap_or_default() });
    chained(find(&broker, id).await?, "tcb-info-issuer-chain", "application/json")
}

#[derive(Debug, Deserialize)]
struct IdentityQuery {
    update: Option<TcbUpdate>,
}

async fn qe_identity(
    State(broker): State<Arc<Broker>>,
    Query(query): Query<IdentityQuery>,
) -> Result<Response, Problem> {
    let id = EndorsementId::QeIdentity { update: query.update.unwrap_or_default() };
    chained(find(&broker, Some(id)).await?, "sgx-enclave-identity-issuer-chain", "application/json")
}

/// A list always goes out as it came, which from this broker's own requests is DER.
#[derive(Debug, Deserialize)]
struct CrlQuery {
    ca: PckAuthority,
}

async fn pck_crl(State(broker): State<Arc<Broker>>, Query(query): Query<CrlQuery>) -> Result<Response, Problem> {
    let id = EndorsementId::PckCrl { ca: query.ca };
    chained(find(&broker, Some(id)).await?, "sgx-pck-crl-issuer-chain", DER)
}

/// Hex of DER, as PCCS has it.
async fn root_crl(State(broker): State<Arc<Broker>>) -> Result<Response, Problem> {
    let document = find(&broker, Some(EndorsementId::IntelRootCrl)).await?;
    let hex = match document.body.first() {
        Some(0x30) => hex::encode(&document.body).into_bytes(),
        Some(_) | None => document.body,
    };
    Ok(([(header::CONTENT_TYPE, "text/plain")], hex).into_response())
}

async fn find(broker: &Broker, id: Option<EndorsementId>) -> Result<StoredEndorsement, Problem> {
    let not_found = || Problem::from(RequestError::NotFound { what: "current document" });
    broker.library.received(id.ok_or_else(not_found)?).await?.ok_or_else(not_found)
}

/// The body, and the certificates above its signature in a header, percent-encoded as the services do it.
fn chained(document: StoredEndorsement, name: &'static str, media_type: &'static str) -> Result<Response, Problem> {
    let mut response = ([(header::CONTENT_TYPE, media_type)], document.body).into_response();
    if let Some(chain) = document.issuer_chain {
        let value = HeaderValue::from_bytes(&percent_encoded(&chain)).map_err(|error| Problem::internal(&error))?;
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
    Ok(response)
}

/// What a header can carry stays; a chain that came percent-encoded is not encoded twice.
fn percent_encoded(chain: &[u8]) -> Vec<u8> {
    const PLAIN: &[u8] = b"-._~%+/=";
    let mut encoded = Vec::with_capacity(chain.len());
    for byte in chain {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(byte) {
            encoded.push(*byte);
        } else {
            encoded.push(b'%');
            encoded.extend(hex::encode_upper([*byte]).into_bytes());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encoded;

    #[test]
    fn a_chain_is_encoded_once() {
        let once = percent_encoded(b"-----BEGIN CERTIFICATE-----\nMI+/=\n");
        assert_eq!(once, b"-----BEGIN%20CERTIFICATE-----%0AMI+/=%0A");
        assert_eq!(percent_encoded(&once), once);
    }
}
