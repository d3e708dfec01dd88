//! Settings of the TPM: `[tpm]`.

use std::path::PathBuf;

use serde::Deserialize;
use tee::{
    TpmSettings,
    tpm::{AkKind, Pcrs, TpmAddress},
};

use super::{SettingsError, SettingsFile};
use crate::cli::{AkChoice, EnrollChoice, TpmArgs};

/// The table `[tpm]`: the flags that begin with `--tpm-`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TpmSection {
    pub(super) address: Option<String>,
    pub(super) event_log: Option<PathBuf>,
    pub(super) ima_log: Option<PathBuf>,
    pub(super) ak: Option<AkChoice>,
    pub(super) pcrs: Option<String>,
    pub(super) enroll: Option<EnrollChoice>,
}

impl SettingsFile {
    /// Where the TPM is, and what to ask it for.
    ///
    /// # Errors
    /// When the address or the PCRs are none.
    pub(crate) fn tpm(&self, flags: &TpmArgs) -> Result<TpmSettings, SettingsError> {
        let default = TpmSettings::default();
        let address = match flags.tpm_address.as_ref().or(self.tpm.address.as_ref()).map(String::as_str) {
            None => default.address,
            Some("none") => None,
            Some(text) => Some(text.parse::<TpmAddress>()?),
        };
        let pcrs = match flags.tpm_pcrs.as_ref().or(self.tpm.pcrs.as_ref()) {
            None => default.pcrs,
            Some(text) => text.parse::<Pcrs>()?,
        };
        let ak = flags.tpm_ak.or(self.tpm.ak).map_or(default.ak, |choice| match choice {
            AkChoice::EccP256 => AkKind::EccP256,
            AkChoice::Rsa2048 => AkKind::Rsa2048,
        });
        let event_log = flags.tpm_event_log.as_ref().or(self.tpm.event_log.as_ref());
        let ima_log = flags.tpm_ima_log.as_ref().or(self.tpm.ima_log.as_ref());
        Ok(TpmSettings {
            address,
            ak,
            pcrs,
            event_log: event_log.cloned().unwrap_or(default.event_log),
            ima_log: ima_log.cloned().unwrap_or(default.ima_log),
        })
    }

    /// When keys are enrolled.
    pub(crate) fn enroll(&self, flags: &TpmArgs) -> EnrollChoice {
        flags.tpm_enroll.or(self.tpm.enroll).unwrap_or_default()
    }
}
