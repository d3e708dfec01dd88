//! The main job end to end: evidence in, sealed key out; or a refusal that says why.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod agent;
mod operation;
mod protocol;
mod refusal;
mod release;
mod runtime;
mod tdx;

use e2e::process::Said;

const SECRET: &[u8] = b"\x00disk key\xff\n";

/// The decision that the agent names on standard error.
fn decision(said: &Said) -> &str {
    let line = said.stderr.lines().find_map(|line| line.strip_prefix("countersign-agent:   decision: "));
    line.unwrap_or_else(|| panic!("expected a decision in {}", said.stderr))
}

/// A refusal: exit status 1, nothing on standard output, `code` first.
fn assert_refused(said: &Said, code: &str) {
    assert_eq!(said.status, 1, "expected {code}, found {}", said.stderr);
    assert_eq!(said.stdout, b"");
    let first = said.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("countersign-agent: refused: {code}")), "{}", said.stderr);
}
