//! Flags of `unlock`.

use std::path::PathBuf;

use clap::Args;

use super::BrokerArgs;
use crate::luks::VolumeName;

/// `unlock`
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// Name of the volume, as in crypttab. Without it a service asks each caller (systemd-cryptsetup says it).
    #[arg(value_name = "VOLUME", required_unless_present = "listen")]
    pub(crate) volume: Option<VolumeName>,

    /// Name of the secret that is its key (default: the settings' [unlock.secrets], else luks/VOLUME).
    #[arg(long, value_name = "NAME", requires = "volume")]
    pub(crate) secret: Option<String>,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    #[command(flatten)]
    pub(crate) console: ConsoleArgs,

    /// Opens this LUKS2 device as /dev/mapper/VOLUME now, and ends.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["listen", "out"])]
    pub(crate) device: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) cryptsetup: CryptsetupArgs,

    /// With --device: opens it for reading only.
    #[arg(long, requires = "device")]
    pub(crate) read_only: bool,

    /// With --device: lets the file system tell the device which blocks are free. The host sees which.
    #[arg(long, requires = "device")]
    pub(crate) allow_discards: bool,

    /// Writes the key, without a line end, and ends: `-` is standard output (a pipe to whatever opens the disk).
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub(crate) out: Option<PathBuf>,

    /// Makes the socket itself and serves until it is told to stop, where no systemd hands one over.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) listen: Option<PathBuf>,

    /// Seconds without a caller after which a service that systemd started ends; the next caller starts it again.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) idle: u64,
}

/// Where a person reads.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ConsoleArgs {
    /// Where messages go as well when standard error is no terminal (default /dev/console).
    #[arg(long, value_name = "PATH")]
    pub(crate) console: Option<PathBuf>,
}

/// The program that opens disks.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct CryptsetupArgs {
    /// The program cryptsetup (default: /usr/sbin/cryptsetup, then the other usual places).
    #[arg(long, value_name = "FILE")]
    pub(crate) cryptsetup: Option<PathBuf>,

    /// Directory in memory for the copy of a disk's header that is examined and used (default /run/countersign).
    #[arg(long, value_name = "DIR")]
    pub(crate) runtime_directory: Option<PathBuf>,
}
