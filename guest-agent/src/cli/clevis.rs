//! Flags of `clevis-key`.

use clap::Args;

use super::BrokerArgs;

/// `clevis-key`
#[derive(Debug, Args)]
pub(crate) struct ClevisKeyArgs {
    /// Name of the secret that the key is derived from.
    #[arg(value_name = "SECRET")]
    pub(crate) secret: String,

    /// Which version of it: as the header of what is to be decrypted says.
    #[arg(long, value_name = "NUMBER", required_unless_present = "encrypt")]
    pub(crate) version: Option<u32>,

    /// Writes the template of a JWE, with the version, before the key.
    #[arg(long, conflicts_with = "version")]
    pub(crate) encrypt: bool,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}
