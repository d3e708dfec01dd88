#![expect(clippy::unwrap_used, reason = "tests")]

use rcgen::{
    BasicConstraints, CertifiedIssuer, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::*;

const NOW: i64 = 1_790_000_000;

fn params(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

fn with(mut params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// nameConstraints (2.5.29.30) with one permitted or excluded URI.
fn constraint(host: &str, excluded: bool) -> CustomExtension {
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let name = [&[0x86, length(host.as_bytes())], host.as_bytes()].concat();
    let subtree = [&[0x30, length(&name)], &*name].concat();
    let list = [&[if excluded { 0xa1 } else { 0xa0 }, length(&subtree)], &*subtree].concat();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], [&[0x30, length(&list)], &*list].concat());
    extension.set_criticality(true);
    extension
}

/// What becomes of an upstream whose intermediate has these parameters.
fn upstream(intermediate: CertificateParams) -> Result<Upstream, UpstreamError> {
    under(params("root", None), intermediate)
}

fn under(root: CertificateParams, intermediate: CertificateParams) -> Result<Upstream, UpstreamError> {
    let root = CertifiedIssuer::self_signed(root, key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(intermediate, key(), &root).unwrap();
    let chain = vec![intermediate.der().clone()];
    let own = KeyPair::from_pem(&intermediate.key().serialize_pem()).unwrap();
    Upstream::new(chain, vec![root.der().clone()], own, &"example.org".parse().unwrap(), Timestamp::from_unix(NOW))
}

/// For the tests of what an upstream certifies.
pub(super) fn made_up(ends: i64) -> Upstream {
    let not_after = time::OffsetDateTime::from_unix_timestamp(ends).unwrap();
    upstream(with(params("intermediate", None), |params| params.not_after = not_after)).unwrap()
}

fn refusal(result: Result<Upstream, UpstreamError>) -> String {
    let error =
        result.err().map(|error| (error.to_string(), std::error::Error::source(&error).map(ToString::to_string)));
    let (text, source) = error.unwrap_or_default();
    format!("{text} {}", source.unwrap_or_default())
}

#[test]
fn a_ca_that_verifiers_accept_is_taken() {
    let plain = upstream(params("intermediate", Some(1))).unwrap();
    assert_eq!((plain.chain().len(), plain.roots().len()), (1, 1));
    let named: SanType = SanType::URI("spiffe://example.org".try_into().unwrap());
    for good in [
        with(params("i", None), |params| params.custom_extensions = vec![constraint("example.org", false)]),
        with(params("i", None), |params| params.custom_extensions = vec![constraint(".example.org", true)]),
        with(params("i", Some(1)), |params| {
            params.subject_alt_names = vec![named];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        }),
    ] {
        upstream(good).unwrap();
    }
}

#[test]
fn a_ca_that_verifiers_refuse_is_refused_first() {
    let base = || params("intermediate", Some(1));
    type Change = fn(&mut CertificateParams);
    let changes: [(Change, &str); 9] = [
        (|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)), "room for the broker's own CA"),
        (|params| params.is_ca = IsCa::ExplicitNoCa, "CA:TRUE"),
        (|params| params.is_ca = IsCa::NoCa, "CA:TRUE"),
        (|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], "keyCertSign"),
        (|params| params.not_after = date_time_ymd(2026, 1, 1), "still valid"),
        (|params| params.not_before = date_time_ymd(2039, 1, 1), "valid already"),
        (|params| params.custom_extensions = vec![constraint("other.org", false)], "permit URIs"),
        (|params| params.custom_extensions = vec![constraint("example.org", true)], "not exclude URIs"),
        (|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning], "servers and clients"),
    ];
    for (change, says) in changes {
        let said = refusal(upstream(with(base(), change)));
        assert!(said.contains(says), "{says}: {said}");
    }
    let foreign = SanType::URI("spiffe://other.org".try_into().unwrap());
    let said = refusal(upstream(with(base(), |params| params.subject_alt_names = vec![foreign])));
    assert!(said.contains("own SPIFFE ID"), "{said}");
    let short = refusal(under(params("root", Some(1)), base()));
    assert!(short.contains("certificate 1") && short.contains("room for"), "{short}");
}

#[test]
fn chain_root_and_key_belong_together() {
    let (root, other) = (params("root", None), params("root", None));
    let root = CertifiedIssuer::self_signed(root, key()).unwrap();
    let other = CertifiedIssuer::self_signed(other, key()).unwrap();
    let stranger = CertifiedIssuer::self_signed(params("stranger", None), key()).unwrap();
    let intermediate = CertifiedIssuer::signed_by(params("intermediate", None), key(), &root).unwrap();
    let own = || KeyPair::from_pem(&intermediate.key().serialize_pem()).unwrap();
    let make = |chain: &[&CertificateDer<'static>], roots: &[&CertificateDer<'static>], key: KeyPair| {
        let list = |ders: &[&CertificateDer<'static>]| ders.iter().map(|der| (*der).clone()).collect::<Vec<_>>();
        let domain = "example.org".parse().unwrap();
        Upstream::new(list(chain), list(roots), key, &domain, Timestamp::from_unix(NOW))
    };
    // The root may stand in the chain too, and other roots beside it.
    let taken = make(&[intermediate.der(), root.der()], &[other.der(), root.der()], own()).unwrap();
    assert_eq!((taken.chain().len(), taken.roots().first()), (1, Some(root.der())));
    // A root may certify by itself.
    let alone = make(&[root.der()], &[root.der()], KeyPair::from_pem(&root.key().serialize_pem()).unwrap()).unwrap();
    assert_eq!((alone.chain().len(), alone.certificate()), (0, Some(&**root.der())));
    assert!(refusal(make(&[intermediate.der()], &[stranger.der()], own())).contains("a root that certified"));
    // One of the same name with another key.
    assert!(refusal(make(&[intermediate.der()], &[other.der()], own())).contains("a root whose key verifies"));
    assert!(refusal(make(&[intermediate.der()], &[intermediate.der()], own())).contains("root"));
    assert!(refusal(make(&[intermediate.der()], &[root.der()], key())).contains("the private key"));
}
