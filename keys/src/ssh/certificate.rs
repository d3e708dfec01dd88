//! Certificates (OpenSSH `PROTOCOL.certkeys`).

use std::{collections::BTreeMap, num::NonZeroU64};

use base64::{Engine, prelude::BASE64_STANDARD};
use thiserror::Error;

use super::{
    SshPublicKey,
    wire::{put_mpint, put_string, put_u32, put_u64},
};
use crate::{
    random::{NoRandomness, Random, draw},
    sign::{SignError, Signer},
};

/// Whether `text` may be a principal: 1 to 255 of `a-z A-Z 0-9 . _ @ -`. Nothing in it is a pattern to `ssh`, a separator to
/// `ssh-keygen` or an option to anybody.
#[must_use]
pub fn is_principal(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    (1..=255).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-')
}

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateKind {
    /// Somebody who logs in.
    User,
    /// A machine that is logged in to.
    Host,
}

/// No certificate was made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SshCertificateError {
    /// A certificate without principals is good for everybody: none is ever made.
    #[error("expected at least one principal, each of 1 to 255 of a-z A-Z 0-9 . _ @ -")]
    Principals,
    /// The validity is empty or before 1970.
    #[error("expected an end after the beginning, both after 1970")]
    Validity,
    /// The CA's key is no ECDSA key.
    #[error("expected a CA key on P-256 or P-384")]
    Authority,
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The CA does not sign.
    #[error("the certificate cannot be signed")]
    Sign(#[from] SignError),
}

impl SshCertificateError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Principals => "internal.keys.ssh_principals",
            Self::Validity => "internal.keys.ssh_validity",
            Self::Authority => "internal.keys.ssh_authority",
            Self::Randomness(error) => error.code(),
            Self::Sign(error) => error.code(),
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, Copy)]
pub struct SshCertificate<'a> {
    /// Whom it is for.
    pub kind: CertificateKind,
    /// The key that it certifies.
    pub key: &'a SshPublicKey,
    /// Its number; never 0, which revocation lists pass over.
    pub serial: NonZeroU64,
    /// What servers log.
    pub key_id: &'a str,
    /// Whom it stands for: users or host names.
    pub principals: &'a [String],
    /// Beginning, in seconds of the Unix epoch.
    pub valid_after: i64,
    /// End, in seconds of the Unix epoch: at this moment it is over.
    pub valid_before: i64,
    /// What a server must obey or refuse, for example `force-command`.
    pub critical_options: &'a BTreeMap<String, String>,
    /// What is permitted, for example `permit-pty`; with none, next to nothing is.
    pub extensions: &'a BTreeMap<String, String>,
}

impl SshCertificate<'_> {
    /// The certificate, signed by `ca`: a line as in `id_…-cert.pub`, without a line feed.
    ///
    /// # Errors
    /// [`SshCertificateError`]; a certificate that says too little or too much is not made.
    pub fn sign(&self, ca: &dyn Signer, rng: &mut impl Random) -> Result<String, SshCertificateError> {
        if self.principals.is_empty() || !self.principals.iter().all(|name| is_principal(name)) {
            return Err(SshCertificateError::Principals);
        }
        let authority = SshPublicKey::of_signer(ca.verifying_key()).ok_or(SshCertificateError::Authority)?;
        let name = format!("{}-cert-v01@openssh.com", self.key.type_name());
        let mut body = Vec::new();
        put_string(&mut body, name.as_bytes());
        put_string(&mut body, &draw::<32>(rng)?);
        self.key.put_key(&mut body);
        put_u64(&mut body, self.serial.get());
        put_u32(
            &mut body,
            match self.kind {
                CertificateKind::User => 1,
                CertificateKind::Host => 2,
            },
        );
        put_string(&mut body, self.key_id.as_bytes());
        put_string(&mut body, &principals(self.principals));
        let (after, before) = self.validity()?;
        put_u64(&mut body, after);
        put_u64(&mut body, before);
        put_string(&mut body, &options(self.critical_options));
        put_string(&mut body, &options(self.extensions));
        put_string(&mut body, b"");
        put_string(&mut body, &authority.blob());
        let signature = ca.sign(&body)?;
        put_string(&mut body, &ecdsa(authority.type_name(), &signature)?);
        Ok(format!("{name} {} {}", BASE64_STANDARD.encode(body), self.key_id))
    }

    fn validity(&self) -> Result<(u64, u64), SshCertificateError> {
        let number = |time: i64| u64::try_from(time).map_err(|_negative| SshCertificateError::Validity);
        let (after, before) = (number(self.valid_after)?, number(self.valid_before)?);
        if after < before { Ok((after, before)) } else { Err(SshCertificateError::Validity) }
    }
}

fn principals(names: &[String]) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        put_string(&mut list, name.as_bytes());
    }
    list
}

/// Names in order, each with its data, which is a string inside a string, or nothing.
fn options(options: &BTreeMap<String, String>) -> Vec<u8> {
    let mut list = Vec::new();
    for (name, value) in options {
        put_string(&mut list, name.as_bytes());
        let mut data = Vec::new();
        if !value.is_empty() {
            put_string(&mut data, value.as_bytes());
        }
        put_string(&mut list, &data);
    }
    list
}

/// A signature as RFC 5656 §3.1.2 has it, from `r ‖ s`.
fn ecdsa(name: &str, signature: &[u8]) -> Result<Vec<u8>, SshCertificateError> {
    let half = signature.len().checked_div(2).unwrap_or(0);
    let (r, s) = signature.split_at_checked(half).ok_or(SignError::Crypto)?;
    let mut numbers = Vec::new();
    put_mpint(&mut numbers, r);
    put_mpint(&mut numbers, s);
    let mut blob = Vec::new();
    put_string(&mut blob, name.as_bytes());
    put_string(&mut blob, &numbers);
    Ok(blob)
}
