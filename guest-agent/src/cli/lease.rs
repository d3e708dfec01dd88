//! `lease`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::BrokerArgs;

/// `lease`
#[derive(Debug, Args)]
pub(crate) struct LeaseArgs {
    #[command(subcommand)]
    pub(crate) command: LeaseCommand,
}

/// What to do with a lease.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Renews it by fresh evidence, and writes what it is of once more.
    Renew {
        /// The file that --lease-file wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,

        #[command(flatten)]
        broker: BrokerArgs,

        /// Where to write a secret or a token, which replaces what is there; `-` is standard output.
        #[arg(long, value_name = "FILE", conflicts_with = "directory")]
        out: Option<PathBuf>,

        /// Directory that gets the files of an X.509-SVID.
        #[arg(long, value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Gives it back: the broker ends it at once, and the file is removed.
    Release {
        /// The file that --lease-file wrote.
        #[arg(value_name = "FILE")]
        file: PathBuf,

        #[command(flatten)]
        broker: BrokerArgs,
    },
}
