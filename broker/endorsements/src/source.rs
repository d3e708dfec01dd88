//! The services: which document stands at which address, and how it comes.

use std::path::PathBuf;

use evidence_formats::endorsement::{AmdService, EndorsementId, TcbUpdate};
use evidence_formats::snp::{ChipId, ProductLine, TcbComponents};
use hyper::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};

use crate::{BaseUrl, Document, client::Answer};

/// Largest certificate or chain.
const CERTIFICATES: usize = 64 * 1024;
/// Largest revocation list, and largest signed JSON document.
const LISTS: usize = 1024 * 1024;

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// AMD's key distribution service, or a mirror of it (AMD 57230 chapter 4).
    Kds,
    /// Intel's provisioning certification service, version 4.
    Pcs,
    /// A provisioning certificate caching service: as PCS, with the root's revocation list beside the others.
    Pccs,
    /// Azure's metadata service: the certificate of the chip that this machine runs on.
    Thim,
}

/// One configured service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// How it is spoken to.
    pub kind: SourceKind,
    /// Where it is, without the path of any document.
    pub url: BaseUrl,
    /// Certificate authorities of its TLS certificate, PEM; default: the system's. Documents are signed: this decides who
    /// sees what is asked for, not what is believed.
    pub ca: Option<PathBuf>,
    /// Where Intel's root revocation list is; PCS does not serve it. Default: Intel's own address.
    pub root_crl: Option<BaseUrl>,
}

/// Intel's address for the root's revocation list (PCS API v4, "Intel SGX Root CA CRL").
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// One GET and how its answer is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) uri: Uri,
    /// Header of cloud metadata services.
    pub(crate) metadata: bool,
    /// Most bytes of the body.
    pub(crate) limit: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The body is the document.
    Plain,
    /// The body is the document, the certificates above it are in one of these headers.
    Chained(&'static [&'static str]),
    /// Azure's JSON around a certificate in PEM.
    Thim,
}

const TCB_INFO_CHAIN: &[&str] = &["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"];
const IDENTITY_CHAIN: &[&str] = &["sgx-enclave-identity-issuer-chain"];
const PCK_CRL_CHAIN: &[&str] = &["sgx-pck-crl-issuer-chain"];

#[derive(Deserialize)]
struct ThimAnswer {
    #[serde(rename = "vcekCert")]
    vcek: String,
}

impl Source {
    /// How to ask for `id` here; `None` when this service does not have such documents.
    pub(crate) fn plan(&self, id: &EndorsementId) -> Option<Plan> {
        let plain = |path: String, limit| self.at(&path, limit, Form::Plain);
        match (self.kind, id) {
            (SourceKind::Kds, EndorsementId::Vcek { line, chip_id, tcb }) => {
                plain(vcek_path(*line, chip_id, tcb), CERTIFICATES)
            }
            (SourceKind::Kds, EndorsementId::AmdChain { line, service }) => {
                plain(amd_path(*line, *service, "cert_chain"), CERTIFICATES)
            }
            (SourceKind::Kds, EndorsementId::AmdCrl { line, service }) => {
                plain(amd_path(*line, *service, "crl"), LISTS)
            }
            (SourceKind::Pcs | SourceKind::Pccs, EndorsementId::TcbInfo { fmspc, update }) => {
                let path = format!("/tdx/certification/v4/tcb?fmspc={fmspc}&{}", updated(*update));
                self.at(&path, LISTS, Form::Chained(TCB_INFO_CHAIN))
            }
            (SourceKind::Pcs | SourceKind::Pccs, EndorsementId::QeIdentity { update }) => {
                let path = format!("/tdx/certification/v4/qe/identity?{}", updated(*update));
                self.at(&path, LISTS, Form::Chained(IDENTITY_CHAIN))
            }
            (SourceKind::Pcs | SourceKind::Pccs, EndorsementId::PckCrl { ca }) => {
                let path = format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.name());
                self.at(&path, LISTS, Form::Chained(PCK_CRL_CHAIN))
            }
            (SourceKind::Pcs, EndorsementId::IntelRootCrl) => {
                let uri = match &self.root_crl {
                    Some(url) => url.whole()?,
                    None => Uri::from_static(INTEL_ROOT_CRL),
                };
                Some(Plan { uri, metadata: false, limit: LISTS, form: Form::Plain })
            }
            (SourceKind::Pccs, EndorsementId::IntelRootCrl) => {
                plain("/sgx/certification/v4/rootcacrl".to_owned(), LISTS)
            }
            (SourceKind::Thim, EndorsementId::Vcek { .. }) => {
                let plan = self.at("/metadata/THIM/amd/certification", CERTIFICATES, Form::Thim)?;
                Some(Plan { metadata: true, ..plan })
            }
            (SourceKind::Kds, _) | (SourceKind::Pcs | SourceKind::Pccs, _) | (SourceKind::Thim, _) => None,
        }
    }

    fn at(&self, path_and_query: &str, limit: usize, form: Form) -> Option<Plan> {
        Some(Plan { uri: self.url.join(path_and_query)?, metadata: false, limit, form })
    }
}

impl Plan {
    /// The document in an answer; `None` when the answer is not in the form of this service.
    pub(crate) fn read(&self, answer: Answer) -> Option<Document> {
        match self.form {
            Form::Plain => Some(Document { body: answer.body, issuer_chain: None }),
            Form::Chained(headers) => {
                let issuer_chain = headers.iter().find_map(|name| chain(&answer.headers, name))?;
                Some(Document { body: answer.body, issuer_chain: Some(issuer_chain) })
            }
            Form::Thim => {
                let answer: ThimAnswer = serde_json::from_slice(&answer.body).ok()?;
                Some(Document { body: answer.vcek.into_bytes(), issuer_chain: None })
            }
        }
    }
}

fn chain(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    headers.get(name).map(|value| value.as_bytes().to_vec()).filter(|chain| chain.len() <= CERTIFICATES)
}

const fn updated(update: TcbUpdate) -> &'static str {
    match update {
        TcbUpdate::Standard => "update=standard",
        TcbUpdate::Early => "update=early",
    }
}

fn amd_path(line: ProductLine, service: AmdService, what: &str) -> String {
    format!("/{}/v1/{line}/{what}", service.name())
}

/// AMD 57230 section 4.1: decimal patch levels of two digits at least; the FMC's on Turin only.
fn vcek_path(line: ProductLine, chip_id: &ChipId, tcb: &TcbComponents) -> String {
    let fmc = tcb.fmc.map(|level| format!("fmcSPL={level:02}&")).unwrap_or_default();
    let TcbComponents { bootloader, tee, snp, microcode, .. } = tcb;
    format!(
        "/vcek/v1/{line}/{}?{fmc}blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}",
        EndorsementId::hardware_id(line, chip_id)
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn source(kind: SourceKind) -> Source {
        Source { kind, url: "https://service.example".parse().unwrap(), ca: None, root_crl: None }
    }

    fn uri(kind: SourceKind, id: &str) -> Option<String> {
        source(kind).plan(&id.parse().unwrap()).map(|plan| plan.uri.to_string())
    }

    #[test]
    fn addresses_are_those_of_the_services() {
        let chip = "0a".repeat(64);
        let milan = format!("amd/vcek/Milan/{chip}/04000000000018db");
        let expected =
            format!("https://service.example/vcek/v1/Milan/{chip}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219");
        assert_eq!(uri(SourceKind::Kds, &milan), Some(expected));
        let table = [
            (
                SourceKind::Kds,
                "amd/vcek/Turin/0102030405060708/0102000400000047",
                "/vcek/v1/Turin/0102030405060708?fmcSPL=01&blSPL=02&teeSPL=00&snpSPL=04&ucodeSPL=71",
            ),
            (SourceKind::Kds, "amd/chain/Genoa/vlek", "/vlek/v1/Genoa/cert_chain"),
            (SourceKind::Kds, "amd/crl/Genoa/vcek", "/vcek/v1/Genoa/crl"),
            (
                SourceKind::Pcs,
                "intel/tcb-info/b0c06f000000/early",
                "/tdx/certification/v4/tcb?fmspc=b0c06f000000&update=early",
            ),
            (SourceKind::Pccs, "intel/qe-identity/standard", "/tdx/certification/v4/qe/identity?update=standard"),
            (SourceKind::Pcs, "intel/pck-crl/processor", "/sgx/certification/v4/pckcrl?ca=processor&encoding=der"),
            (SourceKind::Pccs, "intel/root-crl", "/sgx/certification/v4/rootcacrl"),
            (SourceKind::Thim, "amd/vcek/Turin/0102030405060708/0102000400000047", "/metadata/THIM/amd/certification"),
        ];
        for (kind, id, path) in table {
            assert_eq!(uri(kind, id), Some(format!("https://service.example{path}")), "{id}");
        }
        assert_eq!(uri(SourceKind::Pcs, "intel/root-crl").as_deref(), Some(INTEL_ROOT_CRL));
    }

    #[test]
    fn a_service_is_asked_for_its_own_documents_only() {
        assert_eq!(uri(SourceKind::Pcs, "amd/crl/Milan/vcek"), None);
        assert_eq!(uri(SourceKind::Kds, "intel/root-crl"), None);
        assert_eq!(uri(SourceKind::Thim, "amd/crl/Milan/vcek"), None);
    }

    #[test]
    fn the_chain_of_a_document_comes_in_a_header_of_either_name() {
        let plan = source(SourceKind::Pccs).plan(&"intel/tcb-info/b0c06f000000/standard".parse().unwrap()).unwrap();
        for name in TCB_INFO_CHAIN {
            let mut headers = HeaderMap::new();
            headers.insert(*name, "-----BEGIN%20CERTIFICATE".parse().unwrap());
            let document = plan.read(Answer { headers, body: b"{}".to_vec() }).unwrap();
            assert_eq!(document.issuer_chain.as_deref(), Some(b"-----BEGIN%20CERTIFICATE".as_slice()));
        }
        assert_eq!(plan.read(Answer { headers: HeaderMap::new(), body: b"{}".to_vec() }), None);
    }
}
