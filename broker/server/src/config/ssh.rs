//! `[[ssh.user]]` and `[[ssh.host]]`: SSH certificates.

use std::collections::{BTreeMap, BTreeSet};

use keys::ssh::CertificateKind;
use serde::Deserialize;

use super::MinEvidence;
use crate::{identity::Template, store::is_name};

/// Longest life of a certificate that no server learns the end of, in seconds.
const UNREVOKED: u32 = 300;
/// Most principals of one certificate.
const PRINCIPALS: usize = 64;

/// SSH certificates that affirmed guests may ask for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ssh {
    /// For those who log in.
    pub(crate) user: Vec<SshEntry>,
    /// For machines that are logged in to.
    pub(crate) host: Vec<SshEntry>,
}

/// One kind of certificate. Whom it stands for, how long and how it is taken back has no default.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SshEntry {
    /// What guests ask for.
    pub(crate) name: String,
    /// Workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Users, or host names; each filled from the evidence.
    pub(crate) principals: Vec<Template>,
    /// What servers must obey, for example `force-command`.
    #[serde(default)]
    pub(crate) critical_options: BTreeMap<String, String>,
    /// What is permitted, for example `permit-pty`: nothing by default.
    #[serde(default)]
    pub(crate) extensions: BTreeSet<String>,
    /// The least evidence.
    pub(crate) min_evidence: MinEvidence,
    /// Longest life in seconds, 3600 at most.
    pub(crate) max_ttl_seconds: u32,
    /// How servers learn that it ended early.
    pub(crate) revocation: SshRevocation,
}

/// How servers learn that a certificate ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SshRevocation {
    /// They read the revocation list.
    Krl,
    /// They do not: the certificate lives for 300 seconds at most.
    Expiry,
}

/// Critical options of user certificates (OpenSSH `PROTOCOL.certkeys`); host certificates have none.
const CRITICAL: [&str; 2] = ["force-command", "source-address"];
/// Extensions of user certificates; host certificates have none.
const EXTENSIONS: [&str; 5] =
    ["permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"];

impl Ssh {
    /// The entry with this name.
    pub(crate) fn entry(&self, name: &str) -> Option<(CertificateKind, &SshEntry)> {
        let users = self.user.iter().map(|entry| (CertificateKind::User, entry));
        let hosts = self.host.iter().map(|entry| (CertificateKind::Host, entry));
        users.chain(hosts).find(|(_, entry)| entry.name == name)
    }

    /// What is wrong with it, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        for entry in self.user.iter().chain(&self.host) {
            if !names.insert(&entry.name) {
                return Some(format!("{}: expected a name that no other entry has", entry.name));
            }
            if let Some(fault) = entry.fault() {
                return Some(format!("{}: {fault}", entry.name));
            }
        }
        for entry in &self.user {
            let unknown = |names: &[&str], name: &String| !names.contains(&name.as_str());
            if let Some(name) = entry.critical_options.keys().find(|name| unknown(&CRITICAL, name)) {
                return Some(format!("{}: critical_options: expected one of {CRITICAL:?}, found {name}", entry.name));
            }
            if let Some(name) = entry.extensions.iter().find(|name| unknown(&EXTENSIONS, name)) {
                return Some(format!("{}: extensions: expected one of {EXTENSIONS:?}, found {name}", entry.name));
            }
            if entry.critical_options.values().any(String::is_empty) {
                return Some(format!("{}: critical_options: expected values", entry.name));
            }
        }
        let optioned = |entry: &&SshEntry| !entry.critical_options.is_empty() || !entry.extensions.is_empty();
        let host = self.host.iter().find(optioned)?;
        Some(format!("{}: expected neither critical_options nor extensions for a host", host.name))
    }
}

impl SshEntry {
    fn fault(&self) -> Option<String> {
        if !is_name(&self.name) || self.workloads.is_empty() || !self.workloads.iter().all(|name| is_name(name)) {
            return Some("expected a plain name and the names of workloads".to_owned());
        }
        if !(1..=PRINCIPALS).contains(&self.principals.len()) {
            return Some(format!("principals: expected 1 to {PRINCIPALS}: without one, everybody is meant"));
        }
        if self.principals.iter().any(Template::needs_trust_domain) {
            return Some("principals: expected no {spiffe_id}: it is no user or host name".to_owned());
        }
        let most = match self.revocation {
            SshRevocation::Krl => 3600,
            SshRevocation::Expiry => UNREVOKED,
        };
        (!(1..=most).contains(&self.max_ttl_seconds))
            .then(|| format!("expected max_ttl_seconds between 1 and {most}, found {}", self.max_ttl_seconds))
    }
}
