//! The certificates that `countersign init` issues.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};

/// A CA that can issue.
pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

/// How long certificates live. They are pinned, so replacing them is an operator's decision and never a surprise.
const LIFETIME: Duration = Duration::days(3650);
/// Clocks of guests may be behind.
const BACKDATED: Duration = Duration::hours(1);

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The certificate, DER.
    pub(crate) certificate_der: Vec<u8>,
    /// The certificate, PEM.
    pub(crate) certificate_pem: String,
    /// The key, PKCS#8 PEM.
    pub(crate) key_pem: String,
}

/// A CA for end-entity certificates only.
pub(crate) fn ca(name: &str) -> Result<Ca, rcgen::Error> {
    let mut params = params(name, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ca::self_signed(params, KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

/// A CA that was made before, from its certificate and key (PEM).
pub(crate) fn issuer(certificate: &str, key: &str) -> Result<Issuer<'static, KeyPair>, rcgen::Error> {
    Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)
}

/// A server's certificate for DNS names and IP addresses.
pub(crate) fn server_certificate(ca: &Ca, names: &[String]) -> Result<Issued, rcgen::Error> {
    issue(ca, "Countersign broker", names.to_vec(), ExtendedKeyUsagePurpose::ServerAuth)
}

/// A client's certificate.
pub(crate) fn client_certificate(ca: &Issuer<'_, KeyPair>, name: &str) -> Result<Issued, rcgen::Error> {
    issue(ca, name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
}

fn issue(
    ca: &Issuer<'_, KeyPair>,
    name: &str,
    alternative_names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Issued, rcgen::Error> {
    let mut params = params(name, alternative_names)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.signed_by(&key, ca)?;
    Ok(Issued {
        certificate_der: certificate.der().to_vec(),
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    })
}

fn params(name: &str, alternative_names: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(alternative_names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc().saturating_sub(BACKDATED);
    params.not_after = OffsetDateTime::now_utc().saturating_add(LIFETIME);
    Ok(params)
}
