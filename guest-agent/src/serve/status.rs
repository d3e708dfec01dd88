//! Whether the lease of a JWT-SVID still holds: the status list that the token names, asked for at our own broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::Method;
use keys::{
    relying::{StatusError, StatusListToken, Trust},
    sign::Jwks,
    status::StatusPlace,
    token::Audience,
};
use tokio::sync::Semaphore;
use tonic::Status;

use super::keeper::Keeping;
use crate::{backoff::Backoff, connection::TransportError, console};

/// Longest time for asking.
const ASKING: Duration = Duration::from_secs(5);
/// Lists that are remembered.
const LISTS: usize = 64;
/// How far clocks may differ, seconds.
const LEEWAY: u32 = 5;

/// Lists as they were asked for.
pub(crate) struct Statuses {
    shared: Arc<Keeping>,
    known: Mutex<BTreeMap<String, Known>>,
    /// One asks at a time; the others take what it got.
    turn: Semaphore,
}

#[derive(Clone)]
struct Known {
    list: Arc<StatusListToken>,
    at: Instant,
}

impl Statuses {
    /// Nothing is known yet.
    pub(crate) fn new(shared: Arc<Keeping>) -> Self {
        Self { shared, known: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Refuses a token of `issuer` at `place` unless its lease holds, at `now` (seconds since the epoch).
    pub(crate) async fn require(&self, issuer: &str, place: &StatusPlace, now: i64) -> Result<(), Status> {
        let list = self.list(issuer, &place.uri, now).await?;
        list.require_valid(place, now).map_err(|error| {
            if error == StatusError::Stale {
                return Status::unavailable("whether the token's lease holds is not known");
            }
            Status::invalid_argument(format!("the token does not hold: {error}"))
        })
    }

    async fn list(&self, issuer: &str, uri: &str, now: i64) -> Result<Arc<StatusListToken>, Status> {
        let unknown = |_| Status::unavailable("whether the token's lease holds is not known");
        let path = path(issuer, uri).ok_or_else(|| Status::invalid_argument("expected a status list of the issuer"))?;
        if let Some(list) = self.fresh(uri, now) {
            return Ok(list);
        }
        let _turn = self.turn.acquire().await.map_err(unknown)?;
        if let Some(list) = self.fresh(uri, now) {
            return Ok(list);
        }
        match self.fetch(issuer, &path, now).await {
            Ok(Some(list)) => Ok(self.remember(uri, list)),
            Ok(None) => Err(Status::unavailable("the status list is none")),
            Err(error) => {
                console::say(&format!("the status list is not to be had: {}", console::chain(&error)));
                let known = self.lock().get(uri).filter(|known| known.list.expires_at > now).cloned();
                known
                    .map(|known| known.list)
                    .ok_or_else(|| Status::unavailable("whether the token's lease holds is not known"))
            }
        }
    }

    async fn fetch(&self, issuer: &str, path: &str, now: i64) -> Result<Option<StatusListToken>, TransportError> {
        let time = Backoff::new(ASKING);
        let mut connection = self.shared.exchange.connect(&time).await?;
        let keys: serde_json::Value = connection.call(Method::GET, None, "/.well-known/jwks.json", time.left()).await?;
        let list = connection.text(path, time.left()).await?;
        let Ok(jwks) = Jwks::parse(keys.to_string().as_bytes()) else { return Ok(None) };
        let audience = Audience::Unchecked { reason: "a status list is for everybody" };
        let trust = Trust { jwks: &jwks, issuer, audience, now, leeway: LEEWAY };
        Ok(StatusListToken::verify(&list, &trust).ok())
    }

    fn fresh(&self, uri: &str, now: i64) -> Option<Arc<StatusListToken>> {
        let known = self.lock().get(uri).filter(|known| known.list.expires_at > now).cloned()?;
        let keep = Duration::from_secs(known.list.keep_for.into());
        (known.at.elapsed() < keep).then_some(known.list)
    }

    fn remember(&self, uri: &str, list: StatusListToken) -> Arc<StatusListToken> {
        let list = Arc::new(list);
        let mut known = self.lock();
        if known.len() >= LISTS {
            known.clear();
        }
        known.insert(uri.to_owned(), Known { list: Arc::clone(&list), at: Instant::now() });
        list
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path of a list of the broker: whatever else a token says is asked for nowhere.
fn path(issuer: &str, uri: &str) -> Option<String> {
    let path = uri.strip_prefix(issuer.trim_end_matches('/'))?;
    let number = path.strip_prefix("/v1/status/")?;
    let plain = (1..=10).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lists_of_the_broker_are_asked_for() {
        assert_eq!(path("https://b.example", "https://b.example/v1/status/3").as_deref(), Some("/v1/status/3"));
        assert_eq!(path("https://b.example/", "https://b.example/v1/status/3").as_deref(), Some("/v1/status/3"));
        for other in [
            "https://c.example/v1/status/3",
            "https://b.example/v1/status/",
            "https://b.example/v1/status/3/x",
            "https://b.example/v1/leases/3",
            "https://b.example/v1/status/3?x",
            "https://b.example.evil/v1/status/3",
        ] {
            assert_eq!(path("https://b.example", other), None, "{other}");
        }
    }
}
