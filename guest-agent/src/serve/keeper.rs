//! Keeps credentials: fetched once, renewed on fresh evidence, taken away when their lease ended.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    schedule::Schedule,
    trust,
    world::{Change, World},
};
use crate::{
    backoff::{Backoff, jittered, random_byte},
    bundle::Bundle,
    console,
    enrolment::{EnrolmentState, is_about_unknown_key},
    exchange::{Attempt, Exchange},
    failure::{Failure, Refusal},
    lease::{Issue, Session, Want},
    life::Life,
    protocol::{CHALLENGE, Challenge, ChallengeRequest, Lease, TrustBundles},
};

/// Longest time for one attempt: the kernel itself may wait a minute for a busy host.
const ATTEMPT: Duration = Duration::from_secs(170);
/// How long a request waits at the broker for the end of a lease.
const WATCH: Duration = Duration::from_secs(20);
/// How often is asked when the broker does not let us wait, or does not answer.
const SELDOM: Duration = Duration::from_secs(45);
/// Longest time for giving leases back.
const RELEASE: Duration = Duration::from_secs(5);

/// What all keepers share.
pub(crate) struct Keeping {
    pub(crate) exchange: Exchange,
    pub(crate) world: Change,
    /// Told when a certificate came without the bundle of the same moment.
    pub(crate) untrusted: Notify,
}

/// Keeps what one attestation is good for.
pub(crate) struct Keeper {
    shared: Arc<Keeping>,
    wants: Vec<Want>,
    session: Option<Session>,
    /// Sessions that were replaced; they are given back in the end.
    retired: Vec<(Session, Life)>,
    lives: Vec<Life>,
    /// When the bundles of other trust domains are asked for again.
    bundles_at: Instant,
    schedule: Schedule,
}

/// What happens between two attempts.
enum Event {
    /// Something is over.
    Over,
    /// The broker ended leases.
    Ended(Ending),
    /// The broker said what is trusted, and when to ask again.
    Trusted(Result<TrustBundles, Attempt>, Duration),
}

/// How leases ended.
enum Ending {
    /// All of them.
    All,
    /// All but these.
    But(Vec<Lease>),
}

/// What a failure means for what is held.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The broker looked at the evidence and refuses.
    Refused,
    /// The lease is over; fresh evidence may open another one.
    Ended,
    /// Nothing was decided.
    Undecided,
}

impl Keeper {
    /// For `wants`, at most as many as one attestation takes.
    pub(crate) fn new(shared: Arc<Keeping>, wants: Vec<Want>) -> Self {
        let (session, retired, lives, schedule) = (None, Vec::new(), Vec::new(), Schedule::default());
        Self { shared, wants, session, retired, lives, bundles_at: Instant::now(), schedule }
    }

    /// Runs until it is stopped; the sessions that are open then.
    pub(crate) async fn keep(mut self, stop: CancellationToken) -> Vec<Session> {
        let done = stop.clone();
        let forever = async {
            loop {
                let pause = Box::pin(self.step()).await;
                self.rest(pause).await;
            }
        };
        tokio::select! {
            () = done.cancelled() => {}
            () = forever => {}
        }
        self.session.into_iter().chain(self.retired.into_iter().map(|(session, _)| session)).collect()
    }

    /// One attempt; how long to wait for the next.
    async fn step(&mut self) -> Duration {
        let time = Backoff::new(ATTEMPT);
        let whole = self.session.as_ref().filter(|session| session.wants().count() == self.wants.len());
        let outcome = match whole {
            Some(session) => session.renew(&self.shared.exchange, &time).await,
            None => self.open(&time).await,
        };
        match outcome {
            Ok(issue) => {
                let bundle = trust::now(&self.shared.exchange, &issue.given).await;
                self.accept(issue, bundle)
            }
            Err(Attempt::Again(error)) => {
                console::say(&format!("the broker gives no answer: {}", console::chain(&error)));
                self.schedule.unreachable(error.retry_after())
            }
            Err(Attempt::Final(failure)) => self.fail(&failure).await,
        }
    }

    /// Opens a session; a key that the broker does not know is enrolled once.
    async fn open(&self, time: &Backoff) -> Result<Issue, Attempt> {
        let exchange = &self.shared.exchange;
        match Session::open(exchange, &self.wants, time).await {
            Err(Attempt::Final(Failure::Refused(refusal)))
                if is_about_unknown_key(&refusal) && exchange.enrols().await? =>
            {
                console::say("the broker does not know this machine's attestation key: enrolling it");
                let enrolled = exchange.enrol_once(time).await?;
                match enrolled.state {
                    EnrolmentState::Enrolled => Session::open(exchange, &self.wants, time).await,
                    EnrolmentState::AwaitingApproval => {
                        Err(Failure::AwaitingApproval { ak_name: enrolled.ak_name }.into())
                    }
                }
            }
            other => other,
        }
    }

    /// Hands out what was given, together with the bundle that it belongs to.
    fn accept(&mut self, issue: Issue, bundle: Option<Bundle>) -> Duration {
        let Issue { session, given, denied } = issue;
        for (want, refusal) in &denied {
            console::say(&format!("{want} is not given: {}", in_words(refusal)));
        }
        let soonest = given.iter().map(|(_, _, life)| *life).min_by_key(Life::left);
        self.retired.retain(|(_, life)| !life.is_over());
        if let Some((old, life)) = self.session.take().zip(self.lives.first().copied())
            && !old.is_same_as(&session)
        {
            self.retired.push((old, life));
        }
        self.session = Some(session);
        self.lives = given.iter().map(|(_, _, life)| *life).collect();
        World::change(&self.shared.world, |world| {
            for (want, value, life) in given {
                world.give(want, value, life);
            }
            for (want, _) in &denied {
                world.take(want, true);
            }
            match bundle {
                Some(bundle) => world.trust = trust::learn(world, bundle).unwrap_or_else(|| Arc::clone(&world.trust)),
                None => self.shared.untrusted.notify_one(),
            }
        });
        match soonest {
            Some(life) => self.schedule.renewal(life),
            None => self.schedule.refused(),
        }
    }

    async fn fail(&mut self, failure: &Failure) -> Duration {
        if let Failure::Refused(refusal) = failure {
            console::say(&format!("the broker refuses: {}", in_words(refusal)));
        } else {
            console::say(&console::chain(failure));
        }
        match verdict(failure) {
            Verdict::Undecided => self.schedule.unreachable(None),
            Verdict::Ended => self.end(&Ending::All),
            Verdict::Refused => {
                // What the broker did not end by itself is given back: it rests on evidence that no longer passes.
                for (session, _) in std::mem::take(&mut self.retired) {
                    let time = Backoff::new(RELEASE);
                    let _runs_out_by_itself = session.release(&self.shared.exchange, &time).await;
                }
                self.end(&Ending::All)
            }
        }
    }

    /// Takes over the bundles of other trust domains, which change between two renewals.
    fn trust(&mut self, answer: Result<TrustBundles, Attempt>, pause: Duration) {
        let now = Instant::now();
        self.bundles_at = now.checked_add(pause).unwrap_or(now);
        match answer {
            Ok(answer) => {
                let certified = self.wants.iter().filter(|want| matches!(want, Want::X509Svid { .. }));
                let names: Vec<String> = certified.map(|want| want.name().to_owned()).collect();
                trust::refresh(&self.shared.world, &names, answer);
            }
            Err(Attempt::Again(error)) => {
                console::say(&format!("the trust bundles are not to be had: {}", console::chain(&error)));
            }
            Err(Attempt::Final(error)) => {
                console::say(&format!("the trust bundles are not to be had: {}", console::chain(&error)));
            }
        }
    }

    /// Takes away what ended.
    fn end(&mut self, ending: &Ending) -> Duration {
        let gone = match (ending, self.session.as_mut()) {
            (Ending::But(open), Some(session)) => session.keep_only(open),
            (Ending::All | Ending::But(_), _) => self.wants.clone(),
        };
        if gone.len() >= self.wants.len() {
            self.session = None;
            self.lives.clear();
        }
        World::change(&self.shared.world, |world| gone.iter().for_each(|want| world.take(want, true)));
        self.schedule.refused()
    }

    /// Waits for the next attempt, and takes away meanwhile what is over or ended.
    async fn rest(&mut self, pause: Duration) {
        let mut until = Instant::now().checked_add(pause).unwrap_or_else(Instant::now);
        loop {
            let over = self.lives.iter().map(Life::left).min();
            let (exchange, session) = (&self.shared.exchange, self.session.as_ref());
            let event = tokio::select! {
                () = sleep_until(until) => return,
                () = sleep(over.unwrap_or_default()), if over.is_some() => Event::Over,
                ending = watch(exchange, session) => Event::Ended(ending),
                (answer, pause) = trust::ask(exchange, session, self.bundles_at) => Event::Trusted(answer, pause),
            };
            match event {
                Event::Trusted(answer, pause) => self.trust(answer, pause),
                Event::Over => {
                    self.lives.retain(|life| !life.is_over());
                    World::change(&self.shared.world, World::expire);
                    if self.lives.is_empty() {
                        // Its leases are over: only fresh evidence without them opens others.
                        self.session = None;
                    }
                }
                Event::Ended(ending) => {
                    console::say("the broker ended leases of this guest");
                    until = Instant::now().checked_add(self.end(&ending)).unwrap_or(until);
                }
            }
        }
    }
}

/// Gives back what sessions hold.
pub(crate) async fn release(exchange: &Exchange, sessions: Vec<Session>) {
    for session in sessions {
        let time = Backoff::new(RELEASE);
        match session.release(exchange, &time).await {
            Ok(ended) => console::say(&format!("{ended} leases given back")),
            Err(Attempt::Again(error)) => {
                console::say(&format!("leases run out by themselves: {}", console::chain(&error)))
            }
            Err(Attempt::Final(error)) => {
                console::say(&format!("leases run out by themselves: {}", console::chain(&error)))
            }
        }
    }
}

/// Waits until leases ended; without leases for ever.
async fn watch(exchange: &Exchange, session: Option<&Session>) -> Ending {
    let Some(session) = session else { return std::future::pending().await };
    loop {
        match watch_once(exchange, session).await {
            Ok(ending) => return ending,
            Err(Attempt::Final(failure)) if verdict(&failure) == Verdict::Ended => return Ending::All,
            // A broker that is away, or too old to be asked: the next renewal finds out as well.
            Err(Attempt::Final(_) | Attempt::Again(_)) => sleep(jittered(SELDOM, random_byte())).await,
        }
    }
}

/// Asks on one connection until something ended.
async fn watch_once(exchange: &Exchange, session: &Session) -> Result<Ending, Attempt> {
    let time = Backoff::new(ATTEMPT);
    let mut connection = exchange.connect(&time).await?;
    loop {
        let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, ATTEMPT).await?;
        let standing = session.standing(&mut connection, &nonce, WATCH).await?;
        if !session.is_whole(&standing.leases) {
            return Ok(Ending::But(standing.leases));
        }
        if !standing.waited {
            sleep(jittered(SELDOM, random_byte())).await;
        }
    }
}

/// By the stage that refused (see the broker's codes).
fn verdict(failure: &Failure) -> Verdict {
    if let Failure::AwaitingApproval { .. } = failure {
        return Verdict::Refused;
    }
    let Failure::Refused(refusal) = failure else { return Verdict::Undecided };
    if matches!(refusal.code.as_str(), "release.lease.ended" | "release.lease.proof") {
        return Verdict::Ended;
    }
    match refusal.code.split('.').next().unwrap_or_default() {
        "authenticate" | "baseline" | "reference" | "policy" | "release" | "enroll" => Verdict::Refused,
        _ => Verdict::Undecided,
    }
}

fn in_words(refusal: &Refusal) -> String {
    let decision = refusal.decision.as_ref().map(|id| format!(" (decision {id})")).unwrap_or_default();
    format!("{}: {}{decision}", refusal.code, refusal.reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_judgement_takes_credentials_away() {
        let refused = |code: &str| {
            let refusal = Refusal { code: code.to_owned(), detail: None, reasons: Vec::new(), decision: None };
            verdict(&Failure::Refused(refusal))
        };
        for code in
            ["baseline.snp.debug", "reference.snp.launch_measurement", "release.revoked.workload", "policy.denied"]
        {
            assert_eq!(refused(code), Verdict::Refused, "{code}");
        }
        for code in ["release.lease.ended", "release.lease.proof"] {
            assert_eq!(refused(code), Verdict::Ended, "{code}");
        }
        for code in
            ["endorsement.snp.crl", "binding.nonce.expired", "request.conflict", "internal.error", "", "new.code"]
        {
            assert_eq!(refused(code), Verdict::Undecided, "{code}");
        }
        assert_eq!(verdict(&Failure::NoTpm), Verdict::Undecided);
    }
}
