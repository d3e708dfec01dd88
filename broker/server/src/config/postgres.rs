//! `[[postgres]]`: database servers that the broker makes roles in.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::MinEvidence;
use crate::{
    databases::{Placeholder, SqlTemplate},
    store::is_name,
};

/// A PostgreSQL server. What it may give out, for how long and how it is taken back has no default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseServer {
    /// Names it in logs.
    pub(crate) name: String,
    /// DNS name, IP address, or the directory of its Unix socket.
    pub(crate) host: String,
    #[serde(default = "port")]
    pub(crate) port: u16,
    /// The database that roles are made in and guests connect to.
    pub(crate) database: String,
    /// The broker's own role there.
    pub(crate) user: String,
    /// Its password; read anew for each connection. None: the server knows the broker by its socket (`peer`).
    pub(crate) password_file: Option<PathBuf>,
    /// The CA of the server's certificate, PEM; guests get it, too.
    pub(crate) ca: Option<PathBuf>,
    /// How the broker reaches it.
    #[serde(default)]
    pub(crate) tls: DatabaseTls,
    /// The host that guests connect to, where it is another one than `host`.
    pub(crate) guest_host: Option<String>,
    /// The port that guests connect to, where it is another one than `port`.
    pub(crate) guest_port: Option<u16>,
    /// The least evidence for its roles.
    pub(crate) min_evidence: MinEvidence,
    /// Longest life of a role in seconds, 3600 at most; a renewal begins anew.
    pub(crate) max_ttl_seconds: u32,
    /// What is done before a role is dropped: who gets what it owns.
    pub(crate) revocation: Vec<SqlTemplate>,
    /// Roles that stand at once at most.
    #[serde(default = "max_roles")]
    pub(crate) max_roles: u32,
    /// What guests may ask for.
    #[serde(default)]
    pub(crate) role: Vec<RoleEntry>,
}

/// How a database server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DatabaseTls {
    /// TLS 1.3, and the certificate is of `ca` and for `host`. A Unix socket needs none.
    #[default]
    VerifyFull,
    /// Without TLS, to an address of this machine only.
    LoopbackPlaintext,
}

/// One kind of role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleEntry {
    /// What guests ask for.
    pub(crate) name: String,
    /// Workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// How it is made, in one transaction.
    pub(crate) creation: Vec<SqlTemplate>,
}

const fn port() -> u16 {
    5432
}

const fn max_roles() -> u32 {
    100
}

impl DatabaseServer {
    /// The files that it names.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.password_file.iter_mut().chain(&mut self.ca)
    }

    /// Whether it is reached by a Unix socket.
    pub(crate) fn is_socket(&self) -> bool {
        Path::new(&self.host).is_absolute()
    }

    fn fault(&self) -> Option<String> {
        let plain = |text: &String| !text.is_empty() && text.len() <= 253 && !text.chars().any(char::is_control);
        if !is_name(&self.name) || ![&self.host, &self.database, &self.user].into_iter().all(plain) {
            return Some("expected a plain name, host, database and user".to_owned());
        }
        if !(1..=3600).contains(&self.max_ttl_seconds) {
            return Some(format!("expected max_ttl_seconds between 1 and 3600, found {}", self.max_ttl_seconds));
        }
        let loopback = self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match self.tls {
            DatabaseTls::LoopbackPlaintext if !loopback => {
                return Some("tls: expected a loopback address as host for loopback-plaintext".to_owned());
            }
            DatabaseTls::VerifyFull if self.ca.is_none() && !self.is_socket() => {
                return Some("expected ca, the CA of the server's certificate".to_owned());
            }
            DatabaseTls::LoopbackPlaintext | DatabaseTls::VerifyFull => {}
        }
        if self.revocation.is_empty() || self.revocation.iter().any(|sql| sql.needs(Placeholder::Password)) {
            return Some("revocation: expected at least one statement, and none with {password}".to_owned());
        }
        self.role.iter().find_map(|entry| entry.fault().map(|fault| format!("role {}: {fault}", entry.name)))
    }
}

impl RoleEntry {
    fn fault(&self) -> Option<String> {
        if !is_name(&self.name) || self.workloads.is_empty() || !self.workloads.iter().all(|name| is_name(name)) {
            return Some("expected a plain name and the names of workloads".to_owned());
        }
        let missing = [Placeholder::Role, Placeholder::Password, Placeholder::ValidUntil]
            .into_iter()
            .find(|placeholder| !self.creation.iter().any(|sql| sql.needs(*placeholder)));
        missing.map(|placeholder| format!("creation: expected {{{}}} in a statement", placeholder.name()))
    }
}

/// What is wrong with the database servers, if anything.
pub(super) fn fault(servers: &[DatabaseServer]) -> Option<String> {
    let mut names = BTreeSet::new();
    let mut entries = BTreeSet::new();
    for server in servers {
        if let Some(fault) = server.fault() {
            return Some(format!("{}: {fault}", server.name));
        }
        if !names.insert(&server.name) {
            return Some(format!("{}: expected a name that no other server has", server.name));
        }
        if let Some(entry) = server.role.iter().find(|entry| !entries.insert(&entry.name)) {
            return Some(format!("{}: role {}: expected a name that no other role has", server.name, entry.name));
        }
    }
    None
}
