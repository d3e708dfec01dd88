//! TCB info, QE identity, and everything else that a verifier fetches.
use openssl::hash::MessageDigest;
use serde::Serialize;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{IntelPki, PckSpec};
use crate::keys::PrivateKey;
use crate::pem;
use crate::x509::{CrlSpec, Issued};

/// One component of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Component {
    /// Least security version.
    pub svn: u8,
}

/// The versions that a platform level demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TcbSpec {
    /// SGX components; sixteen in a healthy document.
    pub sgxtcbcomponents: Vec<Component>,
    /// PCESVN.
    pub pcesvn: u16,
    /// TDX components; sixteen in a healthy document.
    pub tdxtcbcomponents: Vec<Component>,
}

/// A level of a platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbLevelSpec {
    /// What it demands.
    pub tcb: TcbSpec,
    /// Date of the level.
    #[serde(with = "time::serde::rfc3339")]
    pub tcb_date: OffsetDateTime,
    /// Status, such as `UpToDate`.
    pub tcb_status: String,
    /// Advisories.
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

/// The version that a module or enclave level demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IsvSvn {
    /// ISVSVN.
    pub isvsvn: u16,
}

/// A level of a TDX module or an enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IsvLevelSpec {
    /// What it demands.
    pub tcb: IsvSvn,
    /// Date of the level.
    #[serde(with = "time::serde::rfc3339")]
    pub tcb_date: OffsetDateTime,
    /// Status.
    pub tcb_status: String,
    /// Advisories.
    #[serde(rename = "advisoryIDs", skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
}

impl IsvLevelSpec {
    /// A level without advisories.
    #[must_use]
    pub fn new(isvsvn: u16, status: &str, tcb_date: OffsetDateTime) -> Self {
        Self { tcb: IsvSvn { isvsvn }, tcb_date, tcb_status: status.to_owned(), advisories: Vec::new() }
    }
}

/// What a genuine TDX module looks like; hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSpec {
    /// MRSIGNERSEAM.
    pub mrsigner: String,
    /// SEAMATTRIBUTES.
    pub attributes: String,
    /// Which of them count.
    pub attributes_mask: String,
}

impl ModuleSpec {
    /// Intel's module.
    #[must_use]
    pub fn healthy() -> Self {
        Self { mrsigner: "00".repeat(48), attributes: "00".repeat(8), attributes_mask: "FF".repeat(8) }
    }
}

/// A TDX module of one major version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModuleIdentitySpec {
    /// `TDX_` and two hex digits.
    pub id: String,
    /// What it looks like.
    #[serde(flatten)]
    pub module: ModuleSpec,
    /// Its levels.
    pub tcb_levels: Vec<IsvLevelSpec>,
}

/// The body of a TCB info document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TcbInfoSpec {
    /// `TDX`.
    pub id: String,
    /// 3.
    pub version: u32,
    /// Valid from.
    #[serde(with = "time::serde::rfc3339")]
    pub issue_date: OffsetDateTime,
    /// Valid until.
    #[serde(with = "time::serde::rfc3339")]
    pub next_update: OffsetDateTime,
    /// Hex.
    pub fmspc: String,
    /// Hex.
    pub pce_id: String,
    /// 0.
    pub tcb_type: u32,
    /// Evaluation number.
    pub tcb_evaluation_data_number: u32,
    /// The TDX 1.0 module.
    pub tdx_module: ModuleSpec,
    /// Later modules.
    pub tdx_module_identities: Vec<ModuleIdentitySpec>,
    /// Platform levels.
    pub tcb_levels: Vec<TcbLevelSpec>,
}

const CURRENT_LEVEL: OffsetDateTime = datetime!(2025-08-13 0:00 UTC);
const OLD_LEVEL: OffsetDateTime = datetime!(2024-03-13 0:00 UTC);

impl TcbInfoSpec {
    /// TCB info by which a healthy platform is up to date and [`PckSpec::OUTDATED`] is not, issued an hour before `now`.
    #[must_use]
    pub fn healthy(platform: &PckSpec, now: OffsetDateTime) -> Self {
        let (issue_date, next_update) = window(now);
        let healthy = PckSpec::healthy();
        let level = |sgx: [u8; 16], tdx: [u8; 3], date, status: &str, advisories: &[&str]| TcbLevelSpec {
            tcb: TcbSpec {
                sgxtcbcomponents: sgx.map(|svn| Component { svn }).to_vec(),
                pcesvn: healthy.pce_svn.0,
                tdxtcbcomponents: tdx.into_iter().chain([0; 13]).map(|svn| Component { svn }).collect(),
            },
            tcb_date: date,
            tcb_status: status.to_owned(),
            advisories: advisories.iter().map(|id| (*id).to_owned()).collect(),
        };
        let module = |major: &str, current: u16| ModuleIdentitySpec {
            id: format!("TDX_{major}"),
            module: ModuleSpec::healthy(),
            tcb_levels: vec![
                IsvLevelSpec::new(current, "UpToDate", CURRENT_LEVEL),
                IsvLevelSpec {
                    advisories: vec!["INTEL-SA-01192".to_owned()],
                    ..IsvLevelSpec::new(2, "OutOfDate", OLD_LEVEL)
                },
            ],
        };
        Self {
            id: "TDX".to_owned(),
            version: 3,
            issue_date,
            next_update,
            fmspc: hex::encode_upper(platform.fmspc.0),
            pce_id: hex::encode_upper(platform.pce_id.0),
            tcb_type: 0,
            tcb_evaluation_data_number: 20,
            tdx_module: ModuleSpec::healthy(),
            tdx_module_identities: vec![module("03", 5), module("01", 11)],
            tcb_levels: vec![
                level(healthy.components.0, [5, 0, 3], CURRENT_LEVEL, "UpToDate", &[]),
                level(PckSpec::OUTDATED.0, [3, 0, 2], OLD_LEVEL, "OutOfDate", &["INTEL-SA-01036", "INTEL-SA-01079"]),
            ],
        }
    }

    /// The signed document.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        sign_document("tcbInfo", &json(self), key)
    }
}

/// The body of a QE identity document; hex where the document has hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QeIdentitySpec {
    /// `TD_QE`.
    pub id: String,
    /// 2.
    pub version: u32,
    /// Valid from.
    #[serde(with = "time::serde::rfc3339")]
    pub issue_date: OffsetDateTime,
    /// Valid until.
    #[serde(with = "time::serde::rfc3339")]
    pub next_update: OffsetDateTime,
    /// Evaluation number.
    pub tcb_evaluation_data_number: u32,
    /// MISCSELECT.
    pub miscselect: String,
    /// Which of its bits count.
    pub miscselect_mask: String,
    /// ATTRIBUTES.
    pub attributes: String,
    /// Which of its bits count.
    pub attributes_mask: String,
    /// MRSIGNER.
    pub mrsigner: String,
    /// ISVPRODID.
    pub isvprodid: u16,
    /// Its levels.
    pub tcb_levels: Vec<IsvLevelSpec>,
}

impl QeIdentitySpec {
    /// The identity of the healthy quoting enclave: up to date from ISVSVN 4, out of date below. Issued an hour before
    /// `now`.
    #[must_use]
    pub fn healthy(now: OffsetDateTime) -> Self {
        let (issue_date, next_update) = window(now);
        Self {
            id: "TD_QE".to_owned(),
            version: 2,
            issue_date,
            next_update,
            tcb_evaluation_data_number: 20,
            miscselect: "00000000".to_owned(),
            miscselect_mask: "FFFFFFFF".to_owned(),
            attributes: "11000000000000000000000000000000".to_owned(),
            attributes_mask: "FBFFFFFFFFFFFFFF0000000000000000".to_owned(),
            mrsigner: hex::encode_upper(super::quote::QE_SIGNER),
            isvprodid: 2,
            tcb_levels: vec![
                IsvLevelSpec::new(4, "UpToDate", CURRENT_LEVEL),
                IsvLevelSpec::new(1, "OutOfDate", OLD_LEVEL),
            ],
        }
    }

    /// The signed document.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        sign_document("enclaveIdentity", &json(self), key)
    }
}

/// Wraps and signs any text as PCS does: the signature is over the body's bytes, hex of r ‖ s.
#[must_use]
pub fn sign_document(member: &str, body: &str, key: &PrivateKey) -> Vec<u8> {
    let (r, s) = key.sign_ecdsa(MessageDigest::sha256(), body.as_bytes());
    let signature = hex::encode([r, s].concat());
    format!(r#"{{"{member}":{body},"signature":"{signature}"}}"#).into_bytes()
}

#[expect(clippy::expect_used, reason = "plain structures with string keys")]
fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("a serializable body")
}

/// Thirty days from an hour before `now`, in whole seconds.
fn window(now: OffsetDateTime) -> (OffsetDateTime, OffsetDateTime) {
    let issued = now.saturating_sub(Duration::hours(1));
    let issued = issued.replace_nanosecond(0).unwrap_or(issued);
    (issued, issued.saturating_add(Duration::days(30)))
}

/// Everything that a verifier needs beside the quote. Change a part before [`Self::files`] signs it.
#[derive(Debug, Clone)]
pub struct Collateral {
    /// The authorities that sign.
    pub pki: IntelPki,
    /// TCB info.
    pub tcb_info: TcbInfoSpec,
    /// QE identity.
    pub qe_identity: QeIdentitySpec,
    /// The root's revocation list.
    pub root_crl: CrlSpec,
    /// Revocation list of the PCK CA.
    pub pck_crl: CrlSpec,
    /// The PCK CA.
    pub pck_ca: Issued,
}

impl Collateral {
    /// TCB info, signed.
    #[must_use]
    pub fn tcb_info(&self) -> Vec<u8> {
        self.tcb_info.sign(&self.pki.tcb_signing.key)
    }

    /// QE identity, signed.
    #[must_use]
    pub fn qe_identity(&self) -> Vec<u8> {
        self.qe_identity.sign(&self.pki.tcb_signing.key)
    }

    /// The root's revocation list, DER.
    #[must_use]
    pub fn root_crl(&self) -> Vec<u8> {
        self.root_crl.sign(&self.pki.root.key)
    }

    /// The PCK CA's revocation list, DER.
    #[must_use]
    pub fn pck_crl(&self) -> Vec<u8> {
        self.pck_crl.sign(&self.pck_ca.key)
    }

    /// The chain above both documents: TCB signing and root, PEM.
    #[must_use]
    pub fn signing_chain(&self) -> String {
        pem_chain([&self.pki.tcb_signing, &self.pki.root])
    }

    /// The chain above the PCK revocation list: PCK CA and root, PEM.
    #[must_use]
    pub fn pck_crl_chain(&self) -> String {
        pem_chain([&self.pck_ca, &self.pki.root])
    }

    /// All of it as files, named as PCS names them.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let chain = self.signing_chain().into_bytes();
        vec![
            ("tcb_info.json", self.tcb_info()),
            ("tcb_info_issuer_chain.pem", chain.clone()),
            ("qe_identity.json", self.qe_identity()),
            ("qe_identity_issuer_chain.pem", chain),
            ("root_ca_crl.der", self.root_crl()),
            ("pck_crl.der", self.pck_crl()),
            ("pck_crl_issuer_chain.pem", self.pck_crl_chain().into_bytes()),
        ]
    }
}

fn pem_chain(certificates: [&Issued; 2]) -> String {
    certificates.map(|issued| pem::certificate(&issued.der())).concat()
}
