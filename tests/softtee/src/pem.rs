//! PEM text.
use openssl::base64::encode_block;

/// One PEM block with 64-character lines (RFC 7468).
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    // 48 bytes make 64 characters.
    let lines: Vec<String> = der.chunks(48).map(encode_block).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// A certificate as PEM.
#[must_use]
pub fn certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

/// A revocation list as PEM.
#[must_use]
pub fn crl(der: &[u8]) -> String {
    encode("X509 CRL", der)
}
