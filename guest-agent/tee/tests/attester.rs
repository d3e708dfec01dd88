//! What a guest with a TPM attests, and that the formats package reads it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use evidence_formats::{
    binding::BindingDigest,
    bundle::ItemName,
    bytes::ReportData,
    digest::{Digest, HashAlgorithm},
    evidence::Evidence,
    tpm::{AkPublic, TpmPublic},
};
use softtee::swtpm::{SwTpm, TpmPki, is_installed, leave, make_credential, wrap_secret};
use tee::{
    AttestError, Collected, Paths, TpmSettings, Warning, detect,
    tpm::{AkKind, EkKind, NvIndex, Pcrs, TpmAddress},
    tsm::TsmRoot,
};

/// A binding digest of sevens, as hardware carries it.
fn data() -> ReportData {
    BindingDigest([7; 48]).report_data()
}

/// A guest with nothing but a TPM; its logs are not there.
fn paths(machine: &SwTpm) -> Paths {
    Paths {
        tsm_root: TsmRoot::new("/nonexistent/tsm"),
        sev_guest: "/nonexistent/sev-guest".into(),
        tdx_guest: "/nonexistent/tdx_guest".into(),
        tpm: TpmSettings {
            address: Some(machine.address()),
            event_log: "/nonexistent/event-log".into(),
            ima_log: "/nonexistent/ima-log".into(),
            ..TpmSettings::default()
        },
        ..Paths::default()
    }
}

fn tpm_of(evidence: Evidence) -> evidence_formats::tpm::TpmEvidence {
    let Evidence::Tpm(tpm) = evidence else { unreachable!("evidence of a TPM alone") };
    tpm
}

#[test]
fn a_tpm_alone_attests_the_binding_and_its_registers() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::start().unwrap();
    let measured = Digest::filled(HashAlgorithm::Sha256, 9);
    machine.connect().unwrap().pcr_extend(11, &[measured]).unwrap();
    let mut attester = detect(&paths(&machine)).unwrap();
    let Collected { bundle, warnings } = attester.collect(&data()).unwrap();
    assert_eq!(warnings, []);
    let tpm = tpm_of(Evidence::from_bundle(&bundle).unwrap());
    assert_eq!(tpm.quote.extra_data, [7; 48]);
    let pcrs = &tpm.pcrs[&HashAlgorithm::Sha256];
    assert_eq!((pcrs.len(), pcrs[&11]), (24, Digest::zero(HashAlgorithm::Sha256).extended(measured.as_bytes())));
    // A second time over the same connection, with the same key.
    let again = tpm_of(Evidence::from_bundle(&attester.collect(&data()).unwrap().bundle).unwrap());
    assert_eq!(again.ak_public, tpm.ak_public);
}

#[test]
fn logs_are_carried_as_they_are_and_missing_ones_are_named_when_they_cannot_be_read() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::bare().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"a log").unwrap();
    let mut paths = paths(&machine);
    paths.tpm.event_log = file.path().to_owned();
    paths.tpm.ima_log = "/".into();
    let Collected { bundle, warnings } = detect(&paths).unwrap().collect(&data()).unwrap();
    assert_eq!(bundle.item(ItemName::EventlogTcg2).unwrap().bytes, b"a log");
    assert_eq!(bundle.item(ItemName::EventlogIma), None);
    assert!(matches!(warnings[..], [Warning::EventLog { .. }]), "{warnings:?}");
}

#[test]
fn an_enrolment_proves_both_keys() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::start().unwrap();
    let pki = TpmPki::new();
    leave(&machine.connect().unwrap(), NvIndex(0x01C0_0100), &pki.intermediates().concat()).unwrap();
    let mut attester = detect(&paths(&machine)).unwrap();
    let tpm = attester.tpm().unwrap();
    let keys = tpm.enrolment_keys().unwrap();
    let ek = TpmPublic::parse(&keys.ek_public).unwrap();
    let chain = [vec![pki.ek_certificate(&ek).unwrap().der()], pki.intermediates()].concat();
    assert_eq!(keys.ek_certificates, chain);
    let ak = TpmPublic::parse(&keys.ak_public).unwrap();
    let credential = make_credential(&ek, &ak.name(), b"challenge").unwrap();
    let opened = tpm.activate(&keys, &credential.blob, &credential.secret).unwrap();
    assert_eq!(opened.as_slice(), b"challenge");
    // The key that was enrolled is the one that signs.
    let evidence = Evidence::from_bundle(&attester.collect(&data()).unwrap().bundle).unwrap();
    assert_eq!(tpm_of(evidence).ak_public, Some(AkPublic::Area(ak)));
}

#[test]
fn a_secret_sealed_to_the_machine_opens_between_attestations() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::start().unwrap();
    let mut attester = detect(&paths(&machine)).unwrap();
    attester.collect(&data()).unwrap();
    let keys = attester.tpm().unwrap().enrolment_keys().unwrap();
    let ek = TpmPublic::parse(&keys.ek_public).unwrap();
    let values = [(11, Digest::zero(HashAlgorithm::Sha256))].into();
    let wrapped = wrap_secret(&ek, b"disk key", HashAlgorithm::Sha256, &values).unwrap();
    let pcrs = Pcrs::new(HashAlgorithm::Sha256, [11]);
    assert_eq!(attester.tpm().unwrap().unseal(&wrapped, &pcrs).unwrap().as_slice(), b"disk key");
    attester.collect(&data()).unwrap();
}

#[test]
fn a_key_that_the_cloud_certified_is_taken_with_its_certificate() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::bare().unwrap();
    let tpm = machine.connect().unwrap();
    // As Google Cloud does it: a certificate and the template of the key.
    let template = AkKind::Rsa2048.template();
    let certificate = TpmPki::new().ek_certificate(tpm.create_ek(EkKind::Rsa2048).unwrap().public()).unwrap().der();
    leave(&tpm, NvIndex(0x01C1_0000), &certificate).unwrap();
    leave(&tpm, NvIndex(0x01C1_0001), template.as_bytes()).unwrap();
    let name = tpm.create_ak(AkKind::Rsa2048).unwrap().name();
    drop(tpm);
    let evidence = detect(&paths(&machine)).unwrap().collect(&data()).unwrap().bundle;
    let evidence = tpm_of(Evidence::from_bundle(&evidence).unwrap());
    assert_eq!(evidence.ak_certificates, [certificate]);
    assert!(matches!(evidence.ak_public, Some(AkPublic::Area(area)) if area.name() == name));
}

#[test]
fn a_machine_that_restarts_meanwhile_attests_again() {
    if !is_installed() {
        return;
    }
    let mut machine = SwTpm::start().unwrap();
    let mut attester = detect(&paths(&machine)).unwrap();
    let before = tpm_of(Evidence::from_bundle(&attester.collect(&data()).unwrap().bundle).unwrap());
    drop(attester);
    machine.restart().unwrap();
    let mut attester = detect(&paths(&machine)).unwrap();
    let after = tpm_of(Evidence::from_bundle(&attester.collect(&data()).unwrap().bundle).unwrap());
    assert_eq!(after.ak_public, before.ak_public);
    assert_eq!(after.quote.clock.reset_count, before.quote.clock.reset_count.saturating_add(1));
}

#[test]
fn a_rolled_back_machine_shows_an_older_counter() {
    if !is_installed() {
        return;
    }
    let mut machine = SwTpm::start().unwrap();
    let earlier = machine.state().unwrap();
    let count = |machine: &SwTpm| {
        let bundle = detect(&paths(machine)).unwrap().collect(&data()).unwrap().bundle;
        tpm_of(Evidence::from_bundle(&bundle).unwrap()).quote.clock.reset_count
    };
    machine.restart().unwrap();
    machine.restart().unwrap();
    let newest = count(&machine);
    machine.roll_back(&earlier).unwrap();
    assert!(count(&machine) < newest);
    // A clone is the same machine to the TPM's keys.
    let clone = SwTpm::of(&earlier).unwrap();
    let key = |machine: &SwTpm| machine.connect().unwrap().create_ak(AkKind::EccP256).unwrap().name();
    assert_eq!(key(&clone), key(&machine));
}

#[test]
fn without_hardware_and_without_a_tpm_there_is_no_evidence() {
    if !is_installed() {
        return;
    }
    let machine = SwTpm::bare().unwrap();
    let mut paths = paths(&machine);
    paths.tpm.address = None;
    assert!(matches!(detect(&paths), Err(AttestError::NoTee { .. })));
    paths.tpm.address = Some(TpmAddress::Unix(Path::new("/nonexistent/tpm").to_owned()));
    assert!(matches!(detect(&paths), Err(AttestError::NoTee { .. })));
}
