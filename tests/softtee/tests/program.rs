//! The program `softtee`, as scripts use it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use evidence_formats::bundle::{Bundle, ItemName};

fn softtee(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_softtee")).args(arguments).output().unwrap()
}

#[test]
fn pki_writes_anchors_and_endorsements() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    assert!(softtee(&["pki", "--out", out, "--at", "2026-06-01T00:00:00Z"]).status.success());
    let anchors = std::fs::read(directory.path().join("trust-anchors.pem")).unwrap();
    assert_eq!(openssl::x509::X509::stack_from_pem(&anchors).unwrap().len(), 11);
    let mut files: Vec<_> = std::fs::read_dir(directory.path().join("endorsements"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files.len(), 20);
    assert_eq!(files[..3], ["genoa-crl.der", "genoa-vcek.der", "genoa-vlek.der"]);
}

#[test]
fn report_writes_a_report_or_a_bundle_of_the_guest_in_the_state_file() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("guest.json");
    std::fs::write(&state, r#"{"snp": {"product": "turin", "policy": 720896}}"#).unwrap();
    let data = "11".repeat(64);
    let arguments = ["report", "--state", state.to_str().unwrap(), "--report-data", &data];
    let report = softtee(&arguments).stdout;
    assert_eq!((report.len(), report[0], &report[8..12]), (1184, 5, [0, 0, 11, 0].as_slice()));

    let bundle = softtee(&[&arguments[..], &["--format", "bundle"]].concat()).stdout;
    let bundle = Bundle::parse_json(&bundle).unwrap();
    assert_eq!(bundle.item(ItemName::Cpu).unwrap().bytes, report);
    assert!(bundle.item(ItemName::Certs).is_some());
}

#[test]
fn a_state_file_with_a_spelling_mistake_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("guest.toml");
    std::fs::write(&state, "[snp]\nmeasurment = 1\n").unwrap();
    let output = softtee(&["report", "--state", state.to_str().unwrap(), "--report-data", &"00".repeat(64)]);
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("unknown field `measurment`"));
}

#[test]
fn tsm_serves_until_it_is_told_to_end_and_unmounts() {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("/dev/fuse is not here: skipped");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().to_str().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_softtee"))
        .args(["tsm", "--mount", mount])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line.is_empty() {
        eprintln!("cannot mount FUSE file systems here: skipped");
        assert!(!child.wait().unwrap().success());
        return;
    }
    assert_eq!(line, format!("softtee: sev_guest reports in {mount}\n"));
    std::fs::create_dir(directory.path().join("x")).unwrap();
    assert_eq!(std::fs::read(directory.path().join("x/provider")).unwrap(), b"sev_guest\n");
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(!directory.path().join("x").exists());
}

#[test]
fn swtpm_serves_a_certified_tpm_and_keeps_its_state() {
    if !softtee::swtpm::is_installed() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("machine");
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_softtee"))
            .args(["swtpm", "--dir", place.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("softtee: a TPM at ").unwrap().trim().parse().unwrap();
        let tpm = tee::tpm::Tpm::open(&address).unwrap();
        assert!(tpm.nv_read_if_there(tee::tpm::EkKind::EccP256.certificate_index()).unwrap().is_some());
        names.push(tpm.create_ak(tee::tpm::AkKind::EccP256).unwrap().name());
        drop(tpm);
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(names[0], names[1]);
}

#[test]
fn the_state_files_of_the_readme_are_read() {
    let readme = include_str!("../README.md");
    let samples = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    // Faults are the services', not a guest's.
    let samples: Vec<&str> = samples.filter(|sample| !sample.starts_with("fault")).collect();
    assert_eq!(samples.len(), 3);
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("guest.toml");
    for sample in samples {
        std::fs::write(&state, sample).unwrap();
        let arguments =
            ["report", "--format", "bundle", "--state", state.to_str().unwrap(), "--report-data", &"00".repeat(64)];
        let bundle = Bundle::parse_json(&softtee(&arguments).stdout).unwrap();
        assert_eq!(bundle.items().count(), 2);
    }
}
