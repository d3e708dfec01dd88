//! The binaries under test.

use std::{env, path::PathBuf, process::Command, sync::OnceLock};

use anyhow::{Context, Result, ensure};

const PACKAGES: [&str; 3] = ["countersign", "countersign-agent", "softtee"];

/// Path of a binary of this workspace, beside the running test.
///
/// All of them are brought up to date first; under cargo-nextest, where each test is a process of its own, that was done
/// before, and only a missing one is built.
///
/// # Errors
/// When they cannot be built or found.
pub fn binary(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = BUILT.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")));
    Ok(directory.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.join(name))
}

fn find_or_build() -> Result<PathBuf> {
    // target/PROFILE/deps/TEST
    let test = env::current_exe()?;
    let directory = test.ancestors().nth(2).context("expected a test in target/PROFILE/deps")?.to_owned();
    let prepared = env::var_os("NEXTEST").is_some();
    if !prepared || PACKAGES.iter().any(|name| !directory.join(name).is_file()) {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet"]).args(PACKAGES.iter().flat_map(|package| ["-p", package]));
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        ensure!(cargo.status().context("expected cargo")?.success(), "expected the binaries to build");
    }
    Ok(directory)
}
