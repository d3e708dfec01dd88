//! X.509 certificates and revocation lists with every field settable.
mod certificate;
mod crl;
mod issued;
mod name;

pub use certificate::{CertificateSpec, Extension, Validity};
pub use crl::{CrlSpec, RevokedSerial};
pub use issued::Issued;
pub use name::Name;

/// Extension object identifiers (RFC 5280 §4.2, §5.2).
pub mod oids {
    /// Subject key identifier.
    pub const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
    /// Key usage.
    pub const KEY_USAGE: &str = "2.5.29.15";
    /// Basic constraints.
    pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    /// CRL number.
    pub const CRL_NUMBER: &str = "2.5.29.20";
    /// CRL distribution points.
    pub const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
    /// Authority key identifier.
    pub const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
}
