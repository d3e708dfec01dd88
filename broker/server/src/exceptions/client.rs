//! Who may fetch a legacy secret over the bridge: a pinned key, or a name under the bridge's own CA.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Serialize, Serializer};
use thiserror::Error;
use verifier::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer},
};

/// Longest name, in bytes.
const NAME: usize = 512;

/// How a legacy client is recognised. TLS has shown that it holds the key of the certificate; this says which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientIdentity {
    /// SHA-256 of the public key (SPKI): whatever certificate it stands in, as long as that is in its time.
    Spki([u8; 32]),
    /// A DNS name among the subject alternative names of a certificate of the bridge's CA.
    Dns(String),
    /// A URI, the same way.
    Uri(String),
}

/// The text describes no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected sha256/BASE64 of the client's public key, dns:NAME or uri:NAME")]
pub(crate) struct NotAClient;

impl FromStr for ClientIdentity {
    type Err = NotAClient;

    fn from_str(text: &str) -> Result<Self, NotAClient> {
        let plain = |name: &str| {
            let fits = !name.is_empty() && name.len() <= NAME && name.bytes().all(|byte| byte.is_ascii_graphic());
            fits.then(|| name.to_owned()).ok_or(NotAClient)
        };
        if let Some(pin) = text.strip_prefix("sha256/") {
            let pin = BASE64_STANDARD.decode(pin).ok().and_then(|pin| pin.try_into().ok());
            return pin.map(Self::Spki).ok_or(NotAClient);
        }
        if let Some(name) = text.strip_prefix("dns:") {
            // A pattern would stand for more than one system.
            return if name.contains('*') { Err(NotAClient) } else { plain(&name.to_ascii_lowercase()).map(Self::Dns) };
        }
        text.strip_prefix("uri:").ok_or(NotAClient).and_then(plain).map(Self::Uri)
    }
}

impl fmt::Display for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spki(pin) => write!(f, "sha256/{}", BASE64_STANDARD.encode(pin)),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(name) => write!(f, "uri:{name}"),
        }
    }
}

impl Serialize for ClientIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Recognises clients by the chain that they showed.
#[derive(Debug)]
pub(crate) struct Recognition<'a> {
    /// Checks chains against the bridge's CA; absent: only pinned keys are recognised.
    pub(crate) authority: Option<&'a dyn ClientCertVerifier>,
    /// The time.
    pub(crate) now: Timestamp,
}

impl Recognition<'_> {
    /// Whether the holder of `chain`, leaf first, is `client`.
    pub(crate) fn is(&self, client: &ClientIdentity, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else { return false };
        let Ok(([], certificate)) = X509Certificate::from_der(leaf) else { return false };
        match client {
            ClientIdentity::Spki(pin) => {
                let in_time = ASN1Time::from_timestamp(self.now.as_unix())
                    .is_ok_and(|now| certificate.validity().is_valid_at(now));
                in_time && digest(&SHA256, certificate.public_key().raw).as_ref() == pin.as_slice()
            }
            ClientIdentity::Dns(_) | ClientIdentity::Uri(_) => {
                names(&certificate, client) && self.is_certified(leaf, intermediates)
            }
        }
    }

    /// Whether the bridge's CA certified it as a client, and still does.
    fn is_certified(&self, leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let Ok(seconds) = u64::try_from(self.now.as_unix()) else { return false };
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        self.authority.is_some_and(|authority| authority.verify_client_cert(leaf, intermediates, now).is_ok())
    }
}

/// Whether the certificate has exactly this name.
fn names(certificate: &X509Certificate<'_>, client: &ClientIdentity) -> bool {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return false };
    extension.value.general_names.iter().any(|name| match (name, client) {
        (GeneralName::DNSName(found), ClientIdentity::Dns(wanted)) => found.eq_ignore_ascii_case(wanted),
        (GeneralName::URI(found), ClientIdentity::Uri(wanted)) => found == wanted,
        _ => false,
    })
}

/// SHA-256 of the public key of a certificate (DER), as `sha256/BASE64`.
pub(crate) fn pin_of(certificate: &[u8]) -> Option<String> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    let pin = digest(&SHA256, parsed.public_key().raw).as_ref().try_into().ok()?;
    rest.is_empty().then(|| ClientIdentity::Spki(pin).to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use std::{slice, sync::Arc};

    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType, string::Ia5String};
    use rustls::{RootCertStore, crypto::aws_lc_rs, server::WebPkiClientVerifier};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{authority, clock};

    fn certificate(ca: &authority::Ca, usage: ExtendedKeyUsagePurpose, ends: Duration) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["erp.example".to_owned()]).unwrap();
        let uri = Ia5String::try_from("spiffe://legacy/erp".to_owned()).unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        params.extended_key_usages = vec![usage];
        params.not_before = OffsetDateTime::now_utc() - Duration::days(2);
        params.not_after = OffsetDateTime::now_utc() + ends;
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, ca).unwrap().der().clone()
    }

    fn is(ca: &authority::Ca, client: &str, chain: &[CertificateDer<'_>]) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_slice(pem::parse(ca.pem()).unwrap().contents()).into_owned()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authority = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let recognition = Recognition { authority: Some(&*authority), now: clock::now() };
        recognition.is(&client.parse().unwrap(), chain)
    }

    #[test]
    fn a_name_counts_under_the_right_ca_only_and_a_pin_everywhere() {
        let (ours, theirs) = (authority::ca("bridge").unwrap(), authority::ca("bridge").unwrap());
        let day = Duration::days(1);
        let good = certificate(&ours, ExtendedKeyUsagePurpose::ClientAuth, day);
        for (client, known) in [
            ("dns:erp.example", true),
            ("dns:ERP.example", true),
            ("dns:crm.example", false),
            ("uri:spiffe://legacy/erp", true),
            ("uri:spiffe://legacy/erp/", false),
            ("uri:erp.example", false),
        ] {
            assert_eq!(is(&ours, client, slice::from_ref(&good)), known, "{client}");
            assert!(!is(&theirs, client, slice::from_ref(&good)), "{client}");
        }
        assert!(!is(&ours, "dns:erp.example", &[]));
        let server = certificate(&ours, ExtendedKeyUsagePurpose::ServerAuth, day);
        assert!(!is(&ours, "dns:erp.example", &[server]));
        let pin = pin_of(&good).unwrap();
        assert!(is(&theirs, &pin, slice::from_ref(&good)));
        let other = certificate(&ours, ExtendedKeyUsagePurpose::ClientAuth, day);
        assert!(!is(&ours, &pin, slice::from_ref(&other)));
        // The pin is the leaf's, not that of any certificate that came along.
        assert!(!is(&ours, &pin, &[other, good]));
    }

    #[test]
    fn a_certificate_past_its_time_counts_no_more() {
        let ca = authority::ca("bridge").unwrap();
        let old = certificate(&ca, ExtendedKeyUsagePurpose::ClientAuth, Duration::days(-1));
        assert!(!is(&ca, "dns:erp.example", slice::from_ref(&old)));
        assert!(!is(&ca, &pin_of(&old).unwrap(), &[old]));
    }

    #[test]
    fn what_describes_no_client_is_refused() {
        for text in ["", "sha256/", "sha256/AAAA", "dns:", "dns:*.example", "uri:", "uri:a b", "cn:erp", "erp"] {
            assert_eq!(text.parse::<ClientIdentity>(), Err(NotAClient), "{text}");
        }
    }
}
