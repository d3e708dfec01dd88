//! Baseline rules for TPM evidence, alone or in a composite.

use serde::Deserialize;

use super::{AkProvenance, TpmClaims};
use crate::{azure::AzureClaims, baseline::BaselineOutcome};

/// `[baseline.tpm]`. What authentication demands (bank, exact selection, proven key) has no setting here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TpmBaseline {
    /// Which proofs of an attestation key are welcome; every one that exists by default.
    pub accepted_provenance: Vec<AkProvenance>,
    /// Accepts an IMA list whose first entry is not the hash of the quoted PCR 0 to 9.
    pub allow_foreign_boot_aggregate: bool,
    /// Accepts an IMA list in which a measured file was open for writing.
    pub allow_ima_violations: bool,
    /// Asks for an event log.
    pub require_event_log: bool,
    /// Asks for Secure Boot that the event log proves, or that the paravisor claims.
    pub require_secure_boot: bool,
    /// Lowest SBAT level, its date as in `sbat,1,2023012900`.
    pub minimum_sbat_level: Option<u64>,
    /// Refuses Azure VMs with a console.
    pub forbid_console: bool,
}

impl Default for TpmBaseline {
    fn default() -> Self {
        Self {
            accepted_provenance: AkProvenance::ALL.to_vec(),
            allow_foreign_boot_aggregate: false,
            allow_ima_violations: false,
            require_event_log: false,
            require_secure_boot: false,
            minimum_sbat_level: None,
            forbid_console: false,
        }
    }
}

impl TpmBaseline {
    /// Judges a TPM's claims; `claimed_secure_boot` is what a paravisor says where there is one.
    pub(crate) fn judge(&self, tpm: &TpmClaims, claimed_secure_boot: Option<bool>, outcome: &mut BaselineOutcome) {
        outcome.require(
            self.accepted_provenance.contains(&tpm.ak_provenance),
            "baseline.tpm.provenance",
            format!("a key proven by one of {:?}", self.accepted_provenance),
            format!("{:?}", tpm.ak_provenance),
        );
        let boot = tpm.boot.as_ref();
        outcome.require(boot.is_some() || !self.require_event_log, "baseline.tpm.event_log", "an event log", "none");
        let secure_boot = boot.and_then(|boot| boot.secure_boot.as_ref());
        let enabled = secure_boot.map_or(claimed_secure_boot == Some(true), |state| state.enabled);
        outcome.require(enabled || !self.require_secure_boot, "baseline.tpm.secure_boot", "secure boot", "not proven");
        if let Some(minimum) = self.minimum_sbat_level {
            let level = secure_boot.and_then(|state| state.sbat_level.as_deref());
            let date: Option<u64> = level.and_then(|level| level.split(',').nth(2)).and_then(|date| date.parse().ok());
            outcome.require(
                date.is_some_and(|date| date >= minimum),
                "baseline.tpm.sbat_level",
                format!("an SBAT level of {minimum} or later"),
                level.unwrap_or("none"),
            );
        }
        self.judge_ima(tpm, outcome);
    }

    fn judge_ima(&self, tpm: &TpmClaims, outcome: &mut BaselineOutcome) {
        let Some(ima) = &tpm.ima else { return };
        outcome.relaxable(
            ima.boot_aggregate,
            (self.allow_foreign_boot_aggregate, "tpm.allow_foreign_boot_aggregate"),
            "baseline.tpm.boot_aggregate",
            "an IMA list that starts with the quoted boot",
            "another boot aggregate",
        );
        outcome.relaxable(
            ima.violations == 0,
            (self.allow_ima_violations, "tpm.allow_ima_violations"),
            "baseline.tpm.ima_violations",
            "an IMA list without violations",
            format!("{} violations", ima.violations),
        );
    }

    /// Judges what a paravisor adds.
    pub(crate) fn judge_azure(&self, azure: &AzureClaims, outcome: &mut BaselineOutcome) {
        self.judge(&azure.tpm, azure.secure_boot, outcome);
        outcome.require(
            !self.forbid_console || azure.console_enabled == Some(false),
            "baseline.azure.console",
            "a VM without a console",
            "console enabled",
        );
    }
}
