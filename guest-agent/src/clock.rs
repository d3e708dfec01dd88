//! Whether this machine's clock can be right.

use std::{
    fmt, str,
    sync::Once,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::CertificateError;
use rustls_pki_types::UnixTime;
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

use crate::console;

/// 2026-01-01T00:00:00Z: this version is younger, so a clock before it is wrong.
const EARLIEST: u64 = 1_767_225_600;
/// Seconds between two clocks that are still called the same.
const TOLERANCE: u64 = 300;

/// The dates of the broker's certificate do not fit the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockTrouble {
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
    /// What an error says about the clock; `None` when it is about something else.
    pub(crate) fn of(error: &rustls::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(error) = error else { return None };
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
        let clock = self.clock();
        if clock < EARLIEST { Self::BeforeThisVersion { clock } } else { self }
    }

    const fn clock(self) -> u64 {
        let (Self::BeforeThisVersion { clock }
        | Self::Behind { clock, .. }
        | Self::Ahead { clock, .. }
        | Self::Unknown { clock }) = self;
        clock
    }

    /// What to do about it, by what the broker's own clock says, when it says something. Its certificate is not valid at the time
    /// that it is here, so its word is no proof: it chooses the words and nothing else.
    pub(crate) fn advice(self, broker: Option<u64>) -> String {
        let clock = self.clock();
        match broker {
            None => self.to_string(),
            Some(broker) if broker.abs_diff(clock) <= TOLERANCE => format!(
                "this machine's clock says {} and the broker's clock agrees (not proven): the broker's certificate is not valid at \
                 that time: renew it",
                Written(clock)
            ),
            Some(broker) => format!("{self}; {}", Difference { clock, broker }),
        }
    }
}

/// Two clocks that do not agree.
struct Difference {
    clock: u64,
    broker: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, side) =
            (self.broker.abs_diff(self.clock), if self.clock < self.broker { "behind" } else { "ahead" });
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (hours, minutes) = (rest / 3600, rest % 3600 / 60);
        let broker = Written(self.broker);
        write!(
            f,
            "the broker's clock says {broker} (not proven), so this one is {days} d {hours} h {minutes} min {side}"
        )
    }
}

/// A time at which a certificate is valid whose dates were refused.
pub(crate) fn date_within(error: &rustls::Error) -> Option<UnixTime> {
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    if let CertificateError::NotValidYetContext { not_before, .. } = error {
        Some(*not_before)
    } else if let CertificateError::ExpiredContext { not_after, .. } = error {
        Some(*not_after)
    } else {
        None
    }
}

/// A `Date` header (RFC 9110 §5.6.7) in seconds since the Unix epoch.
pub(crate) fn read_date(header: &[u8]) -> Option<u64> {
    let date = OffsetDateTime::parse(str::from_utf8(header).ok()?, &Rfc2822).ok()?;
    u64::try_from(date.unix_timestamp()).ok()
}

/// Says once when the clock of a broker that is trusted differs: certificates and leases will soon not fit.
pub(crate) fn warn_once(broker: Option<u64>) {
    static SAID: Once = Once::new();
    let clock = now();
    if let Some(broker) = broker.filter(|broker| broker.abs_diff(clock) > TOLERANCE) {
        SAID.call_once(|| {
            let clock = Written(clock);
            console::say(&format!("warning: this machine's clock says {clock} and the broker's {}", Written(broker)));
        });
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
pub(crate) struct Written(pub(crate) u64);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        match time.and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

/// What this machine's clock says, in seconds since the Unix epoch.
pub(crate) fn now() -> u64 {
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
        let refused = |error| rustls::Error::InvalidCertificate(error);
        let behind = refused(CertificateError::NotValidYetContext { time: at(soon), not_before: at(later) });
        assert_eq!(date_within(&behind), Some(at(later)));
        assert_eq!(ClockTrouble::of(&behind), Some(ClockTrouble::Behind { clock: soon, valid_from: later }));
        let reset = refused(CertificateError::NotValidYetContext { time: at(7), not_before: at(later) });
        assert_eq!(ClockTrouble::of(&reset), Some(ClockTrouble::BeforeThisVersion { clock: 7 }));
        let ahead = refused(CertificateError::ExpiredContext { time: at(later), not_after: at(soon) });
        assert_eq!(date_within(&ahead), Some(at(soon)));
        assert_eq!(ClockTrouble::of(&ahead), Some(ClockTrouble::Ahead { clock: later, valid_until: soon }));
        assert_eq!(ClockTrouble::of(&refused(CertificateError::UnknownIssuer)), None);
        assert_eq!(date_within(&refused(CertificateError::UnknownIssuer)), None);
        let words = ClockTrouble::BeforeThisVersion { clock: 7 }.to_string();
        assert!(words.starts_with("this machine's clock says 1970-01-01T00:00:07Z, before this program"), "{words}");
    }

    #[test]
    fn the_broker_s_clock_tells_a_wrong_clock_from_an_old_certificate() {
        let ahead = ClockTrouble::Ahead { clock: EARLIEST + 90_000, valid_until: EARLIEST };
        assert!(ahead.advice(Some(EARLIEST + 90_100)).ends_with(
            "the broker's clock agrees (not proven): the broker's certificate is not valid at that time: renew it"
        ));
        let words = ahead.advice(Some(EARLIEST - 60));
        assert!(
            words.ends_with("says 2025-12-31T23:59:00Z (not proven), so this one is 1 d 1 h 1 min ahead"),
            "{words}"
        );
        assert_eq!(ahead.advice(None), ahead.to_string());
    }

    #[test]
    fn a_date_is_that_of_http() {
        assert_eq!(read_date(b"Thu, 01 Jan 2026 00:00:00 GMT"), Some(EARLIEST));
        for other in [&b"2026-01-01T00:00:00Z"[..], b"", b"Thu, 01 Jan 1920 00:00:00 GMT", b"\xff"] {
            assert_eq!(read_date(other), None);
        }
    }
}
