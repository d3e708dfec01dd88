//! The state file: what the simulated guest is, and what goes wrong.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;

use crate::paravisor::ParavisorState;

use super::{Faults, Provider, SnpState, TdxState};

/// Where the state comes from.
#[derive(Debug, Clone)]
pub enum StateSource {
    /// A TOML file, or JSON when the name ends in `.json`; read each time.
    File(PathBuf),
    /// Always the same.
    Fixed(Box<GuestState>),
}

/// A state file that says nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read.
    #[error("expected a readable state file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a state.
    #[error("expected a guest's state in {}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
}

impl StateSource {
    /// The state now.
    ///
    /// # Errors
    /// [`StateError`] when the file is unreadable or malformed.
    pub fn load(&self) -> Result<GuestState, StateError> {
        match self {
            Self::File(path) => GuestState::from_file(path),
            Self::Fixed(state) => Ok(state.as_ref().clone()),
        }
    }
}

/// What the simulated guest is. Everything left out is healthy.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuestState {
    /// The driver that is loaded.
    pub provider: Provider,
    /// The guest as SEV-SNP sees it.
    pub snp: SnpState,
    /// The guest as TDX sees it.
    pub tdx: TdxState,
    /// The paravisor, where there is one.
    pub paravisor: ParavisorState,
    /// What goes wrong.
    pub faults: Faults,
}

impl GuestState {
    /// The most privileged level that the guest may ask for.
    #[must_use]
    pub const fn privilege_floor(&self) -> u32 {
        match self.provider {
            Provider::SevGuest => self.snp.vmpl,
            Provider::TdxGuest => 0,
        }
    }

    /// Reads a state file.
    ///
    /// # Errors
    /// [`StateError`] when the file is unreadable or malformed.
    pub fn from_file(path: &Path) -> Result<Self, StateError> {
        let unreadable = |source| StateError::Unreadable { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let parsed = if path.extension().is_some_and(|extension| extension == "json") {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        } else {
            toml::from_str(&text).map_err(|error| error.to_string())
        };
        parsed.map_err(|reason| StateError::Malformed { path: path.to_owned(), reason })
    }
}

/// Bytes written as hex in a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// The start of the day thirty days ago, so that a certificate is the same all day.
pub(super) fn a_month_ago() -> OffsetDateTime {
    OffsetDateTime::now_utc().saturating_sub(time::Duration::days(30)).replace_time(time::Time::MIDNIGHT)
}

pub(super) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
