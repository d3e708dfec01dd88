//! `[enrolment]`: whose TPMs may enrol attestation keys, and who approves them.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};
use verifier::Revocation;

/// How attestation keys get into the register.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Enrolment {
    /// CAs of endorsement keys, PEM or DER. Google Cloud's are built in. Read at start and on SIGHUP.
    pub ek_trust_anchors: Vec<PathBuf>,
    /// Who approves a key that is proven.
    pub approval: Approval,
    /// Owner of the keys that are approved automatically.
    pub owner: String,
    /// Whether CRLs must be present for endorsement key certificates.
    pub revocation: Revocation,
    /// Seconds that a credential waits for its answer.
    pub challenge_seconds: Bounded<10, 600>,
    /// Credentials that wait at once.
    pub pending: Bounded<1, 1_000_000>,
    /// Keys of one endorsement key, revoked ones included.
    pub keys_per_ek: Bounded<1, 10_000>,
    /// Keys that wait for approval at once.
    pub awaiting_approval: Bounded<1, 1_000_000>,
    /// Keys of the register.
    pub records: Bounded<1, 10_000_000>,
}

impl Default for Enrolment {
    fn default() -> Self {
        Self {
            ek_trust_anchors: Vec::new(),
            approval: Approval::Operator,
            owner: "automatic".to_owned(),
            revocation: Revocation::Require,
            challenge_seconds: Bounded(120),
            pending: Bounded(1024),
            keys_per_ek: Bounded(16),
            awaiting_approval: Bounded(1024),
            records: Bounded(100_000),
        }
    }
}

/// Who approves a key that is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    /// An administrator, each key by name. The default.
    Operator,
    /// Nobody: every TPM of the trust anchors may enrol.
    Automatic,
}

/// A number from `LEAST` to `MOST`; any other is refused with the line it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded<const LEAST: u32, const MOST: u32>(pub(super) u32);

impl<const LEAST: u32, const MOST: u32> Bounded<LEAST, MOST> {
    /// The number.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Bounded<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u32::deserialize(deserializer)?;
        if (LEAST..=MOST).contains(&value) {
            return Ok(Self(value));
        }
        Err(D::Error::custom(format!("expected a number from {LEAST} to {MOST}, found {value}")))
    }
}
