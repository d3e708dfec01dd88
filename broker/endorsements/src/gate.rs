//! One source's circuit breaker: a source that fails, or asks to be left alone, is left alone.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

/// First pause.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause that is our own choice.
const LONGEST: Duration = Duration::from_secs(60);
/// Longest pause that a source may ask for: nobody on the way can silence it for a day.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// Failures in a row after which the gate closes. Being asked to wait closes it at once.
const PATIENCE: u32 = 3;
/// What others wait while one request tries a source that was closed.
const WHILE_TRYING: Duration = Duration::from_secs(1);

/// The breaker.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
    /// One request tries whether the source is back.
    trying: bool,
}

/// Leave to ask the source once. What came of it must be said; dropping it says nothing and lets the next one try.
#[derive(Debug)]
pub(crate) struct Leave<'a> {
    gate: &'a Gate,
    trial: bool,
}

impl Gate {
    /// Leave to ask, or how long to wait.
    pub(crate) fn admit(&self, now: Instant) -> Result<Leave<'_>, Duration> {
        let mut state = self.lock();
        let Some(until) = state.closed_until else { return Ok(Leave { gate: self, trial: false }) };
        if now < until {
            return Err(until.duration_since(now));
        }
        if state.trying {
            return Err(WHILE_TRYING);
        }
        state.trying = true;
        Ok(Leave { gate: self, trial: true })
    }

    /// How long the source is left alone from `now` on; `None` when it is asked.
    pub(crate) fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.lock().closed_until.and_then(|until| until.checked_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked between two assignments leaves a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave<'_> {
    /// The source answered.
    pub(crate) fn answered(self) {
        let mut state = self.gate.lock();
        state.failures = 0;
        state.closed_until = None;
    }

    /// The source failed. Says how long it is left alone; `None`: it may be asked again.
    pub(crate) fn failed(self, now: Instant) -> Option<Duration> {
        self.close(now, None, PATIENCE)
    }

    /// The source asked to be left alone, for `asked` when it said how long.
    pub(crate) fn asked_to_wait(self, now: Instant, asked: Option<Duration>) -> Duration {
        self.close(now, asked, 1).unwrap_or(FIRST)
    }

    fn close(self, now: Instant, asked: Option<Duration>, patience: u32) -> Option<Duration> {
        let mut state = self.gate.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures < patience && !self.trial {
            return None;
        }
        let pause = pause(state.failures).max(asked.unwrap_or_default().min(LONGEST_ASKED));
        state.closed_until = now.checked_add(pause);
        Some(pause)
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.trial {
            self.gate.lock().trying = false;
        }
    }
}

/// The pause before attempt `number` + 1: doubled each time, with jitter.
pub(crate) fn pause(number: u32) -> Duration {
    let doublings = number.saturating_sub(1).min(10);
    let whole = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST);
    jittered(whole, random_byte())
}

/// Between a half and the whole, so that brokers that lost a service together come back apart.
fn jittered(pause: Duration, random: u8) -> Duration {
    pause.mul_f32(0.5 + f32::from(random) / 510.0)
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // Without randomness the pause is the shortest: still a pause.
    let _unfilled = SystemRandom::new().fill(&mut byte);
    u8::from_le_bytes(byte)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn failures_in_a_row_close_it_and_one_trial_opens_it() {
        let (gate, start) = (Gate::default(), Instant::now());
        assert_eq!(gate.admit(start).unwrap().failed(start), None);
        assert_eq!(gate.admit(start).unwrap().failed(start), None);
        let pause = gate.admit(start).unwrap().failed(start).unwrap();
        assert!(pause >= Duration::from_secs(1), "{pause:?}");
        assert_eq!(gate.admit(start).unwrap_err(), pause);
        assert_eq!(gate.closed_for(start), Some(pause));
        let later = start + pause;
        let trial = gate.admit(later).unwrap();
        assert_eq!(gate.admit(later).unwrap_err(), WHILE_TRYING);
        trial.answered();
        assert!(gate.admit(later).is_ok() && gate.admit(later).is_ok());
    }

    #[test]
    fn a_trial_that_fails_closes_it_for_longer_and_one_that_is_dropped_lets_the_next_try() {
        let (gate, start) = (Gate::default(), Instant::now());
        let first = gate.admit(start).unwrap().asked_to_wait(start, None);
        let later = start + first;
        drop(gate.admit(later).unwrap());
        let again = gate.admit(later).unwrap().failed(later).unwrap();
        assert!(gate.admit(later).is_err() && again >= FIRST);
    }

    #[test]
    fn what_a_source_asks_for_is_waited_within_reason() {
        for (asked, waited) in [(7, 7), (86_400, 300)] {
            let (gate, start) = (Gate::default(), Instant::now());
            let pause = gate.admit(start).unwrap().asked_to_wait(start, Some(Duration::from_secs(asked)));
            assert_eq!(pause, Duration::from_secs(waited));
        }
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert!(pause(1) <= FIRST && pause(1) >= FIRST / 2);
        assert!(pause(u32::MAX) <= LONGEST && pause(20) >= LONGEST / 2);
    }
}
