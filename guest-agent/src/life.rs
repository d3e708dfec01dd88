//! How long something holds, counted so that a guest's clock that is wrong, stands still or is set makes it shorter, not longer.

use std::time::{Duration, Instant, SystemTime};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Longest life that is believed: a day.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A moment on both clocks of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Never set, but stands still while the machine is suspended.
    steady: Instant,
    /// Goes on while it is suspended, but may be set.
    wall: SystemTime,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since then: the longer of what the two clocks say. A wall clock that was set back says nothing.
    pub(crate) fn elapsed(self) -> Duration {
        self.steady.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

/// A time from a moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    from: Moment,
    length: Duration,
}

impl Life {
    /// From `from` on, as long as the broker's clock says between `issued_at` (seconds since the epoch) and `expires_at`
    /// (RFC 3339); `None` when these are no times in this order.
    pub(crate) fn new(from: Moment, issued_at: i64, expires_at: &str) -> Option<Self> {
        let expires_at = OffsetDateTime::parse(expires_at, &Rfc3339).ok()?.unix_timestamp();
        let seconds = u64::try_from(expires_at.checked_sub(issued_at)?).ok()?;
        Some(Self { from, length: Duration::from_secs(seconds).min(LONGEST) })
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.length.saturating_sub(self.from.elapsed())
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Its whole length.
    pub(crate) const fn length(&self) -> Duration {
        self.length
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_life_is_what_lies_between_two_times_of_the_broker() {
        let now = Moment::now();
        let life = Life::new(now, 1_700_000_000, "2023-11-14T22:28:20Z").unwrap();
        assert_eq!(life.length(), Duration::from_secs(900));
        assert!(!life.is_over() && life.left() > Duration::from_secs(890));
        assert!(Life::new(now, 1_700_000_000, "2023-11-14T22:13:20Z").unwrap().is_over());
        assert_eq!(Life::new(now, 0, "2023-11-14T22:28:20Z").unwrap().length(), LONGEST);
        for wrong in ["", "2023-11-14", "2023-11-14T22:13:19Z"] {
            assert!(Life::new(now, 1_700_000_000, wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_clock_that_went_further_counts() {
        let hour = Duration::from_secs(3600);
        let now = Moment::now();
        let suspended = Moment { wall: now.wall - hour, ..now };
        assert!(suspended.elapsed() >= hour);
        let set_back = Moment { wall: now.wall + hour, ..now };
        assert!(set_back.elapsed() < hour);
    }
}
