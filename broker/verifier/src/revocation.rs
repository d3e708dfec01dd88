//! Whether revocation data must be present.

use serde::{Deserialize, Serialize};

/// How certificate revocation is judged. The mode only says what it means that no current data is there: a list that is
/// out of date is never taken for a current one. There is no mode that ignores a revocation that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revocation {
    /// Without a current CRL for every issuer of the chain nothing is decided. The default.
    #[default]
    Require,
    /// As [`Revocation::Require`], but a list that ran out at most so many hours ago still counts, and `crl_age` is listed
    /// in `unchecked`.
    #[serde(skip)]
    RequireWithin {
        /// How many hours.
        hours: u32,
    },
    /// Without a current CRL `revocation` is listed in `unchecked`. A list that is there must still be the issuer's, and
    /// whoever it names is refused, current or not.
    IfPresent,
}

impl Revocation {
    /// Seconds for which a list that ran out still counts.
    pub(crate) fn grace(self) -> i64 {
        match self {
            Self::Require | Self::IfPresent => 0,
            Self::RequireWithin { hours } => i64::from(hours).saturating_mul(3600),
        }
    }
}
