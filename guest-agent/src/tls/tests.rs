#![expect(clippy::unwrap_used, reason = "tests")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn broker(authority: &Authority, name: &str) -> (CertificateDer<'static>, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let digest = digest::digest(&digest::SHA256, &key.subject_public_key_info());
    let pin = format!("sha256/{}", base64::prelude::BASE64_STANDARD.encode(digest));
    (certificate.der().clone(), pin)
}

fn pins(authority: Option<&Authority>, keys: &[&str]) -> BrokerPins {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    if let Some(authority) = authority {
        fs::write(&path, authority.pem()).unwrap();
    }
    let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    BrokerPins::load(authority.map(|_| path.as_path()), &keys).unwrap()
}

fn accepts(pins: &BrokerPins, certificate: &CertificateDer<'_>) -> bool {
    let provider = Arc::new(provider::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in &pins.authorities {
        roots.add(authority.clone()).unwrap();
    }
    let chain = (!roots.is_empty()).then(|| {
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let chain: Arc<dyn ServerCertVerifier> = built.unwrap();
        chain
    });
    let verifier = PinnedBroker { chain, keys: pins.keys.clone(), at: None, provider };
    let name = ServerName::try_from("broker.example").unwrap();
    verifier.verify_server_cert(certificate, &[], &name, &[], UnixTime::now()).is_ok()
}

#[test]
fn the_pinned_authority_and_no_other_is_trusted() {
    let (ours, other) = (authority(), authority());
    let pins = pins(Some(&ours), &[]);
    assert!(accepts(&pins, &broker(&ours, "broker.example").0));
    assert!(!accepts(&pins, &broker(&other, "broker.example").0));
    assert!(!accepts(&pins, &broker(&ours, "other.example").0));
    assert!(pins.client_config().is_ok());
}

#[test]
fn the_pinned_key_and_no_other_is_trusted() {
    let ours = authority();
    let (certificate, pin) = broker(&ours, "broker.example");
    let (other_certificate, other_pin) = broker(&ours, "broker.example");
    assert!(accepts(&pins(None, &[&pin]), &certificate));
    assert!(!accepts(&pins(None, &[&pin]), &other_certificate));
    assert!(accepts(&pins(None, &[&other_pin, &pin]), &certificate));
}

#[test]
fn where_both_are_pinned_both_must_hold() {
    let (ours, other) = (authority(), authority());
    let (certificate, pin) = broker(&ours, "broker.example");
    let (_, other_pin) = broker(&ours, "broker.example");
    assert!(accepts(&pins(Some(&ours), &[&pin]), &certificate));
    assert!(!accepts(&pins(Some(&ours), &[&other_pin]), &certificate));
    assert!(!accepts(&pins(Some(&other), &[&pin]), &certificate));
}

#[test]
fn no_pin_trusts_nobody() {
    assert!(!accepts(&pins(None, &[]), &broker(&authority(), "broker.example").0));
}

#[test]
fn pins_are_read_strictly_and_in_every_base64() {
    let bytes = [0xfb; 32];
    for text in [
        base64::prelude::BASE64_STANDARD.encode(bytes),
        base64::prelude::BASE64_STANDARD_NO_PAD.encode(bytes),
        base64::prelude::BASE64_URL_SAFE.encode(bytes),
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes),
    ] {
        assert_eq!(SpkiPin::parse(&format!("sha256/{text}")).unwrap(), SpkiPin(bytes));
    }
    for text in ["", "sha256/", "sha1/AAAA", "sha256/AAAA", &"A".repeat(43)] {
        assert!(matches!(SpkiPin::parse(text), Err(PinError::Spki { .. })), "{text}");
    }
}

#[test]
fn a_file_without_certificates_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    assert!(matches!(BrokerPins::load(Some(&path), &[]), Err(PinError::Read { .. })));
    for text in ["", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(BrokerPins::load(Some(&path), &[]), Err(PinError::Certificates { .. })));
    }
}
