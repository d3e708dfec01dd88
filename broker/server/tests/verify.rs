//! `countersign verify` as scripts use it: exit status, the JSON object, and every form in which its files come.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::PathBuf, process::Command};

use evidence_formats::snp::{CertGuid, ProductLine};
use serde_json::Value;
use softtee::{
    amd::{AmdPki, CertEntry, CertTableSpec, SecureProcessor},
    pem,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-11-22 0:00 UTC);
const MEMBERS: [&str; 8] = ["verdict", "code", "reason", "claims", "tcb_status", "advisories", "unchecked", "relaxed"];

/// A guest, its trust anchors, and a folder for whatever a test gives to the command.
struct Setup {
    folder: TempDir,
    processor: SecureProcessor,
    at: OffsetDateTime,
    more: Vec<String>,
}

/// What the command answered.
struct Answer {
    status: i32,
    object: Value,
}

impl Answer {
    /// Exit status and code.
    fn short(&self) -> (i32, &str) {
        (self.status, self.object["code"].as_str().unwrap_or("-"))
    }
}

impl Setup {
    fn new(line: ProductLine) -> Self {
        let processor = SecureProcessor::new(line);
        Self { folder: tempfile::tempdir().unwrap(), processor, at: NOW, more: Vec::new() }
    }

    fn crl(&self) -> Vec<u8> {
        self.processor.pki.sign_crl(&self.processor.pki.crl(NOW))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Verifies the guest's report with these endorsements, files or folders.
    fn verify(&self, endorsements: &[String]) -> Answer {
        let report = self.write("report.bin", &self.processor.report(&self.processor.guest()));
        self.verify_file(&report, endorsements)
    }

    fn verify_file(&self, evidence: &str, endorsements: &[String]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["verify", "--type", "snp", "--evidence", evidence, "--format", "json"]);
        command.args(["--at", &self.at.format(&Rfc3339).unwrap()]).args(&self.more);
        for (number, anchor) in self.processor.pki.anchors().iter().enumerate() {
            command.args(["--trust-anchor", &self.write(&format!("anchors/{number}.der"), anchor)]);
        }
        command.args(endorsements.iter().flat_map(|path| ["--endorsements", path]));
        let output = command.output().unwrap();
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        for member in MEMBERS {
            assert!(object.get(member).is_some(), "{member} is not in {object:#}");
        }
        Answer { status: output.status.code().unwrap(), object }
    }
}

const ACCEPTED: (i32, &str) = (0, "-");

#[test]
fn every_status_has_its_verdict_and_one_object() {
    let setup = Setup::new(ProductLine::Genoa);
    let vek = setup.write("vek.der", &setup.processor.vek().der());
    let crl = setup.write("crl.der", &setup.crl());

    let accepted = setup.verify(&[vek.clone(), crl.clone()]);
    assert_eq!((accepted.status, &accepted.object["verdict"]), (0, &"accepted".into()));
    assert_eq!(accepted.object["code"], Value::Null);
    assert!(accepted.object["claims"].is_object());

    let undecided = setup.verify(&[vek]);
    assert_eq!((undecided.status, &undecided.object["verdict"]), (3, &"undecided".into()));
    assert_eq!(undecided.short().1, "endorsement.snp.crl_missing");

    let mut forged = setup.processor.report(&setup.processor.guest());
    forged[0x90] ^= 1;
    let forged = setup.write("forged.bin", &forged);
    let vek = setup.write("vek.der", &setup.processor.vek().der());
    let rejected = setup.verify_file(&forged, &[vek, crl]);
    assert_eq!((rejected.status, &rejected.object["verdict"]), (1, &"rejected".into()));
    assert_eq!(rejected.short().1, "authenticate.snp.signature");

    // Nothing was judged, and a program still finds an object to read.
    for (evidence, endorsements) in [("absent.bin", "vek.der"), ("report.bin", "absent.der")] {
        let paths = [evidence, endorsements].map(|name| setup.path(name).display().to_string());
        let unreadable = setup.verify_file(&paths[0], &paths[1..]);
        assert_eq!(unreadable.short(), (2, "parse.file"), "{evidence} {endorsements}");
        assert_eq!(unreadable.object["verdict"], "undecided");
        assert!(unreadable.object["reason"].as_str().unwrap().contains("absent"));
    }
}

#[test]
fn certificates_and_lists_count_in_every_form_and_order() {
    let setup = Setup::new(ProductLine::Turin);
    let vek = setup.processor.vek().der();
    let (vek_pem, crl_pem) = (pem::certificate(&vek), pem::crl(&setup.crl()));
    let ask = pem::certificate(&setup.processor.pki.ask.der());
    let ark = pem::certificate(&setup.processor.pki.ark.der());
    let forms: [(&str, Vec<u8>); 8] = [
        ("PEM", [vek_pem.clone(), crl_pem.clone()].concat().into_bytes()),
        ("with the chain behind", [&vek_pem, &ask, &ark, &crl_pem].map(String::as_str).concat().into_bytes()),
        ("with the chain before", [&crl_pem, &ark, &ask, &vek_pem].map(String::as_str).concat().into_bytes()),
        ("CRLF", [&vek_pem, &crl_pem].map(|text| text.replace('\n', "\r\n")).concat().into_bytes()),
        ("byte order mark", format!("\u{feff}{vek_pem}{crl_pem}").into_bytes()),
        ("text before", format!("Certificate:\n    Data:\n        Version: 3\n{vek_pem}{crl_pem}").into_bytes()),
        ("text between", format!("# key\n{vek_pem}# list\n{crl_pem}# end\n").into_bytes()),
        ("blank lines and a NUL", format!("\n\n{vek_pem}\n\n{crl_pem}\n\0").into_bytes()),
    ];
    for (form, content) in forms {
        let file = setup.write("bundle", &content);
        assert_eq!(setup.verify(&[file]).short(), ACCEPTED, "{form}");
    }
    // One DER document is one file, to its last byte.
    let crl = setup.write("crl.der", &setup.crl());
    let trailing = setup.write("trailing.der", &[&vek[..], b"\n"].concat());
    assert_eq!(setup.verify(&[trailing, crl]).short(), (1, "parse.x509.trailing_bytes"));
}

#[test]
fn a_folder_may_hold_whatever_else_lies_there() {
    let setup = Setup::new(ProductLine::Milan);
    let foreign = Setup::new(ProductLine::Genoa);
    let readme = "# Example\n\n-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n";
    let (other_vek, other_crl) = (foreign.processor.vek().der(), foreign.crl());
    let (vek, crl) = (setup.processor.vek().der(), pem::crl(&setup.crl()));
    let files: [(&str, &[u8]); 10] = [
        ("README.md", readme.as_bytes()),
        ("notes.txt", b"nothing here"),
        ("empty", b""),
        ("zeros", &[0; 4096]),
        ("expected.json", br#"{"verdict":"accept"}"#),
        ("key.pem", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("other-vek.der", &other_vek),
        ("other-crl.der", &other_crl),
        ("vek.der", &vek),
        ("z-crl.pem", crl.as_bytes()),
    ];
    for (name, content) in files {
        setup.write(&format!("lies/{name}"), content);
    }
    fs::create_dir(setup.path("lies/folder")).unwrap();
    let folder = setup.path("lies").display().to_string();
    let answer = setup.verify(&[folder]);
    assert_eq!(answer.short(), ACCEPTED, "{:#}", answer.object);
    let notes = answer.object["notes"].to_string();
    for ignored in ["README.md", "notes.txt", "empty", "zeros", "expected.json", "key.pem"] {
        assert!(notes.contains(ignored), "{ignored}: {notes}");
    }
    // A file that is named is taken at the word.
    assert_eq!(setup.verify(&[setup.path("lies/notes.txt").display().to_string()]).short().0, 1);
}

#[test]
fn a_certificate_table_is_recognised_whatever_entry_comes_first() {
    let setup = Setup::new(ProductLine::Genoa);
    let crl = setup.write("crl.der", &setup.crl());
    let vek = || CertEntry::new(CertGuid::VCEK, setup.processor.vek().der());
    let ask = || CertEntry::new(CertGuid::ASK, setup.processor.pki.ask.der());
    // Google's entry for what a version 2 report does not say (go-sev-guest `ExtraPlatformInfo`).
    let foreign =
        || CertEntry::new(CertGuid(0xecae_0c0f_9502_43b1_afa2_0ae2_e0d5_65b6_u128.to_be_bytes()), vec![7; 12]);
    let tables = [
        ("known first", CertTableSpec::new(vec![vek(), ask()]).to_bytes()),
        ("foreign first", CertTableSpec::new(vec![foreign(), ask(), vek()]).to_bytes()),
        ("foreign last", CertTableSpec::new(vec![vek(), foreign()]).to_bytes()),
        ("PEM inside", CertTableSpec::new(vec![vek(), ask()]).into_pem().to_bytes()),
        ("padded to a page", [CertTableSpec::new(vec![foreign(), vek()]).to_bytes(), vec![0; 4096]].concat()),
    ];
    for (form, table) in tables {
        let table = setup.write("certs.bin", &table);
        assert_eq!(setup.verify(&[table, crl.clone()]).short(), ACCEPTED, "{form}");
    }
    let broken = setup.write("certs.bin", &CertTableSpec::new(vec![vek(), ask()]).past_the_end().to_bytes());
    assert_eq!(setup.verify(&[broken, crl]).short(), (1, "parse.cert_table.bounds"));
}

#[test]
fn dates_count_to_their_last_second() {
    let mut setup = Setup::new(ProductLine::Milan);
    let vek = setup.processor.vek();
    let validity = vek.certificate.validity;
    let files = [setup.write("vek.der", &vek.der())];
    setup.more = vec!["--revocation".to_owned(), "if-present".to_owned()];
    let second = Duration::seconds(1);
    for (at, expected) in [
        (validity.not_before - second, (1, "authenticate.snp.certificate_not_yet_valid")),
        (validity.not_before, ACCEPTED),
        (validity.not_after, ACCEPTED),
        (validity.not_after + second, (1, "authenticate.snp.certificate_expired")),
    ] {
        setup.at = at;
        assert_eq!(setup.verify(&files).short(), expected, "{at}");
    }
    let crl = setup.processor.pki.crl(AmdPki::ISSUED_AT + Duration::days(100));
    let next_update = crl.next_update.unwrap();
    let files = [files[0].clone(), setup.write("crl.der", &setup.processor.pki.sign_crl(&crl))];
    setup.more.clear();
    for (at, expected) in [
        (crl.this_update - second, (1, "endorsement.snp.crl_not_yet_valid")),
        (crl.this_update, ACCEPTED),
        (next_update - second, ACCEPTED),
        (next_update, (1, "endorsement.snp.crl_stale")),
    ] {
        setup.at = at;
        assert_eq!(setup.verify(&files).short(), expected, "{at}");
    }
}
