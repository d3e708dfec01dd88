//! Checking a chain, record by record, in constant memory but for the checkpoints.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use super::{
    PRUNED,
    record::{Place, Record, RecordHash},
};

/// What is wrong with a chain, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum Broken {
    /// A line is no record.
    #[error("record {sequence}: expected a record in canonical form")]
    Form {
        /// Where it should stand.
        sequence: u64,
    },
    /// A record has another number than its place.
    #[error("record {sequence}: expected it here, found record {found}")]
    Sequence {
        /// What is missing or moved.
        sequence: u64,
        /// What stands in its place.
        found: u64,
    },
    /// A record belongs to another chain.
    #[error("record {sequence}: expected a record of the tenant {expected:?}")]
    Tenant {
        /// Which.
        sequence: u64,
        /// Whose chain it is.
        expected: String,
    },
    /// A record was changed.
    #[error("record {sequence}: its content does not have its hash")]
    Hash {
        /// Which.
        sequence: u64,
    },
    /// A record does not follow the one before it.
    #[error("record {sequence}: it does not follow the record before it")]
    Previous {
        /// Which.
        sequence: u64,
    },
    /// A checkpoint says otherwise.
    #[error("record {sequence}: a signed checkpoint has another hash for it")]
    Checkpoint {
        /// Which.
        sequence: u64,
    },
    /// A checkpoint knows of records that are not here.
    #[error("record {sequence}: it is missing, a signed checkpoint knows the chain up to record {known}")]
    Cut {
        /// The first that is missing.
        sequence: u64,
        /// How far the chain was.
        known: u64,
    },
    /// The chain begins later than with its first record, and nothing signed says that it may.
    #[error("record {sequence}: the records before it are missing, and no signed checkpoint stands in their place")]
    Beginning {
        /// The first that is here.
        sequence: u64,
    },
    /// The chain begins later than with its first record, and does not say itself that the others were dropped.
    #[error("record {sequence}: the records before it are missing, and the chain does not say that they were dropped")]
    Unrecorded {
        /// The first that is here.
        sequence: u64,
    },
}

impl Broken {
    /// The record that it is about.
    pub(crate) const fn sequence(&self) -> u64 {
        match self {
            Self::Form { sequence }
            | Self::Sequence { sequence, .. }
            | Self::Tenant { sequence, .. }
            | Self::Hash { sequence }
            | Self::Previous { sequence }
            | Self::Checkpoint { sequence }
            | Self::Cut { sequence, .. }
            | Self::Beginning { sequence }
            | Self::Unrecorded { sequence } => *sequence,
        }
    }
}

/// What a chain that holds says of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Checked {
    /// How many records.
    pub(crate) records: u64,
    /// The number of the first; absent for a chain without records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<u64>,
    /// The number of the last, or of what stands before the first.
    pub(crate) last: u64,
    /// The hash of the last.
    pub(crate) hash: String,
    /// How many signed checkpoints agree.
    pub(crate) checkpoints: u64,
    /// The last record that a checkpoint vouches for; those after it could be replaced unseen.
    pub(crate) signed_to: u64,
}

/// Reads a chain from its first record to its last.
#[derive(Debug)]
pub(crate) struct Checker {
    tenant: Option<String>,
    /// What signed checkpoints say, by number.
    checkpoints: BTreeMap<u64, RecordHash>,
    /// Those among them that somebody kept elsewhere.
    kept: Vec<u64>,
    first: Option<u64>,
    head: Place,
    records: u64,
    agreed: u64,
    signed_to: u64,
    /// The highest number that the chain itself says was dropped.
    pruned: u64,
}

/// The body of a record of [`PRUNED`].
#[derive(Deserialize)]
struct Pruned {
    through: u64,
}

impl Checker {
    /// Over the chain of `tenant`, or of whoever the first record is of.
    pub(crate) const fn new(tenant: Option<String>) -> Self {
        Self {
            tenant,
            checkpoints: BTreeMap::new(),
            kept: Vec::new(),
            first: None,
            head: Place::START,
            records: 0,
            agreed: 0,
            signed_to: 0,
            pruned: 0,
        }
    }

    /// Adds what a signed checkpoint says. One that was kept elsewhere may also stand in the place of records before the
    /// first.
    pub(crate) fn expect(&mut self, place: Place, kept: bool) -> Result<(), Broken> {
        let Place { sequence, hash } = place;
        if *self.checkpoints.entry(sequence).or_insert(hash) != hash {
            return Err(Broken::Checkpoint { sequence });
        }
        if kept {
            self.kept.push(sequence);
        }
        Ok(())
    }

    /// Looks at the next line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Broken> {
        let sequence = self.head.sequence.saturating_add(1);
        let record = Record::parse(line).map_err(|_not_one| Broken::Form { sequence })?;
        self.record(&record)
    }

    /// Looks at the next record.
    pub(crate) fn record(&mut self, record: &Record) -> Result<(), Broken> {
        let sequence = record.sequence;
        if self.first.is_none() {
            self.begin(record)?;
        }
        let expected = self.head.sequence.saturating_add(1);
        if sequence != expected {
            return Err(Broken::Sequence { sequence: expected, found: sequence });
        }
        let tenant = self.tenant.get_or_insert_with(|| record.tenant.clone());
        if *tenant != record.tenant {
            return Err(Broken::Tenant { sequence, expected: tenant.clone() });
        }
        if record.hash != record.computed_hash() {
            return Err(Broken::Hash { sequence });
        }
        if record.previous != self.head.hash {
            return Err(Broken::Previous { sequence });
        }
        if let Some(signed) = self.checkpoints.get(&sequence) {
            if *signed != record.hash {
                return Err(Broken::Checkpoint { sequence });
            }
            self.agreed = self.agreed.saturating_add(1);
            self.signed_to = sequence;
        }
        if record.entry.kind == PRUNED {
            let Pruned { through } =
                serde_json::from_str(&record.entry.body).map_err(|_other| Broken::Form { sequence })?;
            self.pruned = self.pruned.max(through);
        }
        self.head = record.place();
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// A chain begins with its first record, or behind a signed checkpoint.
    fn begin(&mut self, record: &Record) -> Result<(), Broken> {
        self.first = Some(record.sequence);
        let before = record.sequence.saturating_sub(1);
        if before > 0 {
            let signed = self.checkpoints.get(&before);
            let hash = *signed.ok_or(Broken::Beginning { sequence: record.sequence })?;
            self.head = Place { sequence: before, hash };
            self.signed_to = before;
        }
        Ok(())
    }

    /// After the last record.
    pub(crate) fn finish(self) -> Result<Checked, Broken> {
        if let Some((known, _)) = self.checkpoints.last_key_value().filter(|(known, _)| **known > self.head.sequence) {
            return Err(Broken::Cut { sequence: self.head.sequence.saturating_add(1), known: *known });
        }
        if let Some(first) = self.first {
            let before = first.saturating_sub(1);
            if before > 0 && !self.kept.contains(&before) && self.pruned < before {
                return Err(Broken::Unrecorded { sequence: first });
            }
        }
        Ok(Checked {
            records: self.records,
            first: self.first,
            last: self.head.sequence,
            hash: self.head.hash.to_string(),
            checkpoints: self.agreed,
            signed_to: self.signed_to,
        })
    }
}

#[cfg(test)]
mod tests;
