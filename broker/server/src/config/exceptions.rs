//! `[exceptions]` and `[bridge]`: how long a legacy secret may live, who is warned when, and where it is handed over.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

use super::Bounded;

/// The longest that an exception may live, in days.
const LONGEST: u32 = 90;

/// How long exceptions may live, and when their end is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exceptions {
    /// Days that an exception may live, 90 at most.
    pub max_days: Bounded<1, 90>,
    /// Days before the end at which it is alerted, each 1 to 90.
    #[serde(deserialize_with = "days")]
    pub alert_days: Vec<u32>,
}

impl Default for Exceptions {
    fn default() -> Self {
        Self { max_days: Bounded(LONGEST), alert_days: vec![14, 7, 1] }
    }
}

/// An alert before the end cannot be turned off.
fn days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    let days = BTreeSet::<u32>::deserialize(deserializer)?;
    if days.is_empty() || days.len() > 16 || days.iter().any(|days| !(1..=LONGEST).contains(days)) {
        return Err(D::Error::custom(format!("expected 1 to 16 numbers of days between 1 and {LONGEST}")));
    }
    Ok(days.into_iter().rev().collect())
}

/// The bridge: a listener of its own, on which every client shows a certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Where. The certificate is that of the API.
    pub listen: SocketAddr,
    /// CAs of clients that exceptions know by name, PEM. Without, only pinned keys are known. Never the administrators' CA.
    pub client_ca: Option<PathBuf>,
    /// Handovers of one exception within a minute.
    #[serde(default = "often")]
    pub uses_per_minute: Bounded<1, 600>,
}

const fn often() -> Bounded<1, 600> {
    Bounded(10)
}
