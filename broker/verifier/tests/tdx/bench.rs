//! A simulated platform and what judges it.

use evidence_formats::{code::Coded, evidence::Evidence};
use softtee::intel::{AT, Collateral, TdxPlatform};
use verifier::{
    Claims, CrlFloors, Endorsements, Expected, Forgetful, Revocation, Terms, Timestamp, TrustAnchors, authenticate,
};

/// A healthy platform with everything that its quotes are judged by.
pub(crate) struct Bench {
    pub(crate) platform: TdxPlatform,
    pub(crate) endorsements: Endorsements,
    pub(crate) anchors: TrustAnchors,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let platform = TdxPlatform::new();
        let anchors = TrustAnchors::from_files([platform.pki.root.der().as_slice()]).unwrap();
        Self { endorsements: endorsements(&platform.collateral(AT)), anchors, platform }
    }

    /// Claims, or the code of the refusal.
    pub(crate) fn judge(&self, evidence: &Evidence) -> Result<Claims, String> {
        self.judge_by(evidence, &self.endorsements, CrlFloors::NONE)
    }

    /// The same by other collateral, and with what was seen before.
    pub(crate) fn judge_by(
        &self,
        evidence: &Evidence,
        endorsements: &Endorsements,
        floors: &CrlFloors,
    ) -> Result<Claims, String> {
        let outcome = authenticate(evidence, endorsements, &self.terms(floors));
        outcome.map(|authentic| authentic.claims().clone()).map_err(|error| error.code().to_string())
    }

    /// Terms that check everything but the report data.
    pub(crate) fn terms<'a>(&'a self, floors: &'a CrlFloors) -> Terms<'a> {
        Terms {
            anchors: &self.anchors,
            revocation: Revocation::Require,
            expected: Expected::Unchecked { reason: "a test" },
            now: Timestamp::from_unix(AT.unix_timestamp()),
            memory: &Forgetful,
            crl_floors: floors,
            tpm: verifier::tpm::TpmTerms::DEFAULT,
        }
    }
}

pub(crate) fn endorsements(collateral: &Collateral) -> Endorsements {
    let mut endorsements = Endorsements::new();
    for (_, bytes) in collateral.files() {
        endorsements.add(&bytes).unwrap();
    }
    endorsements
}
