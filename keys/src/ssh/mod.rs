//! OpenSSH's own formats: public keys, certificates of users and hosts, revocation lists, and the guest's private key file.
//!
//! The formats are those of OpenSSH's `PROTOCOL`, `PROTOCOL.certkeys`, `PROTOCOL.krl` and `PROTOCOL.key`. A CA is an
//! [`ES256` key](crate::sign::SigningKey), in memory or in a device; guests' keys are Ed25519 or ECDSA on P-256 or P-384.

mod certificate;
mod key_pair;
mod public_key;
mod revocation;
mod wire;

pub use certificate::{CertificateKind, SshCertificate, SshCertificateError, is_principal};
pub use key_pair::SshKeyPair;
pub use public_key::{SshKeyError, SshPublicKey};
pub use revocation::revocation_list;

#[cfg(test)]
mod tests;
