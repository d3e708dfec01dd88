//! Which package may link which.

use anyhow::{Context, Result};
use cargo_metadata::camino::Utf8Path;

use crate::Finding;

/// What a package, with everything that it links, must stay free of.
const MUST_NOT_LINK: &[(&str, &[&str])] = &[
    (
        "evidence-formats",
        &["tokio", "hyper", "reqwest", "sqlx", "openssl", "openssl-sys", "verifier", "keys", "tee", "rustls"],
    ),
    (
        "verifier",
        &["tokio", "hyper", "reqwest", "endorsements", "rustls", "sqlx", "openssl", "openssl-sys", "keys", "tee"],
    ),
    (
        "endorsements",
        &["verifier", "keys", "sqlx", "openssl", "openssl-sys", "ring", "reqwest", "axum", "countersign", "tee"],
    ),
    ("keys", &["tokio", "hyper", "reqwest", "sqlx", "openssl", "openssl-sys", "verifier", "tee"]),
    ("tee", &["tokio", "hyper", "openssl", "openssl-sys", "verifier", "keys"]),
    ("countersign-agent", &["verifier", "openssl", "openssl-sys", "sqlx", "axum", "regorus", "ring", "countersign"]),
    ("countersign", &["openssl", "openssl-sys", "ring", "countersign-agent", "tee", "softtee", "sev", "dcap-qvl"]),
];

pub(crate) fn findings(root: &Utf8Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (package, forbidden) in MUST_NOT_LINK {
        for linked in linked_by(root, package)? {
            if forbidden.contains(&linked.as_str()) {
                findings.push(Finding::new(format!("package {package}"), format!("not to link {linked}")));
            }
        }
    }
    Ok(findings)
}

/// Every package that ends up in the binary of `package`. Asked package by package, because `cargo metadata` mixes the
/// features of the whole workspace, test oracles included.
fn linked_by(root: &Utf8Path, package: &str) -> Result<Vec<String>> {
    let output = std::process::Command::new("cargo")
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}", "--no-dedupe"])
        .current_dir(root)
        .output()
        .context("running cargo tree")?;
    anyhow::ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("package names are UTF-8")?;
    let mut names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
