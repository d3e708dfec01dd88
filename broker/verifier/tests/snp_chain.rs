//! Chains, revocation and memory, with evidence of a simulated processor.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use evidence_formats::{
    bytes::ReportData,
    code::Coded,
    evidence::{Evidence, SnpEvidence},
    snp::{CertTable, ChipId, ProductLine, SnpReport},
};
use softtee::{
    amd::{AmdPki, ReportSpec, SecureProcessor},
    der,
    x509::{CrlSpec, Extension, Name},
};
use time::OffsetDateTime;
use verifier::{
    ChainKey, ChainMemory, Claims, CrlFloors, Endorsements, Expected, Forgetful, Platform, RawClaims, Revocation,
    Terms, Timestamp, TrustAnchors, VerifiedChain, authenticate, baseline::Baseline, snp::SnpClaims,
};

const NOW: i64 = 1_750_000_000;

/// One verification: evidence, what the operator has, and the terms.
struct Setup {
    processor: SecureProcessor,
    guest: ReportSpec,
    anchors: TrustAnchors,
    documents: Vec<Vec<u8>>,
    table: bool,
    revocation: Revocation,
    expected: Expected,
    now: i64,
    floors: CrlFloors,
}

impl Setup {
    fn new(processor: SecureProcessor) -> Self {
        let anchors = processor.pki.anchors();
        Self {
            guest: processor.guest(),
            anchors: TrustAnchors::from_files(anchors.iter().map(Vec::as_slice)).unwrap(),
            documents: vec![processor.vek().der()],
            table: false,
            revocation: Revocation::IfPresent,
            expected: Expected::Unchecked { reason: "test" },
            now: NOW,
            floors: CrlFloors::default(),
            processor,
        }
    }

    fn milan() -> Self {
        Self::new(SecureProcessor::new(ProductLine::Milan))
    }

    fn crl(&self) -> CrlSpec {
        self.processor.pki.crl(OffsetDateTime::from_unix_timestamp(NOW).unwrap())
    }

    fn with_crl(mut self, crl: &CrlSpec) -> Self {
        self.documents.push(self.processor.pki.sign_crl(crl));
        self
    }

    fn run_with(&self, memory: &dyn ChainMemory) -> Result<Claims, String> {
        let report = SnpReport::parse(&self.processor.report(&self.guest)).map_err(|error| error.code().to_string())?;
        let table = self.table.then(|| CertTable::parse(&self.processor.certificates().to_bytes()).unwrap());
        let evidence = Evidence::Snp(SnpEvidence { report, certificates: table, init_data: None });
        let mut endorsements = Endorsements::new();
        for document in &self.documents {
            // What cannot be read is remembered by the set.
            let _ = endorsements.add(document);
        }
        let terms = Terms {
            anchors: &self.anchors,
            revocation: self.revocation,
            expected: self.expected,
            now: Timestamp::from_unix(self.now),
            memory,
            crl_floors: &self.floors,
            tpm: verifier::tpm::TpmTerms::DEFAULT,
        };
        let outcome = authenticate(&evidence, &endorsements, &terms);
        outcome.map(|authentic| authentic.claims().clone()).map_err(|error| {
            let undecided = if error.is_missing_endorsement() { "?" } else { "" };
            format!("{}{undecided}", error.code())
        })
    }

    fn run(&self) -> Result<Claims, String> {
        self.run_with(&Forgetful)
    }

    fn refusal(&self) -> String {
        self.run().unwrap_err()
    }
}

fn snp(claims: &Claims) -> &SnpClaims {
    let RawClaims::Snp(snp) = &claims.raw else { panic!("not SNP claims: {:?}", claims.raw) };
    snp
}

fn codes(claims: &Claims) -> Vec<&'static str> {
    Baseline::default().judge(claims).violations.iter().map(|violation| violation.code.as_str()).collect()
}

#[test]
fn healthy_evidence_of_every_product_line_and_key_kind_authenticates() {
    for line in ProductLine::ALL {
        for processor in [SecureProcessor::new(line), SecureProcessor::new(line).with_vlek()] {
            let mut setup = Setup::new(processor);
            setup.now = AmdPki::ISSUED_AT.unix_timestamp() + 86_400;
            let claims = setup.run().unwrap();
            assert_eq!(snp(&claims).product, line);
            assert_eq!(claims.platform, Platform::Simulated);
        }
    }
}

#[test]
fn the_host_s_certificate_table_supplies_the_key() {
    let mut setup = Setup::milan();
    setup.documents.clear();
    assert_eq!(setup.refusal(), "endorsement.snp.vek_missing?");
    setup.table = true;
    assert!(setup.run().is_ok());
}

#[test]
fn under_an_operator_s_root_the_intermediate_may_be_supplied() {
    let mut setup = Setup::milan();
    let pki = setup.processor.pki.clone();
    setup.anchors = TrustAnchors::from_files([pki.ark.der().as_slice()]).unwrap();
    assert_eq!(setup.refusal(), "endorsement.snp.intermediate_missing?");
    setup.documents.push(pki.ask.der());
    assert!(setup.run().is_ok());
    setup.documents.pop();
    setup.table = true;
    assert!(setup.run().is_ok());
}

#[test]
fn an_issuer_that_the_vendor_does_not_have_is_wrong_not_missing() {
    let mut setup = Setup::milan();
    setup.anchors = TrustAnchors::vendor();
    let mut vek = setup.processor.vek();
    vek.certificate.issuer = Name::from_values(&[("2.5.4.3", der::utf8("SEV-Milan"))]);
    setup.documents = vec![vek.der()];
    assert_eq!(setup.refusal(), "authenticate.snp.vek_issuer");
}

#[test]
fn a_hierarchy_of_the_same_names_is_no_amd_hierarchy() {
    let mut setup = Setup::milan();
    setup.anchors = TrustAnchors::vendor();
    assert_eq!(setup.refusal(), "authenticate.snp.vek_signature");
    setup.table = true;
    assert_eq!(setup.refusal(), "authenticate.snp.untrusted_root");
    let mut setup = Setup::milan();
    let rogue = AmdPki::rogue(ProductLine::Milan);
    let anchors = rogue.anchors();
    setup.anchors = TrustAnchors::from_files(anchors.iter().map(Vec::as_slice)).unwrap();
    setup.table = true;
    assert_eq!(setup.refusal(), "authenticate.snp.untrusted_root");
}

#[test]
fn an_anchor_of_another_product_line_is_no_anchor() {
    let mut setup = Setup::milan();
    let genoa = AmdPki::new(ProductLine::Genoa).anchors();
    setup.anchors = TrustAnchors::from_files(genoa.iter().map(Vec::as_slice)).unwrap();
    assert_eq!(setup.refusal(), "authenticate.snp.untrusted_root");
}

#[test]
fn a_missing_crl_is_the_last_thing_said() {
    let mut setup = Setup::milan();
    setup.revocation = Revocation::Require;
    assert_eq!(setup.refusal(), "endorsement.snp.crl_missing?");
    setup.expected = Expected::ReportData(ReportData([9; 64]));
    assert_eq!(setup.refusal(), "binding.snp.report_data");
    setup.documents.clear();
    assert_eq!(setup.refusal(), "binding.snp.report_data");
}

#[test]
fn every_byte_of_the_report_data_is_compared() {
    let mut setup = Setup::milan();
    let bound = setup.guest.report_data;
    setup.expected = Expected::ReportData(bound);
    assert!(setup.run().is_ok());
    for at in [0, 31, 32, 47, 48, 63] {
        let mut other = bound;
        if let Some(byte) = other.0.get_mut(at) {
            *byte ^= 1;
        }
        setup.expected = Expected::ReportData(other);
        assert_eq!(setup.refusal(), "binding.snp.report_data", "byte {at}");
    }
}

#[test]
fn a_current_crl_that_lists_nothing_is_named_in_the_claims() {
    let setup = Setup::milan();
    let crl = setup.crl();
    let mut setup = setup.with_crl(&crl);
    setup.revocation = Revocation::Require;
    let claims = setup.run().unwrap();
    let used = snp(&claims).crl.clone().unwrap();
    assert_eq!(used.number, 7_u64.into());
    assert!(claims.unchecked.iter().all(|unchecked| unchecked.what != "revocation"));
    // The caller raises its floor with what the claims name.
    setup.floors.raise(&used.issuer, 8_u64.into());
    assert_eq!(setup.refusal(), "endorsement.snp.crl_rollback");
}

#[test]
fn the_newest_crl_counts_and_foreign_ones_do_not() {
    let setup = Setup::milan();
    let (older, newer) = (setup.crl(), setup.crl().numbered(9));
    let rogue = AmdPki::rogue(ProductLine::Milan).sign_crl(&setup.crl().numbered(99));
    let genoa = AmdPki::new(ProductLine::Genoa);
    let other = genoa.sign_crl(&genoa.crl(OffsetDateTime::from_unix_timestamp(NOW).unwrap()));
    let mut setup = setup.with_crl(&newer).with_crl(&older);
    setup.documents.extend([rogue, other]);
    setup.revocation = Revocation::Require;
    assert_eq!(snp(&setup.run().unwrap()).crl.as_ref().unwrap().number, 9_u64.into());
}

#[test]
fn a_revoked_authority_is_refused_whatever_the_list_s_dates() {
    for authority in ["ask", "ark"] {
        for (from, until) in [(-1, 365), (-400, -35), (10, 375)] {
            let setup = Setup::milan();
            let pki = setup.processor.pki.clone();
            let serial = if authority == "ask" { &pki.ask } else { &pki.ark }.certificate.serial.clone();
            let day = |days: i64| OffsetDateTime::from_unix_timestamp(NOW + days * 86_400).unwrap();
            let mut crl = setup.crl().revoking(&serial);
            (crl.this_update, crl.next_update) = (day(from), Some(day(until)));
            assert_eq!(setup.with_crl(&crl).refusal(), "authenticate.snp.revoked", "{authority} {from}");
        }
    }
}

#[test]
fn an_entry_with_the_endorsement_keys_serial_number_revokes_nothing() {
    let setup = Setup::milan();
    let crl = setup.crl().revoking(&[]);
    assert!(setup.with_crl(&crl).run().is_ok());
}

#[test]
fn a_crl_that_cannot_be_understood_is_told() {
    let setup = Setup::milan();
    let mut crl = setup.crl();
    crl.extensions.push(Extension::critical("2.5.29.28", vec![0x30, 0x00]));
    let mut setup = setup.with_crl(&crl);
    setup.revocation = Revocation::Require;
    assert_eq!(setup.refusal(), "parse.crl.unknown_extension");
}

#[test]
fn of_several_keys_the_one_that_fits_is_used() {
    let mut setup = Setup::milan();
    let fitting = setup.documents.pop().unwrap();
    let mut older = setup.processor.tcb;
    older.microcode = older.microcode.saturating_sub(1);
    setup.documents.push(setup.processor.pki.vcek(&[0x77; 64], setup.processor.tcb).der());
    assert_eq!(setup.refusal(), "authenticate.snp.hwid");
    setup.documents.push(setup.processor.pki.vcek(&setup.processor.hardware_id, older).der());
    assert_eq!(setup.refusal(), "authenticate.snp.tcb");
    setup.documents.push(fitting);
    assert!(setup.run().is_ok());
}

#[test]
fn of_several_failures_that_of_the_signing_key_is_told() {
    // The report is signed by a key of the right names that no authority issued; the chip's genuine key lies beside it.
    let mut setup = Setup::milan();
    let genuine = setup.documents.clone();
    setup.processor.pki = AmdPki::rogue(ProductLine::Milan);
    let forged = setup.processor.vek().der();
    for documents in [[genuine.clone(), vec![forged.clone()]].concat(), [vec![forged], genuine].concat()] {
        setup.documents = documents;
        assert_eq!(setup.refusal(), "authenticate.snp.vek_signature");
    }
}

#[test]
fn a_masked_chip_id_and_a_host_s_report_are_for_the_baseline() {
    let mut setup = Setup::milan();
    setup.guest.chip_id = ChipId([0; 64]);
    let claims = setup.run().unwrap();
    assert_eq!(claims.instance, None);
    assert_eq!(codes(&claims), ["baseline.snp.chip_id_masked"]);
    let mut setup = Setup::milan();
    setup.guest.vmpl = u32::MAX;
    assert_eq!(codes(&setup.run().unwrap()), ["baseline.snp.host_requested"]);
    let relaxed = Baseline::from_toml("[baseline.snp]\nvmpls = [0, 1, 2, 3]").unwrap();
    assert_eq!(relaxed.judge(&setup.run().unwrap()).violations.len(), 1);
}

#[test]
fn a_relaxation_that_mattered_is_named() {
    let mut setup = Setup::milan();
    setup.guest.policy |= 1 << 19;
    let claims = setup.run().unwrap();
    assert_eq!(codes(&claims), ["baseline.snp.debug"]);
    let relaxed = Baseline::from_toml("[baseline.snp]\nallow_debug = true\nallow_cxl = true").unwrap().judge(&claims);
    assert!(relaxed.violations.is_empty());
    assert_eq!(relaxed.relaxed, ["snp.allow_debug"]);
}

#[test]
fn a_platform_that_breaks_the_guest_s_policy_is_refused() {
    let mut setup = Setup::milan();
    setup.guest.policy &= !(1 << 16);
    setup.guest.platform_info |= 1;
    assert_eq!(codes(&setup.run().unwrap()), ["baseline.snp.policy_contradiction"]);
}

/// Remembers everything, and counts.
#[derive(Default)]
struct Counting {
    chains: Mutex<HashMap<ChainKey, VerifiedChain>>,
    made: AtomicUsize,
}

impl ChainMemory for Counting {
    fn recall(&self, key: &ChainKey) -> Option<VerifiedChain> {
        self.chains.lock().unwrap().get(key).cloned()
    }

    fn remember(&self, key: ChainKey, chain: VerifiedChain) {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.chains.lock().unwrap().insert(key, chain);
    }
}

#[test]
fn a_list_that_is_not_current_is_as_good_as_none() {
    let mut setup = Setup::milan();
    let crl = setup.crl();
    setup = setup.with_crl(&crl);
    for (now, refusal) in [
        (crl.next_update.unwrap().unix_timestamp(), "endorsement.snp.crl_stale"),
        (crl.this_update.unix_timestamp() - 1, "endorsement.snp.crl_not_yet_valid"),
    ] {
        setup.now = now;
        setup.revocation = Revocation::Require;
        assert_eq!(setup.refusal(), refusal);
        setup.revocation = Revocation::IfPresent;
        let unchecked = setup.run().unwrap().unchecked;
        assert!(unchecked.iter().any(|check| check.what == "revocation"), "{unchecked:?}");
    }
}

#[test]
fn a_remembered_chain_answers_as_a_fresh_one_until_a_document_changes() {
    let memory = Counting::default();
    let setup = Setup::milan();
    let crl = setup.crl();
    let mut setup = setup.with_crl(&crl);
    let first = setup.run_with(&memory).unwrap();
    assert_eq!(setup.run_with(&memory).unwrap(), first);
    assert_eq!(memory.made.load(Ordering::Relaxed), 1);

    // Another guest of the same chip needs no new proof; another report is still checked in full.
    setup.guest.report_data = ReportData([3; 64]);
    assert!(setup.run_with(&memory).is_ok());
    setup.guest.chip_id = ChipId([5; 64]);
    assert_eq!(setup.run_with(&memory), Err("authenticate.snp.hwid".to_owned()));
    assert_eq!(memory.made.load(Ordering::Relaxed), 1);

    // The proof ends with its CRL.
    setup.guest = setup.processor.guest();
    setup.revocation = Revocation::Require;
    setup.now = crl.next_update.unwrap().unix_timestamp();
    assert_eq!(setup.run_with(&memory), Err("endorsement.snp.crl_stale".to_owned()));
    setup.now = NOW;

    // A new CRL is a new question.
    let serial = setup.processor.pki.ask.certificate.serial.clone();
    let revoking = setup.crl().numbered(8).revoking(&serial);
    let setup = setup.with_crl(&revoking);
    assert_eq!(setup.run_with(&memory), Err("authenticate.snp.revoked".to_owned()));
}
