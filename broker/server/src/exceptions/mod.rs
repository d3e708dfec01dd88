//! Exceptions: legacy static secrets that still exist. Each has an owner, a reason, one system and an end, its secret lies
//! sealed in the store, and every handover is counted. What remains of secret zero is listed here, and runs out.

use evidence_formats::code::Coded;
use serde::Deserialize;
use uuid::Uuid;
use verifier::Timestamp;

use crate::{
    broker::Broker,
    http::problem::Problem,
    metrics::TenantLabels,
    store::{Added, Exception, Notice, RotationPlan, StoreError, is_name},
};

mod client;
mod error;
mod join;
mod network;
mod rotation;

pub(crate) use client::{ClientIdentity, Recognition, pin_of};
pub(crate) use error::{BridgeError, ExceptionError, Field};
pub(crate) use join::{JoinDraft, JoinError, NewToken, token_digest};
pub(crate) use network::Network;
pub(crate) use rotation::Pauses;

/// Seconds.
const DAY: i64 = 24 * 3600;
/// Longest names, in bytes.
const SHORT: usize = 128;
/// Longest reason, in bytes.
const LONG: usize = 1024;
/// Most networks of one exception.
const NETWORKS: usize = 16;
/// How many seconds old a version may grow where a schedule changes it: up to the longest life of an exception.
const SCHEDULE: std::ops::RangeInclusive<u32> = 5..=90 * 24 * 3600;

/// What an administrator asks for. Everything that is required is looked for here, so that what is missing can be named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Draft {
    pub(crate) name: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) system: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) client: Option<String>,
    pub(crate) sources: Vec<String>,
    pub(crate) rotation: Option<RotationPlan>,
    pub(crate) bootstrap: Option<Bootstrap>,
}

/// How the client of an exception becomes known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bootstrap {
    /// It brings its key with a token that is used once.
    JoinToken,
}

/// More time for one that lives: a new exception, with a reason of its own.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Extension {
    pub(crate) reason: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Draft {
    /// The exception, if it says all that it must.
    pub(crate) fn complete(self, broker: &Broker, author: String, now: Timestamp) -> Result<Exception, ExceptionError> {
        let name = named(self.name, Field::Name)?;
        let secret = named(self.secret, Field::Secret)?;
        let owner = text(self.owner, Field::Owner, SHORT)?;
        let system = text(self.system, Field::System, SHORT)?;
        let reason = text(self.reason, Field::Reason, LONG)?;
        let expires_at = end(broker, self.expires_at, now)?;
        let client: Option<ClientIdentity> = match self.client {
            Some(client) => Some(client.parse().map_err(|_not_a_client| ExceptionError::Client)?),
            None => None,
        };
        if self.bootstrap.is_some() && client.is_some() {
            return Err(ExceptionError::TwoClients);
        }
        let by_name = matches!(client, Some(ClientIdentity::Dns(_) | ClientIdentity::Uri(_)));
        if by_name && broker.bridge.as_ref().is_none_or(|bridge| bridge.authority.is_none()) {
            return Err(ExceptionError::NoAuthority);
        }
        let networks = self.sources.iter().map(|source| source.parse()).collect::<Result<Vec<Network>, _>>();
        let sources = networks.ok().filter(|networks| networks.len() <= NETWORKS);
        let sources = sources.ok_or(ExceptionError::Source { most: NETWORKS })?;
        if let Some(plan) = &self.rotation {
            let known = plan.driver.as_ref().is_none_or(|driver| broker.exceptions.driver(driver).is_some());
            if !known {
                return Err(ExceptionError::Driver);
            }
            if !SCHEDULE.contains(&plan.seconds) {
                return Err(ExceptionError::Schedule { least: *SCHEDULE.start(), most: *SCHEDULE.end() });
            }
        }
        Ok(Exception {
            id: Uuid::new_v4().to_string(),
            name,
            owner,
            reason,
            system,
            secret,
            client,
            sources,
            rotation: self.rotation,
            joins: self.bootstrap.is_some(),
            extends: None,
            author,
            created_at: now,
            expires_at,
            uses: 0,
            last_use_at: None,
            ended_at: None,
            end_cause: None,
        })
    }
}

impl Extension {
    /// The exception that continues `old`.
    pub(crate) fn of(
        self,
        old: Exception,
        broker: &Broker,
        author: String,
        now: Timestamp,
    ) -> Result<Exception, ExceptionError> {
        if !old.is_live(now) {
            return Err(ExceptionError::Over);
        }
        let reason = text(self.reason, Field::Reason, LONG)?;
        if reason.trim().eq_ignore_ascii_case(old.reason.trim()) {
            return Err(ExceptionError::SameReason);
        }
        let expires_at = end(broker, self.expires_at, now)?;
        Ok(Exception {
            id: Uuid::new_v4().to_string(),
            extends: Some(old.id),
            reason,
            author,
            created_at: now,
            expires_at,
            uses: 0,
            last_use_at: None,
            ..old
        })
    }
}

fn named(value: Option<String>, field: Field) -> Result<String, ExceptionError> {
    let value = value.filter(|value| !value.is_empty()).ok_or(ExceptionError::Missing(field))?;
    if is_name(&value) { Ok(value) } else { Err(ExceptionError::Text { field, most: SHORT }) }
}

fn text(value: Option<String>, field: Field, most: usize) -> Result<String, ExceptionError> {
    let value = value.filter(|value| !value.trim().is_empty()).ok_or(ExceptionError::Missing(field))?;
    let plain = value.len() <= most && !value.chars().any(char::is_control);
    if plain { Ok(value) } else { Err(ExceptionError::Text { field, most }) }
}

fn end(broker: &Broker, expires_at: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, ExceptionError> {
    let expires_at = expires_at.ok_or(ExceptionError::Missing(Field::ExpiresAt))?;
    let latest = now.plus_seconds(i64::from(broker.exceptions.max_days.value()).saturating_mul(DAY));
    if expires_at > now && expires_at <= latest { Ok(expires_at) } else { Err(ExceptionError::Expiry { latest }) }
}

/// Registers an exception about a secret that was stored for the bridge.
pub(crate) async fn register(broker: &Broker, exception: Exception) -> Result<Exception, Problem> {
    let secret = || exception.secret.clone();
    match broker.store.newest_secret(&broker.tenant, &exception.secret).await? {
        None => return Err(ExceptionError::SecretAbsent { secret: secret() }.into()),
        Some(stored) if !stored.bridge => return Err(ExceptionError::AttestedOnly { secret: secret() }.into()),
        Some(_) => {}
    }
    match broker.store.add_exception(&broker.tenant, &exception).await? {
        Added::Yes => {}
        Added::NameTaken => return Err(ExceptionError::NameTaken.into()),
        Added::SecretTaken => return Err(ExceptionError::SecretTaken.into()),
        Added::Over => return Err(ExceptionError::Over.into()),
    }
    let Exception { id, name, owner, system, secret, author, reason, expires_at, extends, .. } = &exception;
    tracing::warn!(
        exception = id, name, owner, system, secret, by = author, reason, %expires_at, extends,
        "exception registered"
    );
    Ok(exception)
}

impl Broker {
    /// Ends exceptions whose time is over, and alerts before.
    pub(crate) async fn tend_exceptions(&self, now: Timestamp) -> Result<(), StoreError> {
        let alert_days = &self.exceptions.alert_days;
        for Notice { exception, within_days } in self.store.tend_exceptions(&self.tenant, alert_days, now).await? {
            let Exception { id, name, owner, system, expires_at, uses, .. } = &exception;
            match within_days {
                Some(days) => {
                    self.metrics.exception_alerts.inc();
                    tracing::warn!(exception = id, name, owner, system, %expires_at, uses, days, "exception ends soon");
                }
                None => tracing::warn!(exception = id, name, owner, system, %expires_at, uses, "exception ended"),
            }
        }
        let counts = self.store.count_exceptions(&self.tenant, now).await?;
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let of_tenant = TenantLabels { tenant: self.tenant.as_str().to_owned() };
        self.metrics.exceptions_live.get_or_create(&of_tenant).set(gauge(counts.live));
        self.metrics.exceptions_ending.get_or_create(&of_tenant).set(gauge(counts.ending));
        Ok(())
    }

    /// Counts and logs a refusal of the bridge.
    pub(crate) fn refuse_bridge(&self, name: &str, peer: std::net::IpAddr, error: BridgeError) -> Problem {
        self.metrics.bridge(error.label());
        tracing::warn!(exception = name, %peer, code = error.code().as_str(), "the bridge hands nothing over");
        error.into()
    }
}
