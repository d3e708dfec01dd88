//! Guests of a software TEE, and the bare cost of the cryptography that one request needs.

use std::hint::black_box;

use anyhow::Result;
use aws_lc_rs::{
    agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey},
    rand::SystemRandom as AwsLcRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, EcdsaKeyPair, ParsedPublicKey},
};
use bench::{clock::cost, fixture::Case};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    snp::ProductLine,
};
use keys::{jwk::TeeKeyType, random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::json;
use softtee::{amd::SecureProcessor, pem};
use time::OffsetDateTime;
use verifier::x509::Certificate;

/// One chip whose guests all use one key: the broker cannot tell, and the generator is not what is measured.
pub(crate) struct Fleet {
    chip: SecureProcessor,
    key: TeeKeyPair,
}

impl Fleet {
    pub(crate) fn new() -> Result<Self> {
        let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new())?;
        Ok(Self { chip: SecureProcessor::new(ProductLine::Genoa), key })
    }

    /// The roots to trust, PEM.
    pub(crate) fn anchors(&self) -> String {
        self.chip.pki.anchors().iter().map(|der| pem::certificate(der)).collect()
    }

    /// The chip's certificate and the revocation list, DER.
    pub(crate) fn endorsements(&self) -> [(&'static str, Vec<u8>); 2] {
        let crl = self.chip.pki.crl(OffsetDateTime::now_utc());
        [("vcek.der", self.chip.vek().der()), ("ark.crl", self.chip.pki.sign_crl(&crl))]
    }

    /// The measurement that every guest has, hex.
    pub(crate) fn measurement(&self) -> String {
        self.chip.guest().measurement.to_string()
    }

    /// The body of one attest request.
    pub(crate) fn request(&self, nonce: Nonce) -> Result<Vec<u8>> {
        let mut guest = self.chip.guest();
        guest.report_data = BindingDigest::native(&nonce, self.key.public())?.report_data();
        let mut evidence = Bundle::new();
        let report = BundleItem { media_type: MediaType::SnpReport, bytes: self.chip.report(&guest) };
        evidence.insert(ItemName::Cpu, report)?;
        let grants = json!([{"id": "g1", "type": "secret", "name": "disk-key"}]);
        let body = json!({"nonce": nonce, "tee_key": self.key.public(), "evidence": evidence, "grants": grants});
        Ok(serde_json::to_vec(&body)?)
    }
}

/// Microseconds of one P-384 verification (key parsed before), one ephemeral P-256 agreement and one ES256 signature.
pub(crate) fn bare_micros() -> Result<f64> {
    let case = Case::simulated()?;
    let [vek, ..] = &case.certificates;
    let vek = Certificate::parse_der(vek)?;
    let verifying = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, vek.spki())?;
    let signature = case.report().fields().signature.0;
    let rng = AwsLcRandom::new();
    let signing = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let peer = EphemeralPrivateKey::generate(&ECDH_P256, &rng)?.compute_public_key()?;
    let message = case.report().signed_bytes();
    let mut work = || {
        verifying.verify_sig(black_box(message), &signature)?;
        let mine = EphemeralPrivateKey::generate(&ECDH_P256, &rng)?;
        black_box(mine.compute_public_key()?);
        let peer = UnparsedPublicKey::new(&ECDH_P256, peer.as_ref());
        agreement::agree_ephemeral(mine, peer, anyhow::anyhow!("no agreement"), |z| {
            black_box(z);
            Ok(())
        })?;
        black_box(signing.sign(&rng, black_box(message))?);
        Ok(())
    };
    cost(101, 10, &mut work)
}
