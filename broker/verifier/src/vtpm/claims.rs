//! What hardware and vTPM say together.

use serde::Serialize;

use crate::{Claims, RawClaims, Unchecked, tpm::TpmClaims};

/// Claims of a confidential VM with a vTPM that is no paravisor's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VtpmClaims {
    /// The hardware's own claims.
    pub hardware: RawClaims,
    /// The vTPM's claims.
    pub tpm: TpmClaims,
}

impl VtpmClaims {
    /// Adds what the vTPM proved to the hardware's claims.
    pub(super) fn join(
        mut claims: Claims,
        (tpm, unchecked): (TpmClaims, Vec<Unchecked>),
        what_runs_it: &'static str,
        raw: impl FnOnce(Box<Self>) -> RawClaims,
    ) -> Claims {
        for entry in unchecked {
            if !claims.unchecked.contains(&entry) {
                claims.unchecked.push(entry);
            }
        }
        claims.unchecked.push(Unchecked { what: "paravisor_measurement", reason: what_runs_it });
        claims.measurement.runtime.extend(tpm.runtime());
        claims.raw = raw(Box::new(Self { hardware: claims.raw, tpm }));
        claims
    }
}
