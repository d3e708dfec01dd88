//! A real TPM (swtpm), the real agent and a real broker: enrolment, attestation, secrets that the TPM opens, and refusals.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod boot_log;
mod enrolment;
mod hosted;
mod machine;
mod offline;
mod refusal;
mod sealed;
mod svsm;

const SECRET: &[u8] = b"disk key \x00 with every byte \xff";
