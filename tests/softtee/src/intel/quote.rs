//! Quotes, versions 4 and 5, with every field settable.
use evidence_formats::tdx::{MigrationTds, Td15, TdQuoteBody};
use openssl::hash::MessageDigest;

use super::TdxPlatform;
use crate::keys::{PrivateKey, digest};
use crate::pem;
use crate::x509::Issued;

/// MRSIGNER of the healthy quoting enclave.
pub(super) const QE_SIGNER: [u8; 32] = [0xdc; 32];

/// The quoting enclave's report (384 bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QeReportSpec {
    /// CPUSVN.
    pub cpu_svn: [u8; 16],
    /// MISCSELECT.
    pub misc_select: [u8; 4],
    /// ATTRIBUTES.
    pub attributes: [u8; 16],
    /// MRENCLAVE.
    pub mr_enclave: [u8; 32],
    /// MRSIGNER.
    pub mr_signer: [u8; 32],
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// REPORTDATA instead of the hash of attestation key and authentication data.
    pub report_data: Option<[u8; 64]>,
}

impl QeReportSpec {
    /// The enclave that the healthy QE identity describes.
    #[must_use]
    pub const fn healthy() -> Self {
        Self {
            cpu_svn: [3; 16],
            misc_select: [0; 4],
            attributes: [0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
            mr_enclave: [0x45; 32],
            mr_signer: QE_SIGNER,
            isv_prod_id: 2,
            isv_svn: 4,
            report_data: None,
        }
    }

    fn to_bytes(&self, report_data: &[u8]) -> Vec<u8> {
        [
            self.cpu_svn.as_slice(),
            &self.misc_select,
            &[0; 28],
            &self.attributes,
            &self.mr_enclave,
            &[0; 32],
            &self.mr_signer,
            &[0; 96],
            &self.isv_prod_id.to_le_bytes(),
            &self.isv_svn.to_le_bytes(),
            &[0; 60],
            report_data,
        ]
        .concat()
    }
}

/// A quote before signing. Sizes follow from the content unless they are set.
#[derive(Debug, Clone)]
pub struct QuoteSpec {
    /// 4 or 5.
    pub version: u16,
    /// 2: ECDSA P-256.
    pub attestation_key_type: u16,
    /// 0x81: TDX.
    pub tee_type: u32,
    /// Reserved.
    pub reserved: [u8; 4],
    /// QE vendor id; healthy: Intel's.
    pub qe_vendor: [u8; 16],
    /// User data of the header.
    pub user_data: [u8; 20],
    /// The TD report.
    pub body: TdQuoteBody,
    /// Another body type than the body's, in version 5.
    pub body_type: Option<u16>,
    /// Another body size than the body's, in version 5.
    pub body_size: Option<u32>,
    /// The attestation key.
    pub attestation_key: PrivateKey,
    /// The quoting enclave.
    pub qe: QeReportSpec,
    /// Data that the quoting enclave hashes beside the key.
    pub qe_auth_data: Vec<u8>,
    /// 6: QE report certification data.
    pub outer_type: u16,
    /// 5: PCK chain.
    pub inner_type: u16,
    /// Certification data instead of the PCK chain in PEM with one NUL.
    pub certification_data: Option<Vec<u8>>,
    /// Another size of the authentication data.
    pub auth_size: Option<u32>,
    /// Another size of the outer certification data.
    pub outer_size: Option<u32>,
    /// Another size of the inner certification data.
    pub inner_size: Option<u32>,
    /// The key that signs the QE report, instead of the PCK key.
    pub qe_report_key: Option<PrivateKey>,
    /// What stands after the quote.
    pub trailing: Vec<u8>,
}

impl QuoteSpec {
    /// A healthy quote: version 4 for a TD report 1.0, version 5 for later ones.
    #[must_use]
    pub fn healthy(body: TdQuoteBody) -> Self {
        Self {
            version: if body.td15.is_some() { 5 } else { 4 },
            attestation_key_type: 2,
            tee_type: 0x81,
            reserved: [0; 4],
            qe_vendor: 0x939a_7233_f79c_4ca9_940a_0db3_957f_0607_u128.to_be_bytes(),
            user_data: [0; 20],
            body,
            body_type: None,
            body_size: None,
            attestation_key: PrivateKey::p256_from_label(b"attestation key"),
            qe: QeReportSpec::healthy(),
            qe_auth_data: (0..32).collect(),
            outer_type: 6,
            inner_type: 5,
            certification_data: None,
            auth_size: None,
            outer_size: None,
            inner_size: None,
            qe_report_key: None,
            trailing: Vec::new(),
        }
    }

    /// What the attestation key signs: header and body.
    #[must_use]
    pub fn signed_part(&self) -> Vec<u8> {
        let body = td_report_body(&self.body);
        let mut bytes = [
            self.version.to_le_bytes().as_slice(),
            &self.attestation_key_type.to_le_bytes(),
            &self.tee_type.to_le_bytes(),
            &self.reserved,
            &self.qe_vendor,
            &self.user_data,
        ]
        .concat();
        if self.version >= 5 {
            let body_type = match &self.body.td15 {
                None => 2_u16,
                Some(Td15 { extended: None, .. }) => 3,
                Some(Td15 { extended: Some(_), .. }) => 4,
            };
            bytes.extend(self.body_type.unwrap_or(body_type).to_le_bytes());
            bytes.extend(self.body_size.unwrap_or_else(|| size(&body)).to_le_bytes());
        }
        bytes.extend(body);
        bytes
    }

    /// The quote, signed on `platform`.
    #[must_use]
    pub fn to_bytes(&self, platform: &TdxPlatform) -> Vec<u8> {
        let signed = self.signed_part();
        let pck = platform.pki.pck(&platform.pck);
        // SEC 1 point without its leading 04.
        let point = self.attestation_key.public_key_bits().split_off(1);
        let bound = digest(MessageDigest::sha256(), &[&point, &self.qe_auth_data]);
        let report_data = self.qe.report_data.map_or_else(|| [bound, vec![0; 32]].concat(), |data| data.to_vec());
        let qe_report = self.qe.to_bytes(&report_data);
        let inner = self
            .certification_data
            .clone()
            .unwrap_or_else(|| pck_chain(&[&pck, platform.pki.pck_ca(platform.pck.ca), &platform.pki.root]));
        let outer = [
            qe_report.as_slice(),
            &sign_raw(self.qe_report_key.as_ref().unwrap_or(&pck.key), &qe_report),
            &u16::try_from(self.qe_auth_data.len()).unwrap_or(u16::MAX).to_le_bytes(),
            &self.qe_auth_data,
            &self.inner_type.to_le_bytes(),
            &self.inner_size.unwrap_or_else(|| size(&inner)).to_le_bytes(),
            &inner,
        ]
        .concat();
        let auth = [
            sign_raw(&self.attestation_key, &signed).as_slice(),
            &point,
            &self.outer_type.to_le_bytes(),
            &self.outer_size.unwrap_or_else(|| size(&outer)).to_le_bytes(),
            &outer,
        ]
        .concat();
        let auth_size = self.auth_size.unwrap_or_else(|| size(&auth)).to_le_bytes();
        [signed.as_slice(), &auth_size, &auth, &self.trailing].concat()
    }
}

/// Certification data of type 5: the certificates in PEM, leaf first, and one NUL.
///
/// For a chain with something wrong in it: change the [`Issued`] certificates, set
/// [`QuoteSpec::certification_data`] and, for another leaf key, [`QuoteSpec::qe_report_key`].
#[must_use]
pub fn pck_chain(certificates: &[&Issued]) -> Vec<u8> {
    let mut text: String = certificates.iter().map(|issued| pem::certificate(&issued.der())).collect();
    text.push('\0');
    text.into_bytes()
}

fn size(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn sign_raw(key: &PrivateKey, message: &[u8]) -> Vec<u8> {
    let (r, s) = key.sign_ecdsa(MessageDigest::sha256(), message);
    [r, s].concat()
}

/// The TD report body as a quote carries it: 584, 648 or 885 bytes.
#[must_use]
pub fn td_report_body(body: &TdQuoteBody) -> Vec<u8> {
    let info = &body.info;
    let mut bytes = [
        body.tee_tcb_svn.0.as_slice(),
        &body.mr_seam.0,
        &body.mr_signer_seam.0,
        &body.seam_attributes.0,
        &info.attributes.0.to_le_bytes(),
        &info.xfam.0.to_le_bytes(),
        &info.mr_td.0,
        &info.mr_config_id.0,
        &info.mr_owner.0,
        &info.mr_owner_config.0,
    ]
    .concat();
    bytes.extend(info.rtmr.iter().flat_map(|register| register.0));
    bytes.extend(body.report_data.0);
    if let Some(td15) = &body.td15 {
        bytes.extend(td15.current_tee_tcb_svn.0);
        bytes.extend(td15.mr_service_td.0);
        bytes.extend(td15.extended.iter().flat_map(migration_tds));
    }
    bytes
}

/// TDREPORT of a TD (TDX Module ABI, TDREPORT_STRUCT), with a MAC of this made-up platform.
#[must_use]
pub fn td_report(body: &TdQuoteBody) -> Vec<u8> {
    let td10 = td_report_body(&TdQuoteBody { td15: None, ..body.clone() });
    // TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM and SEAMATTRIBUTES; TDINFO; REPORTDATA.
    let (module, rest) = td10.split_at(120);
    let (info, report_data) = rest.split_at(400);
    let mut tcb_info = [&0x01ff_u64.to_le_bytes()[..], module].concat();
    tcb_info.resize(256, 0);
    let mut td_info = info.to_vec();
    td_info.resize(512, 0);
    let hashes = [tcb_info.get(..239).unwrap_or_default(), &td_info];
    let hashes = hashes.map(|part| digest(MessageDigest::sha384(), &[part])).concat();
    let mut report = [&[0x81, 0, 0, 0][..], &[0; 12], &[0x0c; 16], &hashes, report_data, &[0; 32]].concat();
    let mac = digest(MessageDigest::sha256(), &[b"softtee MAC key", &report]);
    report.extend(mac);
    [report, tcb_info, td_info].concat()
}

fn migration_tds(tds: &MigrationTds) -> Vec<u8> {
    [
        [tds.vmid].as_slice(),
        &tds.td_id,
        &tds.device_info,
        &tds.initial_service_td.0,
        &tds.initial_service_td_attributes.to_le_bytes(),
        &tds.initial_cpu_svn,
        &tds.initial_tee_tcb_svn.0,
        &tds.initial_fmspc,
        &tds.current_service_td.0,
        &tds.current_service_td_attributes.to_le_bytes(),
    ]
    .concat()
}
