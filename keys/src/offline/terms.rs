//! What the broker allows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tpm::{PcrPolicy, TpmHash};

/// Whether and how long a guest may keep a secret for reboots without the broker. Times are the broker's, in seconds since the
/// Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineTerms {
    /// When the secret was released.
    pub given_at: u64,
    /// When it ends.
    pub until: u64,
    /// How often the machine may start meanwhile.
    pub boots: u32,
    /// The PCR values of the reference set that the guest matched.
    pub policy: PcrPolicy,
}

/// As it stands in a grant.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireTerms {
    given_at: u64,
    until: u64,
    boots: u32,
    bank: String,
    /// Hex, by PCR.
    pcrs: BTreeMap<u8, String>,
}

impl From<&OfflineTerms> for WireTerms {
    fn from(terms: &OfflineTerms) -> Self {
        Self {
            given_at: terms.given_at,
            until: terms.until,
            boots: terms.boots,
            bank: terms.policy.bank().name().to_owned(),
            pcrs: terms.policy.values().iter().map(|(pcr, value)| (*pcr, hex::encode(value))).collect(),
        }
    }
}

impl WireTerms {
    /// The terms, when they are some.
    pub(crate) fn read(self) -> Option<OfflineTerms> {
        let bank = TpmHash::ALL.into_iter().find(|bank| bank.name() == self.bank)?;
        let values = self.pcrs.into_iter().map(|(pcr, value)| Some((pcr, hex::decode(value).ok()?)));
        let policy = PcrPolicy::new(bank, values.collect::<Option<_>>()?).ok()?;
        let sound = self.given_at < self.until;
        sound.then_some(OfflineTerms { given_at: self.given_at, until: self.until, boots: self.boots, policy })
    }
}
