//! A publisher of reference values: a made-up CA, a signing certificate under it, and CoRIM manifests of the SNP profile.
#![expect(clippy::expect_used, reason = "what is written here can be encoded; a failure means a broken build")]

use evidence_formats::bytes::LaunchDigest;
use evidence_formats::corim::{
    Class, ClassId, Comid, CorimDocument, CorimError, Digest, DigestAlgorithm, Environment, Measurement,
    MeasurementKey, MeasurementValues, Profile, SignatureHeader, SignedCorim, TagId, Triple, Validity as CorimValidity,
};
use openssl::hash::MessageDigest;
use time::OffsetDateTime;

use crate::der;
use crate::keys::{PrivateKey, SignatureAlgorithm};
use crate::pem;
use crate::x509::{CertificateSpec, Extension, Issued, Name, Validity};

/// The profile's URI.
pub const SNP_PROFILE: &str = "tag:amd.com,2025:snp-corim-profile";
/// The class of guests whose report is signed by a chip's own key.
pub const SNP_CLASS: &str = "1.3.6.1.4.1.3704.3.1";

/// A publisher. Change a field, and what it signs from then on shows it.
#[derive(Debug, Clone)]
pub struct CorimPublisher {
    /// Its CA: self-signed, P-384.
    pub root: Issued,
    /// Its signing certificate, P-256.
    pub signer: Issued,
}

/// How a manifest names its signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedBy {
    /// By its certificates, the root left out.
    Chain,
    /// By the digest of its key.
    KeyId,
}

impl CorimPublisher {
    /// A publisher of this name, whose certificates are valid for a year around `at`.
    #[must_use]
    pub fn new(name: &str, at: OffsetDateTime) -> Self {
        let validity = Validity::days(at.saturating_sub(time::Duration::days(180)), 360);
        let root_key = PrivateKey::p384_from_label(format!("corim root {name}").as_bytes());
        let key = PrivateKey::p256_from_label(format!("corim signer {name}").as_bytes());
        let subject = |what: &str| Name::from_values(&[("2.5.4.3", der::utf8(&format!("{name} {what}")))]);
        let certificate = |key: &PrivateKey, subject: Name, extensions| CertificateSpec {
            version: Some(2),
            serial: vec![1],
            algorithm: SignatureAlgorithm::EcdsaSha384,
            inner_algorithm: None,
            issuer: Name::from_values(&[("2.5.4.3", der::utf8(&format!("{name} root")))]),
            validity,
            subject,
            public_key_info: key.public_key_info(),
            extensions,
        };
        let ca = vec![Extension::certificate_authority(Some(0)), Extension::certificate_signing(false)];
        // RFC 5280 §4.2.1.3: digitalSignature is bit 0.
        let usage = vec![Extension::critical("2.5.29.15", der::bits_unused(7, &[0x80]))];
        Self {
            root: Issued {
                certificate: certificate(&root_key, subject("root"), ca),
                key: root_key.clone(),
                issuer_key: root_key.clone(),
            },
            signer: Issued { certificate: certificate(&key, subject("signer"), usage), key, issuer_key: root_key },
        }
    }

    /// The root certificate, PEM: what a broker trusts.
    #[must_use]
    pub fn root_pem(&self) -> String {
        pem::certificate(&self.root.der())
    }

    /// The signer's public key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.signer.key.public_key_info())
    }

    /// Signs the bytes of a manifest with the signer's key, as ES256.
    #[must_use]
    pub fn sign(&self, manifest: Vec<u8>, named_by: NamedBy) -> Vec<u8> {
        let header = SignatureHeader {
            algorithm: -7,
            kid: (named_by == NamedBy::KeyId).then(|| sha256(&self.signer.key.public_key_info())),
            chain: if named_by == NamedBy::Chain { vec![self.signer.der()] } else { Vec::new() },
            signer: Some("softtee".to_owned()),
            validity: CorimValidity::default(),
        };
        sign(&header, manifest, &self.signer.key)
    }
}

/// Signs the bytes of a manifest under any header, with the digest of the key's curve.
#[must_use]
pub fn sign(header: &SignatureHeader, manifest: Vec<u8>, key: &PrivateKey) -> Vec<u8> {
    let algorithm = match key {
        PrivateKey::P384(_) => MessageDigest::sha384(),
        PrivateKey::P256(_) | PrivateKey::Rsa(_) => MessageDigest::sha256(),
    };
    let signed = SignedCorim::make(header, manifest, |message| {
        let (r, s) = key.sign_ecdsa(algorithm, message);
        Ok::<_, CorimError>([r, s].concat())
    });
    signed.expect("encodable")
}

/// A manifest of the SNP profile, version 1 of set `id`, with one alternative for each launch digest.
#[must_use]
pub fn snp_manifest(id: &str, launch: &[LaunchDigest], validity: CorimValidity) -> CorimDocument {
    let class =
        Class { id: Some(ClassId::Oid(SNP_CLASS.to_owned())), model: Some("web".to_owned()), ..Class::default() };
    let triple = |launch: &LaunchDigest| Triple {
        environment: Environment { class: Some(class.clone()), ..Environment::default() },
        measurements: vec![Measurement {
            key: Some(MeasurementKey::Uint(641)),
            values: MeasurementValues {
                digests: vec![Digest { algorithm: DigestAlgorithm::Sha384, bytes: launch.as_bytes().to_vec() }],
                ..MeasurementValues::default()
            },
            has_authorized_by: false,
        }],
    };
    CorimDocument {
        id: TagId::Text(id.to_owned()),
        comids: vec![Comid {
            tag_id: TagId::Uuid([0x43; 16]),
            tag_version: 1,
            entities: Vec::new(),
            reference: launch.iter().map(triple).collect(),
            endorsed: Vec::new(),
            other_triples: Vec::new(),
        }],
        other_tags: Vec::new(),
        has_dependent_rims: false,
        profile: Some(Profile::Uri(SNP_PROFILE.to_owned())),
        validity,
        entities: vec!["softtee's image pipeline".to_owned()],
    }
}

/// Manifests for each way in which an import ends, by file name: `good.cose` signed under `publisher` for set `id`, and
/// the same with one thing wrong.
#[must_use]
pub fn cases(
    publisher: &CorimPublisher,
    id: &str,
    launch: LaunchDigest,
    at: OffsetDateTime,
) -> Vec<(&'static str, Vec<u8>)> {
    let day = |days: i64| Some(at.saturating_add(time::Duration::days(days)).unix_timestamp());
    let valid = CorimValidity { not_before: day(-1), not_after: day(30) };
    let encoded = |document: &CorimDocument| document.to_bytes().expect("encodable");
    let good = snp_manifest(id, &[launch], valid);
    let expired = CorimDocument { validity: CorimValidity { not_before: day(-9), not_after: day(-2) }, ..good.clone() };
    let profile = CorimDocument { profile: Some(Profile::Uri("tag:other.example,2026:x".to_owned())), ..good.clone() };
    let stranger = CorimPublisher::new("stranger", at);
    let signed = publisher.sign(encoded(&good), NamedBy::Chain);
    let mut tampered = signed.clone();
    // The last byte of the launch digest, which the signature covers.
    let digest = tampered.windows(48).position(|window| window == launch.as_bytes()).expect("the digest is in it");
    if let Some(byte) = tampered.get_mut(digest.saturating_add(47)) {
        *byte ^= 1;
    }
    vec![
        ("good.cose", signed),
        ("expired.cose", publisher.sign(encoded(&expired), NamedBy::Chain)),
        ("profile.cose", publisher.sign(encoded(&profile), NamedBy::Chain)),
        ("stranger.cose", stranger.sign(encoded(&good), NamedBy::Chain)),
        ("tampered.cose", tampered),
        ("malformed.cose", vec![0xd2, 0x84, 0x00]),
        ("unsigned.cbor", encoded(&good)),
    ]
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    openssl::hash::hash(MessageDigest::sha256(), bytes).expect("memory").to_vec()
}
