//! Telling the service manager how things are (`sd_notify(3)`). Without one nothing is told.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::time::{Interval, interval};

use super::{
    settings::Ready,
    world::{Standing, World},
};

/// The service manager.
#[derive(Debug)]
pub(crate) struct Manager {
    ready: Ready,
    told_ready: bool,
    /// How often it wants to hear that we live.
    watchdog: Option<Interval>,
    status: String,
    started: Instant,
}

impl Manager {
    /// The one that started us, if any.
    pub(crate) fn new(ready: Ready) -> Self {
        let half = |limit: Duration| limit.checked_div(2).unwrap_or_default().max(Duration::from_millis(10));
        let watchdog = sd_notify::watchdog_enabled().map(|limit| interval(half(limit)));
        Self { ready, told_ready: false, watchdog, status: String::new(), started: Instant::now() }
    }

    /// Workloads can connect.
    pub(crate) fn listening(&mut self) {
        if self.ready == Ready::Listening {
            self.tell_ready();
        }
    }

    /// What is held.
    pub(crate) fn status(&mut self, world: &World) {
        let held = world.certificates.values().filter(|standing| matches!(standing, Standing::Held(_))).count();
        let refused = world.certificates.values().filter(|standing| matches!(standing, Standing::Refused)).count();
        if held > 0 && self.ready == Ready::Attested {
            self.tell_ready();
        }
        let status = match (held, refused) {
            (0, 0) => "waits for the broker".to_owned(),
            (0, _) => "the broker refuses".to_owned(),
            (_, 0) => format!("identities: {held}"),
            (_, _) => format!("identities: {held}, refused: {refused}"),
        };
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The settings are read again.
    pub(crate) fn reloading(&self) {
        // Without the time a newer manager would take the reload for failed; without a clock there is no manager either.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell(&[NotifyState::Reloading, now]);
        }
    }

    /// They were.
    pub(crate) fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The end begins.
    pub(crate) fn stopping(&self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("gives leases back")]);
    }

    /// Returns after the next sign of life; never without a watchdog.
    pub(crate) async fn alive(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
            None => pending().await,
        }
    }

    fn tell_ready(&mut self) {
        if !self.told_ready {
            tell(&[NotifyState::Ready]);
            crate::console::say(&format!("ready after {:.1} s", self.started.elapsed().as_secs_f32()));
        }
        self.told_ready = true;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // A manager that does not listen is none.
    let _unheard = sd_notify::notify(states);
}
