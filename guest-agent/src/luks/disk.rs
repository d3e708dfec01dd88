//! One disk: which slot a key opens, new slots, slots that go, and the journal.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use keys::secret::SecretBytes;
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

use super::{Cryptsetup, CryptsetupError, VolumeName, journal::Journal, open::HeaderCopy};

/// Slots and tokens of LUKS2 (On-Disk Format 1.1, section 3.1).
const MOST: u32 = 32;

/// Why the keys of a disk were not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DiskError {
    /// cryptsetup, or the header.
    #[error(transparent)]
    Cryptsetup(#[from] CryptsetupError),
    /// Somebody else changes it.
    #[error("expected nobody else to change the keys of {volume}")]
    Busy {
        /// Which volume.
        volume: VolumeName,
        /// Why the lock is not ours.
        source: std::io::Error,
    },
    /// It has the broker's key already.
    #[error("expected a disk without the broker's key: it opens slot {slot}")]
    Enrolled {
        /// Which slot.
        slot: u32,
    },
    /// A change was interrupted.
    #[error("expected no change that was interrupted")]
    Interrupted,
    /// It does not have the broker's key.
    #[error("expected a disk with a slot for the broker's key")]
    NotEnrolled,
    /// An enrolment was interrupted before the broker's key had its slot.
    #[error("expected the broker's key to have its slot: the enrolment was interrupted before")]
    EnrollAgain,
    /// The header's token is of another volume.
    #[error("expected the disk of {expected}, found that of {found}")]
    OtherVolume {
        /// The volume that was named.
        expected: VolumeName,
        /// The volume in the token.
        found: VolumeName,
    },
    /// No version of the broker's key opens the disk.
    #[error("expected a version of the broker's key to open the disk")]
    NothingOpens,
    /// Every slot or token is used.
    #[error("expected a free {what} in the header")]
    Full {
        /// What is used up.
        what: &'static str,
    },
    /// The key is no random key.
    #[error("expected a key of {least} bytes or more, found {found}")]
    ShortKey {
        /// The least.
        least: usize,
        /// How long it is.
        found: usize,
    },
    /// The new slot does not open the disk, or the header changed while it was made.
    #[error("expected the new slot {slot} to open the same volume key")]
    Unproven {
        /// Which slot.
        slot: u32,
    },
}

/// A disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Disk<'a> {
    pub(crate) cryptsetup: &'a Cryptsetup,
    pub(crate) device: &'a Path,
    pub(crate) volume: &'a VolumeName,
}

impl Disk<'_> {
    /// Nobody else of us changes keys of this volume while the lock is held.
    pub(crate) fn lock(&self) -> Result<File, DiskError> {
        let busy = |source| DiskError::Busy { volume: self.volume.clone(), source };
        let directory = &self.cryptsetup.runtime_directory;
        fs::create_dir_all(directory).map_err(busy)?;
        let path = directory.join(format!("luks-{}.lock", self.volume));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map_err(busy)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| busy(errno.into()))?;
        Ok(file)
    }

    /// The header as it is now, examined.
    pub(crate) fn snapshot(&self) -> Result<HeaderCopy, DiskError> {
        Ok(self.cryptsetup.examined_header(self.device)?)
    }

    /// Our token in a header, and its number.
    pub(crate) fn journal(&self, header: &HeaderCopy) -> Result<Option<Journal>, DiskError> {
        let Some((_, journal)) = token(header) else { return Ok(None) };
        if journal.volume != *self.volume {
            return Err(DiskError::OtherVolume { expected: self.volume.clone(), found: journal.volume });
        }
        Ok(Some(journal))
    }

    /// Writes the token, in the place of the old one.
    pub(crate) fn write(&self, journal: &Journal) -> Result<(), DiskError> {
        let header = self.snapshot()?;
        let old = token(&header).map(|(number, _)| number);
        let used = |number: &u32| header.metadata.tokens.contains_key(&number.to_string());
        let number = old.or_else(|| (0..MOST).find(|number| !used(number))).ok_or(DiskError::Full { what: "token" })?;
        let mut run = self.cryptsetup.run("token").args(&["import", "--json-file", "-", "--token-id"]);
        run = run.arg(number.to_string());
        if old.is_some() {
            run = run.arg("--token-replace");
        }
        // Names and numbers always serialize.
        run.input(serde_json::to_vec(journal).unwrap_or_default()).on(self.device, &[])?;
        Ok(())
    }

    /// Removes the token.
    pub(crate) fn forget(&self, header: &HeaderCopy) -> Result<(), DiskError> {
        if let Some((number, _)) = token(header) {
            let run = self.cryptsetup.run("token").args(&["remove", "--token-id"]);
            run.arg(number.to_string()).on(self.device, &[])?;
        }
        Ok(())
    }

    /// The slot that `key` opens in a header.
    pub(crate) fn slot_of(&self, header: &HeaderCopy, key: &SecretBytes) -> Result<Option<u32>, DiskError> {
        let run = self.cryptsetup.run("open").args(&["--verbose", "--test-passphrase", "--type", "luks2"]);
        match run.arg("--key-file").key(key)?.on(header.file(), &[]) {
            Ok(said) => Ok(unlocked_slot(&String::from_utf8_lossy(&said))),
            Err(CryptsetupError::NoKey { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The lowest slot that holds nothing.
    pub(crate) fn free_slot(&self, header: &HeaderCopy) -> Result<u32, DiskError> {
        let used: Vec<u32> = header.metadata.slots().collect();
        (0..MOST).find(|slot| !used.contains(slot)).ok_or(DiskError::Full { what: "key slot" })
    }

    /// Gives `new` this slot, on the authority of `existing`. Guessing 32 random bytes needs no slowing down: few iterations.
    pub(crate) fn add_key(&self, existing: &SecretBytes, new: &SecretBytes, slot: u32) -> Result<(), DiskError> {
        let run = self.cryptsetup.run("luksAddKey").args(&[
            "--batch-mode",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--keyslot-cipher",
            "aes-xts-plain64",
            "--keyslot-key-size",
            "512",
            "--key-slot",
        ]);
        let (run, new) = run.arg(slot.to_string()).arg("--key-file").key(existing)?.pipe(new)?;
        run.on(self.device, &[&new])?;
        Ok(())
    }

    /// That `key` opens `slot` now, and the same volume key as in the header `before`: the host may have exchanged the header
    /// while the slot was made.
    pub(crate) fn prove(&self, before: &HeaderCopy, key: &SecretBytes, slot: u32) -> Result<(), DiskError> {
        let now = self.snapshot()?;
        let same = now.metadata.volume_keys() == before.metadata.volume_keys();
        if same && self.slot_of(&now, key)? == Some(slot) { Ok(()) } else { Err(DiskError::Unproven { slot }) }
    }

    /// Removes `slot` when it is there, on the authority of `key`, which opens another one.
    pub(crate) fn kill_slot(&self, slot: u32, key: &SecretBytes) -> Result<(), DiskError> {
        let now = self.snapshot()?;
        let keeps = self.slot_of(&now, key)?.ok_or(DiskError::NothingOpens)?;
        if keeps == slot || !now.metadata.slots().any(|used| used == slot) {
            return Ok(());
        }
        let run = self.cryptsetup.run("luksKillSlot").arg("--key-file").key(key)?;
        run.on(self.device, &[OsStr::new(&slot.to_string())])?;
        Ok(())
    }
}

fn token(header: &HeaderCopy) -> Option<(u32, Journal)> {
    let tokens = header.metadata.tokens.iter();
    let mut ours = tokens.filter_map(|(number, token)| Some((number.parse().ok()?, Journal::parse(token)?)));
    ours.next()
}

/// From what `cryptsetup open --verbose` says: `Key slot 3 unlocked.`
fn unlocked_slot(said: &str) -> Option<u32> {
    let line = said.lines().find_map(|line| line.strip_prefix("Key slot ")?.strip_suffix(" unlocked."));
    line?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_is_read_from_what_cryptsetup_says() {
        assert_eq!(
            unlocked_slot("No usable token is available.\nKey slot 13 unlocked.\nCommand successful.\n"),
            Some(13)
        );
        assert_eq!(unlocked_slot("Command successful.\n"), None);
    }
}
