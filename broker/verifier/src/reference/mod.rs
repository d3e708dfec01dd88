//! Reference values: which measurements the operator expects, of which workload, and for how long.

#[cfg(test)]
mod checks;
pub mod corim;
mod diff;
mod document;
mod hex_text;
mod lifecycle;
mod outcome;
mod pins;
#[cfg(test)]
mod properties;
mod set;
mod words;

pub use diff::SetDifference;
pub use document::ReferenceError;
pub use hex_text::{EventValue, HexDigest, NotADigest};
pub use lifecycle::{Change, SetState, TransitionError};
pub(crate) use outcome::PARAVISOR_MEASUREMENT;
pub use outcome::{Difference, MatchedSet, NearMiss, ReferenceOutcome, ReferenceRefusal};
pub use set::{EndOfLife, Measurement, NamedEvents, ReferenceSet, RegisterName, SetId, SetKind, WorkloadName};

use serde::{Serialize, Serializer};

use crate::{Claims, Timestamp};

/// Most sets that are held at once.
const MAX_SETS: usize = 1024;

/// Whether measurements are compared with reference values. There is no third way, and no default.
#[derive(Debug, Clone, Copy)]
pub enum References<'a> {
    /// The measurements must be in one of these sets; without any set nothing passes.
    Require(&'a ReferenceValues),
    /// They are not compared: `reference_values` is listed in `unchecked` with this reason.
    Unchecked {
        /// Why, for people.
        reason: &'static str,
    },
}

/// Every reference set of one tenant: those that hold, those to come, and those that ended.
///
/// A set never changes and never comes back: its version is used once, its end can only move closer, and a revocation stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceValues {
    sets: Vec<ReferenceSet>,
}

impl ReferenceValues {
    /// No sets: nothing matches.
    #[must_use]
    pub const fn new() -> Self {
        Self { sets: Vec::new() }
    }

    /// Reads the JSON document of `docs/reference-values.md`.
    ///
    /// # Errors
    /// [`ReferenceError`] when it is too long, not exactly that form, or breaks one of its rules.
    pub fn parse(document: &[u8]) -> Result<Self, ReferenceError> {
        let mut values = Self::new();
        for set in document::parse(document)? {
            values.insert(set)?;
        }
        Ok(values)
    }

    /// Reads the same document written as TOML, with times as strings.
    ///
    /// # Errors
    /// As for [`ReferenceValues::parse`].
    pub fn parse_toml(document: &[u8]) -> Result<Self, ReferenceError> {
        let mut values = Self::new();
        for set in document::parse_toml(document)? {
            values.insert(set)?;
        }
        Ok(values)
    }

    /// Every set, in the order in which they were added.
    #[must_use]
    pub fn sets(&self) -> &[ReferenceSet] {
        &self.sets
    }

    /// Adds a set.
    ///
    /// # Errors
    /// When it breaks a rule, its id and version were used before, or too many sets are held.
    pub fn insert(&mut self, set: ReferenceSet) -> Result<(), ReferenceError> {
        document::check(&set)?;
        if self.sets.iter().any(|held| held.id == set.id && held.version == set.version) {
            return Err(ReferenceError::Duplicate { id: set.id, version: set.version });
        }
        if self.sets.len() >= MAX_SETS {
            return Err(ReferenceError::TooMany { what: "sets", limit: MAX_SETS });
        }
        self.sets.push(set);
        Ok(())
    }

    /// Makes a change in the life of a set.
    ///
    /// # Errors
    /// When there is no such set, or the change is not possible from the state it is in.
    pub fn apply(&mut self, id: &SetId, version: u32, change: Change) -> Result<(), ReferenceError> {
        let refused = |source| ReferenceError::Transition { id: id.clone(), version, source };
        self.find(id, version)?.apply(change).map_err(refused)
    }

    fn find(&mut self, id: &SetId, version: u32) -> Result<&mut ReferenceSet, ReferenceError> {
        let unknown = ReferenceError::Unknown { id: id.clone(), version };
        self.sets.iter_mut().find(|set| set.id == *id && set.version == version).ok_or(unknown)
    }

    /// Compares authenticated claims with every set that holds at `now`.
    #[must_use]
    pub fn judge(&self, claims: &Claims, now: Timestamp) -> ReferenceOutcome {
        outcome::judge(&self.sets, claims, now)
    }
}

impl Serialize for ReferenceValues {
    /// The document that [`ReferenceValues::parse`] reads.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        document::write(&self.sets, serializer)
    }
}

impl References<'_> {
    /// Compares authenticated claims as asked.
    #[must_use]
    pub fn judge(&self, claims: &Claims, now: Timestamp) -> ReferenceOutcome {
        match self {
            Self::Require(values) => values.judge(claims, now),
            Self::Unchecked { reason } => ReferenceOutcome::unchecked(reason),
        }
    }
}
