//! Whether this machine's clock can be right.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::CertificateError;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// 2026-01-01T00:00:00Z: this version is younger, so a clock before it is wrong.
const EARLIEST: u64 = 1_767_225_600;

/// The dates of the broker's certificate do not fit the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockTrouble {
    /// The clock says a time before this program was made.
    BeforeThisVersion {
        /// What it says, in seconds since the Unix epoch.
        clock: u64,
    },
    /// The certificate is not valid yet.
    Behind {
        /// What the clock says.
        clock: u64,
        /// From when on the certificate is valid.
        valid_from: u64,
    },
    /// The certificate is not valid any more.
    Ahead {
        /// What the clock says.
        clock: u64,
        /// Until when the certificate was valid.
        valid_until: u64,
    },
    /// Its dates are not known.
    Unknown {
        /// What the clock says.
        clock: u64,
    },
}

impl ClockTrouble {
    /// What a certificate's error says about the clock; `None` when it is about something else.
    pub(crate) fn of(error: &CertificateError) -> Option<Self> {
        let trouble = if let CertificateError::NotValidYetContext { time, not_before } = error {
            Self::Behind { clock: time.as_secs(), valid_from: not_before.as_secs() }
        } else if let CertificateError::ExpiredContext { time, not_after } = error {
            Self::Ahead { clock: time.as_secs(), valid_until: not_after.as_secs() }
        } else if matches!(error, CertificateError::NotValidYet | CertificateError::Expired) {
            Self::Unknown { clock: now() }
        } else {
            return None;
        };
        Some(trouble.or_impossible())
    }

    fn or_impossible(self) -> Self {
        let (Self::BeforeThisVersion { clock }
        | Self::Behind { clock, .. }
        | Self::Ahead { clock, .. }
        | Self::Unknown { clock }) = self;
        if clock < EARLIEST { Self::BeforeThisVersion { clock } } else { self }
    }
}

impl fmt::Display for ClockTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BeforeThisVersion { clock } => write!(
                f,
                "this machine's clock says {}, before this program was made: set it (real-time clock of the host, or NTP \
                 before this step)",
                Written(clock)
            ),
            Self::Behind { clock, valid_from } => write!(
                f,
                "this machine's clock says {} and the broker's certificate is valid from {} on: set the clock",
                Written(clock),
                Written(valid_from)
            ),
            Self::Ahead { clock, valid_until } => write!(
                f,
                "this machine's clock says {} and the broker's certificate was valid until {}: set the clock, or if it is \
                 right, renew the certificate",
                Written(clock),
                Written(valid_until)
            ),
            Self::Unknown { clock } => write!(
                f,
                "this machine's clock says {}: check it, and the dates of the broker's certificate",
                Written(clock)
            ),
        }
    }
}

/// Seconds since the Unix epoch as a person reads them.
struct Written(u64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        match time.and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls_pki_types::UnixTime;

    use super::*;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn each_wrong_clock_has_its_own_words() {
        let (soon, later) = (EARLIEST + 10, EARLIEST + 100);
        let behind = CertificateError::NotValidYetContext { time: at(soon), not_before: at(later) };
        assert_eq!(ClockTrouble::of(&behind), Some(ClockTrouble::Behind { clock: soon, valid_from: later }));
        let reset = CertificateError::NotValidYetContext { time: at(7), not_before: at(later) };
        assert_eq!(ClockTrouble::of(&reset), Some(ClockTrouble::BeforeThisVersion { clock: 7 }));
        let ahead = CertificateError::ExpiredContext { time: at(later), not_after: at(soon) };
        assert_eq!(ClockTrouble::of(&ahead), Some(ClockTrouble::Ahead { clock: later, valid_until: soon }));
        assert_eq!(ClockTrouble::of(&CertificateError::UnknownIssuer), None);
        let words = ClockTrouble::BeforeThisVersion { clock: 7 }.to_string();
        assert!(words.starts_with("this machine's clock says 1970-01-01T00:00:07Z, before this program"), "{words}");
    }
}
