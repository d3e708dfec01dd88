//! The software secure processor makes what AMD's would: checked with OpenSSL, which signed none of it with ECDSA.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use evidence_formats::snp::{CertGuid, CertTable, ProductLine, SnpReport};
use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{MessageDigest, hash};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509Crl, X509StoreContext};
use softtee::amd::{AmdPki, SecureProcessor, oids};
use softtee::keys::{PrivateKey, SignatureAlgorithm};
use softtee::{der, pem};
use time::macros::datetime;

fn signature_verifies(report: &[u8], vek: &X509) -> bool {
    let number = |range: std::ops::Range<usize>| {
        let mut bytes = report[range].to_vec();
        bytes.reverse();
        BigNum::from_slice(&bytes).unwrap()
    };
    let signature = EcdsaSig::from_private_components(number(0x2a0..0x2e8), number(0x2e8..0x330)).unwrap();
    let digest = hash(MessageDigest::sha384(), &report[..0x2a0]).unwrap();
    signature.verify(&digest, &vek.public_key().unwrap().ec_key().unwrap()).unwrap()
}

/// Whether OpenSSL builds the chain; it also refuses to parse what is not DER.
fn chain_verifies(vek: &[u8], ca: &[u8], root: &[u8]) -> bool {
    let parse = |der: &[u8]| X509::from_der(der).unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(parse(root)).unwrap();
    let mut parameters = X509VerifyParam::new().unwrap();
    parameters.set_time(datetime!(2024-06-01 0:00 UTC).unix_timestamp());
    store.set_param(&parameters).unwrap();
    let mut chain = Stack::new().unwrap();
    chain.push(parse(ca)).unwrap();
    X509StoreContext::new().unwrap().init(&store.build(), &parse(vek), &chain, |context| context.verify_cert()).unwrap()
}

#[test]
fn every_product_line_and_key_kind_makes_a_chain_and_a_signed_report() {
    for product in ProductLine::ALL {
        for sp in [SecureProcessor::new(product), SecureProcessor::new(product).with_vlek()] {
            let vek = sp.vek().der();
            let [ark, ask, asvk] = sp.pki.anchors();
            let ca = if sp.kind == softtee::amd::VekKind::Vcek { ask } else { asvk };
            assert!(chain_verifies(&vek, &ca, &ark), "{product:?}");

            let mut report = sp.report(&sp.guest());
            assert_eq!(SnpReport::parse(&report).unwrap().fields().product, Some(product));
            assert!(signature_verifies(&report, &X509::from_der(&vek).unwrap()), "{product:?}");
            report[0x90] ^= 1;
            assert!(!signature_verifies(&report, &X509::from_der(&vek).unwrap()), "{product:?}");
        }
    }
}

#[test]
fn anchors_and_certificates_have_the_same_bytes_every_time() {
    assert_eq!(AmdPki::new(ProductLine::Milan).anchors(), AmdPki::new(ProductLine::Milan).anchors());
    let sp = SecureProcessor::new(ProductLine::Turin);
    assert_eq!(sp.certificates().to_bytes(), sp.clone().certificates().to_bytes());
    assert_eq!(sp.report(&sp.guest()), sp.report(&sp.guest()));
}

#[test]
fn a_rogue_hierarchy_has_the_names_but_not_the_keys() {
    let (honest, rogue) = (AmdPki::new(ProductLine::Genoa), AmdPki::rogue(ProductLine::Genoa));
    assert_eq!(honest.ark.certificate.subject, rogue.ark.certificate.subject);
    assert_eq!(honest.ask.certificate.serial, rogue.ask.certificate.serial);
    let mut imitation = SecureProcessor::new(ProductLine::Genoa);
    imitation.pki = rogue.clone();
    let genuine = X509::from_der(&SecureProcessor::new(ProductLine::Genoa).vek().der()).unwrap();
    assert!(!signature_verifies(&imitation.report(&imitation.guest()), &genuine));
    assert!(!chain_verifies(&SecureProcessor::new(ProductLine::Genoa).vek().der(), &rogue.ask.der(), &rogue.ark.der()));
}

#[test]
fn the_revocation_list_is_signed_by_the_root_and_lists_what_was_asked() {
    let pki = AmdPki::new(ProductLine::Milan);
    let crl = pki.crl(datetime!(2026-06-01 0:00 UTC)).revoking(&pki.ask.certificate.serial).numbered(9);
    let parsed = X509Crl::from_der(&pki.sign_crl(&crl)).unwrap();
    let root = X509::from_der(&pki.ark.der()).unwrap();
    assert!(parsed.verify(&root.public_key().unwrap()).unwrap());
    let revoked = parsed.get_revoked().unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked.get(0).unwrap().serial_number().to_bn().unwrap().to_vec(), [1, 0, 1]);
}

#[test]
fn other_signature_algorithms_of_the_authority_verify_too() {
    use SignatureAlgorithm::{Pkcs1Sha384, PssSha256, PssSha384, PssSha384ExplicitTrailer, PssSha384Salt32};
    let pki = AmdPki::new(ProductLine::Milan);
    let ask = X509::from_der(&pki.ask.der()).unwrap().public_key().unwrap();
    for algorithm in [PssSha384, PssSha384ExplicitTrailer, PssSha384Salt32, PssSha256, Pkcs1Sha384] {
        let mut vek = SecureProcessor::new(ProductLine::Milan).vek();
        vek.certificate.algorithm = algorithm;
        assert!(X509::from_der(&vek.der()).unwrap().verify(&ask).unwrap(), "{algorithm:?}");
    }
}

#[test]
fn one_override_changes_one_thing() {
    let sp = SecureProcessor::new(ProductLine::Milan);
    let mut vek = sp.vek();
    vek.certificate.set(oids::MICROCODE, der::unsigned(218)).remove(oids::SPL7);
    vek.replace_key(PrivateKey::p256_from_label(b"other"));
    let changed = X509::from_der(&vek.der()).unwrap();
    let text = String::from_utf8(changed.to_text().unwrap()).unwrap();
    assert!(text.contains("prime256v1") && !text.contains("1.3.6.1.4.1.3704.1.3.7"), "{text}");
    assert!(signature_verifies(&sp.guest().sign(&vek.key), &changed));
}

#[test]
fn the_certificate_table_has_the_layout_of_the_host_and_its_faults_are_visible() {
    let table = SecureProcessor::new(ProductLine::Milan).certificates();
    let bytes = table.to_bytes();
    assert_eq!(bytes[..16], CertGuid::VCEK.0);
    assert_eq!(CertTable::parse(&bytes).unwrap().to_bytes(), bytes);
    let offset = usize::try_from(u32::from_le_bytes(bytes[16..20].try_into().unwrap())).unwrap();
    assert_eq!(offset, 4 * 24);
    assert!(X509::from_der(&bytes[offset..][..table.entries[0].bytes.len()]).is_ok());
    assert_eq!(bytes[72..96], [0; 24]);

    let pem_table = table.clone().into_pem();
    assert_eq!(pem_table.entries[2].bytes, pem::certificate(&table.entries[2].bytes).into_bytes());
    assert!(X509::from_pem(&pem_table.entries[0].bytes).is_ok());
    for broken in [table.clone().overlapping(), table.clone().past_the_end(), table.clone().unterminated()] {
        assert!(CertTable::parse(&broken.to_bytes()).is_err());
    }
    assert!(CertTable::parse(&table.duplicated().to_bytes()).is_err());
}
