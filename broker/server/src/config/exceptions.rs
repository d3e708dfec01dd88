//! `[exceptions]` and `[bridge]`: how long a legacy secret may live, who is warned when, and where it is handed over.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Error};

use super::{Bounded, DatabaseServer};
use crate::{databases::ROLE_PREFIX, store::is_name};

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
    /// What changes legacy secrets in the systems that they open.
    pub rotation: Vec<RotationDriver>,
}

/// Changes the password of a role of a database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationDriver {
    /// What exceptions name.
    pub(crate) name: String,
    /// The name of a `[[postgres]]` server.
    pub(crate) server: String,
    /// The legacy role there.
    pub(crate) role: String,
}

impl Exceptions {
    /// The driver of this name.
    pub(crate) fn driver(&self, name: &str) -> Option<&RotationDriver> {
        self.rotation.iter().find(|driver| driver.name == name)
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self, servers: &[DatabaseServer]) -> Option<String> {
        let mut names = BTreeSet::new();
        for RotationDriver { name, server, role } in &self.rotation {
            let known = servers.iter().any(|known| known.name == *server);
            if !is_name(name) || !names.insert(name) || !known {
                return Some(format!("rotation {name:?}: expected a name of its own and a server of [[postgres]]"));
            }
            // Roles of leases have names of their own, and end with them.
            let plain = !role.is_empty() && role.len() <= 63 && !role.chars().any(char::is_control);
            if !plain || role.starts_with(ROLE_PREFIX) || servers.iter().any(|known| known.user == *role) {
                return Some(format!("rotation {name}: expected a legacy role, not one of the broker's own"));
            }
        }
        None
    }
}

impl Default for Exceptions {
    fn default() -> Self {
        Self { max_days: Bounded(LONGEST), alert_days: vec![14, 7, 1], rotation: Vec::new() }
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
