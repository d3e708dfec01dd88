//! The life of a set: proposed → active → retiring → revoked. Every change goes one way.
//!
//! A proposed set matches nothing until it is activated. A retiring set holds until its date, which can only move closer.
//! A revoked set holds at no time and never comes back. Time ends a set by itself: see [`ReferenceSet::holds_at`].

use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::ReferenceSet;
use crate::Timestamp;

/// Where a set stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetState {
    /// Known, and matches nothing yet.
    Proposed,
    /// In force within its validity.
    Active,
    /// In force until a date.
    Retiring {
        /// The first moment at which it does not hold any more.
        at: Timestamp,
    },
    /// Over for good.
    Revoked {
        /// When that was said.
        at: Timestamp,
    },
}

/// What an operator can do with a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Put a proposed set in force.
    Activate,
    /// End it at a time; an earlier end stays.
    Retire {
        /// The first moment at which it does not hold any more.
        at: Timestamp,
    },
    /// End it now and for good.
    Revoke {
        /// When that was said.
        at: Timestamp,
    },
}

/// The set is not in a state from which the change leads anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected {expected} set, found it {found}")]
pub struct TransitionError {
    /// The states from which the change is possible.
    pub expected: &'static str,
    /// The state it is in.
    pub found: SetState,
}

impl SetState {
    /// As written in listings: `proposed`, `active`, `retiring` or `revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Retiring { .. } => "retiring",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// The state after `change`.
    ///
    /// # Errors
    /// [`TransitionError`] when the change would lead back, or is not possible from here.
    pub fn after(self, change: Change) -> Result<Self, TransitionError> {
        let refused = |expected| Err(TransitionError { expected, found: self });
        match (change, self) {
            (Change::Activate, Self::Proposed) => Ok(Self::Active),
            (Change::Activate, Self::Active | Self::Retiring { .. } | Self::Revoked { .. }) => refused("a proposed"),
            (Change::Retire { at }, Self::Active) => Ok(Self::Retiring { at }),
            (Change::Retire { at }, Self::Retiring { at: earlier }) => Ok(Self::Retiring { at: at.min(earlier) }),
            (Change::Retire { .. }, Self::Proposed | Self::Revoked { .. }) => refused("an active or retiring"),
            (Change::Revoke { at }, Self::Revoked { at: earlier }) => Ok(Self::Revoked { at: at.min(earlier) }),
            (Change::Revoke { at }, Self::Proposed | Self::Active | Self::Retiring { .. }) => Ok(Self::Revoked { at }),
        }
    }
}

impl fmt::Display for SetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for SetState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Change {
    /// What was done, in the history: `activated`, `retired` or `revoked`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activated",
            Self::Retire { .. } => "retired",
            Self::Revoke { .. } => "revoked",
        }
    }
}

impl ReferenceSet {
    /// Where it stands in its life.
    #[must_use]
    pub const fn state(&self) -> SetState {
        match (self.revoked_at, self.proposed, self.retire_at) {
            (Some(at), _, _) => SetState::Revoked { at },
            (None, true, _) => SetState::Proposed,
            (None, false, Some(at)) => SetState::Retiring { at },
            (None, false, None) => SetState::Active,
        }
    }

    /// Makes `change`.
    ///
    /// # Errors
    /// [`TransitionError`]; nothing changed then.
    pub fn apply(&mut self, change: Change) -> Result<(), TransitionError> {
        match self.state().after(change)? {
            SetState::Proposed => {}
            SetState::Active => self.proposed = false,
            SetState::Retiring { at } => self.retire_at = Some(at),
            SetState::Revoked { at } => self.revoked_at = Some(at),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix(100);
    const LATER: Timestamp = Timestamp::from_unix(200);

    #[test]
    fn every_state_and_change_is_decided_and_none_leads_back() {
        let states =
            [SetState::Proposed, SetState::Active, SetState::Retiring { at: AT }, SetState::Revoked { at: AT }];
        let changes = [Change::Activate, Change::Retire { at: LATER }, Change::Revoke { at: LATER }];
        let table: Vec<String> = states
            .into_iter()
            .flat_map(|state| {
                changes.into_iter().map(move |change| match state.after(change) {
                    Ok(SetState::Retiring { at } | SetState::Revoked { at }) if at == AT => format!("{state}: kept"),
                    Ok(after) => format!("{state} -> {after}"),
                    Err(error) => error.to_string(),
                })
            })
            .collect();
        assert_eq!(
            table,
            [
                "proposed -> active",
                "expected an active or retiring set, found it proposed",
                "proposed -> revoked",
                "expected a proposed set, found it active",
                "active -> retiring",
                "active -> revoked",
                "expected a proposed set, found it retiring",
                "retiring: kept",
                "retiring -> revoked",
                "expected a proposed set, found it revoked",
                "expected an active or retiring set, found it revoked",
                "revoked: kept",
            ]
        );
    }
}
