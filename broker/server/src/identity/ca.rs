//! The CA that issues X.509-SVIDs. The keys that it certifies are made in the guests; their CSRs prove them.

use std::fmt;

use keys::secret::SecretBytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, SanType, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::{Duration, OffsetDateTime};
use verifier::Timestamp;

/// Days that a CA certificate lives.
const CA_DAYS: i64 = 365;
/// Seconds that clocks may be behind.
const BACKDATED: i64 = 60;

/// A CA with its key.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    point: Vec<u8>,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ca")
    }
}

impl Ca {
    /// Makes a CA; what is returned is its key and certificate in PEM, to be sealed and stored.
    pub(crate) fn generate(name: &str, now: Timestamp) -> Result<SecretBytes, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = time(now.plus_seconds(-BACKDATED));
        params.not_after = time(now).saturating_add(Duration::days(CA_DAYS));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        Ok(SecretBytes::new((key.serialize_pem() + &certificate.pem()).into_bytes()))
    }

    /// Reads what [`Ca::generate`] made.
    pub(crate) fn read(stored: &SecretBytes) -> Option<Self> {
        let text = std::str::from_utf8(stored.expose()).ok()?;
        let (key, certificate) = text.split_at_checked(text.find("-----BEGIN CERTIFICATE")?)?;
        let key = KeyPair::from_pem(key).ok()?;
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
        let point = key.public_key_raw().to_vec();
        Some(Self { issuer: Issuer::from_ca_cert_der(&certificate, key).ok()?, certificate, point })
    }

    /// The CA certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Its public key, an uncompressed point of P-256.
    pub(crate) fn point(&self) -> &[u8] {
        &self.point
    }

    /// An X.509-SVID (X509-SVID §3 to §4) for the key of `csr`, PEM. Nothing else of the CSR is looked at.
    pub(crate) fn certify(
        &self,
        csr: &CertificateSigningRequestParams,
        spiffe_id: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(spiffe_id)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = time(now.plus_seconds(-BACKDATED));
        params.not_after = time(until);
        Ok(params.signed_by(&csr.public_key, &self.issuer)?.pem())
    }
}

/// A CSR (PEM) whose signature shows that the asker has the key; ECDSA on P-256 or P-384, or Ed25519.
pub(crate) fn read_csr(pem: &str) -> Option<CertificateSigningRequestParams> {
    let csr = CertificateSigningRequestParams::from_pem(pem).ok()?;
    let algorithm = csr.public_key.algorithm();
    [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].contains(&algorithm).then_some(csr)
}

/// Times of certificates are before the year 9999; what is not becomes the epoch, and the certificate is of no use.
fn time(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_unix()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
