//! `luks`: slots of disks for the broker's key.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use keys::secret::SecretBytes;
use serde::Serialize;

use super::Guest;
use crate::{
    cli::{DiskArgs, LuksAct, PlaceArgs},
    console,
    exchange::Wanted,
    failure::Failure,
    luks::{Change, Cryptsetup, Disk, DiskKey, DiskKeys, Journal, VolumeName},
    output::Output,
};

/// Longest key of a file.
const KEY_FILE_LIMIT: u64 = 4096;

/// Runs it.
pub(super) fn luks(act: &LuksAct, guest: &Guest) -> Result<(), Failure> {
    match act {
        LuksAct::Enroll { disk, key_file, wipe_others } => {
            let existing = key_of(key_file)?;
            with_disk(disk, guest, |change| change.enroll(&existing, *wipe_others))
        }
        LuksAct::Rotate { disk } => with_disk(disk, guest, |change| change.rotate()),
        LuksAct::Recover { disk } => with_disk(disk, guest, |change| change.recover()),
        LuksAct::Status { place } => status(place, guest),
    }
}

fn with_disk(
    args: &DiskArgs,
    guest: &Guest,
    change: impl FnOnce(&Change<'_, BrokerDiskKeys<'_>>) -> Result<Journal, Failure>,
) -> Result<(), Failure> {
    let PlaceArgs { volume, device, cryptsetup } = &args.place;
    let cryptsetup = guest.settings.cryptsetup(cryptsetup);
    let disk = Disk { cryptsetup: &cryptsetup, device, volume };
    let _ours = disk.lock()?;
    let secret = args.secret.clone().unwrap_or_else(|| guest.settings.secret_of(volume));
    let journal = change(&Change { disk, keys: BrokerDiskKeys { guest, args, secret } })?;
    forget_kept(guest, volume);
    console::say(&format!("version {} of the broker's key opens slot {} of {volume}", journal.version, journal.slot));
    Ok(())
}

/// What the TPM keeps of the volume may open no slot any more; the next release is kept again.
fn forget_kept(guest: &Guest, volume: &VolumeName) {
    let forgotten = guest.settings.offline().map(|kept| kept.map(|kept| kept.forget(volume)));
    if let Ok(Some(Err(error))) = forgotten {
        console::say(&console::chain(&error));
    }
}

/// What a header says.
#[derive(Serialize)]
struct Status {
    volume: String,
    /// Every slot that holds a key.
    slots: Vec<u32>,
    /// Our token; absent: the broker's key has no slot.
    journal: Option<Journal>,
}

fn status(place: &PlaceArgs, guest: &Guest) -> Result<(), Failure> {
    let cryptsetup: Cryptsetup = guest.settings.cryptsetup(&place.cryptsetup);
    let disk = Disk { cryptsetup: &cryptsetup, device: &place.device, volume: &place.volume };
    let header = disk.snapshot()?;
    let journal = disk.journal(&header)?;
    let status = Status { volume: place.volume.to_string(), slots: header.slots(), journal };
    let json = serde_json::to_vec(&status);
    let mut json = json.map_err(|error| Failure::Make { what: "JSON", reason: error.to_string() })?;
    json.push(b'\n');
    Ok(Output::Stdout.write(&json)?)
}

fn key_of(path: &Path) -> Result<SecretBytes, Failure> {
    let mut key = Vec::with_capacity(4096);
    let read = if path == Path::new("-") {
        io::stdin().lock().take(KEY_FILE_LIMIT).read_to_end(&mut key)
    } else {
        File::open(path).and_then(|file| file.take(KEY_FILE_LIMIT).read_to_end(&mut key))
    };
    let key = SecretBytes::new(key);
    match read {
        Ok(1..) => Ok(key),
        Ok(0) | Err(_) => Err(Failure::Argument { expected: "a key", path: path.to_owned() }),
    }
}

/// Keys of one volume, from the broker.
struct BrokerDiskKeys<'a> {
    guest: &'a Guest,
    args: &'a DiskArgs,
    secret: String,
}

impl BrokerDiskKeys<'_> {
    fn ask(&self, kind: &'static str, step: Option<&'static str>, version: Option<u32>) -> Result<DiskKey, Failure> {
        let wanted = Wanted { step, version, ..Wanted::of(kind, &self.secret) };
        let (version, key) = self.guest.versioned(&self.args.broker, wanted)?;
        DiskKey::new(version, key).map_err(|_too_many| Failure::Answer { expected: "a version of 32 bits" })
    }

    fn step(&self, step: &'static str, version: u32) -> Result<(), Failure> {
        self.ask("secret-rotation", Some(step), Some(version)).map(drop)
    }
}

impl DiskKeys for BrokerDiskKeys<'_> {
    fn current(&self) -> Result<DiskKey, Failure> {
        self.ask("secret", None, None)
    }

    fn version(&self, version: u32) -> Result<Option<DiskKey>, Failure> {
        match self.ask("secret", None, Some(version)) {
            Ok(key) => Ok(Some(key)),
            Err(Failure::Refused(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn stage(&self) -> Result<DiskKey, Failure> {
        self.ask("secret-rotation", Some("stage"), None)
    }

    fn promote(&self, version: u32) -> Result<(), Failure> {
        self.step("promote", version)
    }

    fn retire(&self, below: u32) -> Result<(), Failure> {
        self.step("retire", below)
    }
}
