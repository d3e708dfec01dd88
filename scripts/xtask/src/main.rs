//! House rules as a test: `cargo run -p xtask -- tidy`.
//!
//! What a compiler cannot see but a reviewer would have to: which package may link which, where `unsafe` may stand, that
//! documents point at things that exist, and that no file outgrew its reader.

mod dependencies;
mod documents;
mod sources;

use std::process::ExitCode;

use anyhow::{Context, Result};
use cargo_metadata::camino::Utf8PathBuf;

/// A broken rule: where, and what was expected there.
#[derive(Debug)]
struct Finding {
    place: String,
    expected: String,
}

impl Finding {
    fn new(place: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { place: place.into(), expected: expected.into() }
    }
}

#[expect(clippy::print_stderr, reason = "a command line tool talks to its user")]
fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("tidy") {
        eprintln!("usage: cargo run -p xtask -- tidy");
        return ExitCode::from(2);
    }
    match tidy() {
        Ok(findings) if findings.is_empty() => {
            eprintln!("tidy: every house rule holds");
            ExitCode::SUCCESS
        }
        Ok(findings) => {
            for finding in &findings {
                eprintln!("{}: expected {}", finding.place, finding.expected);
            }
            eprintln!("tidy: {} findings", findings.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tidy() -> Result<Vec<Finding>> {
    let metadata = cargo_metadata::MetadataCommand::new().exec().context("reading cargo metadata")?;
    let root = metadata.workspace_root;
    let files = tracked_files(&root)?;
    let mut findings = dependencies::findings(&root)?;
    findings.extend(sources::findings(&root, &files)?);
    findings.extend(documents::findings(&root, &files)?);
    Ok(findings)
}

/// Files that git tracks or would track, relative to the root.
fn tracked_files(root: &Utf8PathBuf) -> Result<Vec<Utf8PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("listing files with git")?;
    anyhow::ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("file names are UTF-8")?;
    Ok(text.lines().map(Utf8PathBuf::from).filter(|file| root.join(file).is_file()).collect())
}
