//! `[audit]`: how often the audit log is signed, and how long it is kept.

use serde::Deserialize;

use super::Bounded;

/// How often the audit log is signed, and how long it is kept. It cannot be turned off.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Seconds after which new records get a signed checkpoint.
    pub checkpoint_seconds: Bounded<1, 3600>,
    /// Records after which they get one earlier.
    pub checkpoint_records: Bounded<1, 10_000>,
    /// Days that records are kept here. Export them before, to keep them longer.
    pub keep_days: Bounded<30, 3650>,
    /// Records that are kept here.
    pub keep_records: Bounded<100_000, 100_000_000>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            checkpoint_seconds: Bounded(60),
            checkpoint_records: Bounded(1000),
            keep_days: Bounded(400),
            keep_records: Bounded(10_000_000),
        }
    }
}
