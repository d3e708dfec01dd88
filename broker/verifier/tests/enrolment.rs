//! Endorsement keys and their certificates: what may be enrolled, and what refuses by name.
#![expect(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use evidence_formats::{code::Coded, svsm::SvsmManifest, tpm::TpmPublic};
use verifier::{
    Endorsements, Revocation, Timestamp,
    tpm::{EkCertificate, EkTerms, authenticate_endorsement_key, require_endorsement_key},
    x509::{Certificate, parse_pem},
};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn pem(path: &Path) -> Vec<u8> {
    parse_pem(&fs::read(path).unwrap()).unwrap().remove(0).contents
}

/// The endorsement key of a swtpm with its certificate, and what it is held against.
struct Case {
    area: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    anchors: Vec<Arc<Certificate>>,
    revocation: Revocation,
    at: &'static str,
}

impl Case {
    fn swtpm(vectors: &Path) -> Self {
        let folder = vectors.join("swtpm-full-ubuntu2404");
        let root = Certificate::parse_der(&pem(&folder.join("ca_root.pem"))).unwrap();
        Self {
            area: fs::read(vectors.join("svsm-manifest-v0-synthetic/vtpm_manifest_v0.bin")).unwrap(),
            certificates: vec![fs::read(folder.join("ek_cert.der")).unwrap(), pem(&folder.join("ca_issuer.pem"))],
            anchors: vec![Arc::new(root)],
            revocation: Revocation::IfPresent,
            at: "2026-11-23T00:00:00Z",
        }
    }

    fn judge(&self) -> Result<EkCertificate, String> {
        let terms = EkTerms {
            anchors: &self.anchors,
            endorsements: &Endorsements::new(),
            revocation: self.revocation,
            now: Timestamp::parse_rfc3339(self.at).unwrap(),
        };
        let area = TpmPublic::parse(&self.area).unwrap();
        authenticate_endorsement_key(&self.certificates, &area, &terms)
            .map_err(|error| error.code().as_str().to_owned())
    }

    fn code(&self) -> String {
        self.judge().map_or_else(|code| code, |_| "accepted".to_owned())
    }
}

#[test]
fn a_certified_endorsement_key_says_which_tpm_it_is_of() {
    let Some(vectors) = vectors() else { return };
    let certificate = Case::swtpm(&vectors).judge().unwrap();
    let tpm = certificate.tpm.unwrap();
    assert_eq!((tpm.manufacturer.as_str(), tpm.model.as_str()), ("id:00001014", "swtpm"));
    assert_eq!(tpm.version, "id:20191023");
    assert!(certificate.revocation_unchecked && certificate.gce_instance.is_none());
}

#[test]
fn every_doubt_about_an_endorsement_key_has_its_code() {
    let Some(vectors) = vectors() else { return };
    let refused = |wanted: &str, change: &dyn Fn(&mut Case)| {
        let mut case = Case::swtpm(&vectors);
        change(&mut case);
        assert_eq!(case.code(), wanted);
    };
    refused("enroll.ek.crl_missing", &|case| case.revocation = Revocation::Require);
    refused("enroll.ek.issuer_missing", &|case| case.anchors.clear());
    refused("enroll.ek.issuer_missing", &|case| case.certificates.truncate(1));
    refused("enroll.ek.issuer_missing", &|case| case.certificates.clear());
    refused("enroll.ek.certificate_validity", &|case| case.at = "2026-11-20T00:00:00Z");
    // Another key under the same template.
    refused("enroll.ek.key_mismatch", &|case| *case.area.get_mut(100).unwrap() ^= 1);
    // restricted, decrypt, adminWithPolicy; the policy; the cipher; the scheme.
    for (at, bit) in [(5, 1), (5, 2), (7, 0x80), (12, 1), (45, 0x80), (47, 1)] {
        refused("enroll.ek.template", &|case| *case.area.get_mut(at).unwrap() ^= bit);
    }
    refused("enroll.ek.certificate_form", &|case| case.certificates.first_mut().unwrap().truncate(100));
    refused("enroll.ek.certificate_signature", &|case| {
        let leaf = case.certificates.first_mut().unwrap();
        let last = leaf.len().saturating_sub(1);
        *leaf.get_mut(last).unwrap() ^= 1;
    });
}

#[test]
fn google_certifies_endorsement_keys_for_instances_and_attestation_keys_are_none() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("gcp-ek-ak-certs");
    for (name, wanted) in [
        ("pca_tpm_rsa_enc_cert.pem", "accepted"),
        ("uca_tpm_rsa_enc_cert.pem", "accepted"),
        ("pca_tpm_rsa_sign_cert.pem", "enroll.ek.certificate_usage"),
        ("uca_tpm_rsa_sign_cert.pem", "enroll.ek.certificate_usage"),
    ] {
        let leaf = pem(&folder.join(name));
        let mut case = Case::swtpm(&vectors);
        case.anchors.clear();
        // The template with the certified modulus, which stands after 58 bytes.
        let certificate = Certificate::parse_der(&leaf).unwrap();
        let verifier::x509::PublicKey::Rsa { modulus, .. } = certificate.public_key() else { continue };
        case.area.truncate(58);
        case.area.extend(modulus);
        case.certificates = vec![leaf];
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "crt") {
                let bytes = fs::read(&path).unwrap();
                let der = parse_pem(&bytes).map_or(bytes, |mut blocks| blocks.remove(0).contents);
                // Each as the issuer in turn: an intermediate that is not this leaf's is of no use.
                let mut with = Case {
                    certificates: case.certificates.clone(),
                    anchors: Vec::new(),
                    area: case.area.clone(),
                    ..case
                };
                with.certificates.push(der);
                case = with;
            }
        }
        assert_eq!(case.code(), wanted, "{name}");
    }
}

#[test]
fn the_endorsement_key_of_a_services_manifest_is_the_tcg_template() {
    let Some(vectors) = vectors() else { return };
    let folder = vectors.join("svsm-manifest-v0-synthetic");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let nonce = evidence_formats::bytes::ReportData(read("nonce.bin").try_into().unwrap());
    for (manifest, data) in [
        ("vtpm_manifest_v0.bin", "expected_report_data_single.bin"),
        ("services_manifest.bin", "expected_report_data_services.bin"),
    ] {
        let bytes = read(manifest);
        let parsed = SvsmManifest::parse(&bytes).unwrap();
        assert_eq!(require_endorsement_key(&parsed.endorsement_key), Ok(()));
        assert_eq!(parsed.report_data(&nonce).0.as_slice(), read(data), "{manifest}");
        for end in 0..bytes.len() {
            assert!(SvsmManifest::parse(bytes.get(..end).unwrap()).is_err(), "{manifest} cut at {end}");
        }
    }
    // A second vTPM, or one whose range lies outside, is none.
    let services = read("services_manifest.bin");
    for (at, value) in [(16, 0), (20, 2), (24, 0), (40, 0x2F), (44, 0xFF)] {
        let mut changed = services.clone();
        *changed.get_mut(at).unwrap() = value;
        assert!(SvsmManifest::parse(&changed).is_err(), "byte {at}");
    }
}
