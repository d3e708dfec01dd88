//! From a path to an answer.
use evidence_formats::endorsement::EndorsementId;
use evidence_formats::snp::{ProductLine, TcbComponents};
use evidence_formats::tdx::Fmspc;

use super::documents::{Document, Maker};
use super::{Fault, Kind, What};
use crate::amd::VekKind;
use crate::intel::PckCa;
use crate::pem;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Vcek(ProductLine, Vec<u8>, TcbComponents),
    Chain(ProductLine, VekKind),
    Crl(ProductLine),
    TcbInfo(Fmspc),
    QeIdentity,
    PckCrl(PckCa, bool),
    /// As DER (PCS) or as hex (PCCS).
    RootCrl(bool),
    Thim,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }
}

impl Asked {
    /// Reads path and query; `metadata` is whether the header of metadata services is there.
    pub(super) fn parse(path: &str, query: &str, metadata: bool) -> Option<Self> {
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["vcek", "v1", product, "cert_chain"] => Some(Self::Chain(line(product)?, VekKind::Vcek)),
            ["vlek", "v1", product, "cert_chain"] => Some(Self::Chain(line(product)?, VekKind::Vlek)),
            ["vcek" | "vlek", "v1", product, "crl"] => Some(Self::Crl(line(product)?)),
            ["vcek", "v1", product, chip] => {
                let line = line(product)?;
                let level = |name: &str| parameter(name).and_then(|level| level.parse().ok());
                let tcb = TcbComponents {
                    fmc: if line == ProductLine::Turin { Some(level("fmcSPL")?) } else { None },
                    bootloader: level("blSPL")?,
                    tee: level("teeSPL")?,
                    snp: level("snpSPL")?,
                    microcode: level("ucodeSPL")?,
                };
                let chip_id = EndorsementId::chip_id(line, chip)?;
                Some(Self::Vcek(line, chip_id.0.iter().copied().take(line.chip_id_length()).collect(), tcb))
            }
            ["tdx", "certification", "v4", "tcb"] => {
                Some(Self::TcbInfo(parameter("fmspc")?.to_ascii_lowercase().parse().ok()?))
            }
            ["tdx", "certification", "v4", "qe", "identity"] => Some(Self::QeIdentity),
            ["sgx", "certification", "v4", "pckcrl"] => {
                let ca = match parameter("ca")? {
                    "platform" => PckCa::Platform,
                    "processor" => PckCa::Processor,
                    _ => return None,
                };
                Some(Self::PckCrl(ca, parameter("encoding") == Some("der")))
            }
            ["sgx", "certification", "v4", "rootcacrl"] => Some(Self::RootCrl(false)),
            ["IntelSGXRootCA.der"] => Some(Self::RootCrl(true)),
            ["metadata", "THIM", "amd", "certification"] => metadata.then_some(Self::Thim),
            _ => None,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Vcek(..) => Kind::Vcek,
            Self::Chain(..) => Kind::Chain,
            Self::Crl(_) => Kind::Crl,
            Self::TcbInfo(_) => Kind::TcbInfo,
            Self::QeIdentity => Kind::QeIdentity,
            Self::PckCrl(..) => Kind::PckCrl,
            Self::RootCrl(_) => Kind::RootCrl,
            Self::Thim => Kind::Thim,
        }
    }

    /// The answer, spoilt by `fault`.
    pub(super) fn answer(&self, maker: &Maker, fault: Option<Fault>) -> Answer {
        let mut answer = match fault.map(|fault| (fault.what, fault.seconds)) {
            Some((What::Throttle, 0)) => return Answer::empty(429),
            Some((What::Throttle, seconds)) => {
                let headers = vec![("retry-after", seconds.to_string())];
                return Answer { headers, ..Answer::empty(429) };
            }
            Some((What::Unavailable, _)) => return Answer::empty(503),
            Some((What::Absent, _)) => return Answer::empty(404),
            Some((What::Redirect, _)) => {
                let headers = vec![("location", "http://127.0.0.1:9/elsewhere".to_owned())];
                return Answer { headers, ..Answer::empty(302) };
            }
            Some(_) | None => self.healthy(maker),
        };
        if fault.is_some_and(|fault| fault.what == What::Truncated) {
            answer.body.truncate(answer.body.len() / 2);
        }
        answer
    }

    fn healthy(&self, maker: &Maker) -> Answer {
        let document = match self {
            Self::Vcek(product, chip, tcb) => maker.vcek(*product, chip, *tcb),
            Self::Chain(product, kind) => maker.amd_chain(*product, *kind),
            Self::Crl(product) => maker.amd_crl(*product),
            Self::TcbInfo(fmspc) => maker.tcb_info(*fmspc),
            Self::QeIdentity => maker.qe_identity(),
            Self::PckCrl(ca, _) => maker.pck_crl(*ca),
            Self::RootCrl(_) => maker.root_crl(),
            Self::Thim => maker.thim(),
        };
        let chain_header = match self {
            Self::TcbInfo(_) => "tcb-info-issuer-chain",
            Self::QeIdentity => "sgx-enclave-identity-issuer-chain",
            Self::PckCrl(..) => "sgx-pck-crl-issuer-chain",
            Self::Vcek(..) | Self::Chain(..) | Self::Crl(_) | Self::RootCrl(_) | Self::Thim => "",
        };
        let Document { body, chain } = document;
        let body = match self {
            Self::PckCrl(_, false) => pem::crl(&body).into_bytes(),
            Self::RootCrl(false) => hex::encode(&body).into_bytes(),
            Self::PckCrl(_, true)
            | Self::RootCrl(true)
            | Self::Vcek(..)
            | Self::Chain(..)
            | Self::Crl(_)
            | Self::TcbInfo(_)
            | Self::QeIdentity
            | Self::Thim => body,
        };
        let headers = chain.map(|chain| (chain_header, percent_encoded(&chain))).into_iter().collect();
        Answer { status: 200, headers, body }
    }
}

fn line(name: &str) -> Option<ProductLine> {
    ProductLine::ALL.into_iter().find(|line| line.name() == name)
}

/// As PCS does it: everything but letters, digits and `-_.~`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
