//! Init-data of every platform: what is claimed of it, and whether it must be there.
//!
//! That the launch committed to it is part of authentication: init-data in the evidence that HOST_DATA (SNP) or
//! MRCONFIGID (TDX) does not commit to is refused, whatever the baseline says.

use evidence_formats::{
    digest::{Digest, HashAlgorithm},
    init_data::InitData,
};
use serde::{Deserialize, Serialize};

use crate::{Claims, baseline::BaselineOutcome};

/// Init-data that the launch committed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InitDataClaims {
    /// Algorithm of the digest.
    pub algorithm: HashAlgorithm,
    /// Digest of the document; lower-case hex.
    pub digest: Digest,
}

impl InitDataClaims {
    /// The caller has compared the digest with what the launch committed to.
    pub(crate) const fn new(init_data: &InitData) -> Self {
        Self { algorithm: init_data.digest().algorithm(), digest: *init_data.digest() }
    }
}

/// Whether evidence must carry init-data (`init_data = "require"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitDataRule {
    /// Evidence with init-data and evidence without it.
    #[default]
    IfPresent,
    /// Evidence with init-data only.
    Require,
}

impl InitDataRule {
    /// Notes a violation with `code` when init-data is required and absent.
    pub(crate) fn judge(self, code: &'static str, claims: &Claims, outcome: &mut BaselineOutcome) {
        let holds = match self {
            Self::IfPresent => true,
            Self::Require => claims.init_data.is_some(),
        };
        outcome.require(holds, code, "init-data that the launch committed to", "none");
    }
}
