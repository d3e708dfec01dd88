//! Pacing of requests to the AMD secure processor.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// Time between two requests. The host may answer "busy" to a guest that asks more often, and a busy answer that lasts
/// makes the kernel give up the message key for good.
const SPACING: Duration = Duration::from_secs(2);

/// Remembers the last request and waits before the next one.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
}

impl Throttle {
    /// Returns when a request may be sent, and counts it. The first one never waits.
    pub(crate) fn wait(&mut self) {
        if let Some(last) = self.last {
            sleep(SPACING.saturating_sub(last.elapsed()));
        }
        self.last = Some(Instant::now());
    }
}
