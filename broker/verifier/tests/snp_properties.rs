//! Properties of the whole path, on the genuine evidence that the published `sev` crate carries in its package.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    reason = "tests"
)]

#[path = "snp/package.rs"]
mod package;

use evidence_formats::{
    code::Coded,
    evidence::{Evidence, SnpEvidence},
    snp::{ProductLine, SnpReport, offset},
};
use proptest::prelude::*;
use verifier::{
    Claims, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
};

/// Inside the validity of every certificate of the package.
const NOW: &str = "2026-01-01T00:00:00Z";

fn verify(anchors: &TrustAnchors, report: &[u8], vek: &[u8]) -> Result<Claims, String> {
    let report = SnpReport::parse(report).map_err(|error| error.code().to_string())?;
    let mut endorsements = Endorsements::new();
    // What cannot be read is remembered by the set.
    let _ = endorsements.add(vek);
    let terms = Terms {
        anchors,
        revocation: Revocation::IfPresent,
        expected: Expected::Unchecked { reason: "test" },
        now: Timestamp::parse_rfc3339(NOW).unwrap(),
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm: verifier::tpm::TpmTerms::DEFAULT,
    };
    let evidence = Evidence::Snp(SnpEvidence { report, certificates: None, init_data: None });
    let outcome = authenticate(&evidence, &endorsements, &terms);
    outcome.map(|authentic| authentic.claims().clone()).map_err(|error| error.code().to_string())
}

#[test]
fn the_package_s_genuine_evidence_authenticates() {
    let anchors = TrustAnchors::vendor();
    let claims = verify(&anchors, &package::milan_report(), &package::file("certs_data/vcek_milan.der")).unwrap();
    assert_eq!(claims.hwmodel, "amd-milan");
    // There is no report of the Turin chip: its key is genuine up to the root, and another chip's.
    let turin = verify(&anchors, &package::milan_report(), &package::file("certs_data/vcek_turin.der"));
    assert_eq!(turin.unwrap_err(), "authenticate.snp.hwid");
}

#[test]
fn the_package_s_chains_are_the_pinned_ones() {
    let anchors = TrustAnchors::vendor();
    for (file, line) in [("cert_chain_milan", ProductLine::Milan), ("cert_chain_turin", ProductLine::Turin)] {
        let chain = TrustAnchors::from_files([package::file(&format!("certs_data/{file}")).as_slice()]).unwrap();
        assert_eq!(chain.certificates().count(), 2, "{line}");
        assert!(chain.certificates().all(|certificate| anchors.contains(certificate)), "{line}");
    }
}

#[test]
fn every_wrong_field_of_genuine_evidence_is_told() {
    let (anchors, good, vek) =
        (TrustAnchors::vendor(), package::milan_report(), package::file("certs_data/vcek_milan.der"));
    let table: &[(usize, u8, &str)] = &[
        (offset::VERSION, 0x04, "parse.snp.version"),
        (offset::VERSION, 0x01, "parse.snp.product"),
        (offset::GUEST_SVN, 1, "authenticate.snp.signature"),
        (offset::POLICY + 2, 0x08, "authenticate.snp.signature"),
        (offset::POLICY + 2, 0x02, "parse.snp.policy"),
        (offset::VMPL, 1, "authenticate.snp.signature"),
        (offset::VMPL, 4, "parse.snp.vmpl"),
        (offset::SIGNATURE_ALGO, 1, "parse.snp.signature_algorithm"),
        (offset::KEY_INFO, 1 << 2, "authenticate.snp.signing_key"),
        (offset::KEY_INFO, 7 << 2, "authenticate.snp.unsigned"),
        (offset::REPORT_DATA, 1, "authenticate.snp.signature"),
        (offset::MEASUREMENT, 1, "authenticate.snp.signature"),
        (offset::HOST_DATA, 1, "authenticate.snp.signature"),
        (offset::REPORT_ID, 1, "authenticate.snp.signature"),
        (offset::REPORTED_TCB, 1, "authenticate.snp.tcb"),
        (offset::REPORTED_TCB + 7, 1, "authenticate.snp.tcb"),
        (offset::CHIP_ID, 1, "authenticate.snp.hwid"),
        (offset::SIGNATURE_R, 1, "authenticate.snp.signature"),
        (offset::SIGNATURE_S, 1, "authenticate.snp.signature"),
        (offset::SIGNATURE_R + 48, 1, "parse.snp.reserved"),
        (offset::SIGNATURE_RESERVED, 1, "parse.snp.reserved"),
    ];
    for (at, mask, code) in table {
        let mut report = good.clone();
        report[*at] ^= mask;
        assert_eq!(verify(&anchors, &report, &vek).unwrap_err(), *code, "offset {at:#x}");
    }
}

#[test]
fn every_flipped_bit_of_the_report_is_refused() {
    let (anchors, good, vek) =
        (TrustAnchors::vendor(), package::milan_report(), package::file("certs_data/vcek_milan.der"));
    // One bit in every byte, another one each time; the property below takes any.
    for at in 0..offset::LENGTH {
        let mut report = good.clone();
        report[at] ^= 1 << (at % 8);
        assert!(verify(&anchors, &report, &vek).is_err(), "offset {at:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_in_the_signed_bytes_is_refused(at in 0..offset::SIGNED_LENGTH, bit in 0..8_u32) {
        let mut report = package::milan_report();
        report[at] ^= 1 << bit;
        let vek = package::file("certs_data/vcek_milan.der");
        prop_assert!(verify(&TrustAnchors::vendor(), &report, &vek).is_err());
    }

    #[test]
    fn any_changed_byte_of_the_endorsement_key_certificate_is_refused(at in 0..1360_usize, mask in 1..=255_u8) {
        let mut vek = package::file("certs_data/vcek_milan.der");
        let at = at % vek.len();
        vek[at] ^= mask;
        prop_assert!(verify(&TrustAnchors::vendor(), &package::milan_report(), &vek).is_err());
    }

    #[test]
    fn arbitrary_documents_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut endorsements = Endorsements::new();
        let _ = endorsements.add(&bytes);
        let _ = TrustAnchors::from_files([bytes.as_slice()]);
        let _ = verifier::baseline::Baseline::from_toml(&String::from_utf8_lossy(&bytes));
    }
}
