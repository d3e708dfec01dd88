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

#[test]
fn a_credential_says_what_it_takes_before_anybody_gets_it() {
    let sample = sample();
    let (postgres, ssh) = sample.split_once("[[postgres]]").unwrap().1.split_once("[[ssh.user]]").unwrap();
    // F19: neither a database nor a certificate without its least evidence, its longest life and its way back.
    for section in [postgres, ssh] {
        for field in ["min_evidence", "max_ttl_seconds", "revocation"] {
            let line = section.lines().find(|line| line.starts_with(field)).unwrap();
            let without = sample.replacen(section, &section.replacen(&format!("{line}\n"), "", 1), 1);
            let error = error_of(&without);
            assert!(error.contains(&format!("missing field `{field}`")), "{error}");
        }
    }
    let cases = [
        ("tls = \"verify-full\"", "tls = \"loopback-plaintext\"", "expected a loopback address"),
        ("ca = \"orders-db-ca.pem\"", "", "expected ca"),
        ("max_ttl_seconds = 900\n# Before", "max_ttl_seconds = 3601\n# Before", "max_ttl_seconds"),
        (
            "revocation = [\"REASSIGN OWNED BY {role} TO app\", \"DROP OWNED BY {role}\"]",
            "revocation = []",
            "revocation",
        ),
        ("DROP OWNED BY {role}", "DROP OWNED BY {roles}", "{roles}"),
        (" VALID UNTIL {valid_until}", "", "{valid_until}"),
        ("principals = [\"{workload}\"]", "principals = []", "principals"),
        ("principals = [\"{workload}\"]", "principals = [\"{spiffe_id}\"]", "{spiffe_id}"),
        ("extensions = [\"permit-pty\"]", "extensions = [\"permit-all\"]", "permit-all"),
        ("source-address = ", "force-pty = ", "force-pty"),
        ("name = \"web-host\"", "name = \"deploy\"", "deploy"),
        ("name = \"web-host\"", "name = \"web-host\"\nextensions = [\"permit-pty\"]", "for a host"),
        ("revocation = \"krl\"", "revocation = \"expiry\"", "between 1 and 300"),
        ("revocation = \"krl\"", "revocation = \"never\"", "never"),
    ];
    for (right, wrong, word) in cases {
        assert!(sample.contains(right), "{right}");
        let error = error_of(&sample.replacen(right, wrong, 1));
        assert!(error.contains(word), "{right} → {wrong}: {error}");
    }
}

/// The sample with its first table of this kind twice.
fn twice(sample: &str, header: &str) -> String {
    let (before, after) = sample.split_once(header).unwrap();
    let body = after.split_once("\n[").map_or(after, |(body, _)| body);
    format!("{before}{header}{body}\n{header}{after}")
}

#[test]
fn an_exchange_that_trusts_too_much_is_no_configuration() {
    let sample = sample();
    let cases = [
        (sample.replace("jwks_file = \"cluster-a.jwks.json\"\n", ""), "expected jwks_file, or jwks_url with https"),
        (
            sample.replace("jwks_file = \"cluster-a", "jwks_url = \"http://cluster-a"),
            "expected jwks_file, or jwks_url with https",
        ),
        (
            sample
                .replace("conditions = { \"/kubernetes.io/namespace\" = [\"shop\"] }\n", "")
                .replace("bind = { \"/kubernetes.io/serviceaccount/name\" = \"{workload}\" }\n", ""),
            "expected conditions or bind for tokens of cluster-a",
        ),
        (sample.replace("from = \"cluster-a\"", "from = \"cluster-b\""), "expected the name of an issuer"),
        (
            sample.replace("name = \"cluster-a\"", "name = \"attestation\""),
            "other than those of this broker's own tokens",
        ),
        (sample.replace("\"/kubernetes.io/namespace\"", "\"namespace\""), "expected JSON pointers"),
        (sample.replace("proof_seconds = 60", "proof_seconds = 3600"), "proof_seconds between 5 and 300"),
        (sample.replace("\"orders.write\"]", "\"orders write\"]"), "expected scopes"),
        (sample.replace("name = \"cluster-a\"", "name = \"cluster/a\""), "expected a plain name"),
        (sample.replace("[\"shop\"]", "[]"), "expected a text for each condition"),
        (
            sample.replace("audience = \"https://orders.example\"", "audience = \"\""),
            "expected an audience of 1 to 512 bytes",
        ),
        (twice(&sample, "[[exchange.issuer]]"), "expected names, issuers and audiences that no other entry has"),
        (
            sample
                .replace("[[exchange.grant.subject]]\nfrom = \"attestation\"\n", "")
                .replace("[[exchange.grant.subject]]\nfrom = \"cluster-a\"\n", "")
                .replace("conditions = { \"/kubernetes.io/namespace\" = [\"shop\"] }\n", "")
                .replace("bind = { \"/kubernetes.io/serviceaccount/name\" = \"{workload}\" }\n", "")
                .replace("algorithm = \"ES256\"\nttl_seconds = 300", "subject = []\nttl_seconds = 300"),
            "expected a subject whose token counts",
        ),
        (
            sample.replace(
                "[[exchange.grant]]\nname = \"orders\"\n",
                "[[exchange.grant]]\nname = \"orders\"\naudience = \"https://other.example\"\nworkloads = [\"web\"]\n\
                 subject = []\n[[exchange.grant]]\nname = \"orders\"\n",
            ),
            "expected names, issuers and audiences that no other entry has",
        ),
        (
            sample.replace(
                "issuer = \"https://kubernetes.default.svc.cluster.local\"",
                "issuer = \"https://broker.example:8443\"",
            ),
            "expected another issuer",
        ),
    ];
    for (text, wanted) in cases {
        let error = error_of(&text);
        assert!(error.contains("exchange: ") && error.contains(wanted), "{wanted}: {error}");
    }
}
