//! Claims and reference sets for tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use evidence_formats::bytes::{LaunchDigest, ReportData};

use crate::{
    Authentic, Claims, Measurements, Platform, RawClaims, RuntimeMeasurement, TcbClaims, Timestamp, Unchecked,
    baseline::Baseline,
    reference::{Measurement, ReferenceSet, ReferenceValues, SetKind},
};

/// The launch digest of the fixtures.
pub(crate) const LAUNCH: LaunchDigest = LaunchDigest([0x9f; 48]);

/// The code with which the baseline refuses a guest that its host can debug.
pub(crate) const DEBUG: &str = "baseline.debug";

/// The baseline without any relaxation.
pub(crate) fn strict() -> Baseline {
    Baseline
}

/// A moment at which every fixture holds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(1_800_000_000)
}

/// An SNP guest on bare hardware in which nothing is wrong.
pub(crate) fn claims() -> Claims {
    Claims {
        hwmodel: "amd-genoa",
        platform: Platform::Bare,
        measurement: Measurements { launch: Some(LAUNCH), runtime: BTreeMap::new() },
        tcb: TcbClaims::default(),
        debug: false,
        instance: Some("11".repeat(64)),
        signer: None,
        host_data: Some("00".repeat(32)),
        report_data: "22".repeat(64),
        unchecked: Vec::new(),
        raw: RawClaims::None(ReportData([0; 64])),
    }
}

/// A guest behind a paravisor with a vTPM: kernel in PCR 4.
pub(crate) fn vtpm_claims() -> Claims {
    let mut claims = claims();
    claims.platform = Platform::Azure;
    let kernel = BTreeMap::from([("kernel".to_owned(), vec!["33".repeat(32)])]);
    claims.measurement.runtime.insert("pcr4".to_owned(), RuntimeMeasurement { value: "44".repeat(32), events: kernel });
    claims.unchecked.push(Unchecked { what: "paravisor_measurement", reason: "no reference set for the paravisor" });
    claims
}

/// Authentic claims.
pub(crate) fn authentic(claims: Claims) -> Authentic<Claims> {
    Authentic::new(claims)
}

/// A set `web-prod` of workload `web` that holds from an hour before [`now`] to an hour after.
pub(crate) fn set(version: u32, measurement: Measurement) -> ReferenceSet {
    ReferenceSet {
        id: "web-prod".parse().unwrap(),
        version,
        workload: "web".parse().unwrap(),
        kind: SetKind::Workload,
        not_before: now().plus_seconds(-3600),
        not_after: now().plus_seconds(3600),
        retire_at: None,
        revoked_at: None,
        provenance: "test".to_owned(),
        measurements: vec![measurement],
    }
}

/// An alternative that pins the launch digest.
pub(crate) fn launch(digest: LaunchDigest) -> Measurement {
    Measurement { launch: Some(digest), ..Measurement::default() }
}

/// These sets.
pub(crate) fn values(sets: impl IntoIterator<Item = ReferenceSet>) -> ReferenceValues {
    let mut values = ReferenceValues::new();
    for set in sets {
        values.insert(set).unwrap();
    }
    values
}
