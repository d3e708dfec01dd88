//! What source files may hold.

use anyhow::{Context, Result};
use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};

use crate::Finding;

/// Lines without tests that a file may have before its reader wants to know why.
const LONGEST_FILE: usize = 600;
/// The crates whose root forbids `unsafe` outright.
const PURE: &[&str] = &["evidence-formats/src/lib.rs", "broker/verifier/src/lib.rs", "keys/src/lib.rs"];
/// The folders in which `unsafe` may stand: the kernel's interfaces, and the fuzzers' allocator that counts memory.
const UNSAFE_ROOMS: [&str; 2] = ["guest-agent/tee/", "tests/fuzz/"];

pub(crate) fn findings(root: &Utf8Path, files: &[Utf8PathBuf]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == Some("rs") && !file.starts_with("scripts/xtask")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        findings.extend(lines(file, &text));
        findings.extend(length(file, &text));
        if PURE.contains(&file.as_str()) && !text.contains("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(file.as_str(), "#![forbid(unsafe_code)] at the root of a pure package"));
        }
    }
    Ok(findings)
}

fn lines(file: &Utf8Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut found =
            |expected: &str| findings.push(Finding::new(format!("{file}:{}", index.saturating_add(1)), expected));
        if code.contains("#[allow(") || code.contains("#![allow(") {
            found("#[expect(lint, reason = …)] instead of allow");
        }
        if code.contains("todo!(") || code.contains("unimplemented!(") || line.contains("FIXME") || line.contains("XXX")
        {
            found("finished code");
        }
        if code.contains("#[ignore") {
            found("no ignored test");
        }
        if (code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn"))
            && !UNSAFE_ROOMS.iter().any(|room| file.starts_with(room))
        {
            found("no unsafe outside guest-agent/tee");
        }
        if line.contains("/work/") {
            found("no path of one machine");
        }
    }
    findings
}

fn length(file: &Utf8Path, text: &str) -> Option<Finding> {
    let tests = file.components().any(|part| part.as_str() == "tests" || part.as_str() == "benches");
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
    (!tests && lines > LONGEST_FILE)
        .then(|| Finding::new(file.as_str(), format!("at most {LONGEST_FILE} lines without tests, found {lines}")))
}
