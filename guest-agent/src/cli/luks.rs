//! Flags of `luks`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BrokerArgs, CryptsetupArgs};
use crate::luks::VolumeName;

/// `luks`
#[derive(Debug, Args)]
pub(crate) struct LuksArgs {
    #[command(subcommand)]
    pub(crate) act: LuksAct,
}

/// What to do with a disk's keys. The disk stays open, or closed, as it is.
#[derive(Debug, Subcommand)]
pub(crate) enum LuksAct {
    /// Gives the broker's key a slot of its own in the disk's header.
    Enroll {
        #[command(flatten)]
        disk: DiskArgs,

        /// A key that opens the disk already: a file as cryptsetup reads it, `-` is standard input.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,

        /// Afterwards removes every other slot: only the broker's key opens the disk then.
        #[arg(long)]
        wipe_others: bool,
    },
    /// Changes the key: a new one from the broker, its slot, then the end of the old one. At no moment does the broker's key not
    /// open the disk. A change that was interrupted is brought to its end first.
    Rotate {
        #[command(flatten)]
        disk: DiskArgs,
    },
    /// Brings an enrolment or a change that was interrupted (power, network) to its end.
    Recover {
        #[command(flatten)]
        disk: DiskArgs,
    },
    /// Writes what the disk's header says of its keys (JSON). Asks no broker.
    Status {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Which disk, and who has its key.
#[derive(Debug, Args)]
pub(crate) struct DiskArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,

    /// Name of the secret that is its key (default: the settings' [unlock.secrets], else luks/VOLUME).
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Option<String>,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

/// Which disk.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Name of the volume, as in crypttab.
    #[arg(value_name = "VOLUME")]
    pub(crate) volume: VolumeName,

    /// The LUKS2 device.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: PathBuf,

    #[command(flatten)]
    pub(crate) cryptsetup: CryptsetupArgs,
}
