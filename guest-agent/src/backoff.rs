//! Waiting between attempts.

use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// First pause.
const FIRST: Duration = Duration::from_millis(250);
/// Longest pause that is our own choice.
const LONGEST: Duration = Duration::from_secs(10);

/// Exponential back-off with jitter up to a deadline.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Starts now; gives up after `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self { pause: FIRST, deadline: now.checked_add(timeout).unwrap_or(now) }
    }

    /// Time left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The next pause, at least what the broker asked for; `None` when it would end past the deadline.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let pause = jittered(self.pause, random_byte()).max(asked.unwrap_or_default());
        self.pause = self.pause.saturating_mul(2).min(LONGEST);
        (pause < self.left()).then_some(pause)
    }
}

/// Between a half and the whole of `pause`, so that guests that lost their broker together come back apart.
pub(crate) fn jittered(pause: Duration, random: u8) -> Duration {
    let share = 0.5 + f32::from(random) / 510.0;
    pause.mul_f32(share)
}

pub(crate) fn random_byte() -> u8 {
    let mut byte = [0];
    // Without randomness the pause is the shortest: still a back-off.
    let _unfilled = SystemRandom::new().fill(&mut byte);
    u8::from_le_bytes(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_between_half_and_whole() {
        let pause = Duration::from_secs(4);
        assert_eq!(jittered(pause, 0), Duration::from_secs(2));
        assert!(jittered(pause, 255) <= pause);
        assert!(jittered(pause, 100) < pause);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_end_at_the_deadline() {
        let mut backoff = Backoff::new(Duration::from_secs(3600));
        for _ in 0..20 {
            assert!(backoff.next(None).is_some_and(|pause| pause <= LONGEST));
        }
        assert!(backoff.next(None).is_some_and(|pause| pause >= LONGEST / 2));
        assert_eq!(Backoff::new(Duration::ZERO).next(None), None);
    }

    #[test]
    fn what_the_broker_asks_for_is_waited() {
        let mut backoff = Backoff::new(Duration::from_secs(3600));
        assert_eq!(backoff.next(Some(Duration::from_secs(30))), Some(Duration::from_secs(30)));
        assert_eq!(backoff.next(Some(Duration::from_secs(7200))), None);
    }
}
