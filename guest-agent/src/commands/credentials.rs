//! `credentials`: tokens and SVIDs as files.

use std::path::Path;

use keys::secret::SecretBytes;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::Deserialize;

use super::Guest;
use crate::{
    cli::{BrokerArgs, Credential, TokenArgs},
    exchange::Wanted,
    failure::Failure,
    output::Output,
};

/// Fetches and writes.
pub(super) fn write(credential: &Credential, guest: &Guest) -> Result<(), Failure> {
    match credential {
        Credential::Token(args) => token(args, "token", None, guest),
        Credential::JwtSvid { token: args, audience } => token(args, "jwt-svid", Some(audience), guest),
        Credential::X509Svid { name, broker, directory } => x509_svid(name, broker, directory, guest),
    }
}

fn token(args: &TokenArgs, kind: &'static str, audience: Option<&str>, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(args.out.as_deref(), true)?;
    let wanted = Wanted { kind, name: &args.name, seal: None, audience, csr: None };
    Ok(output.write(guest.grant(&args.broker, wanted)?.expose())?)
}

/// What the broker answers for an X.509-SVID.
#[derive(Deserialize)]
struct X509Svid {
    certificate: String,
    bundle: String,
}

fn x509_svid(name: &str, broker: &BrokerArgs, directory: &Path, guest: &Guest) -> Result<(), Failure> {
    let unmade =
        |error: rcgen::Error| Failure::Make { what: "a certificate signing request", reason: error.to_string() };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unmade)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(unmade)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(unmade)?;
    let wanted = Wanted { kind: "x509-svid", name, seal: None, audience: None, csr: Some(&csr) };
    let answer = guest.grant(broker, wanted)?;
    let svid: X509Svid = serde_json::from_slice(answer.expose())
        .map_err(|_unreadable| Failure::Answer { expected: "a certificate and a bundle" })?;
    // Key and certificate in one file: there is no moment at which they do not fit.
    let pair = SecretBytes::new((key.serialize_pem() + &svid.certificate).into_bytes());
    Output::secret(Some(&directory.join("bundle.pem")), true)?.write(svid.bundle.as_bytes())?;
    Ok(Output::secret(Some(&directory.join("svid.pem")), true)?.write(pair.expose())?)
}
