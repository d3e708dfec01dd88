//! Planted secrets are all found and never shown.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
};

use super::*;

/// Values are put together here, so that no tool takes this file for a leak.
fn planted() -> Vec<(&'static str, &'static str, String, String)> {
    let github = ["ghp", "_", "x7Qm2Lp9Vt4Rk8Wz1Ns6Yb3Hd5Jf0Gc2Ea9U"].concat();
    let aws = ["AKIA", "Q7ZP4LMN6RTV2XYW"].concat();
    let password = ["pQ9z", "R4tY7u", "W2x5V8b1"].concat();
    let body = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg".repeat(3);
    let key = ["-----BEGIN ", "PRIVATE KEY-----\n", &body, "\n-----END ", "PRIVATE KEY-----"].concat();
    let url = ["postgres://app:", "s3cr3tPa55", "@db.example:5432/orders"].concat();
    vec![
        ("etc/app.env", "github-pat", format!("A=1\nGITHUB_TOKEN={github}\n"), github),
        ("srv/deploy/run.sh", "aws-access-token", format!("export AWS_ID={aws}\n"), aws),
        ("opt/app/settings.ini", "generic-api-key", format!("[db]\npassword = \"{password}\"\n"), password),
        ("etc/ssl/private/server.key", "private-key", format!("{key}\n"), body),
        ("srv/app/config.yml", "database-connection-string", format!("url: {url}\n"), url),
    ]
}

fn write(root: &Path, path: &str, content: &[u8]) -> PathBuf {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, content).unwrap();
    file
}

fn limits() -> Limits {
    Limits { file_bytes: 1 << 20, files: 1000, depth: 16, binary: false }
}

fn scan(root: &Path, limits: Limits) -> Scan {
    let mut scan = Scan::new(Rules::built_in().unwrap(), limits, None).unwrap();
    scan.tree(root).unwrap();
    scan.rank();
    scan
}

#[test]
fn planted_secrets_are_all_listed_and_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (path, _, content, _) in planted() {
        write(root, path, content.as_bytes());
    }
    write(root, "root/.ssh/id_ed25519", b"\0opaque");
    write(root, "usr/share/app/readme.txt", b"nothing to see\n");
    let scan = scan(root, limits());
    for (path, rule, _, _) in planted() {
        let location = root.join(path).display().to_string();
        let found = scan.findings.iter().find(|finding| finding.location == location).unwrap();
        assert_eq!(found.rule, rule, "{path}");
        assert_eq!(found.fingerprint.as_ref().unwrap().len(), 16);
    }
    assert_eq!(scan.findings.len(), planted().len() + 1, "{:?}", scan.findings);
    assert!(scan.findings.iter().any(|finding| finding.rule == "location-ssh-private-key"));
    assert!(scan.tally.is_complete(), "{:?}", scan.tally);
    for format in [ReportFormat::Text, ReportFormat::Json] {
        let printed = render(&scan, format).unwrap();
        for (_, _, _, secret) in planted() {
            for length in [secret.len(), 10] {
                assert!(!printed.contains(&secret[..length]), "{printed}");
            }
        }
    }
    assert_eq!(scan.guest_report(), GuestReport { static_secrets: 6, complete: true });
    let risks: Vec<Risk> = scan.findings.iter().map(|finding| finding.risk).collect();
    assert!(risks.is_sorted() && risks[0] == Risk::High);
    let line = scan.findings.iter().find(|finding| finding.rule == "github-pat").unwrap().line;
    assert_eq!(line, Some(2));
}

#[test]
fn nothing_outside_the_tree_and_nothing_special_is_opened() {
    let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, _, content, _) = planted().remove(0);
    write(outside.path(), "deep/secret.env", content.as_bytes());
    symlink(outside.path().join("deep"), inside.path().join("directory")).unwrap();
    symlink(outside.path().join("deep/secret.env"), inside.path().join("file.env")).unwrap();
    symlink("/proc/self/environ", inside.path().join("environ")).unwrap();
    symlink(".", inside.path().join("loop")).unwrap();
    let _socket = UnixListener::bind(inside.path().join("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        inside.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let scan = scan(inside.path(), limits());
    assert!(scan.findings.is_empty(), "{:?}", scan.findings);
    assert_eq!((scan.tally.special, scan.tally.files), (6, 0));
}

#[test]
fn what_a_limit_leaves_out_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let (_, _, content, _) = planted().remove(0);
    write(directory.path(), "a/b/c/deep.env", content.as_bytes());
    write(directory.path(), "large.env", &[b'x'; 2000]);
    write(directory.path(), "program", [b"\x7fELF\0", content.as_bytes()].concat().as_slice());
    let cases = [
        (Limits { file_bytes: 1000, ..limits() }, (false, 1, 1, false)),
        (Limits { depth: 2, ..limits() }, (true, 0, 0, false)),
        (Limits { files: 1, ..limits() }, (true, 0, 1, false)),
        (limits(), (false, 0, 1, true)),
        (Limits { binary: true, ..limits() }, (false, 0, 2, true)),
    ];
    for (limits, (cut_short, too_large, findings, complete)) in cases {
        let scan = scan(directory.path(), limits);
        let tally = scan.tally;
        assert_eq!(
            (tally.cut_short, tally.too_large, tally.is_complete()),
            (cut_short, too_large, complete),
            "{limits:?}"
        );
        assert!(scan.findings.len() <= findings, "{limits:?} {:?}", scan.findings);
    }
}

#[test]
fn a_secret_on_the_edge_of_a_window_is_found_once() {
    let directory = tempfile::tempdir().unwrap();
    let (_, _, content, _) = planted().remove(0);
    for offset in [WINDOW - 20, WINDOW - OVERLAP - 10, WINDOW - OVERLAP + 10, 2 * WINDOW] {
        let mut text = "word \n".repeat(100_000).into_bytes();
        text.splice(offset..offset, format!("\n{content}").into_bytes());
        write(directory.path(), "large.env", &text);
        let scan = scan(directory.path(), limits());
        assert_eq!(scan.findings.len(), 1, "{offset}: {:?}", scan.findings);
    }
}

#[test]
fn environments_are_searched_and_show_the_name_alone() {
    let proc = tempfile::tempdir().unwrap();
    let (_, _, _, secret) = planted().remove(0);
    write(proc.path(), "41/environ", format!("PATH=/bin\0TOKEN={secret}\0").as_bytes());
    write(proc.path(), "41/comm", b"nginx\n");
    write(proc.path(), "42/environ", b"PATH=/bin\0");
    write(proc.path(), "self/environ", format!("TOKEN={secret}\0").as_bytes());
    let mut scan = Scan::new(Rules::built_in().unwrap(), limits(), None).unwrap();
    scan.processes(proc.path()).unwrap();
    assert_eq!(scan.tally.processes, 2);
    let locations: Vec<&str> = scan.findings.iter().map(|finding| finding.location.as_str()).collect();
    assert_eq!(locations, ["process 41 (nginx) environment TOKEN"]);
    assert!(!render(&scan, ReportFormat::Json).unwrap().contains(&secret));
}

#[test]
fn fingerprints_are_the_same_under_one_key_and_tell_nothing_without() {
    let directory = tempfile::tempdir().unwrap();
    let (path, _, content, _) = planted().remove(0);
    write(directory.path(), path, content.as_bytes());
    let key = write(directory.path(), "key/fingerprints", &[7; 32]);
    let print = |key: Option<&Path>| {
        let mut scan = Scan::new(Rules::built_in().unwrap(), limits(), key).unwrap();
        scan.tree(&directory.path().join("etc")).unwrap();
        scan.findings[0].fingerprint.clone().unwrap()
    };
    assert_eq!(print(Some(&key)), print(Some(&key)));
    assert_ne!(print(None), print(None));
    let short = write(directory.path(), "key/short", &[7; 15]);
    let refused = Scan::new(Rules::built_in().unwrap(), limits(), Some(&short));
    assert!(matches!(refused, Err(ScanError::Key { .. })));
}
