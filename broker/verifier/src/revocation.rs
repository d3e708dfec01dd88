//! Whether revocation data must be present.

use serde::{Deserialize, Serialize};

/// How certificate revocation is judged. Data that is present is always checked in full; the mode only says what its
/// absence means. There is no mode that ignores a revocation that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revocation {
    /// Without a current CRL for every issuer of the chain nothing is decided. The default.
    #[default]
    Require,
    /// A missing CRL is listed in `unchecked` as `revocation`; one that is present is checked as for `Require`.
    IfPresent,
}
