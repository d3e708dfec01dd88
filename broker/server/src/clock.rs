//! The one place that reads the clock. Everything else is given the time.

use time::OffsetDateTime;
use verifier::Timestamp;

/// The time now, in whole seconds.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix(OffsetDateTime::now_utc().unix_timestamp())
}
