//! Our verdict beside that of the published `sev` crate, over all vectors and mutations.
//!
//! The two answer different questions: the crate's `verify` checks the signatures of a chain and a report and leaves the
//! rest to its caller; ours judges the evidence as a whole. So every difference is expected to be one of the checks in the
//! table below. A difference without a row, or a row without a difference, fails.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "snp/package.rs"]
mod package;
#[path = "snp/vectors.rs"]
mod vectors;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use evidence_formats::{
    code::Coded,
    evidence::{Evidence, SnpEvidence},
    snp::{ProductLine, SnpReport, offset},
};
use sev::{
    certs::snp::{Certificate as OracleCertificate, Chain, Verifiable, ca},
    firmware::guest::AttestationReport,
    parser::ByteParser,
};
use softtee::amd::{SecureProcessor, oids};
use verifier::{Endorsements, Revocation, Timestamp, TrustAnchors, x509::Certificate};

/// What we check beside the signatures, by our code; and, as `accepted`, what only we read.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "accepted",
        "version 2 reports signed by a VLEK have no chip id: we take the product line from the certificate chain",
    ),
    ("parse.snp.version", "we read the versions that the ABI defines, and no later one"),
    ("parse.snp.signature_algorithm", "we require SIGNATURE_ALGO 1, the only one that the ABI defines"),
    ("parse.snp.reserved", "we require zero in every reserved field, signed or not, of the received bytes"),
    ("parse.snp.signing_key", "we require a defined SIGNING_KEY"),
    ("parse.snp.policy", "we require the reserved bits of POLICY to have their defined values"),
    ("parse.snp.vmpl", "we require VMPL 0 to 3, or that of the host"),
    ("parse.snp.chip_id", "we require zeros after the 8 bytes of a Turin chip id"),
    ("parse.snp.author_key", "we require a digest where AUTHOR_KEY_EN is set"),
    ("authenticate.snp.signature", "we hash the received bytes; in version 2 this is where reserved TCB bytes show"),
    ("authenticate.snp.signing_key", "we require the certificate to be of the kind that the report names"),
    ("authenticate.snp.certificate_expired", "we check the validity of the whole chain at a given time"),
    ("authenticate.snp.certificate_not_yet_valid", "we check the validity of the whole chain at a given time"),
    ("authenticate.snp.vek_issuer", "we require each kind of key to be issued by its own intermediate"),
    ("authenticate.snp.vek_subject", "we require the subject that AMD gives to endorsement keys"),
    ("authenticate.snp.vek_extension", "we require exactly the extensions of AMD 57230, strictly encoded"),
    ("authenticate.snp.vek_extension_missing", "we require every extension of AMD 57230"),
    ("authenticate.snp.product", "we require report, certificate and chain to name one product line"),
    ("authenticate.snp.hwid", "we require the hardware id of the certificate to be the report's chip id"),
    ("authenticate.snp.tcb", "we require the TCB of the certificate to be the reported one"),
    ("authenticate.snp.tcb_inconsistent", "we require reported and committed TCB to be within the current one"),
    ("authenticate.snp.revoked", "we check revocation lists"),
    ("endorsement.snp.crl_stale", "we check revocation lists"),
    ("endorsement.snp.crl_not_yet_valid", "we check revocation lists"),
    ("endorsement.snp.crl_signature", "we check revocation lists"),
    ("endorsement.snp.crl_issuer", "we check revocation lists"),
    ("endorsement.snp.crl_missing?", "we check revocation lists, and say when one is missing"),
];

/// Differences by our code, with the inputs that show them.
#[derive(Default)]
struct Differences(BTreeMap<String, BTreeSet<String>>);

impl Differences {
    fn note(&mut self, input: &str, ours: Result<(), String>, theirs: Result<(), String>) {
        let code = match (ours, theirs) {
            (Ok(()), Ok(())) | (Err(_), Err(_)) => return,
            (Ok(()), Err(_)) => "accepted".to_owned(),
            (Err(code), Ok(())) => code,
        };
        self.0.entry(code).or_default().insert(input.to_owned());
    }

    fn unexplained(&self) -> Vec<String> {
        let explained = |code: &str| DIFFERENCES.iter().any(|(known, _)| *known == code);
        let unexplained = self.0.iter().filter(|(code, _)| !explained(code));
        unexplained.map(|(code, inputs)| format!("{code}: {inputs:?}")).collect()
    }
}

/// The other verdict: chain to the anchors, and the report's signature.
fn oracle(anchors: &TrustAnchors, report: &[u8], vek: &[u8]) -> Result<(), String> {
    let verdict = || -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let (ark, ask) = issuers(anchors, vek).ok_or("no issuer")?;
        let certificate = |der: &[u8]| OracleCertificate::from_der(der).map_err(|error| error.to_string());
        let ca = ca::Chain { ark: certificate(&ark)?, ask: certificate(&ask)? };
        let chain = Chain { ca, vek: certificate(vek)? };
        let report = AttestationReport::from_bytes(report).map_err(text)?;
        (&chain, &report).verify().map_err(text)
    };
    catch_unwind(AssertUnwindSafe(verdict)).unwrap_or_else(|_| Err("did not return".to_owned()))
}

/// The root and the intermediate that a caller of the oracle would pass: by the issuer's name, or the first ones when the
/// certificate cannot be read by us.
fn issuers(anchors: &TrustAnchors, vek: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let find = |name: &str| anchors.certificates().find(|anchor| anchor.subject().common_name() == Some(name));
    let issuer = match Certificate::parse_der(vek) {
        Ok(vek) => vek.issuer().common_name()?.to_owned(),
        Err(_) => "SEV-Milan".to_owned(),
    };
    let ask = find(&issuer)?;
    let ark = find(ask.issuer().common_name()?)?;
    Some((ark.der().to_vec(), ask.der().to_vec()))
}

fn ours(report: &[u8], endorsements: &Endorsements, terms: &verifier::Terms<'_>) -> Result<(), String> {
    let report = SnpReport::parse(report).map_err(|error| error.code().to_string())?;
    let evidence = Evidence::Snp(SnpEvidence { report, certificates: None, init_data: None });
    vectors::outcome(&evidence, endorsements, terms).map(|_| ())
}

/// Changes to a report: each byte of each field's edge, and a stride over everything.
fn mutations() -> BTreeSet<(usize, u8)> {
    let edges = [
        offset::VERSION,
        offset::POLICY + 2,
        offset::VMPL,
        offset::SIGNATURE_ALGO,
        offset::CURRENT_TCB + 3,
        offset::KEY_INFO,
        offset::RESERVED_04C,
        offset::REPORTED_TCB + 4,
        offset::COMMITTED_TCB + 5,
        offset::LAUNCH_TCB + 2,
        offset::CPUID_FAM_ID,
        offset::CPUID_MOD_ID,
        offset::RESERVED_1EB,
        offset::RESERVED_1EF,
        offset::SIGNATURE_R + 48,
        offset::SIGNATURE_S + 71,
        offset::SIGNATURE_RESERVED,
        offset::LENGTH - 1,
    ];
    let stride = (0..offset::LENGTH).step_by(23).map(|at| (at, 0x10));
    edges.into_iter().flat_map(|at| [(at, 0x01), (at, 0x04), (at, 0x80)]).chain(stride).collect()
}

fn mutated(differences: &mut Differences, name: &str, report: &[u8], vek: &[u8], now: Timestamp) {
    let anchors = TrustAnchors::vendor();
    let mut endorsements = Endorsements::new();
    endorsements.add(vek).unwrap();
    let terms = vectors::terms(&anchors, Revocation::IfPresent, now);
    for (at, mask) in mutations() {
        let mut changed = report.to_vec();
        changed[at] ^= mask;
        let verdict = ours(&changed, &endorsements, &terms);
        differences.note(&format!("{name}, {at:#05x} ^ {mask:#04x}"), verdict, oracle(&anchors, &changed, vek));
    }
}

/// Evidence of a simulated processor in which everything is signed, and one statement is wrong.
fn simulated(differences: &mut Differences) {
    let processor = SecureProcessor::new(ProductLine::Milan);
    let files = processor.pki.anchors();
    let anchors = TrustAnchors::from_files(files.iter().map(Vec::as_slice)).unwrap();
    let now = Timestamp::from_unix(1_750_000_000);
    let terms = vectors::terms(&anchors, Revocation::IfPresent, now);
    let mut other_chip = processor.vek();
    other_chip.certificate.set(oids::HARDWARE_ID, vec![0xee; 64]);
    let (mut vmpl, mut genoa) = (processor.guest(), processor.guest());
    vmpl.vmpl = 4;
    genoa.cpuid = [0x19, 0x11, 0x01];
    for (name, guest, vek) in [
        ("simulated: healthy", processor.guest(), processor.vek()),
        ("simulated: VMPL 4", vmpl, processor.vek()),
        ("simulated: a Genoa processor under Milan's root", genoa, processor.vek()),
        ("simulated: another chip's certificate over the same key", processor.guest(), other_chip),
    ] {
        let (report, vek) = (guest.sign(&vek.key), vek.der());
        let mut endorsements = Endorsements::new();
        endorsements.add(&vek).unwrap();
        differences.note(name, ours(&report, &endorsements, &terms), oracle(&anchors, &report, &vek));
    }
}

#[test]
fn every_difference_on_the_package_s_evidence_is_explained() {
    let mut differences = Differences::default();
    let now = Timestamp::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
    let (report, vek) = (package::milan_report(), package::file("certs_data/vcek_milan.der"));
    let anchors = TrustAnchors::vendor();
    assert_eq!(oracle(&anchors, &report, &vek), Ok(()));
    mutated(&mut differences, "milan", &report, &vek, now);
    simulated(&mut differences);
    assert_eq!(differences.unexplained(), Vec::<String>::new());
}

#[test]
fn every_difference_on_the_vectors_is_explained_and_every_explanation_is_needed() {
    let Some(root) = vectors::root() else { return };
    let mut differences = Differences::default();
    let (vendor, synthetic) = (TrustAnchors::vendor(), vectors::synthetic_anchors(&root));
    let genuine = vectors::cases(&root);
    let forged = vectors::cases(&root.join("negative"));
    for (case, time) in genuine.iter().map(|case| (case, "/test_now")).chain(forged.iter().map(|case| (case, "/now"))) {
        let anchors = if case.text("/trust") == "synthetic" { &synthetic } else { &vendor };
        let require = case.text("/policy/revocation") == "require";
        let mode = if require { Revocation::Require } else { Revocation::IfPresent };
        let terms = vectors::terms(anchors, mode, case.time(time));
        let verdict = ours(&case.report(), &case.endorsements(), &terms);
        differences.note(&case.name, verdict, oracle(anchors, &case.report(), &case.file("vek.der").unwrap()));
    }
    simulated(&mut differences);
    for name in ["milan-v2-vcek-gcp", "milan-v3-vcek-gcp", "genoa-v5-vcek-gcp", "turin-v5-vcek-gcp"] {
        let case = genuine.iter().find(|case| case.name.starts_with(name)).unwrap();
        let vek = case.file("vek.der").unwrap();
        mutated(&mut differences, &case.name, &case.report(), &vek, case.time("/test_now"));
    }
    for (code, inputs) in &differences.0 {
        println!("{code}: {} inputs, for example {}", inputs.len(), inputs.first().unwrap());
    }
    assert_eq!(differences.unexplained(), Vec::<String>::new());
    let stale: Vec<_> =
        DIFFERENCES.iter().map(|(code, _)| *code).filter(|code| !differences.0.contains_key(*code)).collect();
    assert_eq!(stale, Vec::<&str>::new());
}
