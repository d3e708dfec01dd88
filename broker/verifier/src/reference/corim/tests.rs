//! Manifests that are accepted, and each way in which one is refused.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use evidence_formats::{
    bytes::LaunchDigest,
    code::Coded,
    corim::{
        Class, ClassId, Digest, DigestAlgorithm, Environment, Measurement as Measured, MeasurementKey,
        MeasurementValues, Profile, RegisterId, SignatureHeader, SignedCorim, Svn, TaggedBytes, Triple,
    },
};
use proptest::prelude::*;
use softtee::{
    corim::{CorimPublisher, NamedBy, cases, sign, snp_manifest},
    keys::PrivateKey,
};
use time::{OffsetDateTime, macros::datetime};

use super::*;
use crate::{
    fixtures::{LAUNCH, claims, now},
    reference::{Measurement, ReferenceValues, SetKind},
};

fn time() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(now().as_unix()).unwrap()
}

fn unix(offset: i64) -> i64 {
    now().plus_seconds(offset).as_unix()
}

fn publisher() -> CorimPublisher {
    CorimPublisher::new("publisher", time())
}

fn signers(pem: &str) -> Vec<CorimSigner> {
    vec![CorimSigner::from_pem("pipeline", pem.as_bytes()).unwrap()]
}

fn terms(signers: &[CorimSigner]) -> CorimTerms<'_> {
    CorimTerms { signers, unsigned: UnsignedCorim::Refuse, platform_values: PlatformValues::Refuse, now: now() }
}

fn valid() -> Validity {
    Validity { not_before: Some(unix(-60)), not_after: Some(unix(60)) }
}

fn good() -> CorimDocument {
    snp_manifest("web-prod", &[LAUNCH], valid())
}

/// What becomes of an unsigned manifest where those are allowed. One with parts that are not read exists as a type only.
fn taken(document: &CorimDocument, platform_values: PlatformValues) -> Result<ImportedCorim, CorimRefusal> {
    let names = CorimNames::default();
    let Ok(bytes) = document.to_bytes() else {
        let window = window(&[document.validity], now()).unwrap();
        let (set, left_out) = convert::to_set(document, window, platform_values, &names)?;
        return Ok(ImportedCorim { set, signer: None, left_out });
    };
    let terms = CorimTerms { unsigned: UnsignedCorim::Allow, platform_values, ..terms(&[]) };
    import(&bytes, &terms, &names)
}

fn code(result: Result<ImportedCorim, CorimRefusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code().as_str(), |_| "accepted")
}

#[test]
fn each_case_of_the_publisher_ends_as_it_should() {
    let publisher = publisher();
    let signers = signers(&publisher.root_pem());
    let ends: Vec<_> = cases(&publisher, "web-prod", LAUNCH, time())
        .into_iter()
        .map(|(name, bytes)| (name, code(import(&bytes, &terms(&signers), &CorimNames::default()))))
        .collect();
    assert_eq!(
        ends,
        [
            ("good.cose", "accepted"),
            ("expired.cose", "authenticate.corim.expired"),
            ("profile.cose", "reference.corim.profile"),
            ("stranger.cose", "authenticate.corim.signer"),
            ("tampered.cose", "authenticate.corim.signature"),
            ("malformed.cose", "parse.corim.cbor"),
            ("unsigned.cbor", "authenticate.corim.unsigned"),
        ]
    );
}

#[test]
fn a_signed_manifest_becomes_a_set_that_affirms_its_guest() {
    let publisher = publisher();
    let other = LaunchDigest([1; 48]);
    let manifest = snp_manifest("web-prod", &[other, LAUNCH], valid()).to_bytes().unwrap();
    for (pem, named_by) in [(publisher.root_pem(), NamedBy::Chain), (publisher.key_pem(), NamedBy::KeyId)] {
        let signed = publisher.sign(manifest.clone(), named_by);
        let imported = import(&signed, &terms(&signers(&pem)), &CorimNames::default()).unwrap();
        assert_eq!(imported.signer.unwrap().name, "pipeline");
        assert!(imported.left_out.is_empty());
        let set = imported.set;
        assert_eq!((set.id.as_str(), set.version, set.workload.as_str()), ("web-prod", 1, "web"));
        assert_eq!((set.not_before, set.not_after), (now().plus_seconds(-60), now().plus_seconds(61)));
        assert_eq!(set.provenance, "CoRIM web-prod of softtee's image pipeline");
        let mut values = ReferenceValues::new();
        values.insert(set).unwrap();
        assert_eq!(values.judge(&claims(), now()).matched().len(), 1);
        assert!(values.judge(&claims(), now().plus_seconds(61)).matched().is_empty());
    }
}

/// No signer, another one, a chain to a name-alike, and a key of the right signer under the wrong algorithm.
#[test]
fn a_stranger_is_refused_however_it_calls_itself() {
    let (publisher, manifest) = (publisher(), good().to_bytes().unwrap());
    let by_key = publisher.sign(manifest.clone(), NamedBy::KeyId);
    assert_eq!(code(import(&by_key, &terms(&[]), &CorimNames::default())), "authenticate.corim.signer");
    let stranger = CorimPublisher::new("stranger", time());
    let of_stranger = signers(&stranger.key_pem());
    assert_eq!(code(import(&by_key, &terms(&of_stranger), &CorimNames::default())), "authenticate.corim.signer");
    // The same names, other keys.
    let mut alike = publisher.clone();
    alike.root.replace_key(PrivateKey::p384_from_label(b"alike"));
    alike.root.issuer_key = alike.root.key.clone();
    alike.signer.issuer_key = alike.root.key.clone();
    let known = signers(&publisher.root_pem());
    for named_by in [NamedBy::Chain, NamedBy::KeyId] {
        alike.signer.replace_key(PrivateKey::p256_from_label(b"alike"));
        let signed = alike.sign(manifest.clone(), named_by);
        assert_eq!(code(import(&signed, &terms(&known), &CorimNames::default())), "authenticate.corim.signer");
    }
    let keys = signers(&publisher.key_pem());
    for (algorithm, wanted) in [
        (-37, "authenticate.corim.algorithm"),
        (0, "authenticate.corim.algorithm"),
        (-35, "authenticate.corim.signer"),
        (-8, "authenticate.corim.signer"),
    ] {
        let header = SignatureHeader { algorithm, ..SignatureHeader::default() };
        let signed = sign(&header, manifest.clone(), &publisher.signer.key);
        assert_eq!(code(import(&signed, &terms(&keys), &CorimNames::default())), wanted, "{algorithm}");
    }
}

#[test]
fn a_chain_that_does_not_stand_is_refused() {
    let chain = |change: fn(&mut CorimPublisher)| {
        let mut publisher = publisher();
        let known = signers(&publisher.root_pem());
        change(&mut publisher);
        let signed = publisher.sign(good().to_bytes().unwrap(), NamedBy::Chain);
        code(import(&signed, &terms(&known), &CorimNames::default()))
    };
    assert_eq!(chain(|_| {}), "accepted");
    assert_eq!(
        chain(|publisher| {
            publisher.signer.certificate.validity = softtee::x509::Validity::days(datetime!(2020-01-01 0:00 UTC), 10);
        }),
        "authenticate.corim.chain"
    );
    // keyCertSign instead of digitalSignature.
    assert_eq!(
        chain(|publisher| {
            publisher.signer.certificate.set("2.5.29.15", softtee::der::bits_unused(2, &[0x04]));
        }),
        "authenticate.corim.chain"
    );
    assert_eq!(
        chain(|publisher| {
            let unknown = softtee::x509::Extension::critical("1.2.3.4", vec![5, 0]);
            publisher.signer.certificate.push(unknown);
        }),
        "authenticate.corim.chain"
    );
}

/// A certificate that the root signed for signing manifests may not issue others.
#[test]
fn a_signing_certificate_issues_no_further_ones() {
    // A root that leaves room, so that nothing but the missing right stands in the way.
    let mut publisher = publisher();
    publisher.root.certificate.set("2.5.29.19", softtee::der::sequence(&[softtee::der::boolean(true)]));
    let key = PrivateKey::p256_from_label(b"below");
    let mut below = publisher.signer.clone();
    below.certificate.issuer = publisher.signer.certificate.subject.clone();
    below.replace_key(key.clone());
    below.issuer_key = publisher.signer.key.clone();
    below.certificate.algorithm = softtee::keys::SignatureAlgorithm::EcdsaSha256;
    let header = SignatureHeader {
        algorithm: -7,
        chain: vec![below.der(), publisher.signer.der()],
        ..SignatureHeader::default()
    };
    let signed = sign(&header, good().to_bytes().unwrap(), &key);
    let known = signers(&publisher.root_pem());
    assert_eq!(code(import(&signed, &terms(&known), &CorimNames::default())), "authenticate.corim.chain");
}

/// The root of the publisher allows no CA below it (path length 0).
#[test]
fn a_chain_is_no_longer_than_its_issuers_allow() {
    let length = |allowed: Option<u64>| {
        let mut publisher = publisher();
        let ca = softtee::x509::Extension::certificate_authority(allowed);
        publisher.root.certificate.set("2.5.29.19", ca.value);
        let mut middle = publisher.signer.clone();
        middle.certificate.extensions = vec![
            softtee::x509::Extension::certificate_authority(None),
            softtee::x509::Extension::certificate_signing(false),
        ];
        let key = PrivateKey::p256_from_label(b"below");
        let mut below = publisher.signer.clone();
        below.certificate.issuer = middle.certificate.subject.clone();
        below.certificate.algorithm = softtee::keys::SignatureAlgorithm::EcdsaSha256;
        below.issuer_key = middle.key.clone();
        below.replace_key(key.clone());
        let chain = vec![below.der(), middle.der()];
        let header = SignatureHeader { algorithm: -7, chain, ..SignatureHeader::default() };
        let signed = sign(&header, good().to_bytes().unwrap(), &key);
        code(import(&signed, &terms(&signers(&publisher.root_pem())), &CorimNames::default()))
    };
    assert_eq!(length(None), "accepted");
    assert_eq!(length(Some(1)), "accepted");
    assert_eq!(length(Some(0)), "authenticate.corim.chain");
}

#[test]
fn every_allowed_algorithm_verifies() {
    let manifest = good().to_bytes().unwrap();
    let p384 = PrivateKey::p384_from_label(b"es384");
    let header = SignatureHeader { algorithm: -35, ..SignatureHeader::default() };
    let pem = softtee::pem::encode("PUBLIC KEY", &p384.public_key_info());
    let signed = sign(&header, manifest.clone(), &p384);
    assert_eq!(code(import(&signed, &terms(&signers(&pem)), &CorimNames::default())), "accepted");
    let ed25519 = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let spki = [hex::decode("302a300506032b6570032100").unwrap(), ed25519.public_key().as_ref().to_vec()].concat();
    let pem = softtee::pem::encode("PUBLIC KEY", &spki);
    let header = SignatureHeader { algorithm: -8, ..SignatureHeader::default() };
    let signed = SignedCorim::make(&header, manifest, |message| {
        Ok::<_, evidence_formats::corim::CorimError>(ed25519.sign(message).as_ref().to_vec())
    });
    assert_eq!(code(import(&signed.unwrap(), &terms(&signers(&pem)), &CorimNames::default())), "accepted");
}

#[test]
fn the_signature_ends_the_set_when_it_ends_first() {
    let publisher = publisher();
    let known = signers(&publisher.key_pem());
    let signed = |signature: Validity, manifest: Validity| {
        let header = SignatureHeader { algorithm: -7, validity: signature, ..SignatureHeader::default() };
        let manifest = snp_manifest("web-prod", &[LAUNCH], manifest).to_bytes().unwrap();
        import(&sign(&header, manifest, &publisher.signer.key), &terms(&known), &CorimNames::default())
    };
    let ends = |seconds: i64| Validity { not_before: None, not_after: Some(unix(seconds)) };
    assert_eq!(signed(ends(5), ends(50)).unwrap().set.not_after, now().plus_seconds(6));
    assert_eq!(code(signed(ends(-1), ends(50))), "authenticate.corim.expired");
    assert_eq!(code(signed(ends(50), ends(-1))), "authenticate.corim.expired");
    assert_eq!(code(signed(Validity::default(), Validity::default())), "authenticate.corim.no_validity");
    // Not begun yet: the set waits.
    let later = Validity { not_before: Some(unix(10)), ..ends(50) };
    assert_eq!(signed(Validity::default(), later).unwrap().set.not_before, now().plus_seconds(10));
}

#[test]
fn an_unsigned_manifest_is_taken_only_by_name() {
    let bytes = good().to_bytes().unwrap();
    assert_eq!(code(import(&bytes, &terms(&[]), &CorimNames::default())), "authenticate.corim.unsigned");
    let imported = taken(&good(), PlatformValues::Refuse).unwrap();
    assert_eq!(imported.signer, None);
}

fn first_measured(document: &mut CorimDocument) -> &mut Measured {
    &mut document.comids[0].reference[0].measurements[0]
}

fn also(key: u64, values: MeasurementValues) -> CorimDocument {
    let mut document = good();
    let measured = Measured { key: Some(MeasurementKey::Uint(key)), values, has_authorized_by: false };
    document.comids[0].reference[0].measurements.push(measured);
    document
}

fn raw(bytes: &[u8]) -> MeasurementValues {
    MeasurementValues { raw: Some(bytes.to_vec()), ..MeasurementValues::default() }
}

#[test]
fn values_of_the_platform_are_refused_or_left_out_by_name() {
    let tcb = MeasurementValues { svn: Some(Svn::Exactly(15_208_092_991_676_743_683)), ..Default::default() };
    let mut on_one_chip = good();
    on_one_chip.comids[0].reference[0].environment.instance = Some(TaggedBytes { tag: 560, bytes: vec![1; 64] });
    for document in [also(647, tcb), also(640, raw(&[0; 64])), on_one_chip] {
        assert_eq!(code(taken(&document, PlatformValues::Refuse)), "reference.corim.unsupported");
        let imported = taken(&document, PlatformValues::LeaveOut).unwrap();
        assert_eq!(imported.set.measurements, [Measurement { launch: Some(LAUNCH), ..Measurement::default() }]);
        assert_eq!(imported.left_out.len(), 1, "{:?}", imported.left_out);
    }
}

#[test]
fn guest_values_of_the_snp_profile_are_pinned() {
    let digest = |bytes: &[u8]| MeasurementValues {
        digests: vec![Digest { algorithm: DigestAlgorithm::Sha384, bytes: bytes.to_vec() }],
        ..Default::default()
    };
    let mut document = also(643, digest(&[3; 48]));
    let svn = MeasurementValues { svn: Some(Svn::AtLeast(2)), ..Default::default() };
    for (key, values) in [(642, digest(&[2; 32])), (644, raw(&[4; 48])), (1, svn)] {
        let measured = Measured { key: Some(MeasurementKey::Uint(key)), values, has_authorized_by: false };
        document.comids[0].reference[0].measurements.push(measured);
    }
    let set = taken(&document, PlatformValues::Refuse).unwrap().set;
    let wanted = Measurement {
        launch: Some(LAUNCH),
        host_data: Some("02".repeat(32).parse().unwrap()),
        id_key_digest: Some("03".repeat(48).parse().unwrap()),
        author_key_digest: Some("04".repeat(48).parse().unwrap()),
        min_guest_svn: Some(2),
        ..Measurement::default()
    };
    assert_eq!(set.measurements, [wanted]);
}

/// A condition that is not compared must not look like one that is.
#[test]
fn a_condition_that_no_set_can_compare_is_refused_also_where_platform_values_are_left_out() {
    type Edit = fn(&mut CorimDocument);
    let edits: [(Edit, &str); 12] = [
        (|d| first_measured(d).has_authorized_by = true, "reference.corim.unsupported"),
        (|d| first_measured(d).key = None, "reference.corim.unsupported"),
        (|d| first_measured(d).key = Some(MeasurementKey::Uint(9999)), "reference.corim.unsupported"),
        (|d| first_measured(d).values.svn = Some(Svn::AtLeast(1)), "reference.corim.value"),
        (|d| first_measured(d).values.digests[0].bytes.truncate(32), "reference.corim.value"),
        (|d| first_measured(d).values.digests[0].algorithm = DigestAlgorithm::Sha256, "reference.corim.value"),
        (|d| first_measured(d).values.raw = Some(vec![1]), "reference.corim.value"),
        (|d| *d = also(641, first_measured(&mut good()).values.clone()), "reference.corim.value"),
        (
            |d| *d = also(1, MeasurementValues { svn: Some(Svn::Exactly(1)), ..Default::default() }),
            "reference.corim.unsupported",
        ),
        (
            |d| *d = also(1, MeasurementValues { svn: Some(Svn::AtLeast(1)), ..Default::default() }),
            "reference.document",
        ),
        (|d| d.comids[0].reference[0].environment = Environment::default(), "reference.corim.environment"),
        (|d| d.comids[0].reference.clear(), "reference.corim.empty"),
    ];
    for (edit, wanted) in edits {
        let mut document = good();
        edit(&mut document);
        assert_eq!(code(taken(&document, PlatformValues::LeaveOut)), wanted);
    }
    let mut layered = good();
    layered.comids[0].reference[0].environment.class.as_mut().unwrap().layer = Some(1);
    assert_eq!(code(taken(&layered, PlatformValues::LeaveOut)), "reference.corim.environment");
    let mut unversioned = good();
    unversioned.comids[0].tag_version = 0;
    assert_eq!(code(taken(&unversioned, PlatformValues::LeaveOut)), "reference.corim.names");
}

fn registers(list: &[(RegisterId, u8)]) -> MeasurementValues {
    let digest = |byte: u8| vec![Digest { algorithm: DigestAlgorithm::Sha384, bytes: vec![byte; 48] }];
    MeasurementValues {
        registers: list.iter().map(|(id, byte)| (id.clone(), digest(*byte))).collect(),
        ..Default::default()
    }
}

fn with_registers(profile: Option<Profile>, class: Class, values: MeasurementValues) -> CorimDocument {
    let environment = Environment { class: Some(class), ..Environment::default() };
    let measurements = vec![Measured { key: None, values, has_authorized_by: false }];
    let mut document = good();
    document.profile = profile;
    document.comids[0].reference = vec![Triple { environment, measurements }];
    document
}

#[test]
fn the_intel_profile_pins_mrtd_and_rtmrs_and_leaves_the_platform_to_the_collateral() {
    let profile = Some(Profile::Oid("2.16.840.1.113741.1.16.1".to_owned()));
    let class = Class { id: Some(ClassId::Oid("2.16.840.1.113741.1.15.4".to_owned())), ..Class::default() };
    let list = [(RegisterId::Text("MRTD".to_owned()), 0x9f), (RegisterId::Uint(1), 0x11)];
    let document = with_registers(profile.clone(), class.clone(), registers(&list));
    let set = taken(&document, PlatformValues::Refuse).unwrap().set;
    assert_eq!(set.measurements[0].launch, Some(LAUNCH));
    assert_eq!(set.measurements[0].runtime[&"rtmr1".parse().unwrap()].as_str(), "11".repeat(48));
    // A platform's TCB: isvsvn (-73) and mrsigner (-84).
    let platform =
        MeasurementValues { version: Some("1.5".to_owned()), svn: Some(Svn::AtLeast(5)), ..Default::default() };
    let platform = with_registers(profile, class, platform);
    assert_eq!(code(taken(&platform, PlatformValues::Refuse)), "reference.corim.unsupported");
    assert_eq!(code(taken(&platform, PlatformValues::LeaveOut)), "reference.corim.empty");
    let mut extended = document.clone();
    extended.comids[0].reference[0].measurements[0].values.other = vec![-84, -73];
    assert_eq!(code(taken(&extended, PlatformValues::Refuse)), "reference.corim.unsupported");
    assert_eq!(taken(&extended, PlatformValues::LeaveOut).unwrap().left_out.len(), 1);
    let stranger = Class { vendor: Some("ACME".to_owned()), ..Class::default() };
    let profile = Some(Profile::Oid("2.16.840.1.113741.1.16.1".to_owned()));
    let document = with_registers(profile, stranger, registers(&list));
    assert_eq!(code(taken(&document, PlatformValues::Refuse)), "reference.corim.environment");
}

#[test]
fn pcrs_stand_in_registers_by_name_without_a_profile() {
    let list = [(RegisterId::Text("pcr4".to_owned()), 0x44), (RegisterId::Text("pcr11".to_owned()), 0x11)];
    let class = Class { model: Some("web".to_owned()), ..Class::default() };
    let set = taken(&with_registers(None, class.clone(), registers(&list)), PlatformValues::Refuse).unwrap().set;
    assert_eq!(set.measurements[0].runtime.len(), 2);
    for (list, wanted) in [
        ([(RegisterId::Uint(4), 0x44)].as_slice(), "reference.corim.unsupported"),
        (&[(RegisterId::Text("pcr99".to_owned()), 0x44)], "reference.corim.unsupported"),
        (
            &[(RegisterId::Text("pcr4".to_owned()), 1), (RegisterId::Text("PCR4".to_owned()), 2)],
            "reference.corim.value",
        ),
    ] {
        let document = with_registers(None, class.clone(), registers(list));
        assert_eq!(code(taken(&document, PlatformValues::LeaveOut)), wanted);
    }
}

#[test]
fn endorsed_values_name_alternatives_and_let_nothing_pass() {
    let mut document = good();
    let environment = document.comids[0].reference[0].environment.clone();
    let name =
        MeasurementValues { name: Some("web".to_owned()), version: Some("1.2".to_owned()), ..Default::default() };
    let mut other = first_measured(&mut document).values.clone();
    other.digests[0].bytes = vec![7; 48];
    let measured = |values| Measured { key: None, values, has_authorized_by: false };
    document.comids[0].endorsed = vec![Triple { environment, measurements: vec![measured(name), measured(other)] }];
    let imported = taken(&document, PlatformValues::Refuse).unwrap();
    let wanted = Measurement { name: Some("web 1.2".to_owned()), launch: Some(LAUNCH), ..Measurement::default() };
    assert_eq!(imported.set.measurements, [wanted]);
    assert_eq!(imported.left_out, ["endorsed values other than names and versions"]);
}

#[test]
fn the_administrator_may_name_what_the_manifest_does_not() {
    let names = CorimNames {
        id: Some("other".parse().unwrap()),
        version: Some(9),
        workload: Some("api".parse().unwrap()),
        proposed: true,
    };
    let terms = CorimTerms { unsigned: UnsignedCorim::Allow, ..terms(&[]) };
    let set = import(&good().to_bytes().unwrap(), &terms, &names).unwrap().set;
    assert_eq!((set.id.as_str(), set.version, set.workload.as_str(), set.proposed), ("other", 9, "api", true));
}

/// Our own profile loses nothing: the documented sample, written as manifests and read back.
#[test]
fn every_set_of_the_documented_sample_survives_as_a_manifest() {
    let page = include_str!("../../../../../docs/reference-values.md");
    let sample = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let values = ReferenceValues::parse(sample.as_bytes()).unwrap();
    let at = Timestamp::parse_rfc3339("2026-11-02T00:00:00Z").unwrap();
    let terms = CorimTerms { unsigned: UnsignedCorim::Allow, now: at, ..terms(&[]) };
    for set in values.sets() {
        let mut wanted = set.clone();
        wanted.retire_at = None;
        let bytes = unsigned(set).to_bytes().unwrap();
        let imported = import(&bytes, &terms, &CorimNames::default()).unwrap();
        assert_eq!((imported.set, imported.left_out), (wanted, Vec::new()));
    }
    assert!(values.sets().iter().any(|set| set.kind == SetKind::Paravisor));
}

#[test]
fn a_file_of_signers_holds_keys_and_certificates_only() {
    let publisher = publisher();
    let both = format!("{}{}", publisher.key_pem(), publisher.root_pem());
    assert_eq!(CorimSigner::from_pem("x", both.as_bytes()).unwrap().name(), "x");
    let rsa = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n";
    for bad in ["", "hello", rsa] {
        assert!(CorimSigner::from_pem("x", bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    /// Any change to a signed manifest is refused, or does not touch what was signed (the unprotected header is empty).
    #[test]
    fn no_flipped_bit_is_accepted(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let publisher = publisher();
        let known = signers(&publisher.key_pem());
        let mut signed = publisher.sign(good().to_bytes().unwrap(), NamedBy::KeyId);
        let at = at.index(signed.len());
        signed[at] ^= 1 << bit;
        prop_assert!(import(&signed, &terms(&known), &CorimNames::default()).is_err());
    }
}
