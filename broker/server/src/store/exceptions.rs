//! The register of exceptions: legacy static secrets that still exist, each with an owner and an end.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use super::{StoreFuture, TenantId};
use crate::exceptions::{ClientIdentity, Network};

/// When a legacy secret is changed, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotationPlan {
    /// Seconds after which a version is to be changed.
    pub(crate) seconds: u32,
    /// What changes it in the legacy system; absent: somebody does it by hand, and is told when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<String>,
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Exception {
    /// Names this exception for ever; an extension has an id of its own.
    pub(crate) id: String,
    /// What people and the bridge call it; one live exception has it.
    pub(crate) name: String,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it has to be.
    pub(crate) reason: String,
    /// The one system that needs the secret.
    pub(crate) system: String,
    /// The name of the stored secret.
    pub(crate) secret: String,
    /// Who may fetch it over the bridge; absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<ClientIdentity>,
    /// From where; empty: from anywhere.
    pub(crate) sources: Vec<Network>,
    /// When the secret is changed; absent: by hand alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rotation: Option<RotationPlan>,
    /// Whether its client brings its key with a join token.
    pub(crate) joins: bool,
    /// The id of the exception that this one continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) extends: Option<String>,
    /// Which administrator registered it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// When it ends by itself.
    pub(crate) expires_at: Timestamp,
    /// How often the secret was handed over.
    pub(crate) uses: u64,
    /// When it was handed over last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_use_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<Timestamp>,
    /// Why it ended: `expired`, `ended` by an administrator, or `extended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_cause: Option<String>,
}

impl Exception {
    /// Whether the secret may be handed over at `now`.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.expires_at > now
    }

    /// Whether its client may come from there.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        self.sources.is_empty() || self.sources.iter().any(|network| network.contains(address))
    }
}

/// One thing that happened to an exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ExceptionAct {
    /// When.
    pub(crate) at: Timestamp,
    /// `added`, `join-token` (one was made), `joined` (one was used), `used`, `rotated`, `rotation-due` (nobody changed it), `ending` (an alert before the end) or `ended`.
    pub(crate) act: String,
    /// Who: an administrator, a client's pin, or `broker`.
    pub(crate) by: String,
    /// More about it.
    pub(crate) detail: String,
}

/// What became of a new exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Added {
    /// It is registered.
    Yes,
    /// A live exception has this name.
    NameTaken,
    /// A live exception is about this secret.
    SecretTaken,
    /// What it extends is over.
    Over,
}

/// A secret that is about to be handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handover<'a> {
    /// The exception's id.
    pub(crate) exception: &'a str,
    /// The client's pin.
    pub(crate) client: &'a str,
    /// Its address.
    pub(crate) source: String,
    /// Which version of the secret.
    pub(crate) version: u32,
    /// How many a minute are allowed.
    pub(crate) per_minute: u32,
}

/// What became of a handover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum HandedOver {
    /// It is counted, durably: the secret may leave. This was use number so much.
    Counted(u64),
    /// The exception is over.
    Over,
    /// There were too many within a minute.
    TooOften,
}

/// Something that an operator should know: a coming end, or an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// About what.
    pub(crate) exception: Exception,
    /// The alert before the end that is due, in days; absent: it ended.
    pub(crate) within_days: Option<u32>,
}

/// How many exceptions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ExceptionCounts {
    /// That live.
    pub(crate) live: u64,
    /// Of those, whose end was alerted.
    pub(crate) ending: u64,
}

/// Stores exceptions. Every change writes its history and its event in its own transaction.
pub(crate) trait ExceptionStore {
    /// Registers one. When it extends another, that one ends in the same transaction.
    fn add_exception<'a>(&'a self, tenant: &'a TenantId, exception: &'a Exception) -> StoreFuture<'a, Added>;

    /// The live ones, or all, those that end first first.
    fn exceptions<'a>(&'a self, tenant: &'a TenantId, all: bool, limit: u32) -> StoreFuture<'a, Vec<Exception>>;

    /// The newest with this name, or the one with this id.
    fn exception<'a>(&'a self, tenant: &'a TenantId, name_or_id: &'a str) -> StoreFuture<'a, Option<Exception>>;

    /// What happened to it, newest first.
    fn exception_history<'a>(&'a self, id: &'a str, limit: u32) -> StoreFuture<'a, Vec<ExceptionAct>>;

    /// Counts a use and tells it, if the exception lives and was not used too often.
    fn hand_over<'a>(
        &'a self,
        tenant: &'a TenantId,
        handover: &'a Handover<'a>,
        now: Timestamp,
    ) -> StoreFuture<'a, HandedOver>;

    /// Ends a live one before its time; whether there was one.
    fn end_exception<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        by: &'a str,
        reason: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Ends those whose time is over and records the alerts that are due, each once over all brokers.
    fn tend_exceptions<'a>(
        &'a self,
        tenant: &'a TenantId,
        alert_days: &'a [u32],
        now: Timestamp,
    ) -> StoreFuture<'a, Vec<Notice>>;

    /// The legacy system has this version of the secret: its name stands for it from now on, and older ones are erased. `false`
    /// when it is not staged, or a newer one came meanwhile.
    fn rotated<'a>(
        &'a self,
        tenant: &'a TenantId,
        exception: &'a str,
        secret: (&'a str, u32),
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Records that `version` is due to be changed and was not, once for each version; whether it was news.
    fn rotation_pending<'a>(
        &'a self,
        tenant: &'a TenantId,
        exception: &'a str,
        version: u32,
        why: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// How many there are.
    fn count_exceptions<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> StoreFuture<'a, ExceptionCounts>;
}
