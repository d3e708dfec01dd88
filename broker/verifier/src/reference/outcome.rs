//! Comparing claims with reference sets, and saying how near they came.

use std::{collections::BTreeMap, fmt};

use evidence_formats::code::{Code, Coded};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use thiserror::Error;

use super::{
    HexDigest, Measurement, RegisterName,
    pins::Pin,
    set::{EndOfLife, ReferenceSet, SetId, SetKind, WorkloadName},
    words::in_words,
};
use crate::{Claims, Timestamp, Unchecked};

/// Most near misses that are kept.
const MAX_NEAR_MISSES: usize = 3;
/// The check that a paravisor's reference set settles.
pub(crate) const PARAVISOR_MEASUREMENT: &str = "paravisor_measurement";

/// What comparing claims with reference values found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceOutcome {
    unchecked: Option<&'static str>,
    matched: Vec<MatchedSet>,
    paravisor: Vec<MatchedSet>,
    refusal: Option<ReferenceRefusal>,
}

/// A set that holds and of which one alternative agrees in everything it pins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchedSet {
    /// Name.
    pub id: SetId,
    /// Version.
    pub version: u32,
    /// The workload that it identifies.
    pub workload: WorkloadName,
    /// Name of the alternative that agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// What the alternative pins: `launch`, `runtime.pcr4`, `event.kernel`, …
    pub pinned: Vec<String>,
    /// The first moment at which the set does not hold any more.
    pub holds_until: Timestamp,
    /// Register values of the alternative that agreed: what a secret may be sealed to.
    #[serde(skip)]
    pub registers: BTreeMap<RegisterName, HexDigest>,
}

/// A set that holds but of which no alternative agrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    /// Name.
    pub id: SetId,
    /// Version.
    pub version: u32,
    /// Name of the nearest alternative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative: Option<String>,
    /// Where it differs.
    pub differences: Vec<Difference>,
    /// How many pins agree.
    pub agreeing: usize,
}

/// One pin that does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What: `launch`, `runtime.pcr4`, `event.kernel`, …
    pub what: String,
    /// The value in the reference set.
    pub expected: String,
    /// The value in the evidence.
    pub actual: String,
}

/// Why the reference values refuse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReferenceRefusal {
    /// Reference values are required and there are none.
    #[error("expected reference values, found none configured")]
    NoneConfigured,
    /// No set that holds agrees.
    #[error("expected the measurements to be in a reference set{}", nearest(near_misses))]
    NoMatch {
        /// The nearest sets, nearest first.
        near_misses: Vec<NearMiss>,
    },
    /// The measurements are in a set that was revoked.
    #[error("expected a reference set that holds, found {id} v{version} revoked")]
    Revoked {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
    },
    /// The measurements are in a set that was retired.
    #[error("expected a reference set that holds, found {id} v{version} retired on {at}")]
    Retired {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
        /// Since when.
        at: Timestamp,
    },
    /// The measurements are in a set whose validity ended.
    #[error("expected a reference set that holds, found {id} v{version} expired on {at}")]
    Expired {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
        /// Since when.
        at: Timestamp,
    },
    /// The measurements are in a set that was proposed and never activated.
    #[error("expected a reference set that holds, found {id} v{version} proposed only")]
    Proposed {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
    },
    /// The measurements are in a set whose validity has not begun.
    #[error("expected a reference set that holds, found {id} v{version} valid from {at}")]
    NotYetValid {
        /// The set.
        id: SetId,
        /// Its version.
        version: u32,
        /// From when.
        at: Timestamp,
    },
}

impl ReferenceRefusal {
    /// Every code of this error.
    pub const CODES: [Code; 7] =
        [Self::NONE, Self::NO_MATCH, Self::REVOKED, Self::RETIRED, Self::EXPIRED, Self::NOT_YET_VALID, Self::PROPOSED];
    const NONE: Code = Code::new("reference.none_configured");
    const NO_MATCH: Code = Code::new("reference.no_match");
    const REVOKED: Code = Code::new("reference.revoked");
    const RETIRED: Code = Code::new("reference.retired");
    const EXPIRED: Code = Code::new("reference.expired");
    const NOT_YET_VALID: Code = Code::new("reference.not_yet_valid");
    const PROPOSED: Code = Code::new("reference.proposed");
}

impl Coded for ReferenceRefusal {
    fn code(&self) -> Code {
        match self {
            Self::NoneConfigured => Self::NONE,
            Self::NoMatch { .. } => Self::NO_MATCH,
            Self::Revoked { .. } => Self::REVOKED,
            Self::Retired { .. } => Self::RETIRED,
            Self::Expired { .. } => Self::EXPIRED,
            Self::NotYetValid { .. } => Self::NOT_YET_VALID,
            Self::Proposed { .. } => Self::PROPOSED,
        }
    }
}

fn nearest(near_misses: &[NearMiss]) -> String {
    near_misses.first().map_or_else(String::new, |miss| format!("; the nearest {miss}"))
}

impl fmt::Display for NearMiss {
    /// `differs from web-prod v4 (8 vCPUs) in kernel only`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "differs from {} v{}", self.id, self.version)?;
        if let Some(name) = &self.alternative {
            write!(f, " ({name})")?;
        }
        let names: Vec<String> = self.differences.iter().map(|difference| in_words(&difference.what)).collect();
        write!(f, " in {}", names.join(", "))?;
        if self.agreeing > 0 { f.write_str(" only") } else { Ok(()) }
    }
}

impl ReferenceOutcome {
    pub(super) const fn unchecked(reason: &'static str) -> Self {
        Self { unchecked: Some(reason), matched: Vec::new(), paravisor: Vec::new(), refusal: None }
    }

    /// Whether reference values were compared at all.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        self.unchecked.is_none()
    }

    /// The workload sets that match.
    #[must_use]
    pub fn matched(&self) -> &[MatchedSet] {
        &self.matched
    }

    /// The sets that match the layer which runs the virtual TPM.
    #[must_use]
    pub fn paravisor(&self) -> &[MatchedSet] {
        &self.paravisor
    }

    /// Why the reference values refuse, if they do.
    #[must_use]
    pub const fn refusal(&self) -> Option<&ReferenceRefusal> {
        self.refusal.as_ref()
    }

    /// The nearest sets when nothing matched.
    #[must_use]
    pub fn near_misses(&self) -> &[NearMiss] {
        if let Some(ReferenceRefusal::NoMatch { near_misses }) = &self.refusal { near_misses } else { &[] }
    }

    /// The entry for `unchecked` when nothing was compared.
    #[must_use]
    pub fn as_unchecked(&self) -> Option<Unchecked> {
        self.unchecked.map(|reason| Unchecked { what: "reference_values", reason })
    }
}

impl Serialize for ReferenceOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outcome = serializer.serialize_struct("ReferenceOutcome", 4)?;
        outcome.serialize_field("configured", &self.is_configured())?;
        outcome.serialize_field("matched", &self.matched)?;
        outcome.serialize_field("paravisor", &self.paravisor)?;
        outcome.serialize_field("near_misses", self.near_misses())?;
        outcome.end()
    }
}

pub(super) fn judge(sets: &[ReferenceSet], claims: &Claims, now: Timestamp) -> ReferenceOutcome {
    let behind_paravisor = claims.unchecked.iter().any(|unchecked| unchecked.what == PARAVISOR_MEASUREMENT);
    let matching = |kind: SetKind| {
        let sets = sets.iter().filter(move |set| set.kind == kind);
        sets.filter_map(move |set| Some((set, set.agreeing(claims, behind_paravisor)?)))
    };
    let holding = |kind: SetKind| {
        let sets = matching(kind).filter(|(set, _)| set.holds_at(now).is_ok());
        sets.map(|(set, alternative)| MatchedSet::new(set, alternative, claims)).collect::<Vec<_>>()
    };
    let matched = holding(SetKind::Workload);
    let paravisor = if behind_paravisor { holding(SetKind::Paravisor) } else { Vec::new() };
    let refusal = matched.is_empty().then(|| {
        let ended = matching(SetKind::Workload).filter_map(|(set, _)| Some((set, set.holds_at(now).err()?)));
        match ended.max_by_key(|(_, end)| gravity(*end)) {
            Some((set, end)) => ReferenceRefusal::ended(set, end),
            None if sets.is_empty() => ReferenceRefusal::NoneConfigured,
            None => ReferenceRefusal::NoMatch { near_misses: near_misses(sets, claims, behind_paravisor, now) },
        }
    });
    ReferenceOutcome { unchecked: None, matched, paravisor, refusal }
}

const fn gravity(end: EndOfLife) -> u8 {
    match end {
        EndOfLife::Proposed => 0,
        EndOfLife::NotYetValid => 1,
        EndOfLife::Expired => 2,
        EndOfLife::Retired => 3,
        EndOfLife::Revoked => 4,
    }
}

impl ReferenceRefusal {
    fn ended(set: &ReferenceSet, end: EndOfLife) -> Self {
        let (id, version) = (set.id.clone(), set.version);
        match end {
            EndOfLife::Revoked => Self::Revoked { id, version },
            EndOfLife::Retired => Self::Retired { id, version, at: set.retire_at.unwrap_or(set.not_after) },
            EndOfLife::Expired => Self::Expired { id, version, at: set.not_after },
            EndOfLife::NotYetValid => Self::NotYetValid { id, version, at: set.not_before },
            EndOfLife::Proposed => Self::Proposed { id, version },
        }
    }
}

impl ReferenceSet {
    /// The first alternative that agrees in everything it pins.
    fn agreeing(&self, claims: &Claims, behind_paravisor: bool) -> Option<&Measurement> {
        let enough = |measurement: &&Measurement| !self.says_too_little(measurement, behind_paravisor);
        self.measurements.iter().filter(enough).find(|measurement| measurement.pins(claims).all(|pin| pin.agrees))
    }

    /// Behind a paravisor the launch digest is the paravisor's: every workload on it has the same one, so it identifies a
    /// workload only together with what was measured after launch.
    fn says_too_little(&self, measurement: &Measurement, behind_paravisor: bool) -> bool {
        behind_paravisor && self.kind == SetKind::Workload && !measurement.pins_run_time()
    }
}

impl MatchedSet {
    fn new(set: &ReferenceSet, alternative: &Measurement, claims: &Claims) -> Self {
        Self {
            id: set.id.clone(),
            version: set.version,
            workload: set.workload.clone(),
            alternative: alternative.name.clone(),
            pinned: alternative.pins(claims).map(|pin| pin.what.to_string()).collect(),
            holds_until: set.holds_until(),
            registers: alternative.runtime.clone(),
        }
    }
}

/// The workload sets that hold, nearest first.
fn near_misses(sets: &[ReferenceSet], claims: &Claims, behind_paravisor: bool, now: Timestamp) -> Vec<NearMiss> {
    let candidates = sets.iter().filter(|set| set.kind == SetKind::Workload && set.holds_at(now).is_ok());
    let mut misses: Vec<NearMiss> =
        candidates.filter_map(|set| nearest_alternative(set, claims, behind_paravisor)).collect();
    misses.sort_by_key(|miss| (miss.differences.len(), usize::MAX.saturating_sub(miss.agreeing)));
    misses.truncate(MAX_NEAR_MISSES);
    misses
}

fn nearest_alternative(set: &ReferenceSet, claims: &Claims, behind_paravisor: bool) -> Option<NearMiss> {
    let count = |measurement: &&Measurement| measurement.pins(claims).filter(|pin| !pin.agrees).count();
    let alternative = set.measurements.iter().min_by_key(count)?;
    let mut differences: Vec<Difference> =
        alternative.pins(claims).filter(|pin| !pin.agrees).map(|pin| Difference::of(&pin)).collect();
    if set.says_too_little(alternative, behind_paravisor) {
        differences.push(Difference {
            what: "runtime".to_owned(),
            expected: "a register or event that identifies the workload behind the paravisor".to_owned(),
            actual: "none pinned".to_owned(),
        });
    }
    let agreeing = alternative.pins(claims).filter(|pin| pin.agrees).count();
    Some(NearMiss {
        id: set.id.clone(),
        version: set.version,
        alternative: alternative.name.clone(),
        differences,
        agreeing,
    })
}

impl Difference {
    fn of(pin: &Pin<'_>) -> Self {
        Self { what: pin.what.to_string(), expected: pin.expected.to_string(), actual: pin.actual.to_string() }
    }
}
