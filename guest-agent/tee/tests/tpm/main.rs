//! The TPM client against a real TPM in software.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod credential;
mod evidence;
mod faults;
mod keeping;
mod keys;
mod measuring;
mod sealing;
mod storage;

use softtee::swtpm::{SwTpm, is_installed};
use tee::tpm::{Tpm, TpmError};

/// A new TPM without certificates and a connection to it; `None` where there is no swtpm.
fn bare() -> Option<(SwTpm, Tpm)> {
    is_installed().then(|| {
        let machine = SwTpm::bare().unwrap();
        let tpm = machine.connect().unwrap();
        (machine, tpm)
    })
}

/// The specification's name of what the TPM said.
fn said<T>(result: Result<T, TpmError>) -> &'static str {
    result.map(drop).unwrap_err().response_code().and_then(|code| code.name()).unwrap_or("none")
}
