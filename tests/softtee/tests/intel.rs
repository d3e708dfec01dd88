//! The software TDX platform makes what Intel's would: judged by an independent verifier and by OpenSSL.
#![expect(clippy::unwrap_used, reason = "tests")]

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use evidence_formats::eventlog::EventLog;
use evidence_formats::tdx::{CollateralKind, QeIdentity, SignedDocument, TcbInfo, TdxQuote};
use openssl::x509::X509Crl;
use softtee::intel::{AT, Collateral, PckCa, PckSpec, QuoteSpec, TdxPlatform, pck_chain};

fn body_and_signature(document: &[u8], member: &str) -> (String, Vec<u8>) {
    let kind = if member == "tcbInfo" { CollateralKind::TcbInfo } else { CollateralKind::QeIdentity };
    let document = SignedDocument::parse(kind, document).unwrap();
    (document.signed_text().to_owned(), document.signature().0.to_vec())
}

fn judge(quote: &[u8], collateral: &Collateral, platform: &TdxPlatform) -> Result<VerifiedReport, String> {
    let (tcb_info, tcb_info_signature) = body_and_signature(&collateral.tcb_info(), "tcbInfo");
    let (qe_identity, qe_identity_signature) = body_and_signature(&collateral.qe_identity(), "enclaveIdentity");
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_chain(),
        root_ca_crl: collateral.root_crl(),
        pck_crl: collateral.pck_crl(),
        tcb_info_issuer_chain: collateral.signing_chain(),
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain: collateral.signing_chain(),
        qe_identity,
        qe_identity_signature,
        pck_certificate_chain: None,
    };
    let verifier = QuoteVerifier::new(platform.pki.root.der());
    let now = AT.unix_timestamp().try_into().unwrap();
    verifier.verify(quote, &collateral, now).map_err(|error| format!("{error:#}"))
}

#[test]
fn healthy_quotes_of_every_body_are_up_to_date() {
    for ca in [PckCa::Platform, PckCa::Processor] {
        let mut platform = TdxPlatform::new();
        platform.pck.ca = ca;
        for td in [platform.td(), platform.td15(), platform.td15_extended()] {
            let quote = platform.quote(&td).to_bytes(&platform);
            let report = judge(&quote, &platform.collateral(AT), &platform).unwrap();
            assert_eq!((report.status.as_str(), report.advisory_ids.len()), ("UpToDate", 0));
        }
        let td = platform.td();
        let as_v5 = QuoteSpec { version: 5, ..platform.quote(&td) }.to_bytes(&platform);
        assert_eq!(judge(&as_v5, &platform.collateral(AT), &platform).unwrap().status, "UpToDate");
    }
}

#[test]
fn a_tdx_1_0_module_is_judged_by_the_platform_levels_alone() {
    let mut platform = TdxPlatform::new();
    for (minor, status) in [(5, "UpToDate"), (3, "OutOfDate")] {
        platform.tee_tcb_svn = TdxPlatform::svn(minor, 0, 3);
        let quote = platform.quote(&platform.td()).to_bytes(&platform);
        assert_eq!(judge(&quote, &platform.collateral(AT), &platform).unwrap().status, status);
    }
}

#[test]
fn an_outdated_platform_module_or_enclave_is_out_of_date() {
    let mut platform = TdxPlatform::new();
    platform.pck.set_components(PckSpec::OUTDATED);
    let report = judge(&platform.quote(&platform.td()).to_bytes(&platform), &platform.collateral(AT), &platform);
    let report = report.unwrap();
    assert_eq!(report.status, "OutOfDate");
    assert_eq!(report.advisory_ids, ["INTEL-SA-01036", "INTEL-SA-01079"]);

    let mut platform = TdxPlatform::new();
    platform.tee_tcb_svn = TdxPlatform::svn(4, 1, 3);
    let quote = platform.quote(&platform.td()).to_bytes(&platform);
    assert_eq!(judge(&quote, &platform.collateral(AT), &platform).unwrap().status, "OutOfDate");

    let platform = TdxPlatform::new();
    let mut quote = platform.quote(&platform.td());
    quote.qe.isv_svn = 2;
    assert_eq!(judge(&quote.to_bytes(&platform), &platform.collateral(AT), &platform).unwrap().status, "OutOfDate");
}

#[test]
fn single_overrides_are_refused_by_an_independent_verifier() {
    let platform = TdxPlatform::new();
    let healthy = platform.quote(&platform.td());
    let refused = |quote: &QuoteSpec, collateral: &Collateral| {
        judge(&quote.to_bytes(&platform), collateral, &platform).unwrap_err()
    };
    let collateral = platform.collateral(AT);

    let mut quote = healthy.clone();
    quote.qe.mr_signer = [1; 32];
    refused(&quote, &collateral);
    let mut quote = healthy.clone();
    quote.qe.report_data = Some([0; 64]);
    refused(&quote, &collateral);
    let mut quote = healthy.clone();
    quote.qe_report_key = Some(platform.pki.tcb_signing.key.clone());
    refused(&quote, &collateral);

    let mut pck = platform.pki.pck(&platform.pck);
    pck.certificate.remove(softtee::intel::oids::SGX);
    let mut quote = healthy.clone();
    quote.certification_data = Some(pck_chain(&[&pck, &platform.pki.platform_ca, &platform.pki.root]));
    refused(&quote, &collateral);

    let mut revoked = collateral.clone();
    revoked.pck_crl = revoked.pck_crl.revoking(&platform.pki.pck(&platform.pck).certificate.serial);
    refused(&healthy, &revoked);
    let mut revoked = collateral.clone();
    revoked.root_crl = revoked.root_crl.revoking(&platform.pki.platform_ca.certificate.serial);
    refused(&healthy, &revoked);
    let mut other = collateral.clone();
    other.tcb_info.fmspc = "00806F050000".to_owned();
    refused(&healthy, &other);
    let mut stale = collateral.clone();
    stale.tcb_info.next_update = stale.tcb_info.issue_date;
    refused(&healthy, &stale);
    let mut forged = collateral;
    forged.pki.tcb_signing.key = platform.pki.root.key.clone();
    refused(&healthy, &forged);
}

#[test]
fn our_parsers_read_what_is_made() {
    let platform = TdxPlatform::new();
    for td in [platform.td(), platform.td15(), platform.td15_extended()] {
        let bytes = QuoteSpec { trailing: vec![0; 9], ..platform.quote(&td) }.to_bytes(&platform);
        let quote = TdxQuote::parse(&bytes).unwrap();
        assert_eq!(quote.body, td);
        assert_eq!(quote.canonical_bytes().len().saturating_add(9), bytes.len());
    }
    let collateral = platform.collateral(AT);
    let tcb_info = SignedDocument::parse(CollateralKind::TcbInfo, &collateral.tcb_info()).unwrap();
    assert_eq!(TcbInfo::parse(&tcb_info).unwrap().levels.len(), 2);
    let qe_identity = SignedDocument::parse(CollateralKind::QeIdentity, &collateral.qe_identity()).unwrap();
    assert_eq!(QeIdentity::parse(&qe_identity).unwrap().levels.len(), 2);
    let crl = X509Crl::from_der(&collateral.root_crl()).unwrap();
    let root = openssl::x509::X509::from_der(&platform.pki.root.der()).unwrap();
    assert!(crl.verify(&root.public_key().unwrap()).unwrap());
}

#[test]
fn the_event_log_replays_to_the_registers_of_the_td() {
    let log = TdxPlatform::event_log();
    let replayed = EventLog::parse(&log.to_padded_bytes(4096)).unwrap().replay_rtmrs().unwrap();
    assert_eq!(replayed.rtmrs, log.rtmrs());
    assert_eq!(TdxPlatform::new().td().info.rtmr, log.rtmrs());
    assert_eq!(log.rtmrs()[3].0, [0; 48]);
    assert!(log.rtmrs().iter().take(3).all(|register| !register.is_zero()));
}

#[test]
fn everything_has_the_same_bytes_every_time() {
    let (one, two) = (TdxPlatform::new(), TdxPlatform::new());
    assert_eq!(one.pki.root.der(), two.pki.root.der());
    assert_eq!(one.collateral(AT).files(), two.collateral(AT).files());
    assert_eq!(one.quote(&one.td()).to_bytes(&one), two.quote(&two.td()).to_bytes(&two));
}
