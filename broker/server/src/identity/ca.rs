//! The CA that issues X.509-SVIDs. The keys that it certifies are made in the guests; their CSRs prove them.
//!
//! It certifies itself, or an upstream CA certifies it. What is stored is the key and every certificate up to the root, so
//! that an SVID is made and a bundle is published without the upstream CA.

use std::fmt;

use keys::secret::SecretBytes;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CrlDistributionPoint, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use verifier::{
    Timestamp,
    x509::{Certificate, Validity},
};

use super::{AuthorityTerms, TrustDomain};
use crate::store::SERIAL_LENGTH;

/// Seconds that clocks may be behind.
pub(super) const BACKDATED: i64 = 60;

/// A CA with its key.
pub(crate) struct Ca {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The upstream's certificates between this one and the root.
    chain: Vec<CertificateDer<'static>>,
    /// What relying parties trust: this CA itself, or the upstream's roots.
    anchors: Vec<CertificateDer<'static>>,
    /// Its own certificate and the chain, as they follow an SVID. Empty when relying parties trust this CA itself.
    following: String,
    validity: Validity,
    names: Option<TrustDomain>,
}

/// A certificate that was just made.
pub(crate) struct Certified {
    /// PEM: the certificate, followed by those that lead to the bundle.
    pub(crate) chain: String,
    /// Its serial number.
    pub(crate) serial: [u8; SERIAL_LENGTH],
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ca")
    }
}

impl Ca {
    /// Makes a CA; what is returned is its key, its certificate, the chain and the roots in PEM, to be sealed and stored.
    /// Without an upstream there is neither chain nor root.
    pub(crate) fn generate(name: &str, terms: &AuthorityTerms, now: Timestamp) -> Result<SecretBytes, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(trust_domain) = &terms.trust_domain {
            // X509-SVID §3.1: the CA's own SPIFFE ID has no path.
            params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(format!("spiffe://{trust_domain}"))?)];
        }
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = time(now.plus_seconds(-BACKDATED));
        params.not_after = time(terms.ends(now));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut stored = key.serialize_pem();
        match &terms.upstream {
            None => stored.push_str(&params.self_signed(&key)?.pem()),
            Some(upstream) => {
                params.not_before = time(now.plus_seconds(-BACKDATED).max(upstream.begins()));
                params.use_authority_key_identifier_extension = true;
                stored.push_str(&upstream.certify(&params, &key)?);
                upstream.chain().iter().chain(upstream.roots()).for_each(|der| stored.push_str(&certificate_pem(der)));
            }
        }
        Ok(SecretBytes::new(stored.into_bytes()))
    }

    /// Reads what [`Ca::generate`] made.
    pub(crate) fn read(stored: &SecretBytes) -> Option<Self> {
        let text = std::str::from_utf8(stored.expose()).ok()?;
        let (key, certificates) = text.split_at_checked(text.find("-----BEGIN CERTIFICATE")?)?;
        let key = KeyPair::from_pem(key).ok()?;
        let mut certificates =
            CertificateDer::pem_slice_iter(certificates.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
        let certificate = (!certificates.is_empty()).then(|| certificates.remove(0))?;
        let parsed = Certificate::parse_der(&certificate).ok()?;
        // The first that certifies itself begins the roots; everything before it is the chain.
        let root = |der: &CertificateDer<'_>| Certificate::parse_der(der).is_ok_and(|other| other.is_self_issued());
        let chain_ends = certificates.iter().position(root).unwrap_or(certificates.len());
        let roots = certificates.split_off(chain_ends);
        let (anchors, following) = if parsed.is_self_issued() {
            (vec![certificate.clone()], String::new())
        } else {
            let following =
                std::iter::once(&certificate).chain(&certificates).map(|der| certificate_pem(der)).collect();
            (roots, following)
        };
        Some(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key).ok()?,
            validity: parsed.validity(),
            names: super::spiffe::trust_domain_of(&certificate),
            chain: certificates,
            anchors,
            following,
        })
    }

    /// What relying parties trust, DER: itself, or the upstream's roots.
    pub(crate) fn anchors(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|der| &**der)
    }

    /// From when until when it can be believed.
    pub(crate) const fn validity(&self) -> Validity {
        self.validity
    }

    /// The trust domain in its certificate, where there is one.
    pub(crate) const fn trust_domain(&self) -> Option<&TrustDomain> {
        self.names.as_ref()
    }

    /// The certificate that certified it; none when it certified itself.
    pub(crate) fn certified_by(&self) -> Option<&[u8]> {
        let upstream = self.chain.first().or_else(|| self.anchors.first()).filter(|_| !self.following.is_empty());
        upstream.map(|der| &**der)
    }

    /// An X.509-SVID (X509-SVID §3 to §4) for a public key from `now` until `until`, whose revocation list is at `list`.
    pub(crate) fn certify(
        &self,
        key: &impl PublicKeyData,
        spiffe_id: &str,
        (now, until): (Timestamp, Timestamp),
        list: Option<String>,
    ) -> Result<Certified, rcgen::Error> {
        let mut params = CertificateParams::default();
        let serial = serial()?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.crl_distribution_points = list.into_iter().map(|url| CrlDistributionPoint { uris: vec![url] }).collect();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(spiffe_id)?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = time(now.plus_seconds(-BACKDATED).max(self.validity.not_before));
        // An SVID that outlived its issuer could not be verified.
        params.not_after = time(until.min(self.validity.not_after));
        Ok(Certified { chain: params.signed_by(key, &self.issuer)?.pem() + &self.following, serial })
    }
}

/// A number that no other certificate of the CA has (RFC 5280 §4.1.2.2), also when one key is certified twice.
fn serial() -> Result<[u8; SERIAL_LENGTH], rcgen::Error> {
    let mut bytes = [0; SERIAL_LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| rcgen::Error::RingUnspecified)?;
    // Positive, and of one length.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(bytes)
}

/// One certificate as PEM.
pub(crate) fn certificate_pem(der: &[u8]) -> String {
    pem::encode_config(&Pem::new("CERTIFICATE", der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// A CSR (PEM) whose signature shows that the asker has the key; ECDSA on P-256 or P-384, or Ed25519. Nothing else of it is
/// looked at.
pub(crate) fn read_csr(pem: &str) -> Option<CertificateSigningRequestParams> {
    let csr = CertificateSigningRequestParams::from_pem(pem).ok()?;
    let algorithm = csr.public_key.algorithm();
    [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].contains(&algorithm).then_some(csr)
}

/// Times of certificates are before the year 9999; what is not becomes the epoch, and the certificate is of no use.
pub(super) fn time(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_unix()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
