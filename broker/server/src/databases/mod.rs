//! Roles of databases: one for each lease, made for it and dropped with it.
//!
//! # An intent before every effect
//!
//! A row in the store is written before the role is made, becomes active in the transaction that opens the lease, and must
//! go when the lease ended, whatever ended it: that the lease is over stands in the store already, so there is nothing to
//! forget. A broker that is killed anywhere between leaves a row that says what may be there, and the next one, or
//! another one, drops it. Dropping is done until the server says that the role is gone.
//!
//! ```text
//! requested ──lease opened──▶ active ──lease ended──▶ ending ──role gone──▶ ended
//!     └──────────no lease in time──────────────────────▲
//! ```
//!
//! A role whose row is not there (the store was restored from an older copy, or a statement was under way when the broker
//! gave up) is recognised by its name and its comment, which names this store.

mod connection;
mod scram;
mod server;
mod sql;
mod tend;

use std::sync::Arc;

use anyhow::{Context, Result};
use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac::{self, HMAC_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::secret::{SecretArray, SecretBytes};
use serde::Serialize;
use verifier::Timestamp;
use zeroize::Zeroizing;

pub(crate) use connection::DatabaseError;
pub(crate) use server::{PREFIX as ROLE_PREFIX, Server};
pub(crate) use sql::{Placeholder, SqlTemplate};
pub(crate) use tend::{keep, told};

use crate::{
    config::{DatabaseServer, RoleEntry},
    store::RoleIntent,
};

/// Seconds within which a role that was made must have its lease: longer than all that may come between.
const SETTLE: i64 = 30;

/// Every database server, and what its roles are named and proven with.
#[derive(Debug)]
pub(crate) struct Databases {
    servers: Vec<Arc<Server>>,
    installation: String,
    key: PasswordKey,
}

/// Derives passwords, so that none is stored and a renewal hands out the same again.
struct PasswordKey(SecretArray<32>);

impl std::fmt::Debug for PasswordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordKey")
    }
}

/// What the guest gets.
#[derive(Serialize)]
struct Credential<'a> {
    host: &'a str,
    port: u16,
    database: &'a str,
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sslmode: Option<&'static str>,
    /// PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
    expires_at: Timestamp,
}

impl Databases {
    /// Reads the files of every server; nothing is connected yet.
    ///
    /// # Errors
    /// When a CA cannot be read or used.
    pub(crate) fn open(settings: &[DatabaseServer], installation: String, key: SecretArray<32>) -> Result<Self> {
        let server = |settings: &DatabaseServer| {
            let server = Server::new(settings).with_context(|| format!("postgres {}", settings.name))?;
            Ok(Arc::new(server))
        };
        let servers = settings.iter().map(server).collect::<Result<_>>()?;
        Ok(Self { servers, installation, key: PasswordKey(key) })
    }

    /// The longest lives of roles, seconds, by server.
    pub(crate) fn longest(&self) -> impl Iterator<Item = u32> {
        self.servers.iter().map(|server| server.settings.max_ttl_seconds)
    }

    /// Server and entry behind a name that guests ask for.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Server, &RoleEntry)> {
        let entries =
            self.servers.iter().flat_map(|server| server.settings.role.iter().map(move |role| (server, role)));
        entries.map(|(server, role)| (&**server, role)).find(|(_, role)| role.name == name)
    }

    /// The name of the role of a lease: nobody finds it out who does not know the lease.
    pub(crate) fn role(&self, lease: &str) -> String {
        let digest = digest(&SHA256, format!("countersign role v1 {} {lease}", self.installation).as_bytes());
        let name = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("{}{name}", server::PREFIX)
    }

    fn password(&self, lease: &str) -> Zeroizing<String> {
        let key = hmac::Key::new(HMAC_SHA256, self.key.0.as_slice());
        let tag = hmac::sign(&key, format!("countersign database password v1 {lease}").as_bytes());
        Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(tag))
    }

    /// What the guest logs in with (JSON); the role is made afterwards.
    pub(crate) fn credential(
        &self,
        server: &Server,
        lease: &str,
        until: Timestamp,
    ) -> Result<SecretBytes, serde_json::Error> {
        let (settings, role, password) = (&server.settings, self.role(lease), self.password(lease));
        let credential = Credential {
            host: settings.guest_host.as_ref().unwrap_or(&settings.host),
            port: settings.guest_port.unwrap_or(settings.port),
            database: &settings.database,
            username: &role,
            password: &password,
            sslmode: server.ca.is_some().then_some("verify-full"),
            ca: server.ca.as_deref(),
            expires_at: until,
        };
        Ok(SecretBytes::new(serde_json::to_vec(&credential)?))
    }

    /// What is written down before the role of a lease is made.
    pub(crate) fn intent(&self, server: &Server, lease: &str, now: Timestamp) -> RoleIntent {
        RoleIntent {
            role: self.role(lease),
            lease: lease.to_owned(),
            server: server.settings.name.clone(),
            requested_at: now,
            settle_by: now.plus_seconds(SETTLE),
        }
    }

    /// Makes the role of a lease whose intent is written down.
    ///
    /// # Errors
    /// When the server does not make it. Only when it said so itself ([`DatabaseError::is_rolled_back`]) is it certain that
    /// the role is not there.
    pub(crate) async fn make(
        &self,
        server: &Server,
        entry: &RoleEntry,
        lease: &str,
        until: Timestamp,
    ) -> Result<(), DatabaseError> {
        let _turn = server.turn().await;
        let (role, password) = (self.role(lease), self.password(lease));
        let comment = format!("{} lease {lease}", self.comment());
        let new = server::NewRole { role: &role, password: &password, comment: &comment, valid_until: until };
        server.make(entry, new).await
    }

    /// Gives a legacy role of the server called `server` another password.
    ///
    /// # Errors
    /// When there is no such server, or it does not do it.
    pub(crate) async fn change_password(&self, server: &str, role: &str, password: &str) -> Result<(), DatabaseError> {
        let server = self.servers.iter().find(|known| known.settings.name == server);
        let server = server.ok_or(DatabaseError::Unknown)?;
        let _turn = server.turn().await;
        server.change_password(role, password).await
    }

    /// Lets the role of a lease that is renewed hold longer.
    ///
    /// # Errors
    /// When the server does not do it.
    pub(crate) async fn prolong(&self, server: &Server, lease: &str, until: Timestamp) -> Result<(), DatabaseError> {
        let _turn = server.turn().await;
        server.prolong(&self.role(lease), until).await
    }

    /// What the comments of this store's roles begin with.
    fn comment(&self) -> String {
        format!("countersign {}", self.installation)
    }
}
