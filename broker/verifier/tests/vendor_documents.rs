//! A vendor document by itself is what its name says, or refused.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use evidence_formats::{
    code::Coded,
    endorsement::{AmdService, EndorsementId, PckAuthority, TcbUpdate},
    snp::{ChipId, ProductLine},
    tdx::Fmspc,
};
use softtee::{
    amd::{AmdPki, SecureProcessor},
    intel::{AT, IntelPki, TdxPlatform},
};
use verifier::{
    AuthenticDocument, DocumentError, DocumentFloor, DocumentTerms, Endorsements, Timestamp, TrustAnchors,
    authenticate_document, reauthenticate_document, x509::CrlNumber,
};

fn anchors() -> TrustAnchors {
    let mut files: Vec<Vec<u8>> = ProductLine::ALL.iter().flat_map(|line| AmdPki::new(*line).anchors()).collect();
    files.push(IntelPki::new().root.der());
    TrustAnchors::from_files(files.iter().map(Vec::as_slice)).unwrap()
}

fn at(offset: i64) -> Timestamp {
    Timestamp::from_unix(AT.unix_timestamp()).plus_seconds(offset)
}

struct Desk {
    anchors: TrustAnchors,
    known: Endorsements,
    floor: Option<DocumentFloor>,
    now: Timestamp,
}

impl Desk {
    fn new() -> Self {
        Self { anchors: anchors(), known: Endorsements::new(), floor: None, now: at(0) }
    }

    fn terms(&self) -> DocumentTerms<'_> {
        DocumentTerms { anchors: &self.anchors, known: &self.known, floor: self.floor, now: self.now }
    }

    fn judge(&self, id: EndorsementId, body: &[u8], chain: Option<&str>) -> Result<AuthenticDocument, DocumentError> {
        authenticate_document(&id, body, chain.map(str::as_bytes), &self.terms())
    }

    fn code(&self, id: EndorsementId, body: &[u8], chain: Option<&str>) -> &'static str {
        self.judge(id, body, chain).unwrap_err().code().as_str()
    }
}

fn vcek_id(processor: &SecureProcessor) -> EndorsementId {
    let mut chip_id = ChipId([0; 64]);
    for (to, from) in chip_id.0.iter_mut().zip(&processor.hardware_id) {
        *to = *from;
    }
    EndorsementId::vcek(processor.pki.product, chip_id, processor.tcb.to_version()).unwrap()
}

fn crl_id(line: ProductLine) -> EndorsementId {
    EndorsementId::AmdCrl { line, service: AmdService::Vcek }
}

#[test]
fn a_vcek_is_of_its_chip_and_tcb_and_under_a_trusted_root() {
    let desk = Desk::new();
    for line in ProductLine::ALL {
        let processor = SecureProcessor::new(line);
        let (id, vcek) = (vcek_id(&processor), processor.vek().der());
        assert!(desk.judge(id, &vcek, None).unwrap().is_current_at(desk.now));
        let mut other = SecureProcessor::new(line);
        other.hardware_id.reverse();
        assert_eq!(desk.code(vcek_id(&other), &vcek, None), "authenticate.snp.hwid");
        let mut older = SecureProcessor::new(line);
        older.tcb.snp = 1;
        assert_eq!(desk.code(vcek_id(&older), &vcek, None), "authenticate.snp.tcb");
        let rogue = SecureProcessor { pki: AmdPki::rogue(line), ..SecureProcessor::new(line) };
        assert!(desk.judge(id, &rogue.vek().der(), None).is_err());
        let vlek = SecureProcessor::new(line).with_vlek();
        assert!(desk.judge(id, &vlek.vek().der(), None).is_err());
        assert!(desk.judge(id, &vcek[..vcek.len() / 2], None).is_err());
    }
    let milan = vcek_id(&SecureProcessor::new(ProductLine::Milan));
    let mut genoa = SecureProcessor::new(ProductLine::Genoa);
    genoa.tcb = SecureProcessor::new(ProductLine::Milan).tcb;
    assert_eq!(desk.code(milan, &genoa.vek().der(), None), "authenticate.snp.product");
}

#[test]
fn an_amd_list_is_its_roots_current_and_no_older_than_what_was_seen() {
    let mut desk = Desk::new();
    let pki = AmdPki::new(ProductLine::Milan);
    let (id, crl) = (crl_id(ProductLine::Milan), pki.sign_crl(&pki.crl(AT)));
    let kept = desk.judge(id, &crl, None).unwrap();
    assert_eq!(kept.number(), Some(CrlNumber::from(7)));
    assert_eq!(desk.code(crl_id(ProductLine::Genoa), &crl, None), "endorsement.document.subject");
    let rogue = AmdPki::rogue(ProductLine::Milan);
    assert_eq!(desk.code(id, &rogue.sign_crl(&rogue.crl(AT)), None), "endorsement.document.signature");
    assert_eq!(desk.code(id, &pki.ask.der(), None), "endorsement.document.kind");

    // Until the second before nextUpdate, and from thisUpdate on.
    let until = kept.until();
    desk.now = until;
    assert!(desk.judge(id, &crl, None).is_ok());
    desk.now = until.plus_seconds(1);
    assert_eq!(desk.judge(id, &crl, None).unwrap_err(), DocumentError::Stale { until });
    assert!(!reauthenticate_document(&id, &crl, None, &desk.terms()).unwrap().is_current_at(desk.now));
    desk.now = kept.from().plus_seconds(-1);
    assert_eq!(desk.code(id, &crl, None), "endorsement.document.not_yet_valid");

    desk.now = at(0);
    desk.floor = Some(kept.floor());
    assert!(desk.judge(id, &crl, None).is_ok());
    let lower = pki.sign_crl(&pki.crl(AT).numbered(6));
    assert_eq!(desk.code(id, &lower, None), "endorsement.document.rollback");
    let earlier = pki.sign_crl(&pki.crl(AT - time::Duration::days(1)));
    assert_eq!(desk.code(id, &earlier, None), "endorsement.document.rollback");
}

#[test]
fn an_amd_chain_is_the_pinned_one() {
    let desk = Desk::new();
    let (pki, rogue) = (AmdPki::new(ProductLine::Milan), AmdPki::rogue(ProductLine::Milan));
    let chain = |issuer: Vec<u8>, root: Vec<u8>| [issuer, root].map(|der| softtee::pem::certificate(&der)).concat();
    let id = |service| EndorsementId::AmdChain { line: ProductLine::Milan, service };
    let (of_vcek, of_vlek) = (chain(pki.ask.der(), pki.ark.der()), chain(pki.asvk.der(), pki.ark.der()));
    assert!(desk.judge(id(AmdService::Vcek), of_vcek.as_bytes(), None).is_ok());
    assert!(desk.judge(id(AmdService::Vlek), of_vlek.as_bytes(), None).is_ok());
    assert_eq!(desk.code(id(AmdService::Vlek), of_vcek.as_bytes(), None), "endorsement.document.subject");
    let imitated = chain(rogue.ask.der(), rogue.ark.der());
    assert_eq!(desk.code(id(AmdService::Vcek), imitated.as_bytes(), None), "endorsement.document.untrusted");
    let grafted = chain(rogue.ask.der(), pki.ark.der());
    assert_eq!(desk.code(id(AmdService::Vcek), grafted.as_bytes(), None), "endorsement.document.signature");
}

#[test]
fn intels_documents_are_signed_under_its_root_and_about_what_their_name_says() {
    let mut desk = Desk::new();
    let platform = TdxPlatform::new();
    let (good, rogue) =
        (platform.collateral(AT), TdxPlatform { pki: IntelPki::rogue(), ..TdxPlatform::new() }.collateral(AT));
    let update = TcbUpdate::Standard;
    let tcb = EndorsementId::TcbInfo { fmspc: platform.pck.fmspc, update };
    let (chain, rogue_chain) = (good.signing_chain(), rogue.signing_chain());
    assert!(desk.judge(tcb, &good.tcb_info(), Some(&chain)).is_ok());
    let other = EndorsementId::TcbInfo { fmspc: Fmspc([9; 6]), update };
    assert_eq!(desk.code(other, &good.tcb_info(), Some(&chain)), "endorsement.document.subject");
    assert_eq!(desk.code(tcb, &good.qe_identity(), Some(&chain)), "endorsement.document.kind");
    assert_eq!(desk.code(tcb, &rogue.tcb_info(), Some(&chain)), "endorsement.document.signature");
    assert_eq!(desk.code(tcb, &rogue.tcb_info(), Some(&rogue_chain)), "endorsement.document.signer");
    assert_eq!(desk.code(tcb, &good.tcb_info(), None), "endorsement.document.signer");
    let identity = EndorsementId::QeIdentity { update };
    assert!(desk.judge(identity, &good.qe_identity(), Some(&chain)).is_ok());

    let (platform_list, root_list) =
        (EndorsementId::PckCrl { ca: PckAuthority::Platform }, EndorsementId::IntelRootCrl);
    let list_chain = good.pck_crl_chain();
    assert!(desk.judge(platform_list, &good.pck_crl(), Some(&list_chain)).is_ok());
    let processor_list = EndorsementId::PckCrl { ca: PckAuthority::Processor };
    assert_eq!(desk.code(processor_list, &good.pck_crl(), Some(&list_chain)), "endorsement.document.subject");
    assert_eq!(desk.code(platform_list, &rogue.pck_crl(), Some(&list_chain)), "endorsement.document.signature");
    assert!(desk.judge(root_list, &good.root_crl(), None).is_ok());
    assert_eq!(desk.code(root_list, &rogue.root_crl(), None), "endorsement.document.signature");
    assert_eq!(desk.code(root_list, &good.pck_crl(), None), "endorsement.document.subject");

    // The second of nextUpdate is the last one.
    let until = desk.judge(tcb, &good.tcb_info(), Some(&chain)).unwrap().until();
    desk.now = until;
    assert!(desk.judge(tcb, &good.tcb_info(), Some(&chain)).is_ok());
    desk.now = until.plus_seconds(1);
    assert_eq!(desk.code(tcb, &good.tcb_info(), Some(&chain)), "endorsement.document.stale");
}

#[test]
fn a_signer_that_a_known_list_revokes_signs_nothing() {
    let mut desk = Desk::new();
    let platform = TdxPlatform::new();
    let collateral = platform.collateral(AT);
    let serial = platform.pki.tcb_signing.certificate.serial.clone();
    let list = platform.pki.root_crl(AT).revoking(&serial).sign(&platform.pki.root.key);
    desk.known.add(&list).unwrap();
    let id = EndorsementId::TcbInfo { fmspc: platform.pck.fmspc, update: TcbUpdate::Standard };
    let chain = collateral.signing_chain();
    assert_eq!(desk.code(id, &collateral.tcb_info(), Some(&chain)), "endorsement.document.signer_revoked");
    let pki = AmdPki::new(ProductLine::Milan);
    let processor = SecureProcessor::new(ProductLine::Milan);
    desk.known.add(&pki.sign_crl(&pki.crl(AT).revoking(&pki.ask.certificate.serial))).unwrap();
    assert_eq!(desk.code(vcek_id(&processor), &processor.vek().der(), None), "authenticate.snp.revoked");
}
