//! When the broker is asked again.

use std::time::Duration;

use crate::{
    backoff::{jittered, random_byte},
    life::Life,
};

/// First and longest pause after the broker gave no answer.
const UNREACHABLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First and longest pause after it refused: each attempt is a decision that somebody has to read.
const REFUSED: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));
/// Most doublings.
const DOUBLINGS: u32 = 10;

/// Counts what went wrong in a row.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    failures: u32,
}

impl Schedule {
    /// After success: at two thirds of the life at the latest, a tenth of it earlier at most, so that guests that started
    /// together do not renew together.
    pub(crate) fn renewal(&mut self, life: Life) -> Duration {
        self.failures = 0;
        renewal(life.length(), life.left(), random_byte())
    }

    /// After no answer, or none that counts; `asked` is what the broker asks for.
    pub(crate) fn unreachable(&mut self, asked: Option<Duration>) -> Duration {
        self.pause(UNREACHABLE).max(asked.unwrap_or_default())
    }

    /// After a refusal, or the end of the leases.
    pub(crate) fn refused(&mut self) -> Duration {
        self.pause(REFUSED)
    }

    fn pause(&mut self, (first, longest): (Duration, Duration)) -> Duration {
        let doubled = first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1).min(DOUBLINGS);
        jittered(doubled.min(longest), random_byte())
    }
}

fn renewal(length: Duration, left: Duration, random: u8) -> Duration {
    let part = |of: u32| length.checked_div(of).unwrap_or_default();
    let early = part(10).mul_f32(f32::from(random) / 255.0);
    left.saturating_sub(part(3)).saturating_sub(early)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_renewal_is_at_two_thirds_or_a_little_earlier() {
        let life = Duration::from_secs(900);
        assert_eq!(renewal(life, life, 0), Duration::from_secs(600));
        assert_eq!(renewal(life, life, 255), Duration::from_secs(510));
        assert_eq!(renewal(life, Duration::from_secs(700), 0), Duration::from_secs(400), "time went by meanwhile");
        assert_eq!(renewal(life, Duration::from_secs(100), 255), Duration::ZERO);
    }

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew_after_success() {
        let mut schedule = Schedule::default();
        assert!(schedule.unreachable(None) <= SECOND);
        for _ in 0..40 {
            assert!(schedule.unreachable(None) <= Duration::from_secs(60));
        }
        assert!(schedule.unreachable(None) >= Duration::from_secs(30));
        assert_eq!(schedule.unreachable(Some(Duration::from_secs(120))), Duration::from_secs(120));
        assert!(schedule.refused() >= Duration::from_secs(150));
        let life = Life::new(crate::life::Moment::now(), 0, "1970-01-01T00:15:00Z");
        assert!(life.is_some_and(|life| schedule.renewal(life) > Duration::from_secs(500)));
        assert!(schedule.refused() >= Duration::from_secs(7) && schedule.failures == 1);
    }
}
