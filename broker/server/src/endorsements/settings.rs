//! `[endorsements]` and `[mirror]` of the configuration.

use std::{net::SocketAddr, time::Duration};

use endorsements::{Limits, Source};
use evidence_formats::endorsement::TcbUpdate;
use serde::Deserialize;
use thiserror::Error;

/// Where vendor documents come from, and how old they may be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Services in the order in which they are asked. None: nothing is fetched.
    pub sources: Vec<Source>,
    /// Which of Intel's judgements counts.
    pub tcb_update: TcbUpdate,
    /// What happens when a revocation list has run out and no newer one is to be had.
    pub stale_crl: StaleCrl,
    /// Seconds after which a document that is about many machines is fetched again; sooner when it ends sooner.
    pub refresh_seconds: u32,
    /// Seconds for one document from one source.
    pub fetch_seconds: u64,
    /// Seconds that an attestation waits for documents.
    pub wait_seconds: u64,
    /// Requests to one source at once.
    pub concurrency: usize,
    /// Seconds that "there is no such document" is remembered.
    pub negative_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            tcb_update: TcbUpdate::Standard,
            stale_crl: StaleCrl::Refuse,
            refresh_seconds: 12 * 3600,
            fetch_seconds: 10,
            wait_seconds: 12,
            concurrency: 4,
            negative_seconds: 60,
        }
    }
}

/// What happens when a revocation list has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleCrl {
    /// Nobody passes. The default.
    Refuse,
    /// It counts for so many hours more (720 at most); `crl_age` is in `unchecked` of every result that it touched.
    WarnHours(u32),
}

/// The mirror's listener: vendor documents under the paths of their vendors' services, for other verifiers of the site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// Where.
    pub listen: SocketAddr,
    /// Whether it speaks TLS, with the certificate of the API. Every document is signed: plain HTTP takes nothing away.
    #[serde(default)]
    pub tls: bool,
}

/// A number is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected endorsements.{name} between {least} and {most}, found {found}")]
pub struct SettingsError {
    /// Which setting.
    pub name: &'static str,
    /// Lowest value.
    pub least: u64,
    /// Highest value.
    pub most: u64,
    /// What the file says.
    pub found: u64,
}

/// Most documents that are fetched or wait to be fetched at once.
const WAITING: usize = 1024;

impl Settings {
    /// Bounds of fetching.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            time: Duration::from_secs(self.fetch_seconds),
            concurrency: self.concurrency,
            negative: Duration::from_secs(self.negative_seconds),
            waiting: WAITING,
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// [`SettingsError`] names the first that is out of its range.
    pub fn in_range(&self) -> Result<(), SettingsError> {
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let grace = match self.stale_crl {
            StaleCrl::Refuse => 1,
            StaleCrl::WarnHours(hours) => u64::from(hours),
        };
        let ranges = [
            ("sources (their number)", count(self.sources.len()), 0, 16),
            ("stale_crl.warn_hours", grace, 1, 720),
            ("refresh_seconds", u64::from(self.refresh_seconds), 1, 30 * 86_400),
            ("fetch_seconds", self.fetch_seconds, 1, 120),
            ("wait_seconds", self.wait_seconds, 1, 120),
            ("concurrency", count(self.concurrency), 1, 64),
            ("negative_seconds", self.negative_seconds, 1, 3600),
        ];
        match ranges.into_iter().find(|(_, found, least, most)| found < least || found > most) {
            Some((name, found, least, most)) => Err(SettingsError { name, least, most, found }),
            None => Ok(()),
        }
    }
}
