//! The one place that reads the clock. Everything else is given the time.

use time::OffsetDateTime;
use verifier::Timestamp;

/// The time now, in whole seconds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(OffsetDateTime::now_utc().unix_timestamp())
}

/// The time now, in milliseconds of the Unix epoch: for waits that are shorter than seconds.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}
