//! Settings of the disks: `[unlock]`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{BrokerSettings, SettingsError, SettingsFile, within};
use crate::{
    cli::{BrokerArgs, ConsoleArgs, CryptsetupArgs},
    luks::{Cryptsetup, VolumeName},
    unlock::OfflineKeys,
};

/// Seconds to keep trying at boot: longer than elsewhere, because nobody else tries again.
const BOOT_TIMEOUT: u64 = 900;
/// Where the person at the machine reads.
const CONSOLE: &str = "/dev/console";
/// Where keys are kept for reboots without the broker.
const OFFLINE_DIRECTORY: &str = "/var/lib/countersign/offline";
/// Seconds that the broker is waited for before a kept key is used.
const OFFLINE_AFTER: u64 = 60;
/// In memory on every Linux.
const RUNTIME_DIRECTORY: &str = "/run/countersign";

/// The table `[unlock]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnlockSection {
    pub(super) timeout: Option<u64>,
    pub(super) console: Option<PathBuf>,
    pub(super) cryptsetup: Option<PathBuf>,
    pub(super) runtime_directory: Option<PathBuf>,
    pub(super) secrets: BTreeMap<VolumeName, String>,
    pub(super) offline: OfflineSection,
}

/// The table `[unlock.offline]`. There is no flag for it: only what is measured may allow a disk to open without the broker.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OfflineSection {
    enabled: bool,
    directory: Option<PathBuf>,
    after: Option<u64>,
}

impl SettingsFile {
    /// Whom to ask for a disk's key, with the patience of a boot.
    ///
    /// # Errors
    /// When broker or pin are missing or no good.
    pub(crate) fn broker_at_boot(&self, flags: &BrokerArgs) -> Result<BrokerSettings, SettingsError> {
        let settings = self.broker(flags)?;
        if flags.timeout.is_some() {
            return Ok(settings);
        }
        let timeout = within("unlock.timeout", self.unlock.timeout.unwrap_or(BOOT_TIMEOUT), 1, 86_400)?;
        Ok(BrokerSettings { timeout: Duration::from_secs(timeout), ..settings })
    }

    /// Where keys are kept for reboots without the broker; `None` when they are not.
    ///
    /// # Errors
    /// When the time is none.
    pub(crate) fn offline(&self) -> Result<Option<OfflineKeys>, SettingsError> {
        let OfflineSection { enabled, directory, after } = &self.unlock.offline;
        let after = within("unlock.offline.after", after.unwrap_or(OFFLINE_AFTER), 1, 86_400)?;
        let directory = directory.clone().unwrap_or_else(|| OFFLINE_DIRECTORY.into());
        Ok(enabled.then(|| OfflineKeys { directory, after: Duration::from_secs(after) }))
    }

    /// The secret that is the key of `volume`.
    pub(crate) fn secret_of(&self, volume: &VolumeName) -> String {
        self.unlock.secrets.get(volume).cloned().unwrap_or_else(|| format!("luks/{volume}"))
    }

    /// Where messages go as well.
    pub(crate) fn console(&self, flags: &ConsoleArgs) -> PathBuf {
        flags.console.as_ref().or(self.unlock.console.as_ref()).cloned().unwrap_or_else(|| CONSOLE.into())
    }

    /// The program that opens disks.
    pub(crate) fn cryptsetup(&self, flags: &CryptsetupArgs) -> Cryptsetup {
        let program = flags.cryptsetup.as_ref().or(self.unlock.cryptsetup.as_ref()).cloned();
        let directory = flags.runtime_directory.as_ref().or(self.unlock.runtime_directory.as_ref()).cloned();
        Cryptsetup::new(program, directory.unwrap_or_else(|| RUNTIME_DIRECTORY.into()))
    }
}
