//! The sample configuration is valid, and errors say where.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use countersign::config::Config;

fn sample() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/countersign.toml");
    std::fs::read_to_string(path).unwrap()
}

fn error_of(text: &str) -> String {
    Config::parse(text, Path::new("/etc/countersign/countersign.toml")).unwrap_err().to_string()
}

#[test]
fn the_sample_is_valid_and_shows_the_defaults() {
    let config = Config::parse(&sample(), Path::new("/etc/countersign/countersign.toml")).unwrap();
    assert_eq!(config.data_dir, Path::new("/etc/countersign/data"));
    let defaults = countersign::config::Limits::default();
    assert_eq!(format!("{:?}", config.limits), format!("{defaults:?}"));
    let defaults = countersign::config::Enrolment::default();
    assert_eq!(format!("{:?}", config.enrolment), format!("{defaults:?}"));
}

#[test]
fn errors_name_the_line() {
    let sample = sample();
    let cases = [
        sample.replace("body_bytes", "body_size"),
        sample.replace("header_seconds = 10", "header_seconds = \"ten\""),
        sample.replace("nonce_seconds = 300", "nonce_seconds = 301"),
        sample.replace("root_key = \"root.key\"", ""),
        sample.replacen("revocation = \"require\"", "revocation = \"off\"", 1),
        sample.replace("[tls]", "[tls"),
    ];
    let errors: Vec<String> = cases.iter().map(|text| error_of(text)).collect();
    insta::assert_snapshot!(errors.join("\n---\n"));
}
