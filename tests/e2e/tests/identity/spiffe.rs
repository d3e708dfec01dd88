//! X.509-SVIDs and trust bundles as a relying party that is not ours handles them.

use std::{path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use e2e::process::Said;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::guest::Guest;

/// An X.509-SVID with the key that was made in the guest.
pub(crate) struct Svid {
    pub(crate) key: KeyPair,
    /// What the grant opened to.
    pub(crate) value: Value,
    pub(crate) lease: String,
}

impl Svid {
    /// Attests for the entry `name`.
    pub(crate) fn fetch(guest: &mut Guest, name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let answer = guest.attest(json!([{"id": "g", "type": "x509-svid", "name": name, "csr": csr}]));
        let grant = &answer["grants"][0];
        let value = guest.open(&grant["sealed"]).value;
        let lease = grant["lease"]["id"].as_str().unwrap().to_owned();
        Self { key, value: serde_json::from_slice(value.expose()).unwrap(), lease }
    }

    /// The chain, PEM.
    pub(crate) fn pem(&self) -> &str {
        self.value["certificate"].as_str().unwrap()
    }

    /// The chain, DER.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        pem::parse_many(self.pem()).unwrap().into_iter().map(|block| block.into_contents().into()).collect()
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// The CAs of a SPIFFE bundle, DER.
pub(crate) fn authorities(bundle: &Value) -> Vec<CertificateDer<'static>> {
    let keys = bundle["keys"].as_array().unwrap().iter().filter(|key| key["use"] == "x509-svid");
    keys.map(|key| BASE64_STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap().into()).collect()
}

/// The same, PEM.
pub(crate) fn authorities_pem(bundle: &Value) -> String {
    authorities(bundle).iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der.to_vec()))).collect()
}

/// The only URI of a certificate.
pub(crate) fn spiffe_id(der: &[u8]) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    match names.value.general_names.as_slice() {
        [GeneralName::URI(uri)] => Some((*uri).to_owned()),
        _ => None,
    }
}

/// Whether OpenSSL verifies a chain (PEM, leaf first) under a bundle.
pub(crate) fn openssl_verifies(chain: &str, bundle: &Value) -> bool {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("svid.pem"), chain).unwrap();
    std::fs::write(place.path().join("bundle.pem"), authorities_pem(bundle)).unwrap();
    let arguments = ["verify", "-x509_strict", "-CAfile", "bundle.pem", "-untrusted", "svid.pem", "svid.pem"];
    openssl(place.path(), &arguments).status == 0
}

pub(crate) fn openssl(directory: &Path, args: &[&str]) -> Said {
    Said::by(Command::new("openssl").args(args).current_dir(directory)).unwrap()
}
