//! Enrolment, rotation and recovery.
//!
//! The order of a rotation is what keeps the disk open to the broker's key. The name of the secret stands for the old version
//! until the new one is staged at the broker, has its slot, and is proven there; only then it is promoted; only then the old
//! slot goes, and only then the old version. After a loss of power between any two of these, what the broker releases opens
//! the disk, and `recover` goes on from what it finds: the journal says where to look, the keys say how far it came.

use std::num::TryFromIntError;

use keys::secret::SecretBytes;

use super::{
    disk::{Disk, DiskError},
    journal::{Journal, State},
    open::HeaderCopy,
};
use crate::failure::Failure;

/// Least bytes of a key: a random one, which needs no slow derivation.
const LEAST_KEY: usize = 32;

/// A version of the broker's key.
pub(crate) struct DiskKey {
    /// Which.
    pub(crate) version: u32,
    /// Its bytes.
    pub(crate) key: SecretBytes,
}

impl DiskKey {
    /// From what the broker sent.
    pub(crate) fn new(version: u64, key: SecretBytes) -> Result<Self, TryFromIntError> {
        Ok(Self { version: version.try_into()?, key })
    }

    fn random_enough(self) -> Result<Self, DiskError> {
        if self.key.len() < LEAST_KEY {
            return Err(DiskError::ShortKey { least: LEAST_KEY, found: self.key.len() });
        }
        Ok(self)
    }
}

/// The broker, as far as keys of one volume go. Each call attests anew.
pub(crate) trait DiskKeys {
    /// What the name of the secret stands for.
    fn current(&self) -> Result<DiskKey, Failure>;
    /// One version; `None` when the broker refuses it.
    fn version(&self, version: u32) -> Result<Option<DiskKey>, Failure>;
    /// The version that is staged, or a new one.
    fn stage(&self) -> Result<DiskKey, Failure>;
    /// Lets the name stand for the staged version.
    fn promote(&self, version: u32) -> Result<(), Failure>;
    /// Erases the versions before this one.
    fn retire(&self, below: u32) -> Result<(), Failure>;
}

/// A disk and the broker that has its key.
#[derive(Debug)]
pub(crate) struct Change<'a, K> {
    pub(crate) disk: Disk<'a>,
    pub(crate) keys: K,
}

impl<K: DiskKeys> Change<'_, K> {
    /// Gives the broker's key its slot. `existing` opens the disk already.
    pub(crate) fn enroll(&self, existing: &SecretBytes, wipe_others: bool) -> Result<Journal, Failure> {
        let before = self.disk.snapshot()?;
        match self.disk.journal(&before)? {
            None => {}
            Some(Journal { state: State::Steady, slot, .. }) => return Err(DiskError::Enrolled { slot }.into()),
            Some(_) => return Err(DiskError::Interrupted.into()),
        }
        self.disk.slot_of(&before, existing)?.ok_or(DiskError::NothingOpens)?;
        let key = self.keys.current()?.random_enough()?;
        let slot = match self.disk.slot_of(&before, &key.key)? {
            Some(slot) => slot,
            None => {
                let slot = self.disk.free_slot(&before)?;
                let journal = Journal::new(self.disk.volume, State::Enrolling, key.version, slot);
                self.disk.write(&Journal { wipe_others, ..journal })?;
                self.disk.add_key(existing, &key.key, slot)?;
                self.disk.prove(&before, &key.key, slot)?;
                slot
            }
        };
        self.settle(&key, slot, wipe_others)
    }

    /// Changes to a new version of the key.
    pub(crate) fn rotate(&self) -> Result<Journal, Failure> {
        let before = self.disk.snapshot()?;
        match self.disk.journal(&before)? {
            None => return Err(DiskError::NotEnrolled.into()),
            Some(Journal { state: State::Steady, .. }) => {}
            // Whoever asks for a change of keys gets one, not just the end of the last.
            Some(_) => {
                self.recover()?;
            }
        }
        let before = self.disk.snapshot()?;
        let key = self.keys.current()?;
        let slot = self.disk.slot_of(&before, &key.key)?.ok_or(DiskError::NothingOpens)?;
        self.change_over(&before, &key, slot)
    }

    /// Brings what was interrupted to its end.
    pub(crate) fn recover(&self) -> Result<Journal, Failure> {
        let now = self.disk.snapshot()?;
        let journal = self.disk.journal(&now)?.ok_or(DiskError::NotEnrolled)?;
        let current = self.keys.current()?;
        match (journal.state, self.disk.slot_of(&now, &current.key)?) {
            (State::Enrolling, None) => {
                self.disk.forget(&now)?;
                Err(DiskError::EnrollAgain.into())
            }
            (State::Enrolling | State::Wiping, Some(slot)) => {
                self.settle(&current, slot, journal.wipe_others || journal.state == State::Wiping)
            }
            (State::Steady, Some(slot)) => self.settle(&current, slot, false),
            (State::Rotating, Some(slot)) if journal.next_version == Some(current.version) => {
                self.complete(&journal, &current, slot)
            }
            (State::Rotating, Some(slot)) => self.change_over(&now, &current, slot),
            (State::Steady | State::Wiping | State::Rotating, None) => self.recover_from_another(&now, &journal),
        }
    }

    /// The current version does not open the disk, an earlier or a later one may: then the disk is changed over from that.
    fn recover_from_another(&self, now: &HeaderCopy, journal: &Journal) -> Result<Journal, Failure> {
        for version in [Some(journal.version), journal.next_version].into_iter().flatten() {
            let Some(key) = self.keys.version(version)? else { continue };
            if let Some(slot) = self.disk.slot_of(now, &key.key)? {
                return self.change_over(now, &key, slot);
            }
        }
        Err(DiskError::NothingOpens.into())
    }

    /// From `old`, which opens `slot`, to the staged version.
    fn change_over(&self, before: &HeaderCopy, old: &DiskKey, slot: u32) -> Result<Journal, Failure> {
        let next = self.keys.stage()?.random_enough()?;
        let has_slot = self.disk.slot_of(before, &next.key)?;
        let next_slot = has_slot.map_or_else(|| self.disk.free_slot(before), Ok)?;
        let journal = Journal {
            next_version: Some(next.version),
            next_slot: Some(next_slot),
            ..Journal::new(self.disk.volume, State::Rotating, old.version, slot)
        };
        self.disk.write(&journal)?;
        if has_slot.is_none() {
            self.disk.add_key(&old.key, &next.key, next_slot)?;
        }
        self.disk.prove(before, &next.key, next_slot)?;
        self.keys.promote(next.version)?;
        self.complete(&journal, &next, next_slot)
    }

    /// The new version is promoted and opens `slot`: what was before it goes.
    fn complete(&self, journal: &Journal, key: &DiskKey, slot: u32) -> Result<Journal, Failure> {
        for other in [Some(journal.slot), journal.next_slot].into_iter().flatten().filter(|other| *other != slot) {
            self.disk.kill_slot(other, &key.key)?;
        }
        self.keys.retire(key.version)?;
        self.settle(key, slot, false)
    }

    /// The key opens `slot`, and nothing is under way any more.
    fn settle(&self, key: &DiskKey, slot: u32, wipe_others: bool) -> Result<Journal, Failure> {
        if wipe_others {
            self.disk.write(&Journal::new(self.disk.volume, State::Wiping, key.version, slot))?;
            let now = self.disk.snapshot()?;
            for other in now.metadata.slots().filter(|other| *other != slot) {
                self.disk.kill_slot(other, &key.key)?;
            }
        }
        let journal = Journal::new(self.disk.volume, State::Steady, key.version, slot);
        self.disk.write(&journal)?;
        Ok(journal)
    }
}
