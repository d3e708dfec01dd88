//! Certificates and CRLs as vendors issue them: parsed strictly, kept as received, verified by aws-lc-rs.
//!
//! There is no path building here: each platform knows the exact shape of its vendor's hierarchy and walks it.

mod certificate;
mod crl;
pub(crate) mod der;
mod extension;
mod name;
mod oid;
mod pem;
mod signature;

pub use certificate::{BasicConstraints, Certificate, CertificateError, KeyUsage, Validity, ValidityError};
pub use crl::{Crl, CrlError, CrlNumber, CrlTimeError};
pub use der::DerError;
use extension::Extension;
pub use name::{Name, NameAttribute};
pub use oid::Oid;
pub use pem::{PemBlock, PemError, looks_like_pem, parse_pem, pem_of_file, without_mark};
pub use signature::{PublicKey, PublicKeyError, SignatureAlgorithm, SignatureError, verify_signature};

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::Timestamp;

    const ARK: &[u8] = include_bytes!("../snp/roots/milan_ark.der");
    const ASK: &[u8] = include_bytes!("../snp/roots/milan_ask.der");
    const OTHER_ARK: &[u8] = include_bytes!("../snp/roots/genoa_ark.der");

    #[test]
    fn a_genuine_ca_certificate_parses_and_verifies() {
        let (ark, ask) = (Certificate::parse_der(ARK).unwrap(), Certificate::parse_der(ASK).unwrap());
        assert_eq!(ask.subject().common_name(), Some("SEV-Milan"));
        assert_eq!(ask.subject().only(&Oid::ORGANIZATION), Some("Advanced Micro Devices"));
        assert_eq!(ask.serial(), [1, 0, 1]);
        assert_eq!(ask.signature_algorithm(), Ok(SignatureAlgorithm::RsaPssSha384));
        assert_eq!(ask.basic_constraints(), Some(BasicConstraints { ca: true, path_length: Some(0) }));
        assert!(ask.may_sign_certificates() && ark.is_self_issued() && ask.names_issuer(&ark));
        assert_eq!(ask.validity().not_before.to_string(), "2020-10-22T18:24:20Z");
        assert!(ask.validity().at(Timestamp::parse_rfc3339("2045-10-22T18:24:20Z").unwrap()).is_ok());
        assert!(ask.validity().at(Timestamp::parse_rfc3339("2045-10-22T18:24:21Z").unwrap()).is_err());
        assert_eq!(ask.verify_signed_by(ark.public_key()), Ok(()));
        assert_eq!(ark.verify_signed_by(ark.public_key()), Ok(()));
        let other = Certificate::parse_der(OTHER_ARK).unwrap();
        assert_eq!(ask.verify_signed_by(other.public_key()), Err(SignatureError::Wrong));
    }

    #[test]
    fn a_certificate_is_consumed_whole_and_every_cut_is_refused() {
        for end in 0..ASK.len() {
            assert!(Certificate::parse_der(&ASK[..end]).is_err(), "{end}");
        }
        let mut longer = ASK.to_vec();
        longer.push(0);
        assert_eq!(Certificate::parse_der(&longer), Err(CertificateError::TrailingBytes { offset: ASK.len() }));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let ark = Certificate::parse_der(ARK).unwrap();
        for at in (0..ASK.len()).step_by(7) {
            let mut changed = ASK.to_vec();
            changed[at] ^= 0x10;
            let refused = Certificate::parse_der(&changed).is_err_and(|_| true)
                || Certificate::parse_der(&changed).unwrap().verify_signed_by(ark.public_key()).is_err();
            assert!(refused, "byte {at}");
        }
    }
}
